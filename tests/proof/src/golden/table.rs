//! The table: a case's name, the digest of its image, and what came of it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::tools::workspace;

/// What is known of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Digest of the image that was read.
    pub source: String,
    /// Digest of the result, or `exit N`.
    pub result: String,
}

/// Rows by the names of their cases.
pub type Table = BTreeMap<String, Row>;

fn path() -> PathBuf {
    workspace().join("tests/proof/golden/table.json")
}

/// The table as it is committed.
pub fn read() -> Result<Table> {
    let path = path();
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let rows: BTreeMap<String, Value> = serde_json::from_slice(&text)?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| Row { source: text(row, "source"), result: text(row, "result") };
    Ok(rows.iter().map(|(name, value)| (name.clone(), row(value))).collect())
}

/// Writes the table, one line a case, so that a difference shows which.
pub fn write(table: &Table) -> Result<()> {
    let line = |(name, row): (&String, &Row)| {
        format!("{}: {}", json!(name), json!({"source": row.source, "result": row.result}))
    };
    let lines: Vec<String> = table.iter().map(line).collect();
    Ok(fs::write(path(), format!("{{\n{}\n}}\n", lines.join(",\n")))?)
}
