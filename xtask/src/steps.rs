//! The steps of `cargo xtask test`, in their order. Each prints what it does and answers with how it ended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    cluster, comments, generated, image,
    shell::{Environment, cargo, program, quiet, run, workspace},
    test_programs, tools,
};

/// How a step ended when it did not fail.
pub(crate) enum Outcome {
    /// Everything it checks holds.
    Passed,
    /// It could not run here, and why.
    Skipped(String),
}

/// One step.
pub(crate) struct Step {
    /// What `--only` and `--skip` name.
    pub(crate) name: &'static str,
    /// What it checks.
    pub(crate) about: &'static str,
    /// Runs it.
    pub(crate) run: fn() -> Result<Outcome>,
}

impl Step {
    const fn new(name: &'static str, about: &'static str, run: fn() -> Result<Outcome>) -> Self {
        Self { name, about, run }
    }
}

/// Every step. Cheap ones that fail often stand first.
pub(crate) const STEPS: &[Step] = &[
    Step::new("tools", "install what the checks need", install),
    Step::new("fmt", "the sources are formatted, their comments too", fmt),
    Step::new("clippy", "no lint complains, and the command builds without the cluster too", clippy),
    Step::new("generated", "generated files are what would be generated", drift),
    Step::new("ground", "the commands of the tests' own Kubernetes are built", ground),
    Step::new("unit", "unit and integration tests of every crate", unit),
    Step::new("doctest", "examples in the documentation", doctest),
    Step::new("docs", "the documentation builds without a warning", docs),
    Step::new("deny", "licences, advisories, sources and duplicates of dependencies", deny),
    Step::new(
        "release",
        "the optimised build of all that ships, which the proof and the images use",
        release,
    ),
    Step::new("proof", "squashed images against independent unpackers and registries", proof),
    Step::new("images", "both images within their limits, without and with the Dockerfile", images),
    Step::new("cluster", "the operator on a real Kubernetes", on_a_cluster),
    Step::new("fuzz", "each fuzz target for a short while", fuzz),
];

/// The crate whose tests need tools and the optimised build.
const PROOF: &str = "tests/proof";

/// The crates whose tests need a Kubernetes.
const CLUSTER: &[&str] = &["tests/cluster", "tests/operator"];

/// Test programs with a Kubernetes of their own at a time.
const CLUSTERS_AT_ONCE: usize = 2;

/// Of these, what takes longest, longest first.
const SLOWEST_ON_A_CLUSTER: &[&str] = &["scale", "lifecycle", "squash", "chart", "failures", "nodes"];

/// Seconds that each fuzz target runs.
const FUZZ_SECONDS: u32 = 10;

fn install() -> Result<Outcome> {
    tools::install().map(|()| Outcome::Passed)
}

fn fmt() -> Result<Outcome> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    comments::check(&workspace()).map(|()| Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    run(cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    // What README's first command builds.
    run(cargo().args(["check", "--quiet", "--locked", "--package", "unbloat", "--no-default-features"]))
        .map(|()| Outcome::Passed)
}

fn docs() -> Result<Outcome> {
    let mut doc = cargo();
    doc.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--quiet", "--workspace", "--no-deps", "--locked"]);
    run(&mut doc).map(|()| Outcome::Passed)
}

fn ground() -> Result<Outcome> {
    ensure!(cluster::run(&["build".to_owned()])?, "the commands of tests/cluster could not be built");
    Ok(Outcome::Passed)
}

fn unit() -> Result<Outcome> {
    let mut crates = Vec::new();
    for entry in fs::read_dir(workspace().join("crates"))? {
        let folder = entry?.path();
        if folder.join("tests").is_dir() {
            crates.push(folder);
        }
    }
    let mut test = tests_of(&crates)?;
    run(test.args(["--lib", "--bins"])).map(|()| Outcome::Passed)
}

/// Where the images that the Dockerfile makes are put.
fn from_dockerfile() -> PathBuf {
    image::target_folder().join("images-from-dockerfile")
}

fn images() -> Result<Outcome> {
    ensure!(image::run(&[])?, "the images could not be made");
    let mut build = program("sh");
    // The programs are lent: what is left to prove is the Dockerfile.
    build.env("TARGET", image::target_folder().join("image"));
    run(build.arg("tests/image/build-with-buildah.sh").arg(from_dockerfile()))?;
    Ok(Outcome::Passed)
}

fn on_a_cluster() -> Result<Outcome> {
    ensure!(cluster::run(&["build".to_owned()])?, "the commands of tests/cluster could not be built");
    // Nothing is done where the steps before built it.
    ensure!(image::run(&[])?, "the images could not be made");
    let mut environment =
        vec![("UNBLOAT_IMAGES", image::target_folder().join("images")), ("UNBLOAT_BIN", image::command()?)];
    if from_dockerfile().join("operator").is_dir() {
        environment.push(("UNBLOAT_IMAGES_FROM_DOCKERFILE", from_dockerfile()));
    }
    let environment = with_cargo(environment);
    test_programs::run(tests_of(CLUSTER)?, &environment, CLUSTERS_AT_ONCE, SLOWEST_ON_A_CLUSTER)
        .map(|()| Outcome::Passed)
}

/// As cargo would say it to tests that build something.
fn with_cargo(mut environment: Environment) -> Environment {
    environment.extend(std::env::var_os("CARGO").map(|cargo| ("CARGO", cargo.into())));
    environment
}

/// `cargo test` of the integration tests in these folders.
///
/// Not by --package: with the features of some packages alone, every library would be built once more.
fn tests_of(folders: &[impl AsRef<Path>]) -> Result<Command> {
    let mut test = cargo();
    test.args(["test", "--workspace", "--no-fail-fast", "--locked"]);
    let mut names = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(workspace().join(folder).join("tests"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
            }
        }
    }
    names.sort();
    for name in names {
        test.args(["--test", &name]);
    }
    Ok(test)
}

fn doctest() -> Result<Outcome> {
    run(cargo().args(["test", "--quiet", "--workspace", "--doc", "--locked"])).map(|()| Outcome::Passed)
}

fn drift() -> Result<Outcome> {
    if generated::GENERATORS.is_empty() {
        return Ok(Outcome::Skipped("no file of the workspace is generated yet".to_owned()));
    }
    let stale = generated::check()?;
    ensure!(stale.is_empty(), "{} generated files are stale", stale.len());
    Ok(Outcome::Passed)
}

fn deny() -> Result<Outcome> {
    let program_path = tools::cargo_program(tools::CARGO_DENY)?;
    let check = |what: &[&str]| {
        let mut command = program(&program_path);
        command.args(["--workspace", "--locked", "check", "--hide-inclusion-graph"]).args(what);
        command
    };
    run(&mut check(&["licenses", "bans", "sources"]))?;
    // The advisory database is a git repository of its own, which not every machine reaches.
    match quiet(&mut check(&["advisories"])) {
        Ok(_) => Ok(Outcome::Passed),
        Err(error) => {
            let text = error.to_string();
            let unreachable = ["failed to fetch", "fetch advisory", "advisory database", "unable to"];
            ensure!(unreachable.iter().any(|part| text.contains(part)), "{text}");
            println!(
                "licences, duplicates and sources are right; advisories were not checked: their database cannot be fetched here"
            );
            Ok(Outcome::Passed)
        }
    }
}

fn release() -> Result<Outcome> {
    image::command().map(|_| Outcome::Passed)
}

fn proof() -> Result<Outcome> {
    // Nothing is done where the step before built it.
    let environment = with_cargo(vec![("UNBLOAT_BIN", image::command()?)]);
    test_programs::run(tests_of(&[PROOF])?, &environment, 1, &[]).map(|()| Outcome::Passed)
}

fn fuzz() -> Result<Outcome> {
    fuzz_for(FUZZ_SECONDS)
}

/// `cargo xtask fuzz [SECONDS]`: the long form of the step.
pub(crate) fn fuzz_long(arguments: &[String]) -> Result<bool> {
    let seconds = match arguments {
        [] => 3600,
        [seconds] => seconds.parse().context("usage: cargo xtask fuzz [SECONDS]")?,
        _ => bail!("usage: cargo xtask fuzz [SECONDS]"),
    };
    match fuzz_for(seconds)? {
        Outcome::Passed => Ok(true),
        Outcome::Skipped(why) => bail!("{why}"),
    }
}

/// Each target for so many seconds.
fn fuzz_for(seconds: u32) -> Result<Outcome> {
    let folders = fuzz_folders()?;
    if folders.is_empty() {
        return Ok(Outcome::Skipped("the workspace has no fuzz folder".to_owned()));
    }
    // The pinned toolchain of the workspace sets RUSTUP_TOOLCHAIN for everything below it.
    let nightly = |command: &mut Command| {
        command.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("RUSTC").env_remove("RUSTDOC");
    };
    let mut version = program("rustc");
    nightly(&mut version);
    if quiet(version.arg("--version")).is_err() {
        return Ok(Outcome::Skipped(
            "fuzzing needs the nightly toolchain, which is not installed".to_owned(),
        ));
    }
    let cargo_fuzz = tools::cargo_program(tools::CARGO_FUZZ)?;
    for folder in folders {
        let parent = folder.parent().context("a fuzz folder lies in its crate")?;
        let fuzz = || {
            let mut command = program(&cargo_fuzz);
            nightly(&mut command);
            // libdeflate defines one table in two files, which its C code means to.
            command.env("ASAN_OPTIONS", "detect_odr_violation=0").arg("fuzz").current_dir(parent);
            command
        };
        for target in quiet(fuzz().arg("list"))?.lines() {
            println!("{}: {target} for {seconds} s", parent.display());
            let limit = format!("-max_total_time={seconds}");
            quiet(fuzz().args([
                "run",
                target,
                "--",
                &limit,
                "-seed=1",
                // The C library keeps what ends a thread until the thread is gone, which joining a scope does
                // not wait for.
                "-detect_leaks=0",
                "-rss_limit_mb=2048",
                "-timeout=20",
            ]))?;
        }
    }
    Ok(Outcome::Passed)
}

/// Folders named `fuzz` with a manifest, at the root or in a crate.
fn fuzz_folders() -> Result<Vec<PathBuf>> {
    let mut places = vec![workspace()];
    for entry in fs::read_dir(workspace().join("crates"))? {
        places.push(entry?.path());
    }
    places.sort();
    Ok(places
        .into_iter()
        .map(|place| place.join("fuzz"))
        .filter(|fuzz| fuzz.join("Cargo.toml").is_file())
        .collect())
}
