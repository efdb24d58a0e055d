//! `cargo xtask bench`: builds what is measured, optimised, and hands over to the measuring program of `tests/proof`.

use anyhow::Result;

use crate::{
    shell::{cargo, run},
    tools,
};

/// Always true: a benchmark has no verdict, only numbers.
pub(crate) fn bench(arguments: &[String]) -> Result<bool> {
    tools::install()?;
    tools::packages(&["python3-venv", "npm"]).or_else(|error| {
        // Machines with Node from elsewhere have no Debian package of npm; the case says so if npm is missing.
        println!("not every package for the Node and Python cases can be installed: {error:#}");
        anyhow::Ok(())
    })?;
    run_cargo(&["build", "--release", "--locked", "--package", "unbloat"])?;
    let mut bench = cargo();
    bench
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "unbloat-proof",
            "--bin",
            "bench",
            "--",
        ])
        .args(arguments);
    run(&mut bench).map(|()| true)
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    run(cargo().args(arguments))
}
