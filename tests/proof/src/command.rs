//! The built `unbloat`, run as a user runs it and measured from outside.

use std::{
    ffi::OsStr,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::tools::workspace;

/// The program under test: what `UNBLOAT_BIN` names, else what cargo built last, optimised before debug.
pub fn unbloat() -> PathBuf {
    if let Some(named) = std::env::var_os("UNBLOAT_BIN") {
        return named.into();
    }
    let target = workspace().join("target");
    let built = ["release/unbloat", "debug/unbloat"].map(|name| target.join(name));
    let newest =
        built.into_iter().filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).max();
    newest.expect("`unbloat` is not built: run `cargo build --release` first").1
}

/// What a process left behind.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
    /// From start to end.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The most memory that it had resident at once, in bytes.
    pub peak_memory: u64,
    /// Bytes that it had written to files and that reached the disk's queue.
    pub disk_written: u64,
}

impl Run {
    /// The exit code; a signal counts as 128 and its number, as in a shell.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The output as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }

    /// An error with both outputs unless it succeeded.
    pub fn success(self) -> Result<Self> {
        ensure!(self.status.success(), "exit {}\n{}{}", self.code(), self.stdout, self.stderr);
        Ok(self)
    }
}

/// Runs `unbloat` with these arguments.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Run> {
    measured(Command::new(unbloat()).args(arguments))
}

/// Runs any program under GNU time, which asks the kernel what the process used (`wait4`).
pub fn measured(command: &mut Command) -> Result<Run> {
    let report = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["--quiet", "--format", "%U %S %M %O", "--output"]).arg(report.path()).arg("--");
    timed.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(key, value),
            None => timed.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        timed.current_dir(folder);
    }
    let begin = Instant::now();
    let output =
        timed.stdin(Stdio::null()).output().context("cannot start /usr/bin/time (Debian package `time`)")?;
    let wall = begin.elapsed();
    let report = std::fs::read_to_string(report.path())?;
    let numbers: Vec<f64> = report.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, system, kilobytes, blocks] = numbers[..] else {
        bail!("no report from time: {report}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    Ok(Run {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        wall,
        cpu: Duration::from_secs_f64(user + system),
        peak_memory: kilobytes as u64 * 1024,
        disk_written: blocks as u64 * 512,
    })
}
