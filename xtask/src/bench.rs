//! `cargo xtask bench`: builds what is measured, optimised, and hands over to the measuring program of
//! `tests/proof`.

use anyhow::Result;

use crate::{
    shell::{cargo, program, quiet, run},
    tools,
};

/// Always true: a benchmark has no verdict, only numbers.
pub(crate) fn bench(arguments: &[String]) -> Result<bool> {
    tools::install()?;
    tools::packages(&["python3-venv"])?;
    // Debian's package conflicts with Node from elsewhere, which brings its own.
    if quiet(program("npm").arg("--version")).is_err() {
        tools::packages(&["npm"])?;
    }
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
