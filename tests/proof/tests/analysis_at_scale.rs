//! What an analysis costs: the incident's image from a registry, and images of many paths.

use std::{fs, time::Duration};

use unbloat_proof::{
    command,
    image::{Layout, Packing},
    incident::{self, incident, push, write_image},
    registry::{Flavour, Registry},
    stack::{Body, Dialect, Record, tarball},
    tools::fast_folder,
};

/// What one analysis may hold, and what each path may add.
const FIXED_MEMORY: u64 = 64 << 20;
const PATH_MEMORY: u64 = 200;

/// Runs that are timed; the fastest counts, as the machine does other things too.
const RUNS: usize = 3;

fn fastest(arguments: &[&str]) -> (Duration, command::Run) {
    let run = || command::run(arguments).expect("runs").success().expect("done");
    let best = (0..RUNS).map(|_| run()).min_by_key(|run| run.wall).expect("some runs");
    (best.wall, best)
}

#[test]
fn the_incident_is_explained_in_the_time_of_its_squash() {
    let layout = incident().expect("the image");
    let registry = Registry::start(Flavour::Debian).expect("a registry");
    let source = registry.reference("incident:full");
    push(&layout, "incident", &source).expect("pushed");
    let since = registry.log().expect("a log").len();
    let first = command::run(["analyze", &source, "--json"]).expect("runs").success().expect("analysed");
    let reads = registry.blob_reads("incident", since).expect("a log");
    assert_eq!(reads.len(), incident::LAYERS + 2, "every layer and the config");
    let twice: Vec<_> = reads.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "read more than once: {twice:?}");
    assert_eq!(first.disk_written, 0, "bytes written to disk");

    let result = first.json().expect("one object");
    let log = format!("/{}", incident::LOG_PATH);
    assert_eq!(
        (&result["paths"][0]["path"], &result["paths"][0]["cause"]),
        (&log.as_str().into(), &"copied-up-login-log".into())
    );
    assert_eq!(result["paths"][0]["copies"], incident::LAYERS + 1);
    assert_eq!(result["causes"][0]["options"], serde_json::json!(["--truncate", log]));
    let saved = result["estimate"]["compressedBytes"].as_u64().expect("a number");
    let dry = command::run(["squash", &source, "--dry-run", "--output", "json"]).expect("runs").success();
    let dry = dry.expect("told");
    let reclaimed = dry.json().expect("one object")["reclaimedBytes"].as_u64().expect("a number");
    let off = (saved as f64 / reclaimed as f64 - 1.0).abs();
    assert!(off < 0.1, "{saved} bytes estimated, {reclaimed} reclaimed");

    let (analysis, run) = fastest(&["analyze", &source, "--json"]);
    let target = registry.reference("incident:flat");
    let (squash, _) = fastest(&["squash", &source, &target]);
    let paths = result["pathsTotal"].as_u64().expect("a number");
    println!(
        "analyze {:.2} s, squash {:.2} s, {:.1} MB resident for {paths} paths",
        analysis.as_secs_f64(),
        squash.as_secs_f64(),
        run.peak_memory as f64 / 1e6
    );
    assert!(analysis <= squash, "analyze took {analysis:?}, squash {squash:?}");
    assert!(run.peak_memory <= FIXED_MEMORY + PATH_MEMORY * paths, "{} bytes resident", run.peak_memory);
}

/// A layer of so many small files below `folder`, owned by `uid`.
fn many(folder: &str, files: usize, uid: u64) -> Vec<u8> {
    let record = |index: usize| Record {
        name: format!("{folder}/package-{:04}/module_{index:07}.py", index / 100).into_bytes(),
        body: Body::File(format!("value = {index}\n").into_bytes()),
        mode: 0o644,
        uid,
        gid: 0,
        mtime: (1, 0),
        xattrs: Default::default(),
        unknown: Vec::new(),
        dialect: Dialect::Ustar,
    };
    tarball::write(&(0..files).map(record).collect::<Vec<_>>())
}

fn resident(layout: &Layout, tag: &str) -> (u64, u64, Duration) {
    let run = command::run(["analyze", &layout.reference(tag), "--json"])
        .expect("runs")
        .success()
        .expect("analysed");
    let paths = run.json().expect("one object")["pathsTotal"].as_u64().expect("a number");
    println!(
        "{tag}: {paths} paths, {:.1} MB resident, {:.2} s",
        run.peak_memory as f64 / 1e6,
        run.wall.as_secs_f64()
    );
    (paths, run.peak_memory, run.wall)
}

#[test]
fn memory_is_bounded_by_the_number_of_paths_alone() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let large: Vec<Box<dyn Fn() -> Vec<u8> + Sync>> =
        vec![Box::new(|| many("usr/lib", 600_000, 0)), Box::new(|| many("opt", 400_000, 0))];
    write_image(&layout, "million", &large, Packing::Gzip(1)).expect("written");
    // Every path in every layer: what is kept of a path must not grow with its copies.
    let again: Vec<Box<dyn Fn() -> Vec<u8> + Sync>> = (0..30)
        .map(|layer| -> Box<dyn Fn() -> Vec<u8> + Sync> { Box::new(move || many("srv", 50_000, layer)) })
        .collect();
    write_image(&layout, "again", &again, Packing::Gzip(1)).expect("written");
    for tag in ["million", "again"] {
        let (paths, memory, _) = resident(&layout, tag);
        let bound = FIXED_MEMORY + PATH_MEMORY * paths;
        assert!(memory <= bound, "{tag}: {memory} bytes resident, {bound} allowed");
    }
    fs::remove_dir_all(folder.path().join("layout")).expect("removed");
}
