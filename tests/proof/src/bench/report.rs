//! `docs/benchmarks.md`, written by the run itself.

use std::{fmt::Write as _, fs, time::Duration};

use anyhow::Result;

use super::{Case, Measure, Reading};
use crate::tools::{command, run, workspace};

/// One measured case.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub case: Case,
    /// unbloat.
    pub ours: Measure,
    /// crane.
    pub crane: Measure,
    /// Reading the blobs and nothing else.
    pub reading: Reading,
    /// The work itself.
    pub floor: Duration,
}

impl Line {
    /// Both programs on one line, for the terminal.
    pub fn summary(&self) -> String {
        let (ours, crane) = (&self.ours, &self.crane);
        format!(
            "{:<14} {:.2} s, crane {:.2} s: {:.1} times as fast; {:.2} of the floor ({:.2} s); {} resident",
            self.case.name,
            ours.wall.as_secs_f64(),
            crane.wall.as_secs_f64(),
            crane.wall.as_secs_f64() / ours.wall.as_secs_f64(),
            ours.wall.as_secs_f64() / self.floor.as_secs_f64(),
            self.floor.as_secs_f64(),
            megabytes(ours.peak_memory),
        )
    }
}

/// Wall times of one image on one core and on two.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// What was squashed.
    pub what: String,
    /// With one core, and with two.
    pub wall: [Duration; 2],
}

/// Writes the page.
pub fn write(lines: &[Line], scaling: &[Scaling], rounds: usize) -> Result<()> {
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit.\n\n\
         Registry to registry on loopback (Debian's docker-registry, storage in memory), `crane flatten` and `unbloat squash` by \
         turns. ",
    );
    writeln!(
        page,
        "The best wall time of {rounds} run{} each, and the CPU time of that run, the registry's beside it, as all share the \
         same cores; the most memory and disk of all runs.\n\n\
         *Reading* is curl, which reads the same blobs, 16 at once, and does nothing with them: no squash on this machine \
         with this registry can be faster.\n\n\
         *Floor*: every stored byte hashed and inflated once (libdeflate), the survivors encoded as zstd level 3 and hashed \
         once, on every core, from memory: no registry, no tar, no decision.\n",
        if rounds == 1 { "" } else { "s" }
    )?;
    page.push_str(&machine()?);
    page.push_str(
        "\n| case | | wall | CPU | registry's CPU | memory | disk | read | output | times crane's speed | of the floor |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for line in lines {
        let crane = line.crane.wall.as_secs_f64();
        let floor = line.floor.as_secs_f64();
        for (name, of) in [("unbloat", &line.ours), ("crane", &line.crane)] {
            let wall = of.wall.as_secs_f64();
            writeln!(
                page,
                "| {} | {name} | {wall:.2} s | {:.2} s | {:.2} s | {} | {} | {} | {} | {:.1} | {:.2} |",
                if name == "unbloat" { line.case.about } else { "" },
                of.cpu.as_secs_f64(),
                of.registry_cpu.as_secs_f64(),
                megabytes(of.peak_memory),
                megabytes(of.disk),
                megabytes(of.read),
                megabytes(of.output),
                crane / wall,
                wall / floor,
            )?;
        }
        let Reading { wall, cpu, registry_cpu } = line.reading;
        let wall = wall.as_secs_f64();
        writeln!(
            page,
            "| | reading | {wall:.2} s | {:.2} s | {:.2} s | | | | | {:.1} | {:.2} |",
            cpu.as_secs_f64(),
            registry_cpu.as_secs_f64(),
            crane / wall,
            wall / floor,
        )?;
    }
    if !scaling.is_empty() {
        page.push_str(
            "\n## Scaling\n\nFrom an OCI folder to another, both in memory: no registry that takes part of the same cores. The \
             best of three runs each.\n\n| image | one core | two cores | ratio |\n|---|--:|--:|--:|\n",
        );
        for Scaling { what, wall } in scaling {
            let [one, two] = wall.map(|wall| wall.as_secs_f64());
            writeln!(page, "| {what} | {one:.2} s | {two:.2} s | {:.2} |", one / two)?;
        }
    }
    let path = workspace().join("docs/benchmarks.md");
    fs::create_dir_all(workspace().join("docs"))?;
    fs::write(&path, page)?;
    println!("written to docs/benchmarks.md");
    Ok(())
}

fn machine() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let version = |name: &str, flag: &str| {
        run(command(name).arg(flag))
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let own = run(std::process::Command::new(crate::command::unbloat()).arg("--version"))?;
    Ok(format!(
        "Machine: {}, {cores} cores, {} of memory, Linux {}. {}; crane {}.\n",
        field(&read("/proc/cpuinfo"), "model name"),
        field(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        String::from_utf8_lossy(&own.stdout).lines().next().unwrap_or_default(),
        version("crane", "version"),
    ))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
