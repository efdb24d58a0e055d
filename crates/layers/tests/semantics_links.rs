//! Every rule that code or a page refers to is in `docs/layer-semantics.md`.

use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, into);
        } else if name.ends_with(".rs") || name.ends_with(".md") {
            into.push(path);
        }
    }
}

#[test]
fn a_rule_that_is_referred_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/layer-semantics.md")).unwrap();
    let mut paths = Vec::new();
    for folder in ["crates", "docs", "tests"] {
        files(&root.join(folder), &mut paths);
    }
    let mut references = 0;
    for path in paths {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for (at, _) in text.match_indices("layer-semantics.md#") {
            let anchor = &text[at + "layer-semantics.md#".len()..];
            let end = anchor.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(anchor.len());
            if end > 0 {
                references += 1;
                let defined = format!("<a id=\"{}\"></a>", &anchor[..end]);
                assert!(page.contains(&defined), "{}: no {defined}", path.display());
            }
        }
    }
    assert!(references > 20, "{references}");
}
