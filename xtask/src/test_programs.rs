//! Test programs, one after the other or some at a time.
//!
//! `cargo test` runs one test program after the other. Those that have a Kubernetes of their own wait for
//! kubelets, leases and back-offs most of the time, so two of them share the machine well; those that
//! measure have it for themselves. One that fails is tried once more, alone, and told: a kubelet may be slow
//! on a busy machine, and a fault of ours fails again.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{Environment, program, quiet};

/// A built test program.
struct TestProgram {
    name: String,
    path: PathBuf,
    /// Its package's folder, where `cargo test` would start it.
    folder: PathBuf,
}

struct Ended {
    program: TestProgram,
    passed: bool,
    output: String,
    took: Duration,
}

/// Builds what `build` (a `cargo test` with its choice of tests) names and runs it, `at_once` programs at a
/// time. `slowest` names those that begin first, so that none of them is left alone at the end.
pub(crate) fn run(
    mut build: Command,
    environment: &Environment,
    at_once: usize,
    slowest: &[&str],
) -> Result<()> {
    let mut programs = built(&quiet(build.args(["--no-run", "--message-format=json-render-diagnostics"]))?)?;
    ensure!(!programs.is_empty(), "{build:?} names no test program");
    let rank = |program: &TestProgram| {
        slowest.iter().position(|name| *name == program.name).unwrap_or(slowest.len())
    };
    programs.sort_by_key(rank);
    let queue = Mutex::new(VecDeque::from(programs));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let work = || {
            loop {
                // In the head of a loop it would be held while the program runs: they would run one by one.
                let next = lock(&queue).pop_front();
                let Some(program) = next else { return };
                let ended = start(program, environment);
                // Outputs do not mix.
                let mut failed = lock(&failed);
                show(&ended);
                if !ended.passed {
                    failed.push(ended.program);
                }
            }
        };
        for _ in 1..at_once {
            scope.spawn(work);
        }
        work();
    });
    let mut still: Vec<String> = Vec::new();
    for program in failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        println!("--- {} failed and is tried once more, alone", program.name);
        let ended = start(program, environment);
        show(&ended);
        if !ended.passed {
            still.push(ended.program.name);
        }
    }
    if still.is_empty() { Ok(()) } else { bail!("failed twice: {}", still.join(", ")) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The test programs of cargo's messages.
fn built(messages: &str) -> Result<Vec<TestProgram>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("a message of cargo")?;
        let (Some(path), Some(manifest)) =
            (message["executable"].as_str(), message["manifest_path"].as_str())
        else {
            continue;
        };
        let is_test =
            message["target"]["kind"].as_array().is_some_and(|kinds| kinds.contains(&"test".into()));
        if is_test {
            let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
            let folder = Path::new(manifest).parent().context("a manifest lies in a folder")?.to_owned();
            programs.push(TestProgram { name, path: path.into(), folder });
        }
    }
    Ok(programs)
}

fn start(test: TestProgram, environment: &Environment) -> Ended {
    let begin = Instant::now();
    let mut command = program(&test.path);
    command
        .current_dir(&test.folder)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    let (passed, output) = match command.output() {
        Ok(output) => {
            let text =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            (output.status.success(), text.concat())
        }
        Err(error) => (false, format!("cannot start {}: {error}", test.path.display())),
    };
    Ended { program: test, passed, output, took: begin.elapsed() }
}

fn show(ended: &Ended) {
    let Ended { program, passed: _, output, took } = ended;
    println!("     Running {} ({:.0} s)\n{output}", program.name, took.as_secs_f64());
}
