//! The manual pages, made by the command itself.
//!
//! The command is run rather than linked: a chore must not wait for the whole product to be compiled.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::{
    generated::Generated,
    shell::{cargo, run},
};

/// One page a command.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    let folder = tempfile::tempdir().context("make a folder for the pages")?;
    let mut man = cargo();
    man.args(["run", "--quiet", "--locked", "--package", "unbloat", "--bin", "unbloat", "--", "man"]);
    run(man.arg(folder.path()))?;
    let mut pages = Vec::new();
    for page in fs::read_dir(folder.path())? {
        let page = page?;
        let name = page.file_name().into_string().ok().context("a page's name is text")?;
        pages.push((["docs", "man", &name].iter().collect(), fs::read_to_string(page.path())?));
    }
    pages.sort();
    ensure!(!pages.is_empty(), "`unbloat man` wrote nothing");
    Ok(pages)
}
