//! The same input and options give the same digest, whatever the machine and the place.

use std::{fs, path::Path};

use unbloat_proof::{
    command,
    image::{Layout, Packing},
    incident::push,
    random::Random,
    registry::{Flavour, Registry},
    stack::{Body, Dialect, Profile, Record, generate, tarball},
    tools::fast_folder,
};

/// Layers with files that do not fit in a small memory budget: 12 layers, 60 MB, some of it hidden.
fn large_layers() -> Vec<Vec<u8>> {
    let mut random = Random::new(77);
    (0..12)
        .map(|layer| {
            let mut records = Vec::new();
            for file in 0..5 {
                let mut content = vec![0; 1_000_000 + random.below(50_000)];
                random.fill(&mut content);
                for chunk in content.chunks_mut(3000).step_by(2) {
                    chunk.fill(b'a' + layer as u8);
                }
                records.push(Record {
                    name: format!("data/{}", (layer * 3 + file) % 25).into_bytes(),
                    body: Body::File(content),
                    mode: 0o644,
                    uid: 0,
                    gid: 0,
                    mtime: (1_600_000_000 + layer as i64, 5),
                    xattrs: Default::default(),
                    unknown: Vec::new(),
                    dialect: Dialect::Pax,
                });
            }
            tarball::write(&records)
        })
        .collect()
}

fn squashed_digest(source: &str, target: &str, more: &[&str]) -> String {
    let run = command::run(["squash", source, target, "--output", "json"].iter().chain(more)).expect("runs");
    let result = run.success().expect("squashed").json().expect("one JSON object");
    result["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn jobs_memory_and_place_do_not_change_the_digest() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("source")).expect("a layout");
    layout.add("large", &large_layers(), |layer| Packing::Gzip(1 + layer as u32 % 9)).expect("written");
    let registry = Registry::start(Flavour::Debian).expect("a registry");
    push(&layout, "large", &registry.reference("place:large")).expect("pushed");
    let single = Layout::create(folder.path().join("single")).expect("a layout");
    let image = layout.image("large").expect("sound");
    single.add("large", &image.tars, |layer| Packing::Gzip(1 + layer as u32 % 9)).expect("written");
    let archive = folder.path().join("large.tar");
    single.archive(&archive).expect("an archive");
    let scratch = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let at = |name: &str| format!("oci:{}:out", folder.path().join(name).display());
    let scratch_flag = scratch.path().display().to_string();
    let (local, remote) = (layout.reference("large"), registry.reference("place:large"));
    let packed = format!("oci-archive:{}", archive.display());
    let first = squashed_digest(&local, &at("first"), &[]);
    let runs: [(&str, &str, &[&str]); 9] = [
        ("one job", &local, &["--jobs", "1"]),
        ("two jobs", &local, &["--jobs", "2"]),
        ("eight jobs", &local, &["--jobs", "8"]),
        ("little memory", &local, &["--memory", "8MiB", "--scratch", &scratch_flag]),
        (
            "little memory and one job",
            &local,
            &["--memory", "8MiB", "--jobs", "1", "--scratch", &scratch_flag],
        ),
        ("registry", &remote, &[]),
        (
            "registry with little memory",
            &remote,
            &["--memory", "8MiB", "--jobs", "8", "--scratch", &scratch_flag],
        ),
        ("archive", &packed, &[]),
        ("archive with one job", &packed, &["--jobs", "1"]),
    ];
    for (index, (what, source, flags)) in runs.into_iter().enumerate() {
        assert_eq!(squashed_digest(source, &at(&format!("run-{index}")), flags), first, "{what}");
    }
    assert_eq!(
        squashed_digest(&remote, &registry.reference("place:flat"), &[]),
        first,
        "registry to registry"
    );
    assert_eq!(leftovers(scratch.path()), 0, "files left in the scratch folder");
}

#[test]
fn a_base_that_is_known_is_not_read_and_the_digest_is_the_same() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("source")).expect("a layout");
    layout.add("large", &large_layers(), |_| Packing::Gzip(6)).expect("written");
    let registry = Registry::start(Flavour::Debian).expect("a registry");
    let (source, target) = (registry.reference("known:large"), registry.reference("known:flat"));
    push(&layout, "large", &source).expect("pushed");
    let cache = folder.path().join("cache").display().to_string();
    let squash = |more: &[&str]| {
        let all = ["squash", &source, &target, "--base-layers", "8", "--output", "json"];
        let run = command::run(all.iter().chain(more)).expect("runs");
        run.success().expect("squashed").json().expect("one JSON object")
    };
    let without = squash(&[]);
    let first = squash(&["--cache", &cache]);
    assert_eq!(leftovers(Path::new(&cache)), 8, "one file a kept layer");
    let second = squash(&["--cache", &cache]);
    for field in ["digest", "unpackedBytesBefore", "unpackedBytesAfter", "layersAfter"] {
        assert_eq!(without[field], first[field], "{field}");
        assert_eq!(without[field], second[field], "{field}");
    }
    let read = |result: &serde_json::Value| result["bytesRead"].as_u64().expect("a number");
    let image = layout.image("large").expect("sound");
    let base: u64 = image.blobs[..8].iter().map(|blob| blob.len() as u64).sum();
    assert_eq!(read(&first), read(&without));
    assert_eq!(read(&first) - read(&second), base, "the base is read when it is known");
}

fn leftovers(folder: &Path) -> usize {
    fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn each_compression_gives_one_digest_with_any_number_of_jobs() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("source")).expect("a layout");
    let stacks: Vec<Vec<Vec<u8>>> = (0..4).map(|seed| generate(500 + seed, Profile::Full).tars()).collect();
    for (index, tars) in stacks.iter().enumerate() {
        let packing = [Packing::Gzip(6), Packing::GzipMembers(1000), Packing::Zstd(3), Packing::Plain][index];
        layout.add(&format!("s{index}"), tars, |_| packing).expect("written");
        for compression in ["keep", "gzip", "zstd", "none"] {
            let target =
                |jobs: &str| format!("oci:{}:s{index}-{compression}", folder.path().join(jobs).display());
            let run = |jobs: &str| {
                squashed_digest(
                    &layout.reference(&format!("s{index}")),
                    &target(jobs),
                    &["--compression", compression, "--jobs", jobs],
                )
            };
            let (one, eight) = (run("1"), run("8"));
            assert_eq!(one, eight, "stack {index}, {compression}");
            let made = Layout::open(folder.path().join("1"))
                .image(&format!("s{index}-{compression}"))
                .expect("sound");
            let expected = unbloat_proof::model::merge(tars).expect("valid");
            let found = unbloat_proof::model::merge(&made.tars).expect("valid");
            assert_eq!(expected.paths.len(), found.paths.len(), "stack {index}, {compression}");
        }
    }
}
