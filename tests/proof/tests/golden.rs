//! Digests that were written down: whoever moves code about learns here whether a result moved with it.
//!
//! `cargo build -p unbloat && cargo test -p unbloat-proof --test golden`; `UNBLOAT_BIN` names another
//! program, and `UNBLOAT_GOLDEN=write` writes the table anew, which needs a reason in the commit.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use unbloat_proof::{
    command,
    golden::{
        Case, Input, Place, cases,
        table::{self, Row, Table},
    },
    image::Layout,
    tools::fast_folder,
};
use unbloat_registry_server::{Options, Server};

/// Where the images are and where results go.
struct Ground {
    folder: tempfile::TempDir,
    registry: String,
}

impl Ground {
    /// Writes every image everywhere it is read from; answers with the digests.
    fn prepare(&self, inputs: &[Input], cases: &[Case]) -> Result<Vec<String>> {
        let source = Layout::create(self.folder.path().join("source"))?;
        let mut digests = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            let digest = input.write(&source)?;
            let is_read = |place| cases.iter().any(|case| case.input == index && case.from == place);
            if is_read(Place::Archive) {
                let single = Layout::create(self.folder.path().join("single").join(&input.name))?;
                source.copy(&input.name, &single)?;
                single.archive(&self.archive(&input.name))?;
            }
            if is_read(Place::Registry) {
                let to = self.reference(Place::Registry, "source", &input.name);
                command::run(["copy", &source.reference(&input.name), &to])?.success()?;
            }
            digests.push(digest);
        }
        Ok(digests)
    }

    fn archive(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("{name}.tar"))
    }

    fn reference(&self, place: Place, what: &str, name: &str) -> String {
        match place {
            Place::Folder => format!("oci:{}:{name}", self.folder.path().join(what).display()),
            Place::Archive => format!("oci-archive:{}", self.archive(name).display()),
            Place::Registry => format!("{}/{what}:{name}", self.registry),
        }
    }

    /// The digest of a case's result, or the exit code.
    fn squash(&self, number: usize, case: &Case, input: &Input) -> Result<String> {
        let from = self.reference(case.from, "source", &input.name);
        let to = self.reference(case.to, &format!("result-{number}"), &format!("result-{number}"));
        let mut arguments = vec!["squash", &from, &to, "--output", "json", "--progress", "none"];
        arguments.extend(case.options.iter().map(String::as_str));
        let run = command::run(arguments)?;
        if !run.status.success() {
            return Ok(format!("exit {}", run.code()));
        }
        let result = run.json()?;
        Ok(result["digest"].as_str().context("a digest")?.to_owned())
    }
}

/// Runs every case, on every core.
fn results(ground: &Ground, inputs: &[Input], cases: &[Case], digests: &[String]) -> Table {
    let (next, table) = (AtomicUsize::new(0), Mutex::new(Table::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(number) else { return };
            let result = ground.squash(number, case, &inputs[case.input]);
            let result = result.unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
            let row = Row { source: digests[case.input].clone(), result };
            table.lock().expect("no thread panics").insert(case.name.clone(), row);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    table.into_inner().expect("no thread panics")
}

fn differences(written: &Table, found: &Table) -> Vec<String> {
    let difference = |(name, row): (&String, &Row)| match found.get(name) {
        None => Some(format!("{name}: no such case any more")),
        Some(now) if now.source != row.source => Some(format!("{name}: another image is read")),
        Some(now) if now.result != row.result => {
            Some(format!("{name}: was {}, is {}", row.result, now.result))
        }
        Some(_) => None,
    };
    written.iter().filter_map(difference).collect()
}

#[test]
fn every_digest_is_the_one_that_was_written_down() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(Options::default())).expect("a registry");
    let ground = Ground { folder: fast_folder().expect("a folder"), registry: server.host() };
    let (inputs, mut cases) = cases();
    let writes = std::env::var_os("UNBLOAT_GOLDEN").is_some_and(|value| value == "write");
    let written = table::read().unwrap_or_default();
    if !writes {
        // A ready case that came later is pinned when the table is written the next time.
        cases.retain(|case| written.contains_key(&case.name));
    }
    let digests = ground.prepare(&inputs, &cases).expect("the images");
    let found = results(&ground, &inputs, &cases, &digests);
    let differences = differences(&written, &found);
    if writes {
        println!("{} cases of {} differ:\n{}", differences.len(), found.len(), differences.join("\n"));
        return table::write(&found).expect("written");
    }
    assert!(written.len() >= 60, "{} cases in the table", written.len());
    assert!(
        differences.is_empty(),
        "{} of {} results are not what they were:\n{}",
        differences.len(),
        written.len(),
        differences.join("\n")
    );
    assert_eq!(leftovers(ground.folder.path()), 0, "temporary files are left");
}

/// Files of the command's own that nobody took away again.
fn leftovers(folder: &Path) -> usize {
    let names = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with('.')).count()
}
