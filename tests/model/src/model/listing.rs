//! A tree as one line of text, in the notation of the torture cases.

use super::tree::{Kind, Tree};

/// Sorted, blank-separated: `d/`, `f=text`, `s->target`, `c<1:3>`, a bare name for a fifo, `{hl}` for one of
/// several names of an inode, `f=sparse:SIZE` for zeroes around `data` at offset 4096. Each byte becomes one
/// character (Latin-1).
pub fn listing(tree: &Tree) -> String {
    let latin1 = |bytes: &[u8]| -> String { bytes.iter().map(|byte| char::from(*byte)).collect() };
    let counts = tree.link_counts();
    let mut lines = Vec::new();
    for (path, number) in tree.paths.iter().filter(|(path, _)| !path.is_empty()) {
        let shown = match &tree.inodes[number].kind {
            Kind::Directory => "/".to_owned(),
            Kind::File(content) if is_sparse_sample(content) => format!("=sparse:{}", content.len()),
            Kind::File(content) => format!("={}", latin1(content)),
            Kind::Symlink(target) => format!("->{}", latin1(target)),
            Kind::Character(major, minor) | Kind::Block(major, minor) => format!("<{major}:{minor}>"),
            Kind::Fifo => String::new(),
        };
        let linked = if counts[number] > 1 { "{hl}" } else { "" };
        lines.push(format!("{}{shown}{linked}", latin1(path)));
    }
    lines.sort();
    lines.join(" ")
}

fn is_sparse_sample(content: &[u8]) -> bool {
    content.len() > 4100
        && &content[4096..4100] == b"data"
        && content[..4096].iter().chain(&content[4100..]).all(|byte| *byte == 0)
}
