//! The benchmark against crane: what is measured, how, and how it is told.
//!
//! What happens here: images of six shapes, served by Debian's docker-registry from memory; `crane flatten` and
//! `unbloat squash` run alternately, each as a process measured from outside; and the floor of the same work, measured in
//! the same run. What does not: judging. A number depends on the machine, so no test asserts one.

mod floor;
mod images;
mod report;

pub use floor::floor;
pub use images::{IMAGES, make};
pub use report::{Line, write};

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    command::{self, Run, measured, unbloat},
    image::Layout,
    incident::push,
    registry::{Flavour, Registry},
    tools::command as tool,
};

/// One row: an image, and how the result is compressed.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What `--only` names.
    pub name: &'static str,
    /// The image, by its name in [`IMAGES`].
    pub image: &'static str,
    /// `--compression` of unbloat; crane has none.
    pub compression: &'static str,
    /// What the row shows.
    pub about: &'static str,
}

/// Every case, in the order of the table.
pub const CASES: [Case; 9] = [
    Case { name: "incident", image: "incident", compression: "keep", about: "the incident, gzip kept" },
    Case { name: "incident-zstd", image: "incident", compression: "zstd", about: "the incident, to zstd" },
    Case { name: "healthy", image: "healthy", compression: "keep", about: "nothing hidden, gzip kept" },
    Case { name: "healthy-zstd", image: "healthy", compression: "zstd", about: "nothing hidden, to zstd" },
    Case {
        name: "healthy-anew",
        image: "healthy-from-zstd",
        compression: "gzip",
        about: "nothing hidden, zstd to gzip",
    },
    Case { name: "million", image: "million", compression: "keep", about: "a million small files" },
    Case { name: "hidden", image: "hidden", compression: "keep", about: "one file of 2 GiB, hidden" },
    Case { name: "node", image: "node", compression: "keep", about: "a Node application, owner changed" },
    Case {
        name: "python",
        image: "python",
        compression: "keep",
        about: "a Python environment, owner changed",
    },
];

/// The best of several runs of one program, and what it cost.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Shortest wall time.
    pub wall: Duration,
    /// CPU time of that run, all threads.
    pub cpu: Duration,
    /// Most resident memory of all runs, in bytes.
    pub peak_memory: u64,
    /// Most bytes written to disk of all runs.
    pub disk: u64,
    /// Layer bytes that the registry sent.
    pub read: u64,
    /// Layer bytes of the result.
    pub output: u64,
}

/// Runs one case, crane and unbloat by turns.
pub fn measure(case: &Case, rounds: usize) -> Result<Line> {
    let layout = make(case.image)?;
    let registry = Registry::start(Flavour::Debian)?;
    let source = registry.reference("bench/image:source");
    push(&layout, case.image, &source)?;
    let scratch = tempfile::tempdir_in("/var/tmp")?;
    let (mut ours, mut cranes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let target = registry.reference(&format!("bench/image:crane-{round}"));
        let mut crane = tool("crane");
        crane.args(["flatten", &source, "--tag", &target]).env("TMPDIR", scratch.path());
        cranes.push(timed(&registry, &target, || measured(&mut crane))?);
        let target = registry.reference(&format!("bench/image:ours-{round}"));
        let mut own = std::process::Command::new(unbloat());
        own.args(["squash", &source, &target, "--compression", case.compression, "--progress", "none"]);
        own.env("TMPDIR", scratch.path());
        ours.push(timed(&registry, &target, || measured(&mut own))?);
    }
    let image = layout.image(case.image);
    let floor = match image {
        Ok(image) => floor(&image)?,
        Err(error) => return Err(error.context("the source image")),
    };
    Ok(Line { case: *case, ours: best(&ours), crane: best(&cranes), floor })
}

fn timed(registry: &Registry, target: &str, run: impl FnOnce() -> Result<Run>) -> Result<(Run, u64, u64)> {
    let since = registry.log()?.len();
    let run = run()?.success()?;
    let read = registry.bytes_sent("bench/image", since)?;
    let mut inspect = tool("skopeo");
    inspect.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{target}")]);
    let manifest: serde_json::Value = serde_json::from_slice(&crate::tools::run(&mut inspect)?.stdout)?;
    let layers = manifest["layers"].as_array().context("manifest without layers")?;
    ensure!(layers.len() == 1, "{} layers are left", layers.len());
    Ok((run, read, layers[0]["size"].as_u64().unwrap_or(0)))
}

fn best(runs: &[(Run, u64, u64)]) -> Measure {
    let (run, read, output) = runs.iter().min_by_key(|(run, ..)| run.wall).expect("at least one round");
    Measure {
        wall: run.wall,
        cpu: run.cpu,
        peak_memory: runs.iter().map(|(run, ..)| run.peak_memory).max().unwrap_or(0),
        disk: runs.iter().map(|(run, ..)| run.disk_written).max().unwrap_or(0),
        read: *read,
        output: *output,
    }
}

/// Wall seconds of one squash of the incident with so many jobs.
pub fn with_jobs(layout: &Layout, tag: &str, jobs: usize) -> Result<f64> {
    let registry = Registry::start(Flavour::Debian)?;
    let source = registry.reference("bench/jobs:source");
    push(layout, tag, &source)?;
    let mut shortest = f64::MAX;
    for round in 0..3 {
        let target = registry.reference(&format!("bench/jobs:{jobs}-{round}"));
        let run = command::run(["squash", &source, &target, "--jobs", &jobs.to_string()])?.success()?;
        shortest = shortest.min(run.wall.as_secs_f64());
    }
    Ok(shortest)
}
