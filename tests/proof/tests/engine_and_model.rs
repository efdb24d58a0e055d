//! The merge engine, called in process, against the plain model: thousands of random stacks, ten times
//! `UNBLOAT_STACKS` of each kind.

use unbloat_proof::{
    engine::wrong,
    model,
    stack::{Body, Profile, Record, Stack, count, generate, shrink},
};

fn check(profile: Profile, seeds: std::ops::Range<u64>) {
    let mut failures = Vec::new();
    for seed in seeds {
        let stack = generate(seed, profile);
        if wrong(&stack).is_some() {
            let small = shrink(&stack, |smaller| wrong(smaller).is_some());
            let why = wrong(&small).unwrap_or_default();
            failures.push(format!("{}  => {why}\n", small.describe()));
        }
        assert!(failures.len() < 5, "{profile:?}\n{}", failures.join("\n"));
    }
    assert!(failures.is_empty(), "{profile:?}\n{}", failures.join("\n"));
}

#[test]
fn stacks_of_every_rule_flatten_as_the_model_says() {
    check(Profile::Full, 0..10 * count(200));
}

/// Capabilities on hard links, directories named late and twice, marks where no directory is, global headers,
/// AUFS's names, negative owners.
#[test]
fn stacks_of_the_rarer_kinds_flatten_as_the_model_says() {
    check(Profile::Wide, 0..10 * count(100));
}

#[test]
fn stacks_of_kinds_that_only_containerd_agrees_on_flatten_as_the_model_says() {
    check(Profile::Runtime, 0..10 * count(60));
}

#[test]
fn portable_stacks_flatten_as_the_model_says() {
    check(Profile::Portable, 0..10 * count(40));
}

/// Found by fuzzing: the link is a symlink as well, and leads the file below it to `b/b/a`.
#[test]
fn a_hard_link_to_a_symlink_of_its_layer_leads_paths_as_the_symlink_does() {
    let upper = vec![
        Record::plain("a", Body::Symlink(b"b".to_vec())),
        Record::plain("a/a", Body::HardLink(b"a".to_vec())),
        Record::plain("b/a/a", Body::File(b"content".to_vec())),
    ];
    let stack = Stack { seed: 0, layers: vec![vec![Record::plain("other", Body::Fifo)], upper] };
    let tree = model::merge(&stack.tars()).expect("the model takes it");
    assert!(tree.paths.contains_key(&b"b/b/a"[..]));
    assert_eq!(wrong(&stack), None);
}

/// What hid the link's target from above was taken away in the same layer.
#[test]
fn a_file_that_its_own_layer_took_away_blocks_no_link_of_a_higher_layer() {
    let file = || Body::File(b"one".to_vec());
    let middle = vec![
        Record::plain("lib/e", Body::Fifo),
        Record::plain("lib", file()),
        Record::plain("lib", Body::Directory),
    ];
    let upper = vec![Record::plain("c", Body::HardLink(b"lib/e/c".to_vec()))];
    let stack = Stack { seed: 0, layers: vec![vec![Record::plain("lib/e/c", file())], middle, upper] };
    let tree = model::merge(&stack.tars()).expect("the model takes it");
    assert!(tree.paths.contains_key(&b"c"[..]));
    assert_eq!(wrong(&stack), None);
}

/// The link is a symlink, as a layer below tells; with another such link below that one.
#[test]
fn a_hard_link_to_a_lower_layers_symlink_leads_paths_as_the_symlink_does() {
    let lower = vec![
        Record::plain("s", Body::Symlink(b"d".to_vec())),
        Record::plain("d/t", Body::Symlink(b"/e".to_vec())),
    ];
    let middle = vec![Record::plain("m", Body::HardLink(b"s".to_vec()))];
    let upper = vec![
        Record::plain("a", Body::HardLink(b"m".to_vec())),
        Record::plain("d/u", Body::HardLink(b"d/t".to_vec())),
        Record::plain("a/file", Body::File(b"one".to_vec())),
        Record::plain("a/u/file", Body::File(b"two".to_vec())),
    ];
    let stack = Stack { seed: 0, layers: vec![lower, middle, upper] };
    let tree = model::merge(&stack.tars()).expect("the model takes it");
    for path in ["a", "d/file", "e/file"] {
        assert!(tree.paths.contains_key(path.as_bytes()), "{path}");
    }
    assert_eq!(wrong(&stack), None);
}
