//! What is made from the analysis: the JSON schemas of its results, and the table of causes.

use std::fmt::Write as _;

use anyhow::Result;
use schemars::{JsonSchema, schema_for};
use unbloat_analysis::{Analysis, CAUSES, Comparison};

use crate::generated::Generated;

/// All of them.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    Ok(vec![
        ("docs/schema/analysis.json".into(), schema::<Analysis>()?),
        ("docs/schema/comparison.json".into(), schema::<Comparison>()?),
        ("docs/causes.md".into(), causes()),
    ])
}

fn schema<T: JsonSchema>() -> Result<String> {
    Ok(serde_json::to_string_pretty(&schema_for!(T))? + "\n")
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/analysis/src/causes/table.rs by `cargo xtask generate`. -->

# Causes

`unbloat analyze` gives each path that wastes bytes one cause: the first rule of this table that fits. Rules look at the path's name
and at what the layers did to it (brought it, replaced it, deleted it, wrote it again with the same content), never at what is in a file.
A folder with a leading `/` is meant from the root, any other wherever it stands; both with all below them.

*Hidden* bytes are content that the image does not show: a squash gives them back. Where it says *hidden and visible*, the rule also
counts content that the image shows and that need not be there; `--remove` or another build gives that back.

To add a cause, add a row to the table, before the rules that it is more specific than, and run `cargo xtask generate`.
";

fn causes() -> String {
    let mut text = INTRODUCTION.to_owned();
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    for rule in CAUSES {
        let _ = writeln!(text, "\n## {}\n\n`{}`: {}.\n", rule.title, rule.name, rule.counts());
        let _ = writeln!(text, "{}\n\n**What to do.** {}\n", rule.why, rule.advice);
        if !rule.folders.is_empty() {
            let _ = writeln!(text, "Folders: {}.\n", list(rule.folders));
        }
        if !rule.files.is_empty() {
            let _ = writeln!(text, "Files: {}.\n", list(rule.files));
        }
        let _ = writeln!(text, "Source: {}.", rule.source);
    }
    text
}
