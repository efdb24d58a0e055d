//! Archives for `docker load` and from `docker save`, with the programs that read and write them: Docker's
//! daemon, containerd, skopeo.

use std::{collections::BTreeSet, process::Command};

use serde_json::{Value, json};
use unbloat_proof::{
    command,
    image::{Layout, Packing, digest},
    model::{self, Mask, TarReader},
    oracle::{Containerd, Docker, trees_differ},
    registry::{Flavour, Registry},
    stack::{Profile, generate},
    tools::{command as tool, fast_folder, run},
};

/// What Docker has to say of an image that it loaded: that its config and its layers are those of a tag.
fn assert_loaded(docker: &Docker, image: &str, layout: &Layout, tag: &str) {
    let expected = layout.image(tag).expect("sound");
    let loaded = docker.inspect(image).expect("docker knows it");
    // Docker has compared each layer's content with these when it loaded them.
    assert_eq!(loaded["RootFS"]["Layers"], expected.config["rootfs"]["diff_ids"], "{image}");
    assert_eq!(loaded["Id"], expected.manifest["config"]["digest"], "{image}");
}

/// A stack whose layers name each path once: Docker refuses others, before any rule of layers applies.
fn tars(seed: u64) -> Vec<Vec<u8>> {
    let names_each_once = |tar: &Vec<u8>| {
        let mut reader = TarReader::new(tar);
        let mut seen = BTreeSet::new();
        while let Some(entry) = reader.next_entry().expect("valid") {
            let parts = entry.name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
            if !seen.insert(parts.collect::<Vec<_>>().join(&b'/')) {
                return false;
            }
        }
        true
    };
    let mut stacks = (0..1_000).map(|more| generate(seed + more * 1_000, Profile::Portable).tars());
    stacks.find(|tars| tars.len() > 1 && tars.iter().all(names_each_once)).expect("most stacks are such")
}

fn unbloat(arguments: &[&str]) -> command::Run {
    command::run(arguments).expect("runs").success().unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

#[test]
fn docker_load_containerd_and_skopeo_take_what_is_written() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let docker = Docker::start().expect("docker");
    let mut containerd = Containerd::start().expect("containerd");
    for (number, packing) in [Packing::Gzip(6), Packing::Plain, Packing::Zstd(3)].into_iter().enumerate() {
        let tars = tars(31_000 + number as u64);
        let tag = format!("s{number}");
        layout.add(&tag, &tars, |_| packing).expect("written");
        let name = format!("team/app:{number}");
        let archive = folder.path().join(format!("{number}.tar"));
        let written = format!("docker-archive:{}:{name}", archive.display());
        unbloat(&["squash", &layout.reference(&tag), &written]);
        // The same result, for comparison; the archive's reader is ours, and checks every digest.
        let read = format!("docker-archive:{}", archive.display());
        unbloat(&["copy", &read, &layout.reference(&format!("{tag}-flat"))]);
        let flat = layout.image(&format!("{tag}-flat")).expect("sound");
        assert_eq!(flat.tars.len(), 1);

        let said = docker.load(&archive).expect("docker load takes it");
        assert!(said.contains(&format!("Loaded image: {name}")), "{said}");
        assert_loaded(&docker, &name, &layout, &format!("{tag}-flat"));

        let imported =
            run(containerd.ctr().args(["images", "import", "--snapshotter", "overlayfs"]).arg(&archive));
        imported.expect("containerd takes it");
        let found = containerd.tree(&format!("docker.io/{name}")).expect("it has the name");
        let expected = model::merge(&flat.tars).expect("merges");
        let times = model::invented_times(&flat.tars).expect("merges");
        let mask = Mask { root: true, times, ..Mask::default() };
        assert_eq!(trees_differ("containerd", &expected, &found, &mask), None, "{packing:?}");

        let by_skopeo = folder.path().join(format!("skopeo-{number}"));
        run(tool("skopeo").args(["copy", "--quiet", &read]).arg(format!("oci:{}:it", by_skopeo.display())))
            .expect("skopeo takes it");
        let taken = Layout::open(&by_skopeo).image("it").expect("sound");
        assert_eq!(taken.tars, flat.tars, "{packing:?}");
    }
}

#[test]
fn a_copy_for_docker_load_keeps_all_layers_and_the_digest() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    // The same layer twice: it is stored once, and has two places.
    let mut tars = tars(31_010);
    tars.push(tars[0].clone());
    let manifest = layout.add("s", &tars, |_| Packing::Gzip(6)).expect("written");
    let archive = folder.path().join("copy.tar");
    let place = format!("docker-archive:{}:registry.example:5000/team/app:v1", archive.display());
    let copied = unbloat(&["copy", &layout.reference("s"), &place, "--output", "json"]).json().expect("JSON");
    assert_eq!(copied["digest"], manifest);
    // The reference can be given to a command again.
    let place = copied["reference"].as_str().expect("a reference");
    assert_eq!(unbloat(&["history", place, "--output", "json"]).json().expect("JSON")["digest"], manifest);
    let docker = Docker::start().expect("docker");
    docker.load(&archive).expect("docker load takes it");
    assert_loaded(&docker, "registry.example:5000/team/app:v1", &layout, "s");
}

/// Runs a line as a shell does; what it printed, and what its programs said.
fn shell(line: &str) -> (String, String) {
    let output =
        run(Command::new("bash").args(["-o", "pipefail", "-c", line])).expect("every program ends well");
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn docker_save_goes_through_a_squash_back_into_docker_load() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("s", &tars(31_020), |_| Packing::Gzip(6)).expect("written");
    let first = folder.path().join("first.tar");
    unbloat(&["copy", &layout.reference("s"), &format!("docker-archive:{}:team/app:1", first.display())]);
    let daemon = Docker::start().expect("docker");
    daemon.load(&first).expect("docker load takes it");
    let layers = || daemon.inspect("team/app:1").expect("known")["RootFS"]["Layers"].as_array().map(Vec::len);
    assert!(layers() > Some(1));
    let command = daemon.docker();
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let docker: Vec<_> = words.into_iter().map(|word| word.to_string_lossy()).collect();
    let (docker, unbloat_bin) = (docker.join(" "), command::unbloat().display().to_string());

    // To an archive of the other kind, and compressed on its way.
    for packer in ["cat", "gzip", "zstd"] {
        let out = folder.path().join(format!("{packer}.oci.tar")).display().to_string();
        let squash = format!("{unbloat_bin} squash docker-archive:- oci-archive:-");
        let (_, told) = shell(&format!("{docker} save team/app:1 | {packer} | {squash} > {out}"));
        // What Docker stores plain is compressed now, which is no gain.
        assert!(told.contains("(not compressed) -> ") && told.contains("% of the unpacked)"), "{told}");
        let target = layout.reference(packer);
        unbloat(&["copy", &format!("oci-archive:{out}"), &target]);
        let image = layout.image(packer).expect("sound");
        let media_type = image.manifest["layers"][0]["mediaType"].as_str().expect("a type");
        assert!(image.tars.len() == 1 && media_type.ends_with("gzip"), "{packer}: {media_type}");
        unbloat(&["verify", &layout.reference("s"), &target]);
    }

    let squash = format!("{unbloat_bin} squash docker-archive:- docker-archive:-");
    let (said, _) = shell(&format!("{docker} save team/app:1 | {squash} | {docker} load"));
    assert!(said.contains("Loaded image: team/app:1"), "{said}");
    assert_eq!(layers(), Some(1));
    assert_loaded(&daemon, "team/app:1", &layout, "cat");
}

/// What a docker archive has plain is no choice of the image's owner, and a registry that lists what it takes
/// has no plain layers on its list.
#[test]
fn plain_layers_of_a_docker_archive_are_gzip_in_a_registry_whatever_takes_them_there() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let tars = tars(31_040);
    layout.add("s", &tars, |_| Packing::Plain).expect("written");
    layout.add("base", &tars[..1], |_| Packing::Plain).expect("written");
    let registry = Registry::start(Flavour::Debian).expect("a registry");
    let mut digests = BTreeSet::new();
    for form in ["old", "layout"] {
        let archive = |tag: &str| {
            let file = folder.path().join(format!("{form}-{tag}.tar"));
            let place = format!("docker-archive:{}:team/{tag}:1", file.display());
            match form {
                // With a layout beside the list, as Docker 25 writes it, and with the list alone.
                "layout" => drop(unbloat(&["copy", &layout.reference(tag), &place])),
                _ => run(tool("skopeo").args(["copy", "--quiet", &layout.reference(tag), &place]))
                    .map(drop)
                    .expect("written"),
            }
            format!("docker-archive:{}", file.display())
        };
        let (image, base) = (archive("s"), archive("base"));
        let path = model::merge(&tars).expect("merges").paths.keys().next_back().cloned().expect("a path");
        let path = format!("/{}", String::from_utf8(path).expect("a name"));
        let kept = ["--base-layers", "1"];
        let bases = ["--old-base", base.as_str(), "--new-base", base.as_str()];
        for (command, more, layers) in [
            ("copy", &[][..], tars.len()),
            ("remove", &[path.as_str()][..], tars.len() + 1),
            ("squash", &kept, 2),
            ("rebase", &bases, tars.len()),
        ] {
            let target = registry.reference(&format!("{command}/{form}:1"));
            let paths = if command == "remove" { more } else { &[] };
            let options = if command == "remove" { &[] } else { more };
            unbloat(&[&[command], paths, &[image.as_str(), target.as_str()], options].concat());
            let there = format!("{command}-{form}");
            unbloat(&["copy", &target, &layout.reference(&there)]);
            let found = layout.image(&there).expect("sound");
            assert_eq!(found.tars.len(), layers, "{there}");
            assert_eq!(found.tars[0], tars[0], "{there}");
            let types: Vec<&str> = found.manifest["layers"]
                .as_array()
                .expect("layers")
                .iter()
                .filter_map(|layer| layer["mediaType"].as_str())
                .collect();
            assert!(types.iter().all(|name| name.ends_with("gzip")), "{there}: {types:?}");
            if command == "copy" {
                assert_eq!(found.tars, tars, "{there}");
                // The same bytes each time.
                digests.insert((form, layout.resolve(&there).expect("there")));
                unbloat(&["copy", &image, &target]);
                unbloat(&["copy", &target, &layout.reference(&there)]);
                digests.insert((form, layout.resolve(&there).expect("there")));
            }
        }
        // Where nobody minds, nothing is made anew.
        unbloat(&["copy", &image, &layout.reference("local")]);
        let found = layout.image("local").expect("sound");
        assert_eq!(found.tars, tars);
        assert!(!found.manifest["layers"].to_string().contains("gzip"));
    }
    assert_eq!(digests.len(), 2, "{digests:?}");
}

#[test]
fn an_index_becomes_the_image_of_one_platform_or_is_refused_before_anything_is_written() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let mut entries = Vec::new();
    for (seed, architecture) in [(31_030, "amd64"), (31_031, "arm64")] {
        let tag = format!("one-{architecture}");
        layout.add(&tag, &tars(seed), |_| Packing::Gzip(6)).expect("written");
        let image = layout.image(&tag).expect("sound");
        let (mut config, mut manifest) = (image.config, image.manifest);
        config["architecture"] = json!(architecture);
        let config = serde_json::to_vec(&config).expect("JSON");
        manifest["config"] =
            layout.blob(&config, "application/vnd.oci.image.config.v1+json").expect("written");
        let bytes = serde_json::to_vec(&manifest).expect("JSON");
        layout.tag(&tag, &bytes).expect("written");
        entries.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&bytes), "size": bytes.len(),
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    // As BuildKit leaves it: an attestation beside each image.
    let attestation = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": entries[0]["digest"],
        "size": entries[0]["size"], "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": entries[0]["digest"]},
    });
    let index = |manifests: &[Value]| {
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
        });
        serde_json::to_vec(&index).expect("JSON")
    };
    layout.tag("two", &index(&entries)).expect("written");
    layout.tag("attested", &index(&[entries[0].clone(), attestation])).expect("written");
    let archive = folder.path().join("out.tar");
    let target = format!("docker-archive:{}:team/app:1", archive.display());
    for command in ["squash", "copy"] {
        let refused = command::run([command, &layout.reference("two"), &target]).expect("runs");
        assert_eq!(refused.code(), 2, "{command}: {}", refused.stderr);
        assert!(refused.stderr.contains("choose one with --platform"), "{command}: {}", refused.stderr);
        assert!(!archive.exists(), "{command}");
    }
    let docker = Docker::start().expect("docker");
    for (tag, more) in [("two", &["--platform", "linux/arm64"][..]), ("attested", &[])] {
        for command in ["squash", "copy"] {
            unbloat(&[&[command, &layout.reference(tag), &target], more].concat());
            docker.load(&archive).expect("docker load takes it");
            let architecture = docker.inspect("team/app:1").expect("known")["Architecture"].clone();
            assert_eq!(architecture, if tag == "two" { "arm64" } else { "amd64" }, "{command} {tag}");
        }
    }
}
