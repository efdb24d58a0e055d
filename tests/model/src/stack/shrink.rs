//! Makes a failing stack small: layers, then records, then details are taken away while the failure stays.

use super::record::{Body, Dialect, Record, Stack};

/// The smallest stack found that still fails. `fails` must be false for a stack that the model refuses.
pub fn shrink(stack: &Stack, fails: impl Fn(&Stack) -> bool) -> Stack {
    let mut smallest = stack.clone();
    loop {
        let before = smallest.clone();
        for layer in (0..smallest.layers.len()).rev() {
            attempt(&mut smallest, &fails, |stack| {
                stack.layers.remove(layer);
            });
        }
        for layer in 0..smallest.layers.len() {
            for index in (0..smallest.layers[layer].len()).rev() {
                attempt(&mut smallest, &fails, |stack| {
                    stack.layers[layer].remove(index);
                });
            }
            for index in 0..smallest.layers[layer].len() {
                for change in [plain_metadata, plain_dialect, short_content] {
                    attempt(&mut smallest, &fails, |stack| change(&mut stack.layers[layer][index]));
                }
            }
        }
        if smallest == before {
            return smallest;
        }
    }
}

fn attempt(stack: &mut Stack, fails: &impl Fn(&Stack) -> bool, change: impl Fn(&mut Stack)) {
    let mut smaller = stack.clone();
    change(&mut smaller);
    if smaller != *stack && fails(&smaller) {
        *stack = smaller;
    }
}

fn plain_metadata(record: &mut Record) {
    record.mode = if record.body == Body::Directory { 0o755 } else { 0o644 };
    (record.uid, record.gid, record.mtime) = (0, 0, (1_000_000_000, 0));
    record.xattrs.clear();
    record.unknown.clear();
}

fn plain_dialect(record: &mut Record) {
    record.dialect = Dialect::Ustar;
}

fn short_content(record: &mut Record) {
    if let Body::File(content) | Body::Contiguous(content) = &mut record.body {
        content.truncate(3);
    }
}
