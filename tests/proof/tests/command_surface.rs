//! What a user meets first: help, version, completions, the names in the JSON.

use unbloat_proof::{
    command,
    image::{Layout, Packing},
    stack::{Profile, generate},
    tools::fast_folder,
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
