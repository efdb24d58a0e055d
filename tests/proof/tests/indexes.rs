//! Indexes of every allowed form, by every command: with platforms, without any (then the configs say them),
//! inside one another, with attestations, with one image alone. And foreign layers that nobody here stores.

use serde_json::{Value, json};
use unbloat_proof::{
    command::{self, Run},
    image::{Layout, Packing, digest},
    stack::{Body, Profile, Record, generate, tarball},
    tools::fast_folder,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// A layout of images for both architectures on a common base, their indexes, and those of the bases.
fn layout(folder: &std::path::Path) -> Layout {
    let layout = Layout::create(folder.join("layout")).expect("a layout");
    let base = vec![tarball::write(&[Record::plain("base", Body::Directory)])];
    for kind in ["image", "base", "new-base"] {
        let mut entries = Vec::new();
        for (number, architecture) in ARCHITECTURES.into_iter().enumerate() {
            let mut tars = base.clone();
            match kind {
                "image" => tars.extend(generate(51_000 + number as u64, Profile::Portable).tars()),
                "new-base" => tars.push(tarball::write(&[Record::plain("base/new", Body::Fifo)])),
                _ => {}
            }
            entries.push(image(&layout, &format!("{kind}-{architecture}"), &tars, architecture));
        }
        let placed: Vec<Value> = entries
            .iter()
            .zip(ARCHITECTURES)
            .map(|(entry, architecture)| {
                let mut entry = entry.clone();
                entry["platform"] = json!({"os": "linux", "architecture": architecture});
                entry
            })
            .collect();
        let mut attestation = entries[0].clone();
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        attestation["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": entries[0]["digest"],
        });
        let inner = index(&layout, &format!("{kind}-inner"), &entries[1..]);
        index(&layout, &format!("{kind}-with"), &placed);
        index(&layout, &format!("{kind}-without"), &entries);
        index(&layout, &format!("{kind}-nested"), &[entries[0].clone(), inner]);
        index(&layout, &format!("{kind}-attested"), &[placed[0].clone(), attestation, placed[1].clone()]);
        index(&layout, &format!("{kind}-one"), &entries[..1]);
    }
    layout
}

fn image(layout: &Layout, tag: &str, tars: &[Vec<u8>], architecture: &str) -> Value {
    layout.add(tag, tars, |_| Packing::Gzip(6)).expect("written");
    let image = layout.image(tag).expect("sound");
    let (mut config, mut manifest) = (image.config, image.manifest);
    config["architecture"] = json!(architecture);
    let config = serde_json::to_vec(&config).expect("JSON");
    manifest["config"] = layout.blob(&config, "application/vnd.oci.image.config.v1+json").expect("written");
    let bytes = serde_json::to_vec(&manifest).expect("JSON");
    layout.tag(tag, &bytes).expect("written");
    json!({"mediaType": MANIFEST, "digest": digest(&bytes), "size": bytes.len()})
}

fn index(layout: &Layout, tag: &str, entries: &[Value]) -> Value {
    let bytes = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}));
    let bytes = bytes.expect("JSON");
    layout.tag(tag, &bytes).expect("written");
    json!({"mediaType": INDEX, "digest": digest(&bytes), "size": bytes.len()})
}

/// The architectures of the images that a tag leads to, through all indexes.
fn architectures(layout: &Layout, digest: &str) -> Vec<String> {
    let bytes = std::fs::read(layout.path_of(digest).expect("a path")).expect("there");
    let document: Value = serde_json::from_slice(&bytes).expect("JSON");
    match document["manifests"].as_array() {
        None => {
            let image = layout.image_of_digest(digest).expect("sound");
            vec![image.config["architecture"].as_str().expect("text").to_owned()]
        }
        Some(entries) => {
            let digests = entries.iter().map(|entry| entry["digest"].as_str().expect("text"));
            let mut found: Vec<String> = digests.flat_map(|digest| architectures(layout, digest)).collect();
            found.sort();
            found
        }
    }
}

fn run(words: &[&str]) -> Run {
    command::run(words).expect("runs")
}

/// The words of each command that writes, for a source and a target of the layout.
fn writing<'a>(source: &'a str, target: &'a str, bases: &'a [String; 2]) -> [Vec<&'a str>; 4] {
    [
        vec!["copy", source, target],
        vec!["squash", source, target],
        vec!["remove", "/base", source, target],
        vec!["rebase", source, target, "--old-base", &bases[0], "--new-base", &bases[1]],
    ]
}

#[test]
fn every_platform_is_kept_unless_one_is_named_by_all_commands_that_write() {
    let folder = fast_folder().expect("a folder");
    let layout = layout(folder.path());
    let target = layout.reference("out");
    for form in ["with", "without", "nested", "attested"] {
        let source = layout.reference(&format!("image-{form}"));
        let bases = ["base", "new-base"].map(|kind| layout.reference(&format!("{kind}-{form}")));
        for words in writing(&source, &target, &bases) {
            let all = run(&words).success().unwrap_or_else(|error| panic!("{form} {words:?}: {error}"));
            let mut kept = architectures(&layout, &layout.resolve("out").expect("written"));
            kept.dedup();
            assert_eq!(kept, ARCHITECTURES, "{form} {words:?}");
            if form == "attested" && words[0] != "copy" {
                let said = format!("{}{}", all.stdout, all.stderr);
                assert!(said.contains("attestation") && said.contains("is left out"), "{words:?}: {said}");
            }
            for architecture in ARCHITECTURES {
                let platform = format!("linux/{architecture}");
                let one = run(&[&words[..], &["--platform", &platform]].concat());
                one.success().unwrap_or_else(|error| panic!("{form} {words:?} {platform}: {error}"));
                let kept = architectures(&layout, &layout.resolve("out").expect("written"));
                assert_eq!(kept, [architecture], "{form} {words:?}");
            }
            let wrong = run(&[&words[..], &["--platform", "linux/s390x"]].concat());
            assert_eq!(wrong.code(), 2, "{form} {words:?}: {}", wrong.stderr);
            let lists = ARCHITECTURES.iter().all(|one| wrong.stderr.contains(&format!("linux/{one}")));
            assert!(lists, "{form} {words:?}: {}", wrong.stderr);
        }
    }
}

#[test]
fn an_image_of_no_index_has_the_platform_that_its_config_says_and_one_candidate_is_the_image() {
    let folder = fast_folder().expect("a folder");
    let layout = layout(folder.path());
    let target = layout.reference("out");
    for tag in ["image-amd64", "image-one"] {
        let source = layout.reference(tag);
        let bases = ["base-amd64", "new-base-amd64"].map(|tag| layout.reference(tag));
        let mut commands: Vec<Vec<&str>> = writing(&source, &target, &bases).into();
        commands.extend([
            vec!["analyze", &source],
            vec!["history", &source],
            vec!["verify", &source, &source],
        ]);
        for words in commands {
            let named = run(&[&words[..], &["--platform", "linux/amd64"]].concat());
            named.success().unwrap_or_else(|error| panic!("{words:?}: {error}"));
            let wrong = run(&[&words[..], &["--platform", "linux/arm64"]].concat());
            assert_eq!(wrong.code(), 2, "{words:?}: {}", wrong.stderr);
            assert!(wrong.stderr.contains("linux/amd64"), "{words:?}: {}", wrong.stderr);
        }
    }
}

#[test]
fn commands_that_look_at_one_image_say_that_there_are_more_and_verify_compares_all() {
    let folder = fast_folder().expect("a folder");
    let layout = layout(folder.path());
    for form in ["with", "without", "nested", "attested"] {
        let source = layout.reference(&format!("image-{form}"));
        for command in ["analyze", "history"] {
            let told = run(&[command, &source]).success().expect("told");
            let said = format!("{}{}", told.stdout, told.stderr);
            assert!(
                said.contains("linux/arm64") || said.contains("linux/amd64, "),
                "{form} {command}: {said}"
            );
            let other = run(&[command, &source, "--platform", "linux/arm64", "--output", "json"]);
            let other = other.success().expect("told").json().expect("JSON");
            assert_eq!(other["platform"], "linux/arm64", "{form} {command}");
        }
        assert_eq!(run(&["verify", &source, &source]).code(), 0, "{form}");
        // The same image for one platform, and another for the other.
        let entry = |tag: &str, architecture: &str| {
            let digest = layout.resolve(tag).expect("there");
            let size = std::fs::metadata(layout.path_of(&digest).expect("a path")).expect("there").len();
            json!({
                "mediaType": MANIFEST, "digest": digest, "size": size,
                "platform": {"os": "linux", "architecture": architecture},
            })
        };
        index(&layout, "half", &[entry("image-amd64", "amd64"), entry("base-arm64", "arm64")]);
        let half = run(&["verify", &source, &layout.reference("half")]);
        assert_eq!(half.code(), 1, "{form}: {}{}", half.stdout, half.stderr);
    }
}

/// As Windows bases were: the layer is at its own address, and in no registry that has the image.
#[test]
fn foreign_layers_that_are_elsewhere_are_carried_by_their_descriptor() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let file = |name: &str| tarball::write(&[Record::plain(name, Body::File(b"x".to_vec()))]);
    let tars = [file("foreign"), file("own"), file("more")];
    for (tag, tars) in [("base", &tars[..1]), ("s", &tars[..])] {
        layout.add(tag, tars, |_| Packing::Gzip(6)).expect("written");
        let mut manifest = layout.image(tag).expect("sound").manifest;
        manifest["layers"][0]["mediaType"] =
            json!("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
        manifest["layers"][0]["urls"] = json!(["https://nowhere.invalid/layer"]);
        layout.tag(tag, &serde_json::to_vec(&manifest).expect("JSON")).expect("written");
    }
    let digest = layout.resolve("s").expect("there");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(layout.path_of(&digest).expect("a path")).expect("there"))
            .expect("JSON");
    let foreign = manifest["layers"][0].clone();
    let blob = layout.path_of(foreign["digest"].as_str().expect("text")).expect("a path");
    std::fs::remove_file(blob).expect("it was there");
    let other = Layout::open(folder.path().join("other"));
    let (source, base, target) = (layout.reference("s"), layout.reference("base"), other.reference("out"));
    let commands: [&[&str]; 3] = [
        &["copy", &source, &target],
        &["remove", "/own", &source, &target],
        &["rebase", &source, &target, "--old-base", &base, "--new-base", &base],
    ];
    for words in commands {
        let done = run(words).success().unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let digest = other.resolve("out").expect("written");
        let bytes = std::fs::read(other.path_of(&digest).expect("a path")).expect("there");
        let written: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(written["layers"][0], foreign, "{words:?}");
        if words[0] == "remove" {
            let said = format!("{}{}", done.stdout, done.stderr);
            assert!(said.contains("layer 0 is foreign"), "{said}");
        }
    }
    // A squash has to have what it merges, and docker load all that it loads.
    let refused = run(&["squash", &source, &target]);
    assert_eq!(refused.code(), 6, "{}", refused.stderr);
    assert!(refused.stderr.contains("foreign"), "{}", refused.stderr);
    let archive = format!("docker-archive:{}", folder.path().join("out.tar").display());
    let refused = run(&["copy", &source, &archive]);
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("docker load needs all"), "{}", refused.stderr);
    assert!(!folder.path().join("out.tar").exists());
}
