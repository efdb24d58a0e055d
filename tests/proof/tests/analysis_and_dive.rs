//! The analysis beside dive's, on images where the two differ for each of dive's reasons; `docs/analysis.md`
//! explains them.

use std::{fs, path::Path};

use serde_json::Value;
use unbloat_proof::{
    command,
    image::{Layout, Packing},
    stack::{Body, Dialect, Record, tarball},
    tools::{self, fast_folder},
};

fn record(name: &str, body: Body, mode: u32) -> Record {
    Record {
        name: name.as_bytes().to_vec(),
        body,
        mode,
        uid: 0,
        gid: 0,
        mtime: (1, 0),
        xattrs: Default::default(),
        unknown: Vec::new(),
        dialect: Dialect::Ustar,
    }
}

fn file(name: &str, size: usize) -> Record {
    record(name, Body::File(vec![b'x'; size]), 0o644)
}

fn with_mode(name: &str, size: usize, mode: u32) -> Record {
    record(name, Body::File(vec![b'x'; size]), mode)
}

fn directory(name: &str) -> Record {
    record(name, Body::Directory, 0o755)
}

/// What each of two tools says: unpacked bytes, wasted bytes, efficiency.
#[derive(Debug)]
struct Told {
    dive: (u64, u64, f64),
    ours: (u64, u64, f64),
}

fn told(folder: &Path, tag: &str, layers: &[Vec<Record>]) -> Told {
    let layout = Layout::create(folder.join(tag)).expect("a layout");
    let tars: Vec<_> = layers.iter().map(|records| tarball::write(records)).collect();
    layout.add(tag, &tars, |_| Packing::Plain).expect("written");
    let archive = folder.join(format!("{tag}.tar"));
    let mut copy = tools::command("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet"]).arg(layout.reference(tag));
    tools::run(copy.arg(format!("docker-archive:{}:proof:{tag}", archive.display()))).expect("copied");
    let json = folder.join(format!("{tag}.json"));
    let mut dive = tools::command("dive");
    dive.arg(format!("docker-archive://{}", archive.display())).arg("--json").arg(&json);
    tools::run(&mut dive).expect("dive looks at it");
    let of_dive: Value = serde_json::from_slice(&fs::read(&json).expect("written")).expect("JSON");
    let run = command::run(["analyze", &format!("docker-archive:{}", archive.display()), "--json"]);
    let of_ours = run.expect("runs").success().expect("analysed").json().expect("one object");
    let number = |value: &Value| value.as_u64().expect("a number");
    let (image, totals) = (&of_dive["image"], &of_ours["totals"]);
    let told = Told {
        dive: (
            number(&image["sizeBytes"]),
            number(&image["inefficientBytes"]),
            image["efficiencyScore"].as_f64().expect("a number"),
        ),
        ours: (
            number(&totals["unpackedBytes"]),
            number(&totals["wastedBytes"]),
            totals["efficiency"].as_f64().expect("a number"),
        ),
    };
    println!("{tag}: {told:?}");
    told
}

#[track_caller]
fn assert_told(told: (u64, u64, f64), expected: (u64, u64, f64)) {
    assert_eq!((told.0, told.1), (expected.0, expected.1));
    assert!((told.2 - expected.2).abs() < 1e-9, "{told:?}, {expected:?}");
}

/// The image of dive's own tests, layer by layer (`.data/Dockerfile.test-image` in its repository).
fn dives_own() -> Vec<Vec<Record>> {
    const SIZE: usize = 6405;
    let nested = ["root/", "root/example/", "root/example/really/", "root/example/really/nested/"];
    // Docker's layers name the parents of what they bring; dive knows a directory by its entry only.
    let example = |entry: Record| vec![directory("root/"), directory("root/example/"), entry];
    vec![
        vec![file("bin/busybox", 1_154_361)],
        vec![file("somefile.txt", SIZE)],
        nested.map(directory).to_vec(),
        example(file("root/example/somefile1.txt", SIZE)),
        example(with_mode("root/example/somefile1.txt", SIZE, 0o444)),
        example(file("root/example/somefile2.txt", SIZE)),
        example(file("root/example/somefile3.txt", SIZE)),
        [example(file("root/example/.wh.somefile3.txt", 0)), vec![file("root/saved.txt", SIZE)]].concat(),
        vec![file("root/.saved.txt", SIZE)],
        vec![directory("root/"), file("root/.wh.example", 0)],
        vec![file("root/.data/tag.sh", 917), file("root/.data/test.sh", 1270)],
        vec![file("tmp/saved.again1.txt", SIZE)],
        vec![file("root/.data/saved.again2.txt", SIZE)],
        vec![with_mode("root/saved.txt", SIZE, 0o755)],
    ]
}

#[test]
fn on_dives_own_test_image_two_differences_cancel_out() {
    let folder = fast_folder().expect("a folder");
    let told = told(folder.path(), "own", &dives_own());
    // Five hidden copies. Dive counts the visible copy of one file as wasted, and misses a file that went
    // with its directory.
    assert_told(told.ours, (1_220_598, 5 * 6405, 1_188_573.0 / 1_220_598.0));
    // The numbers of dive's own tests.
    assert_told(told.dive, (1_220_598, 32_025, 0.984_421_213_418_430_9));
}

#[test]
fn dive_counts_the_visible_copy_and_takes_the_smallest_for_the_needed_one() {
    let folder = fast_folder().expect("a folder");
    let layers = [100, 200, 300].map(|size| vec![file("var/log/x", size)]);
    let told = told(folder.path(), "log", &layers);
    assert_told(told.ours, (600, 300, 0.5));
    assert_told(told.dive, (600, 600, 100.0 / 600.0));
}

#[test]
fn dive_does_not_see_what_goes_with_its_directory() {
    let folder = fast_folder().expect("a folder");
    let layers = [vec![file("d/x", 1000), file("d/y", 500), file("kept", 10)], vec![file(".wh.d", 0)]];
    let told = told(folder.path(), "directory", &layers);
    assert_told(told.ours, (1510, 1500, 10.0 / 1510.0));
    assert_told(told.dive, (1510, 0, 1.0));
}

#[test]
fn a_file_that_is_deleted_by_name_is_the_same_to_both() {
    let folder = fast_folder().expect("a folder");
    let layers = [vec![file("a", 1000), file("kept", 1000)], vec![file(".wh.a", 0)]];
    let told = told(folder.path(), "deleted", &layers);
    assert_told(told.ours, (2000, 1000, 0.5));
    assert_told(told.dive, (2000, 1000, 0.5));
}
