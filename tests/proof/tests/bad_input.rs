//! Bad input is refused with an exit code that a script can use and a message that says what, where and why;
//! and nothing is published.

use std::{fs, path::Path};

use serde_json::json;
use unbloat_proof::{
    command::{self, Run},
    image::{Layout, Packing, digest},
    incident::push,
    registry::{Flavour, Registry},
    stack::{Body, Dialect, Record, tarball},
    tools::fast_folder,
};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const NETWORK: i32 = 5;
const INVALID_IMAGE: i32 = 6;
const LIMIT: i32 = 8;

fn record(name: &str, body: Body) -> Record {
    Record { dialect: Dialect::Ustar, ..Record::plain(name, body) }
}

fn file(name: &str, size: usize) -> Record {
    record(name, Body::File((0..size).map(|index| (index * 7 % 251) as u8).collect()))
}

fn squash(source: &str, target: &Path, more: &[&str]) -> Run {
    let target = format!("oci:{}:out", target.display());
    command::run(["squash", source, &target].iter().chain(more)).expect("runs")
}

/// Asserts how a run failed; the message must hold every part, and no result may stand under the tag.
fn refused(what: &str, run: &Run, code: i32, parts: &[&str], target: &Path) {
    assert_eq!(run.code(), code, "{what}: {}", run.stderr);
    for part in parts {
        assert!(
            run.stderr.to_lowercase().contains(&part.to_lowercase()),
            "{what}: no {part:?} in: {}",
            run.stderr
        );
    }
    assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
    assert!(Layout::open(target).resolve("out").is_err(), "{what}: a result was published");
}

/// An image of two layers whose second one is replaced by these stored bytes, with a descriptor that fits
/// them.
fn with_second_layer(layout: &Layout, tag: &str, blob: &[u8], media_type: &str, diff_id: &str) -> String {
    let first = tarball::write(&[file("a", 10)]);
    layout.add(tag, &[first, tarball::write(&[file("b", 10)])], |_| Packing::Gzip(6)).expect("written");
    let image = layout.image(tag).expect("sound");
    let (mut manifest, mut config) = (image.manifest, image.config);
    config["rootfs"]["diff_ids"][1] = json!(diff_id);
    let config = serde_json::to_vec(&config).expect("JSON");
    manifest["config"] = layout.blob(&config, "application/vnd.oci.image.config.v1+json").expect("written");
    manifest["layers"][1] = layout.blob(blob, media_type).expect("written");
    layout.tag(tag, &serde_json::to_vec(&manifest).expect("JSON")).expect("written");
    digest(blob)
}

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[test]
fn broken_layers_are_named_by_index_digest_and_media_type() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let tar = tarball::write(&[file("b", 5000), file("c", 5000)]);
    let (whole, _) = unbloat_proof::image::pack(&tar, Packing::Gzip(6));
    let mut wrong_sum = whole.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let mut wrong_bits = whole.clone();
    wrong_bits[whole.len() / 2..whole.len() / 2 + 20].fill(0xff);
    let mut trailing = whole.clone();
    trailing.extend_from_slice(b"not a gzip member");
    let (cut_tar, _) = unbloat_proof::image::pack(&tar[..700], Packing::Gzip(6));
    let (no_tar, _) = unbloat_proof::image::pack(&[b'x'; 3000], Packing::Gzip(6));
    let (zstd, _) = unbloat_proof::image::pack(&tar, Packing::Zstd(3));
    let zstd_type = "application/vnd.oci.image.layer.v1.tar+zstd";
    let cases: [(&str, &[u8], &str, String); 7] = [
        ("truncated", &whole[..whole.len() - 20], GZIP, digest(&tar)),
        ("checksum", &wrong_sum, GZIP, digest(&tar)),
        ("corrupt", &wrong_bits, GZIP, digest(&tar)),
        ("trailing", &trailing, GZIP, digest(&tar)),
        ("cut-tar", &cut_tar, GZIP, digest(&tar[..700])),
        ("no-tar", &no_tar, GZIP, digest(&[b'x'; 3000])),
        ("zstd-cut", &zstd[..zstd.len() - 9], zstd_type, digest(&tar)),
    ];
    for (tag, blob, media_type, diff_id) in cases {
        let blob_digest = with_second_layer(&layout, tag, blob, media_type, &diff_id);
        let target = folder.path().join(format!("{tag}-out"));
        let run = squash(&layout.reference(tag), &target, &[]);
        refused(tag, &run, INVALID_IMAGE, &["layer 1", &blob_digest, media_type], &target);
    }
}

#[test]
fn a_blob_with_other_bytes_than_its_digest_is_refused() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("flipped", &[tarball::write(&[file("a", 3000)])], |_| Packing::Plain).expect("written");
    let image = layout.image("flipped").expect("sound");
    let blob_digest = image.manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    let path = layout.path_of(&blob_digest).expect("a path");
    let mut bytes = fs::read(&path).expect("there");
    bytes[1000] ^= 1;
    fs::write(&path, bytes).expect("written");
    let target = folder.path().join("out");
    refused(
        "flipped",
        &squash(&layout.reference("flipped"), &target, &[]),
        INVALID_IMAGE,
        &["layer 0", &blob_digest],
        &target,
    );
}

#[test]
fn layers_that_cannot_be_read_by_anybody_are_refused_by_type() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let tar = tarball::write(&[file("b", 100)]);
    let (blob, _) = unbloat_proof::image::pack(&tar, Packing::Gzip(6));
    for (tag, media_type, part) in [
        ("encrypted", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
        ("foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign"),
        ("unknown", "application/vnd.example.something", "application/vnd.example.something"),
    ] {
        let blob_digest = with_second_layer(&layout, tag, &blob, media_type, &digest(&tar));
        let target = folder.path().join(format!("{tag}-out"));
        let run = squash(&layout.reference(tag), &target, &[]);
        refused(tag, &run, INVALID_IMAGE, &["layer 1", &blob_digest, media_type, part], &target);
    }
}

#[test]
fn hostile_names_and_links_are_refused() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let link = |name: &str, target: &str| record(name, Body::HardLink(target.as_bytes().to_vec()));
    let symlink = |name: &str, target: &str| record(name, Body::Symlink(target.as_bytes().to_vec()));
    let cases: [(&str, Vec<Record>); 7] = [
        ("../evil", vec![file("../evil", 3)]),
        ("a/../../evil", vec![file("a/../../evil", 3)]),
        ("../../etc/passwd", vec![link("h", "../../etc/passwd")]),
        ("nowhere", vec![link("h", "nowhere")]),
        (".wh.", vec![file(".wh.", 0)]),
        (".wh..", vec![file("d/.wh..", 0)]),
        ("l1", vec![symlink("l1", "l2"), symlink("l2", "l1"), file("l1/x", 3)]),
    ];
    for (index, (part, records)) in cases.into_iter().enumerate() {
        let tag = format!("hostile-{index}");
        layout.add(&tag, &[tarball::write(&records)], |_| Packing::Gzip(6)).expect("written");
        let target = folder.path().join(format!("{tag}-out"));
        let run = squash(&layout.reference(&tag), &target, &[]);
        refused(&tag, &run, INVALID_IMAGE, &["layer 0", part], &target);
    }
}

#[test]
fn absolute_names_stay_inside_the_root() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let absolute = [file("/etc/evil", 3), record("/abs", Body::Symlink(b"/etc".to_vec())), file("abs/in", 4)];
    layout.add("absolute", &[tarball::write(&absolute)], |_| Packing::Gzip(6)).expect("written");
    let target = folder.path().join("out");
    squash(&layout.reference("absolute"), &target, &[]).success().expect("squashed");
    let image = Layout::open(&target).image("out").expect("sound");
    let tree = unbloat_proof::model::merge(&image.tars).expect("valid");
    let paths: Vec<&[u8]> = tree.paths.keys().map(Vec::as_slice).collect();
    assert_eq!(paths, [&b""[..], b"abs", b"etc", b"etc/evil", b"etc/in"]);
}

#[test]
fn a_bomb_is_stopped_at_the_limit_and_memory_stays_bounded() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let bomb = tarball::write(&[record("zeroes", Body::File(vec![0; 300 << 20]))]);
    layout.add("bomb", &[bomb], |_| Packing::Gzip(9)).expect("written");
    let target = folder.path().join("out");
    let run = squash(&layout.reference("bomb"), &target, &["--max-unpacked", "50MiB"]);
    refused("bomb", &run, LIMIT, &["max-unpacked"], &target);
    assert!(run.peak_memory < 128 << 20, "{} bytes", run.peak_memory);
    let many: Vec<Record> = (0..2000).map(|index| file(&format!("f{index}"), 0)).collect();
    layout.add("many", &[tarball::write(&many)], |_| Packing::Gzip(6)).expect("written");
    let target = folder.path().join("out-many");
    refused(
        "many",
        &squash(&layout.reference("many"), &target, &["--max-paths", "1000"]),
        LIMIT,
        &["max-paths"],
        &target,
    );
    // A header that claims more than the layer holds is a truncated layer, not an allocation.
    let mut claims = tarball::write(&[file("claims", 10)]);
    claims[124..136].copy_from_slice(b"77777777777\0");
    claims[148..156].fill(b' ');
    let sum: u32 = claims[..512].iter().map(|byte| u32::from(*byte)).sum();
    claims[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    layout.add("claims", &[claims], |_| Packing::Gzip(6)).expect("written");
    let target = folder.path().join("out-claims");
    let run = squash(&layout.reference("claims"), &target, &[]);
    refused("claims", &run, INVALID_IMAGE, &["layer 0", "truncated"], &target);
    assert!(run.peak_memory < 128 << 20, "{} bytes", run.peak_memory);
}

#[test]
fn what_cannot_be_parsed_is_a_usage_error_and_nothing_is_read() {
    let out = "oci:/nonexistent/folder:out";
    let cases: [(&[&str], &str); 8] = [
        (&["squash"], "SRC"),
        (&["squash", "UPPER/Case:tag", out], "UPPER/Case:tag"),
        (&["squash", "127.0.0.1:1/a@sha256:123", out], "sha256:123"),
        (&["squash", "127.0.0.1:1/a:b", out, "--jobs", "none"], "--jobs"),
        (&["squash", "127.0.0.1:1/a:b", out, "--memory", "much"], "--memory"),
        (&["squash", "127.0.0.1:1/a:b", out, "--no-such-flag"], "--no-such-flag"),
        (&["squash", "127.0.0.1:1/a:b", out, "--base-layers", "1", "--base", "x/y"], "--base"),
        (&["frobnicate"], "frobnicate"),
    ];
    for (arguments, part) in cases {
        let run = command::run(arguments).expect("runs");
        assert_eq!(run.code(), USAGE, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{arguments:?}: no {part:?} in: {}", run.stderr);
    }
}

#[test]
fn an_unknown_image_and_a_silent_registry_are_told_apart() {
    let registry = Registry::start(Flavour::Debian).expect("a registry");
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("there", &[tarball::write(&[file("a", 3)])], |_| Packing::Gzip(6)).expect("written");
    push(&layout, "there", &registry.reference("some/image:there")).expect("pushed");
    let target = folder.path().join("out");
    let unknown = registry.reference("some/image:absent");
    refused("tag", &squash(&unknown, &target, &[]), NOT_FOUND, &["some/image", "absent"], &target);
    let unknown = registry.reference("no/image:there");
    refused("repository", &squash(&unknown, &target, &[]), NOT_FOUND, &["no/image"], &target);
    refused("tag", &squash(&layout.reference("absent"), &target, &[]), NOT_FOUND, &["absent"], &target);
    drop(registry);
    // Nobody listens on a port that was just closed.
    refused("down", &squash(&unknown, &target, &[]), NETWORK, &["no/image"], &target);
}

#[test]
fn docker_schema_1_and_artifacts_are_refused_with_the_reason() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let schema1 = json!({
        "schemaVersion": 1, "mediaType": "application/vnd.docker.distribution.manifest.v1+json", "name": "x", "tag": "y",
        "architecture": "amd64", "fsLayers": [], "history": [],
    });
    layout.tag("schema1", &serde_json::to_vec(&schema1).expect("JSON")).expect("written");
    let config = layout.blob(b"{}", "application/vnd.example.config.v1+json").expect("written");
    let artifact = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
        "layers": [layout.blob(b"text", "text/plain").expect("written")],
    });
    layout.tag("artifact", &serde_json::to_vec(&artifact).expect("JSON")).expect("written");
    for (tag, part) in [("schema1", "schema 1"), ("artifact", "artifact")] {
        let target = folder.path().join(format!("{tag}-out"));
        refused(tag, &squash(&layout.reference(tag), &target, &[]), INVALID_IMAGE, &[part], &target);
    }
}
