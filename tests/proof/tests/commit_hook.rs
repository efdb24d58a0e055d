//! The step that a platform runs after each commit of a container (`docs/commits.md`): it does nothing until
//! the image is worth it, squashes it then and moves the tag, and can be run again at any time.

use serde_json::Value;
use unbloat_proof::{
    command,
    image::{Layout, Packing},
    registry::{Flavour, Registry},
    stack::{Profile, generate},
    tools::fast_folder,
};

/// From this many layers on the image is squashed.
const LAYERS: usize = 6;

#[test]
fn commits_pile_up_to_the_bound_and_are_squashed_then_and_not_before() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let registry = Registry::start(Flavour::DistributionV3).expect("a registry");
    let (image, base) = (registry.reference("team/devbox:today"), registry.reference("base/debian:12"));
    let unbloat = |words: &[&str]| {
        let run = command::run(words).expect("runs");
        run.success().unwrap_or_else(|error| panic!("{words:?}: {error}"))
    };
    let commits: Vec<Vec<u8>> =
        (0..).flat_map(|more| generate(61_000 + more, Profile::Portable).tars()).take(30).collect();
    layout.add("base", &commits[..2], |_| Packing::Gzip(6)).expect("written");
    unbloat(&["copy", &layout.reference("base"), &base]);
    unbloat(&["copy", &layout.reference("base"), &image]);

    let layers_of = |image: &str| {
        let history = unbloat(&["history", image, "--output", "json"]).json().expect("JSON");
        history["layers"].as_u64().expect("a number") as usize
    };
    let hook = [
        "squash",
        &image,
        "--move-tag",
        "--if-layers",
        "6",
        "--base",
        &base,
        "--format",
        "docker",
        "--output",
        "json",
    ];
    let mut squashed = 0;
    for commit in &commits[2..] {
        // Somebody's commit: what is there, and one layer.
        unbloat(&["copy", &image, &layout.reference("now")]);
        let mut tars = layout.image("now").expect("sound").tars;
        tars.push(commit.clone());
        if unbloat_proof::model::merge(&tars).is_err() {
            // Random layers do not all go together.
            continue;
        }
        layout.add("committed", &tars, |_| Packing::Gzip(6)).expect("written");
        unbloat(&["copy", &layout.reference("committed"), &image]);
        let before = layers_of(&image);

        let said = unbloat(&hook).json().expect("JSON");
        let after = layers_of(&image);
        if before < LAYERS {
            assert_eq!((after, &said["nothingToDo"]), (before, &Value::from("belowCondition")), "{said}");
        } else {
            squashed += 1;
            assert_eq!((after, &said["nothingToDo"]), (3, &Value::Null), "{said}");
            unbloat(&["verify", &layout.reference("committed"), &image, "--allow-split-links"]);
        }
        // Once more does no harm and costs nothing.
        let again = unbloat(&hook).json().expect("JSON");
        assert_eq!(again["nothingToDo"], "belowCondition", "{again}");
        assert_eq!(again["bytesWritten"], 0, "{again}");
        assert_eq!(layers_of(&image), after);
    }
    assert!(squashed >= 3, "{squashed}");
}
