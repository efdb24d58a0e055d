//! Chores of the workspace: checks, generated files, benches. No product code.
//!
//! What happens here: one command a chore; `test` prepares a machine and runs everything that can fail. What
//! does not: building anything that a user gets.

mod admission;
mod analysis;
mod bench;
mod cluster;
mod comments;
mod dashboard;
mod definitions;
mod generated;
mod image;
mod man;
mod rbac;
mod shell;
mod steps;
mod test;
mod test_programs;
mod tools;
mod values;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--only STEP]... [--skip STEP]... [--list]   install what is needed and run every check
  fuzz [SECONDS]                                    each fuzz target for an hour, or for so long
  bench [--only CASE]... [--quick] [--list]         measure against crane; writes docs/benchmarks.md
  generate [--check]                                write the generated files, or tell which are stale
  image [--certificates FILE] [worker] [operator]   make the images of the worker and the operator in target/images,
                                                    and with both of them the command as a static program
  cluster up|down|shell|status|build                a real one-node Kubernetes, see tests/cluster";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let done = match arguments.first().map(String::as_str) {
        Some("test") => test::run(rest),
        Some("fuzz") => steps::fuzz_long(rest),
        Some("bench") => bench::bench(rest),
        Some("cluster") => cluster::run(rest),
        Some("image") => image::run(rest),
        Some("generate") => generated::run(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
