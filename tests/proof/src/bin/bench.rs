//! Measures unbloat against crane: started by `cargo xtask bench`, which builds what it needs.

use anyhow::{Result, bail};
use unbloat_proof::{
    bench::{CASES, Case, make, measure, with_jobs, write},
    image::{Layout, Packing},
    stack::{Body, Dialect, Record, tarball},
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

/// How the time grows with cores and layers.
fn scaling() -> Result<Vec<(String, f64)>> {
    let incident = make("incident")?;
    let mut rows = Vec::new();
    for jobs in [1, 2] {
        rows.push((format!("the incident with {jobs} jobs"), with_jobs(&incident, "incident", jobs)?));
    }
    let folder = unbloat_proof::tools::fast_folder()?;
    let layout = Layout::create(folder.path().join("layout"))?;
    for count in [1, 10, 100, 1000] {
        let tars: Vec<Vec<u8>> = (0..count).map(layer).collect();
        let tag = format!("layers-{count}");
        layout.add(&tag, &tars, |_| Packing::Gzip(6))?;
        rows.push((format!("{count} layers of 100 kB"), with_jobs(&layout, &tag, 2)?));
    }
    Ok(rows)
}

fn layer(index: usize) -> Vec<u8> {
    let record = |name: String| Record {
        name: name.into_bytes(),
        body: Body::File((0..50_000).map(|at| (at * (index + 3) % 251) as u8).collect()),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: (1_600_000_000, 0),
        xattrs: Default::default(),
        unknown: Vec::new(),
        dialect: Dialect::Ustar,
    };
    tarball::write(&[record("log".to_owned()), record(format!("file-{index}"))])
}
