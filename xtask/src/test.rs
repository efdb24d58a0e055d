//! `cargo xtask test`: every check, one after the other, on a machine that has nothing but Rust, Go and a C
//! compiler.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::steps::{Outcome, STEPS, Step};

/// Which steps a command line asks for.
struct Choice {
    only: Vec<String>,
    skip: Vec<String>,
}

/// True when nothing failed.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    if arguments == ["--list"] {
        for step in STEPS {
            println!("{:<12} {}", step.name, step.about);
        }
        return Ok(true);
    }
    let choice = parse(arguments)?;
    let begin = Instant::now();
    let mut results: Vec<(&Step, Duration, Result<Outcome>)> = Vec::new();
    for step in STEPS.iter().filter(|step| choice.takes(step)) {
        println!("\n=== {}: {}", step.name, step.about);
        let started = Instant::now();
        let result = (step.run)();
        match &result {
            Ok(Outcome::Passed) => {
                println!("--- {} passed in {:.1} s", step.name, started.elapsed().as_secs_f64());
            }
            Ok(Outcome::Skipped(why)) => println!("--- {} skipped: {why}", step.name),
            Err(error) => println!("--- {} FAILED: {error:#}", step.name),
        }
        results.push((step, started.elapsed(), result));
    }
    Ok(summary(&results, begin.elapsed()))
}

fn parse(arguments: &[String]) -> Result<Choice> {
    let mut choice = Choice { only: Vec::new(), skip: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let (list, name) = match (flag.as_str(), rest.next()) {
            ("--only", Some(name)) => (&mut choice.only, name),
            ("--skip", Some(name)) => (&mut choice.skip, name),
            _ => bail!("usage: cargo xtask test [--only STEP]... [--skip STEP]... [--list]"),
        };
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step {name}; there are {}", names.join(", "));
        }
        list.push(name.clone());
    }
    Ok(choice)
}

impl Choice {
    fn takes(&self, step: &Step) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == step.name);
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

fn summary(results: &[(&Step, Duration, Result<Outcome>)], whole: Duration) -> bool {
    println!("\n=== summary ({:.0} s)", whole.as_secs_f64());
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (step, took, result) in results {
        let seconds = took.as_secs_f64();
        match result {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("{:<12} {seconds:>7.1} s  passed", step.name);
            }
            Ok(Outcome::Skipped(why)) => {
                skipped += 1;
                println!("{:<12} {seconds:>7.1} s  skipped: {why}", step.name);
            }
            Err(error) => {
                failed += 1;
                let first = error.to_string();
                println!(
                    "{:<12} {seconds:>7.1} s  FAILED: {}",
                    step.name,
                    first.lines().next().unwrap_or_default()
                );
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}
