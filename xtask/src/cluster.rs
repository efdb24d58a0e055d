//! `cargo xtask cluster`: hands over to the proving ground's own command, which this crate must not depend
//! on: a Kubernetes client takes minutes to build, and every other chore would wait for it.

use std::process::Stdio;

use anyhow::{Context as _, Result};

use crate::shell::cargo;

/// Runs `unbloat-cluster` with these arguments; its exit code says whether it was right.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "unbloat-cluster", "--"]).args(arguments);
    // `shell` reads from the terminal.
    Ok(command.stdin(Stdio::inherit()).status().context("cannot start cargo")?.success())
}
