//! The programs of others that the proof runs, and how they are run.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace stands where it was built")
}

/// Where `cargo xtask test` puts what it builds and downloads, kept between runs.
pub fn cache() -> PathBuf {
    workspace().join("target/tools")
}

/// A program by name: one that xtask built, else one on the path.
pub fn tool(name: &str) -> Result<PathBuf> {
    let own = cache().join("bin").join(name);
    if own.is_file() {
        return Ok(own);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: run `cargo xtask test --only tools` first"))
}

/// A command for a tool. Panics with what to do when it is not there: a proof that is not run is not a proof.
pub fn command(name: &str) -> Command {
    Command::new(tool(name).unwrap_or_else(|error| panic!("{error}")))
}

/// Runs to the end; anything but success is an error with both outputs.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}

/// A fresh folder in memory where there is room, else on disk. It is removed with the value.
pub fn fast_folder() -> Result<tempfile::TempDir> {
    let builder = |at: &str| tempfile::Builder::new().prefix("unbloat-proof-").tempdir_in(at);
    builder("/dev/shm").or_else(|_| builder("/var/tmp")).context("no temporary folder")
}
