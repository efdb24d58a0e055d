//! What a user meets first: help, version, completions, the names in the JSON.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::json;
use unbloat_proof::{
    command,
    image::{Layout, Packing, digest},
    incident::push,
    registry::{Flavour, Registry},
    stack::{Body, Profile, Record, generate, tarball},
    tools::{fast_folder, run, workspace},
};

const COMMANDS: [&str; 16] = [
    "analyze", "explore", "squash", "remove", "rebase", "verify", "history", "tags", "tag", "copy", "run",
    "get", "watch", "logs", "cancel", "demo",
];

#[test]
fn help_names_every_command_and_every_exit_code() {
    let help = command::run(["--help"]).expect("runs").success().expect("help").stdout;
    for name in COMMANDS {
        assert!(help.lines().any(|line| line.trim_start().starts_with(name)), "{name} is not in: {help}");
        let own = command::run([name, "--help"]).expect("runs").success().expect("help").stdout;
        assert!(own.contains("Usage:"), "{name}: {own}");
    }
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "70", "130"] {
        assert!(help.split_whitespace().any(|word| word == code), "exit code {code} is not in: {help}");
    }
}

#[test]
fn every_flag_of_squash_in_the_design_is_there() {
    let help = command::run(["squash", "--help"]).expect("runs").success().expect("help").stdout;
    let flags = "remove truncate base-layers base platform compression level format dry-run verify jobs memory scratch strict \
                 max-unpacked output progress";
    for flag in flags.split_whitespace() {
        assert!(help.contains(&format!("--{flag}")), "--{flag} is not in: {help}");
    }
}

#[test]
fn version_and_completions_are_printed() {
    let version = command::run(["--version"]).expect("runs").success().expect("a version").stdout;
    assert!(version.starts_with("unbloat "), "{version}");
    for shell in ["bash", "zsh", "fish"] {
        let script = command::run(["completions", shell]).expect("runs").success().expect("a script").stdout;
        assert!(
            script.contains("squash") && script.contains("--base-layers".trim_start_matches('-')),
            "{shell}"
        );
    }
}

#[test]
fn squash_prints_one_object_with_the_names_of_the_design() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("s", &generate(3, Profile::Portable).tars(), |_| Packing::Gzip(6)).expect("written");
    let (source, target) = (layout.reference("s"), layout.reference("flat"));
    let run = command::run(["squash", &source, &target, "--output", "json"])
        .expect("runs")
        .success()
        .expect("squashed");
    let result = run.json().expect("one JSON object");
    let names = "sourceDigest digest reference layersBefore layersAfter compressedBytesBefore compressedBytesAfter \
                 unpackedBytesBefore unpackedBytesAfter reclaimedBytes bytesRead bytesWritten durationSeconds warnings platforms";
    for name in names.split_whitespace() {
        assert!(!result[name].is_null(), "{name} is not in {result}");
    }
    assert_eq!(result["digest"], layout.resolve("flat").expect("written"));
    assert_eq!(result["sourceDigest"], layout.resolve("s").expect("written"));
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("s", &generate(4, Profile::Portable).tars(), |_| Packing::Gzip(6)).expect("written");
    let target = folder.path().join("nothing");
    let reference = format!("oci:{}:out", target.display());
    let run = command::run(["squash", &layout.reference("s"), &reference, "--dry-run", "--output", "json"])
        .expect("runs");
    let result = run.success().expect("told").json().expect("one JSON object");
    assert!(result["layersBefore"].as_u64().is_some_and(|layers| layers > 0), "{result}");
    assert!(!target.exists(), "a dry run wrote {}", target.display());
}

#[test]
fn an_image_below_the_conditions_is_left_alone_and_so_is_the_destination() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("s", &generate(5, Profile::Portable).tars(), |_| Packing::Gzip(6)).expect("written");
    let other = folder.path().join("other");
    let target = format!("oci:{}:flat", other.display());
    for condition in [["--if-layers", "99"], ["--if-wasted", "1Gi"]] {
        let words =
            ["squash", &layout.reference("s"), &target, condition[0], condition[1], "--output", "json"];
        let result =
            command::run(words).expect("runs").success().expect("nothing to do").json().expect("JSON");
        assert_eq!(result["nothingToDo"], "belowCondition", "{result}");
        assert_eq!(result["digest"], layout.resolve("s").expect("it is there"));
        assert!(!other.exists(), "{condition:?} left a folder");
    }
    let words = ["squash", &layout.reference("s"), &target, "--if-layers", "2", "--if-wasted", "1"];
    command::run(words).expect("runs").success().expect("squashed");
    assert!(other.is_dir());
}

#[test]
fn verify_says_yes_with_0_and_no_with_1_and_names_what_differs() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let tars = generate(5, Profile::Portable).tars();
    layout.add("a", &tars, |_| Packing::Gzip(6)).expect("written");
    layout.add("b", &generate(6, Profile::Portable).tars(), |_| Packing::Gzip(6)).expect("written");
    let (a, flat) = (layout.reference("a"), layout.reference("flat"));
    command::run(["squash", &a, &flat]).expect("runs").success().expect("squashed");
    assert_eq!(command::run(["verify", &a, &flat]).expect("runs").code(), 0);
    let different = command::run(["verify", &a, &layout.reference("b")]).expect("runs");
    assert_eq!(different.code(), 1, "{}", different.stderr);
    assert!(!different.stdout.trim().is_empty());
}

/// The commands that help lists, those below others too.
fn listed(above: &[&str]) -> Vec<String> {
    let help = command::run(above.iter().copied().chain(["--help"])).expect("runs").success().expect("help");
    let lines = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        // A description that goes on stands further in.
        line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split_whitespace().next()
    });
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_and_its_manual_page_tell_examples_environment_and_exit_codes() {
    let mut commands: Vec<Vec<String>> = listed(&[]).into_iter().map(|name| vec![name]).collect();
    assert!(commands.len() > 20, "{commands:?}");
    commands.extend(listed(&["policy"]).into_iter().map(|name| vec!["policy".to_owned(), name]));
    for words in commands {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = command::run(&arguments).expect("runs").success().expect("help").stdout;
        let page = workspace().join("docs/man").join(format!("unbloat-{}.1", words.join("-")));
        let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        for text in [help, page] {
            for part in ["Examples:", "Environment:", "UNBLOAT_LOG", "Exit codes:"] {
                assert!(text.contains(part), "{words:?}: no {part} in {text}");
            }
        }
    }
}

/// As kubectl does it: it calls the program of this name with the words so far, the one that is begun last.
#[test]
fn kubectl_completes_the_plugins_words() {
    let folder = fast_folder().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink(command::unbloat(), at("kubectl-unbloat")).expect("linked");
    let script =
        command::run(["completions", "bash", "--kubectl"]).expect("runs").success().expect("a script").stdout;
    fs::write(at("kubectl_complete-unbloat"), script).expect("written");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(at("kubectl_complete-unbloat"), executable).expect("made executable");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("there is one"));
    for (words, candidates) in [
        (&["sq"][..], "squash\n:4\n"),
        (&["squash", "--base-l"], "--base-layers\n:4\n"),
        (&["squash", "--compression", "zs"], "zstd\n:4\n"),
        (&["policy", "te"], "test\n:4\n"),
        (&["squash", "--no-such-thing"], ":4\n"),
    ] {
        let told = run(Command::new(at("kubectl_complete-unbloat")).args(words).env("PATH", &path));
        assert_eq!(String::from_utf8_lossy(&told.expect("it ends well").stdout), candidates, "{words:?}");
    }
}

#[test]
fn options_that_would_do_nothing_are_refused_at_parsing() {
    let cases: [(&[&str], &str); 7] = [
        (&["analyze", "oci:x", "--max-layers", "3"], "--ci"),
        (&["analyze", "oci:x", "--max-wasted-bytes", "3"], "--ci"),
        (&["analyze", "oci:x", "--junit", "x.xml"], "--ci"),
        (&["analyze", "oci:x", "--target", "build"], "--lint"),
        (&["analyze", "oci:x", "oci:y", "--html", "x.html"], "--html"),
        (&["analyze", "oci:x", "oci:y", "--ci"], "--ci"),
        (&["analyze", "oci:x", "oci:y", "--lint", "Dockerfile"], "--lint"),
    ];
    for (words, part) in cases {
        let run = command::run(words).expect("runs");
        assert_eq!(run.code(), 2, "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(part) && run.stderr.contains("Usage:"), "{words:?}: {}", run.stderr);
    }
}

fn entry(name: &str, body: Body) -> Record {
    Record::plain(name, body)
}

#[test]
fn truncate_of_a_folder_says_that_it_is_one_also_in_a_kept_base() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let lower = [entry("var", Body::Directory), entry("var/log", Body::File(vec![b'x'; 5000]))];
    let upper = [entry("opt", Body::Directory), entry("opt/link", Body::Symlink(b"/var/log".to_vec()))];
    let tars = [tarball::write(&lower), tarball::write(&upper)];
    layout.add("s", &tars, |_| Packing::Gzip(6)).expect("written");
    let (source, target) = (layout.reference("s"), layout.reference("out"));
    for base in [&[][..], &["--base-layers", "1"]] {
        let squash =
            |more: &[&str]| command::run([&["squash", &source, &target], base, more].concat()).expect("runs");
        for path in ["/var", "opt", "/opt/link"] {
            let told = squash(&["--truncate", path]).success().expect("squashed").stdout;
            assert!(
                told.contains("matches a folder or another entry that is no file"),
                "{base:?} {path}: {told}"
            );
            let refused = squash(&["--truncate", path, "--strict"]);
            assert_eq!(refused.code(), 2, "{}", refused.stderr);
            assert!(refused.stderr.contains("only files are truncated"), "{}", refused.stderr);
        }
        let told = squash(&["--truncate", "/nope"]).success().expect("squashed").stdout;
        assert!(told.contains("matches no path"), "{base:?}: {told}");
        // A pattern that matches files as well says nothing of the folders.
        let told = squash(&["--truncate", "/var/**"]).success().expect("squashed").stdout;
        assert!(!told.contains("warning"), "{base:?}: {told}");
    }
}

#[test]
fn a_wrong_tag_names_those_that_look_like_it() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let registry = Registry::start(Flavour::Debian).expect("a registry");
    let tars = [tarball::write(&[entry("a", Body::Fifo)])];
    for tag in ["v1.2.3", "v1.2.4", "latest"].into_iter().chain(["b1", "b2", "b3", "b4", "b5", "b6"]) {
        layout.add(tag, &tars, |_| Packing::Gzip(6)).expect("written");
        push(&layout, tag, &registry.reference(&format!("team/app:{tag}"))).expect("pushed");
    }
    let out = format!("oci:{}", folder.path().join("out").display());
    for place in [layout.reference("v1.2.5"), registry.reference("team/app:v1.2.5")] {
        for words in [&["analyze", &place][..], &["history", &place], &["copy", &place, &out]] {
            let run = command::run(words).expect("runs");
            assert_eq!(run.code(), 3, "{words:?}: {}", run.stderr);
            let near = run.stderr.contains("v1.2.3") && run.stderr.contains("v1.2.4");
            assert!(near && !run.stderr.contains("latest"), "{words:?}: {}", run.stderr);
        }
    }
}

/// An image whose config says another diffID of its upper layer than that is.
fn with_a_wrong_diff_id(layout: &Layout, tag: &str, base: &str) {
    let lower = tarball::write(&[entry("lower", Body::File(b"one".to_vec()))]);
    let upper = tarball::write(&[entry("upper", Body::File(b"two".to_vec()))]);
    layout.add(base, std::slice::from_ref(&lower), |_| Packing::Gzip(6)).expect("written");
    layout.add(tag, &[lower, upper], |_| Packing::Gzip(6)).expect("written");
    let image = layout.image(tag).expect("sound");
    let (mut manifest, mut config) = (image.manifest, image.config);
    config["rootfs"]["diff_ids"][1] = json!(digest(b"something else"));
    let config = serde_json::to_vec(&config).expect("JSON");
    manifest["config"] = layout.blob(&config, "application/vnd.oci.image.config.v1+json").expect("written");
    layout.tag(tag, &serde_json::to_vec(&manifest).expect("JSON")).expect("written");
}

#[test]
fn every_command_that_decodes_a_layer_says_that_its_diff_id_is_wrong() {
    const WORDS: &str = "runtimes refuse such an image";
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    with_a_wrong_diff_id(&layout, "s", "base");
    let (source, base) = (layout.reference("s"), layout.reference("base"));
    let target = layout.reference("out");
    let commands: [(&[&str], bool); 5] = [
        (&["squash", &source, &target], true),
        (&["remove", "/lower", &source, &target], true),
        (&["rebase", &source, &target, "--old-base", &base, "--new-base", &base], true),
        (&["verify", &source, &source], true),
        (&["analyze", &source], false),
    ];
    for (words, has_strict) in commands {
        let told =
            command::run(words).expect("runs").success().unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let said = format!("{}{}", told.stdout, told.stderr);
        assert!(said.contains("layer 1") && said.contains(WORDS), "{words:?}: {said}");
        if has_strict {
            let refused = command::run([words, &["--strict"]].concat()).expect("runs");
            assert_eq!(refused.code(), 6, "{words:?}: {}", refused.stderr);
            assert!(
                refused.stderr.contains("layer 1") && refused.stderr.contains(WORDS),
                "{}",
                refused.stderr
            );
        }
    }
}

/// What an analysis says of an image, without where it is and how long it took.
fn analysed(reference: &str) -> serde_json::Value {
    let words = ["analyze", reference, "--output", "json", "--all"];
    let mut told = command::run(words).expect("runs").success().expect("analysed").json().expect("JSON");
    let object = told.as_object_mut().expect("an object");
    object.remove("reference").expect("where it is");
    object["estimate"].as_object_mut().expect("with an estimate").remove("seconds").expect("how long");
    told
}

#[test]
fn an_analysis_is_the_same_wherever_the_image_is() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let registry = Registry::start(Flavour::Debian).expect("a registry");
    let mut random = unbloat_proof::random::Random::new(11);
    let mut layer = |names: &[&str]| {
        let records: Vec<Record> = names
            .iter()
            .map(|name| {
                // Half noise and half words: chunks of both codecs end in the middle of files.
                let mut content = vec![0; 700_000 + random.below(900_000)];
                random.fill(&mut content);
                content.iter_mut().step_by(2).for_each(|byte| *byte %= 7);
                entry(name, Body::File(content))
            })
            .collect();
        tarball::write(&records)
    };
    let tars = [layer(&["a", "b", "c", "d"]), layer(&["b", "e"]), layer(&["a", "f", "g"])];
    for (tag, packing) in [("gzip", Packing::Gzip(6)), ("zstd", Packing::Zstd(3)), ("plain", Packing::Plain)]
    {
        layout.add(tag, &tars, |_| packing).expect("written");
        let archive = format!("oci-archive:{}:{tag}", folder.path().join(format!("{tag}.tar")).display());
        command::run(["copy", &layout.reference(tag), &archive]).expect("runs").success().expect("copied");
        let pushed = registry.reference(&format!("team/app:{tag}"));
        command::run(["copy", &layout.reference(tag), &pushed]).expect("runs").success().expect("pushed");
        let expected = analysed(&layout.reference(tag));
        assert!(expected["estimate"]["compressedBytes"].as_u64() > Some(1_000_000), "{expected}");
        for place in [&archive, &pushed] {
            assert_eq!(analysed(place), expected, "{place}");
        }
    }
}

/// What is flat already is left alone, with its digest, wherever it is and wherever it goes, unless forced.
#[test]
fn a_flat_image_is_not_squashed_again_in_any_place() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("s", &generate(8, Profile::Portable).tars(), |_| Packing::Gzip(6)).expect("written");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let squash = |source: &str, target: &str, more: &[&str]| {
        let words = [&["squash", source, target, "--output", "json"], more].concat();
        command::run(words).expect("runs").success().expect("squashed").json().expect("JSON")
    };
    let places = [
        layout.reference("flat"),
        format!("oci-archive:{}:t", file("a.tar")),
        format!("docker-archive:{}", file("d.tar")),
    ];
    for place in &places {
        let flat = squash(&layout.reference("s"), place, &[]);
        assert!(flat["nothingToDo"].is_null(), "{flat}");
        for target in [layout.reference("again"), format!("docker-archive:{}", file("again.tar"))] {
            let again = squash(place, &target, &[]);
            assert_eq!(again["nothingToDo"], "alreadyFlat", "{place} {target}");
            assert_eq!(again["digest"], flat["digest"], "{place} {target}");
        }
        let forced = squash(place, &layout.reference("forced"), &["--force"]);
        assert!(forced["nothingToDo"].is_null() && forced["digest"] != flat["digest"], "{place}: {forced}");
        // Asked for another thing, there is something to do.
        let removed = squash(place, &layout.reference("removed"), &["--compression", "zstd"]);
        assert!(removed["nothingToDo"].is_null(), "{place}: {removed}");
    }
    assert!(Path::new(&file("again.tar")).is_file());
}
