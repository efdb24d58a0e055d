//! Generated files: written by `cargo xtask generate`, committed, and compared by the tests.
//!
//! A generator is a function that answers with paths and contents; add one to [`GENERATORS`].

use std::{fs, path::PathBuf};

use anyhow::{Result, bail};

use crate::shell::workspace;

/// A file relative to the workspace's root, and what must stand in it.
pub(crate) type Generated = (PathBuf, String);

/// One kind of generated files.
pub(crate) type Generator = fn() -> Result<Vec<Generated>>;

/// Every kind, by name.
pub(crate) const GENERATORS: [(&str, Generator); 7] = [
    ("api", crate::definitions::generate),
    ("admission", crate::admission::generate),
    ("analysis", crate::analysis::generate),
    ("dashboard", crate::dashboard::generate),
    ("values", crate::values::generate),
    // Builds the command.
    ("man", crate::man::generate),
    ("rbac", crate::rbac::generate),
];

/// `cargo xtask generate [--check]`.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write().map(|()| true),
        ["--check"] => check().map(|stale| stale.is_empty()),
        _ => bail!("usage: cargo xtask generate [--check]"),
    }
}

fn write() -> Result<()> {
    for (name, generator) in GENERATORS {
        for (path, text) in generator()? {
            println!("{name}: {}", path.display());
            let path = workspace().join(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, text)?;
        }
    }
    Ok(())
}

/// The files that differ from what would be written.
pub(crate) fn check() -> Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    for (name, generator) in GENERATORS {
        for (path, text) in generator()? {
            if fs::read_to_string(workspace().join(&path)).ok().as_deref() != Some(text.as_str()) {
                println!("{name}: {} is stale: run `cargo xtask generate`", path.display());
                stale.push(path);
            }
        }
    }
    Ok(stale)
}
