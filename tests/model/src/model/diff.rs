//! What differs between two trees, as sentences.

use std::collections::BTreeSet;

use super::{
    display,
    tree::{Inode, Kind, Tree},
};

/// What a comparison leaves out, because an unpacker or the kept base decides it.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// Directories whose time is made up by whoever unpacks.
    pub times: BTreeSet<Vec<u8>>,
    /// Names whose hard-link group is not compared: links to a file of a kept base become copies.
    pub groups: BTreeSet<Vec<u8>>,
    /// Names whose mode, owner, time and attributes are not compared.
    pub metadata: BTreeSet<Vec<u8>>,
    /// Leaves out the root's own metadata: containerd does not apply a layer's entry for the root.
    pub root: bool,
}

/// Every difference, nothing left out.
pub fn diff(expected: &Tree, found: &Tree) -> Vec<String> {
    diff_masked(expected, found, &Mask::default())
}

/// Every difference but for what the mask names.
pub fn diff_masked(expected: &Tree, found: &Tree, mask: &Mask) -> Vec<String> {
    let mut differences = Vec::new();
    let (leaders_expected, leaders_found) = (expected.leaders(), found.leaders());
    for (path, number) in &expected.paths {
        let shown = display(path);
        let Some(other) = found.get(path) else {
            differences.push(format!("{shown}: missing ({})", kind_name(&expected.inodes[number].kind)));
            continue;
        };
        if path.is_empty() && mask.root {
            continue;
        }
        compare(&shown, &expected.inodes[number], other, mask, path, &mut differences);
        let is_directory = expected.inodes[number].kind == Kind::Directory;
        if !is_directory && !mask.groups.contains(path) {
            let (wanted, got) = (leaders_expected[path.as_slice()], leaders_found[path.as_slice()]);
            if wanted != got {
                differences.push(format!(
                    "{shown}: shares its inode with {}, found {}",
                    display(wanted),
                    display(got)
                ));
            }
        }
    }
    for path in found.paths.keys().filter(|path| !expected.paths.contains_key(*path)) {
        differences.push(format!(
            "{}: unexpected ({})",
            display(path),
            kind_name(&found.get(path).expect("listed").kind)
        ));
    }
    differences
}

fn compare(
    shown: &str,
    expected: &Inode,
    found: &Inode,
    mask: &Mask,
    path: &[u8],
    differences: &mut Vec<String>,
) {
    let mut say = |what: &str, wanted: String, got: String| {
        differences.push(format!("{shown}: {what} should be {wanted}, found {got}"));
    };
    match (&expected.kind, &found.kind) {
        (Kind::File(wanted), Kind::File(got)) if wanted != got => {
            say("content", sample(wanted), sample(got));
        }
        (Kind::File(_), Kind::File(_)) => {}
        (wanted, got) if wanted != got => say("type", describe(wanted), describe(got)),
        _ => {}
    }
    if mask.metadata.contains(path) {
        return;
    }
    let (wanted, got) = (&expected.metadata, &found.metadata);
    // Linux gives every symbolic link the mode 0777.
    if wanted.mode != got.mode && !matches!(expected.kind, Kind::Symlink(_)) {
        say("mode", format!("{:o}", wanted.mode), format!("{:o}", got.mode));
    }
    if (wanted.uid, wanted.gid) != (got.uid, got.gid) {
        say("owner", format!("{}:{}", wanted.uid, wanted.gid), format!("{}:{}", got.uid, got.gid));
    }
    if wanted.mtime != got.mtime && !(mask.times.contains(path) && expected.kind == Kind::Directory) {
        say("mtime", format!("{:?}", wanted.mtime), format!("{:?}", got.mtime));
    }
    if wanted.xattrs != got.xattrs {
        let text = |of: &Inode| {
            let pairs =
                of.metadata.xattrs.iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii()));
            format!("[{}]", pairs.collect::<Vec<_>>().join(", "))
        };
        say("xattrs", text(expected), text(found));
    }
}

fn sample(content: &[u8]) -> String {
    let head = &content[..content.len().min(24)];
    format!("{} bytes \"{}\"", content.len(), head.escape_ascii())
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File(_) => "file",
        Kind::Symlink(_) => "symlink",
        Kind::Character(..) => "character device",
        Kind::Block(..) => "block device",
        Kind::Fifo => "fifo",
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Symlink(target) => format!("symlink to {}", target.escape_ascii()),
        Kind::Character(major, minor) | Kind::Block(major, minor) => {
            format!("{} {major}:{minor}", kind_name(kind))
        }
        other => kind_name(other).to_owned(),
    }
}
