//! The benchmark against crane: what is measured, how, and how it is told.
//!
//! What happens here: images of seven shapes, served by Debian's docker-registry from memory; `crane flatten`
//! and `unbloat squash` run alternately, each as a process measured from outside; curl, which reads the same
//! blobs and does nothing with them; and the floor of the same work, measured in the same run. What does not:
//! judging. A number depends on the machine, so no test asserts one.

mod floor;
mod images;
mod report;

pub use floor::floor;
pub use images::{IMAGES, files, make, small_layers};
pub use report::{Line, Scaling, write};

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    command::{Run, measured, unbloat},
    image::{Image, Layout},
    incident::push,
    registry::{Flavour, Registry},
    tools::{command as tool, fast_folder},
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
    /// CPU time of the registry during that run.
    pub registry_cpu: Duration,
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
    let image = layout.image(case.image).context("the source image")?;
    let readings = (0..rounds).map(|_| read_all(&registry, &image)).collect::<Result<Vec<_>>>()?;
    let reading = *readings.iter().min_by_key(|reading| reading.wall).context("at least one round")?;
    let floor = floor(&image, &layout.reference(case.image))?;
    Ok(Line { case: *case, ours: best(&ours), crane: best(&cranes), reading, floor })
}

/// What it takes to read every blob of the image and to do nothing with it.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Wall time.
    pub wall: Duration,
    /// CPU time of the reader.
    pub cpu: Duration,
    /// CPU time of the registry.
    pub registry_cpu: Duration,
}

/// By curl, 16 blobs at once.
fn read_all(registry: &Registry, image: &Image) -> Result<Reading> {
    let mut list = String::from("silent\nfail\nparallel\nparallel-max = 16\n");
    for layer in image.manifest["layers"].as_array().context("manifest without layers")? {
        let digest = layer["digest"].as_str().context("layer without digest")?;
        writeln!(list, "url = {}\noutput = /dev/null", registry.blob_url("bench/image", digest))?;
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), list)?;
    let before = registry.cpu()?;
    let run = measured(tool("curl").arg("--config").arg(file.path()))?.success()?;
    Ok(Reading { wall: run.wall, cpu: run.cpu, registry_cpu: registry.cpu()? - before })
}

/// One run, with what the registry had to do for it.
struct Timed {
    run: Run,
    registry_cpu: Duration,
    read: u64,
    output: u64,
}

fn timed(registry: &Registry, target: &str, run: impl FnOnce() -> Result<Run>) -> Result<Timed> {
    let since = registry.log()?.len();
    let before = registry.cpu()?;
    let run = run()?.success()?;
    let registry_cpu = registry.cpu()? - before;
    let read = registry.bytes_sent("bench/image", since)?;
    let mut inspect = tool("skopeo");
    inspect.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{target}")]);
    let manifest: serde_json::Value = serde_json::from_slice(&crate::tools::run(&mut inspect)?.stdout)?;
    let layers = manifest["layers"].as_array().context("manifest without layers")?;
    ensure!(layers.len() == 1, "{} layers are left", layers.len());
    Ok(Timed { run, registry_cpu, read, output: layers[0]["size"].as_u64().unwrap_or(0) })
}

fn best(runs: &[Timed]) -> Measure {
    let best = runs.iter().min_by_key(|timed| timed.run.wall).expect("at least one round");
    Measure {
        wall: best.run.wall,
        cpu: best.run.cpu,
        registry_cpu: best.registry_cpu,
        peak_memory: runs.iter().map(|timed| timed.run.peak_memory).max().unwrap_or(0),
        disk: runs.iter().map(|timed| timed.run.disk_written).max().unwrap_or(0),
        read: best.read,
        output: best.output,
    }
}

/// The shortest of three squashes from folder to folder, both in memory, on so many cores: what scales, and
/// no registry that takes part of the same cores.
pub fn on_cores(layout: &Layout, tag: &str, cores: usize) -> Result<Duration> {
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        let folder = fast_folder()?;
        let target = Layout::create(folder.path().join("squashed"))?;
        let mut own = tool("taskset");
        own.arg("--cpu-list").arg(format!("0-{}", cores - 1)).arg(unbloat());
        own.args(["squash", &layout.reference(tag), &target.reference("result"), "--progress", "none"]);
        shortest = shortest.min(measured(&mut own)?.success()?.wall);
    }
    Ok(shortest)
}
