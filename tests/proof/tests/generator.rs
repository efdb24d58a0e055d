//! The random stacks themselves: valid, the same for ever, and rich enough to mean something.

use unbloat_proof::{
    model,
    stack::{Body, Profile, generate, shrink},
};

#[test]
fn a_seed_gives_the_same_stack_each_time() {
    for seed in 0..50 {
        assert_eq!(generate(seed, Profile::Full).tars(), generate(seed, Profile::Full).tars());
    }
}

#[test]
fn each_stack_merges_in_the_model() {
    for seed in 0..1500 {
        for profile in [Profile::Portable, Profile::Full] {
            let stack = generate(seed, profile);
            if let Err(error) = model::merge(&stack.tars()) {
                panic!("{error}\n{}", stack.describe());
            }
        }
    }
}

#[test]
fn the_stacks_hold_every_kind_of_record_and_many_hidden_entries() {
    let (mut kinds, mut written, mut survivors, mut marks) = (std::collections::BTreeSet::new(), 0, 0, 0);
    for seed in 0..400 {
        let stack = generate(seed, Profile::Full);
        for record in stack.layers.iter().flatten() {
            written += 1;
            marks += usize::from(record.name.windows(4).any(|part| part == b".wh."));
            kinds.insert(match record.body {
                Body::File(_) => "file",
                Body::Contiguous(_) => "contiguous",
                Body::GnuSparse(..) => "gnu sparse",
                Body::PaxSparse(..) => "pax sparse",
                Body::HardLink(_) => "hard link",
                Body::Symlink(_) => "symlink",
                Body::Character(..) => "character",
                Body::Block(..) => "block",
                Body::Directory => "directory",
                Body::Fifo => "fifo",
                Body::Global(_) => "global",
            });
        }
        survivors += model::merge(&stack.tars()).expect("valid").paths.len();
    }
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    assert!(marks * 20 > written, "{marks} marks in {written} records");
    assert!(survivors < written, "{survivors} survivors of {written} records");
}

#[test]
fn a_failing_stack_shrinks_to_what_makes_it_fail() {
    let has_fifo =
        |stack: &unbloat_proof::stack::Stack| stack.layers.iter().flatten().any(|r| r.body == Body::Fifo);
    let failing = (0..).map(|seed| generate(seed, Profile::Full)).find(has_fifo).expect("endless");
    let small = shrink(&failing, has_fifo);
    assert_eq!((small.layers.len(), small.layers[0].len()), (1, 1), "{}", small.describe());
}
