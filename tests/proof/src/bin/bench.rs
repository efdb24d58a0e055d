//! Measures unbloat against crane: started by `cargo xtask bench`, which builds what it needs.

use anyhow::{Result, bail};
use unbloat_proof::{
    bench::{CASES, Case, Scaling, files, make, measure, on_cores, small_layers, write},
    image::Layout,
    tools::fast_folder,
};

fn main() -> Result<()> {
    let mut only: Vec<String> = Vec::new();
    let mut rounds = 3;
    let mut quick = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        match (flag.as_str(), arguments.next()) {
            ("--list", _) => {
                CASES.iter().for_each(|case| println!("{:<14} {}", case.name, case.about));
                return Ok(());
            }
            ("--quick", None) => quick = true,
            ("--only", Some(name)) if CASES.iter().any(|case| case.name == name) => only.push(name),
            ("--rounds", Some(count)) => rounds = count.parse()?,
            (flag, value) => {
                bail!("usage: bench [--only CASE]... [--rounds N] [--quick] [--list]; got {flag} {value:?}")
            }
        }
    }
    if quick && only.is_empty() {
        (only, rounds) = (vec!["incident".to_owned(), "healthy".to_owned()], 1);
    }
    let chosen: Vec<&Case> =
        CASES.iter().filter(|case| only.is_empty() || only.iter().any(|name| name == case.name)).collect();
    let mut lines = Vec::new();
    for case in chosen {
        println!("{}: {}", case.name, case.about);
        match measure(case, rounds) {
            Ok(line) => {
                println!("  {}", line.summary());
                lines.push(line);
            }
            Err(error) => println!("  not measured: {error:#}"),
        }
    }
    let scaling = if only.is_empty() { scaling()? } else { Vec::new() };
    if only.is_empty() || quick {
        write(&lines, &scaling, rounds)?;
    }
    Ok(())
}

/// How the time changes with cores, layers and paths.
fn scaling() -> Result<Vec<Scaling>> {
    let mut rows = Vec::new();
    for name in ["incident", "healthy"] {
        rows.push(on_one_and_two(&make(name)?, name, name.to_owned())?);
    }
    let folder = fast_folder()?;
    let layout = Layout::create(folder.path().join("layout"))?;
    for count in [1, 10, 100, 1000] {
        let tag = format!("layers-{count}");
        small_layers(&layout, &tag, count)?;
        rows.push(on_one_and_two(&layout, &tag, format!("{count} layers of 100 kB"))?);
    }
    for thousands in [1, 10, 125] {
        let tag = format!("files-{thousands}");
        files(&layout, &tag, thousands)?;
        rows.push(on_one_and_two(&layout, &tag, format!("{} paths", thousands * 8008))?);
    }
    Ok(rows)
}

fn on_one_and_two(layout: &Layout, tag: &str, what: String) -> Result<Scaling> {
    println!("scaling: {what}");
    Ok(Scaling { what, wall: [on_cores(layout, tag, 1)?, on_cores(layout, tag, 2)?] })
}
