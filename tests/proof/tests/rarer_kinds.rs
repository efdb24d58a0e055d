//! The kinds that naive unpackers and squashers get wrong, one by one: what the rules say, what the engine
//! writes flat and above every base, and what it warns of.

use unbloat_layers::WarningKind;
use unbloat_proof::{
    engine, model,
    stack::{Body, Record, Stack},
};

const CAPABILITY: &str = "security.capability";

fn file(name: &str) -> Record {
    Record::plain(name, Body::File(b"content".to_vec()))
}

fn directory(name: &str) -> Record {
    Record::plain(name, Body::Directory)
}

fn link(name: &str, to: &str) -> Record {
    Record::plain(name, Body::HardLink(to.as_bytes().to_vec()))
}

fn with(mut record: Record, key: &str) -> Record {
    let value = match key {
        CAPABILITY => vec![1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        _ => b"v".to_vec(),
    };
    record.xattrs.insert(key.as_bytes().to_vec(), value);
    record
}

/// The listing and the warnings of a stack that the engine writes as the model says.
fn merged(layers: Vec<Vec<Record>>) -> (model::Tree, Vec<WarningKind>) {
    let stack = Stack { seed: 0, layers };
    let tars = stack.tars();
    assert_eq!(engine::wrong(&stack), None, "{}", stack.describe());
    let warnings = engine::warnings(&tars).expect("merges");
    (model::merge(&tars).expect("valid"), warnings.into_iter().map(|warning| warning.kind).collect())
}

fn attributes(tree: &model::Tree, path: &str) -> Vec<String> {
    let inode = tree.get(path.as_bytes()).expect("it is there");
    inode.metadata.xattrs.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
}

#[test]
fn a_link_without_the_capability_takes_it_away_though_the_link_is_removed_later() {
    let lower = vec![with(file("f"), CAPABILITY), link("h", "f")];
    let (tree, _) = merged(vec![lower, vec![file(".wh.h")]]);
    assert!(attributes(&tree, "f").is_empty());
}

#[test]
fn a_capability_of_the_last_link_holds_for_all_names() {
    let lower = vec![file("f"), with(link("g", "f"), "user.g"), with(link("h", "f"), CAPABILITY)];
    let (tree, _) = merged(vec![lower.clone(), vec![file(".wh.f")]]);
    assert_eq!(attributes(&tree, "g"), [CAPABILITY, "user.g"]);
    let (tree, _) = merged(vec![lower]);
    assert_eq!(attributes(&tree, "f"), [CAPABILITY, "user.g"]);
}

#[test]
fn a_link_of_a_higher_layer_takes_the_capability_away() {
    let (tree, _) = merged(vec![vec![with(file("f"), CAPABILITY)], vec![link("h", "f")]]);
    assert!(attributes(&tree, "f").is_empty());
    let (tree, _) = merged(vec![vec![with(file("f"), CAPABILITY)], vec![with(link("h", "f"), CAPABILITY)]]);
    assert_eq!(attributes(&tree, "h"), [CAPABILITY]);
}

#[test]
fn a_directory_named_behind_a_path_below_it_keeps_the_lower_attributes() {
    let lower = vec![with(directory("d"), "user.k"), file("d/a")];
    let (tree, _) = merged(vec![lower.clone(), vec![file("d/b"), with(directory("d"), "user.own")]]);
    assert_eq!(attributes(&tree, "d"), ["user.k", "user.own"]);
    // Named first, it has its own.
    let (tree, _) = merged(vec![lower, vec![directory("d"), file("d/b")]]);
    assert!(attributes(&tree, "d").is_empty());
}

#[test]
fn a_mark_in_a_directory_makes_its_entry_a_late_one() {
    let lower = vec![with(directory("d"), "user.k"), file("d/a")];
    for mark in ["d/.wh.a", "d/.wh..wh..opq", "d/deeper/.wh..wh..opq"] {
        let (tree, _) = merged(vec![lower.clone(), vec![file(mark), directory("d")]]);
        assert_eq!(attributes(&tree, "d"), ["user.k"], "{mark}");
    }
}

#[test]
fn attributes_come_down_through_several_late_directories_and_stop_at_what_took_one_away() {
    let first = vec![with(directory("d"), "user.first")];
    let late = |key: &str| vec![file("d/x"), with(directory("d"), key)];
    let (tree, _) = merged(vec![first.clone(), late("user.second"), vec![file("d/y")], late("user.third")]);
    assert_eq!(attributes(&tree, "d"), ["user.first", "user.second", "user.third"]);
    for gone in [file(".wh.d"), file("d")] {
        let (tree, _) = merged(vec![first.clone(), vec![gone], late("user.third")]);
        assert_eq!(attributes(&tree, "d"), ["user.third"]);
    }
}

#[test]
fn a_directory_named_twice_has_the_attributes_of_both_entries() {
    let twice = vec![with(directory("d"), "user.one"), with(directory("d"), "user.two")];
    let (tree, _) = merged(vec![vec![with(directory("d"), "user.lower")], twice]);
    assert_eq!(attributes(&tree, "d"), ["user.one", "user.two"]);
}

/// containerd takes the attributes of a missing parent from the layers below and fails where one of them has
/// a whiteout or a file above it.
#[test]
fn above_a_base_that_had_something_else_a_directory_stands_before_what_is_below_it() {
    for gone in [file(".wh.d"), file("d")] {
        let removed = vec![vec![directory("d"), directory("d/e")], vec![gone]];
        let named_last = vec![directory("d"), directory("d/e"), file("d/e/f"), directory("d/e")];
        let (tree, _) = merged([removed.clone(), vec![named_last]].concat());
        assert!(tree.get(b"d/e/f").is_some());
        let in_two = vec![vec![directory("d"), directory("d/e")], vec![file("d/e/f")]];
        let (tree, _) = merged([removed, in_two].concat());
        assert!(tree.get(b"d/e/f").is_some());
    }
}

#[test]
fn an_opaque_mark_makes_an_empty_directory_of_a_file_a_symlink_or_nothing() {
    let below = |lower: Vec<Record>| merged(vec![lower, vec![file("p/.wh..wh..opq")]]);
    for body in [Body::File(b"content".to_vec()), Body::Symlink(b"elsewhere".to_vec()), Body::Fifo] {
        let (tree, warnings) = below(vec![Record::plain("p", body)]);
        assert_eq!((model::listing(&tree), warnings), ("p/".to_owned(), vec![WarningKind::OpaqueBelowFile]));
    }
    let (tree, warnings) = below(vec![]);
    assert_eq!((model::listing(&tree), warnings), ("p/".to_owned(), vec![WarningKind::OpaqueBelowNothing]));
    let (tree, warnings) = below(vec![directory("p"), file("p/a")]);
    assert_eq!((model::listing(&tree), warnings), ("p/".to_owned(), vec![]));
}

#[test]
fn a_whiteout_makes_an_empty_directory_of_a_file_or_a_symlink_and_nothing_of_nothing() {
    let below = |lower: Vec<Record>, mark: &str| merged(vec![lower, vec![file(mark)]]);
    for body in [Body::File(b"content".to_vec()), Body::Symlink(b"elsewhere".to_vec())] {
        let (tree, warnings) = below(vec![Record::plain("p", body)], "p/.wh.x");
        assert_eq!(
            (model::listing(&tree), warnings),
            ("p/".to_owned(), vec![WarningKind::WhiteoutBelowFile])
        );
    }
    let (tree, warnings) = below(vec![file("other")], "p/.wh.x");
    let nothing = vec![WarningKind::WhiteoutBelowNothing];
    assert_eq!((model::listing(&tree), warnings), ("other=content".to_owned(), nothing));
    let (tree, warnings) = below(vec![directory("p"), file("p/x")], "p/.wh.x");
    assert_eq!((model::listing(&tree), warnings), ("p/".to_owned(), vec![]));
}

#[test]
fn a_global_header_is_not_applied_and_only_a_comment_is_passed_in_silence() {
    for key in ["uid", "mtime", "path", "size", "linkpath", "SCHILY.xattr.user.g", "VENDOR.x", "comment"] {
        let global = Record::plain("", Body::Global(vec![(key.into(), b"7".to_vec())]));
        let (tree, warnings) = merged(vec![vec![global, file("f")]]);
        let metadata = &tree.get(b"f").expect("it is there").metadata;
        assert_eq!((metadata.uid, metadata.mtime, metadata.xattrs.len()), (0, (1, 0), 0), "{key}");
        let expected = if key == "comment" { vec![] } else { vec![WarningKind::GlobalHeader] };
        assert_eq!(warnings, expected, "{key}");
    }
}

#[test]
fn content_below_the_names_of_aufs_is_dropped_with_a_warning() {
    let (tree, warnings) = merged(vec![vec![directory("r"), file("r/.wh..wh..opaque/z"), file("r/a")]]);
    assert_eq!(model::listing(&tree), "r/ r/a=content");
    assert_eq!(warnings, [WarningKind::AufsContent]);
    let empty = Record::plain(".wh..wh.aufs", Body::File(Vec::new()));
    assert_eq!(merged(vec![vec![empty, directory(".wh..wh.plnk"), file("a")]]).1, []);
}

#[test]
fn a_negative_owner_is_root_with_a_warning() {
    for key in ["uid", "gid"] {
        let mut record = file("f");
        record.unknown.push((key.into(), b"-1".to_vec()));
        let (tree, warnings) = merged(vec![vec![record]]);
        let metadata = &tree.get(b"f").expect("it is there").metadata;
        assert_eq!((metadata.uid, metadata.gid, warnings), (0, 0, vec![WarningKind::NegativeOwner]));
    }
}
