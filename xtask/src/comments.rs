//! Comment lines keep to the width that code keeps to. rustfmt formats code and leaves comments as they are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Where the sources are.
const FOLDERS: [&str; 3] = ["crates", "tests", "xtask"];

/// Names each comment line that is wider than `max_width` of rustfmt.toml.
///
/// # Errors
/// There is one.
pub(crate) fn check(workspace: &Path) -> Result<()> {
    let configuration = fs::read_to_string(workspace.join("rustfmt.toml")).context("reading rustfmt.toml")?;
    let width = max_width(&configuration).context("rustfmt.toml says no max_width")?;
    let mut wide = Vec::new();
    for file in FOLDERS
        .into_iter()
        .map(|folder| sources(&workspace.join(folder)))
        .collect::<Result<Vec<_>>>()?
        .concat()
    {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(workspace).unwrap_or(&file).display();
        wide.extend(too_wide(&text, width).into_iter().map(|line| format!("{name}:{line}")));
    }
    if wide.is_empty() {
        return Ok(());
    }
    bail!("{} comment lines are wider than {width} columns:\n{}", wide.len(), wide.join("\n"))
}

fn max_width(configuration: &str) -> Option<usize> {
    let value = configuration.lines().find_map(|line| line.strip_prefix("max_width"))?;
    value.trim().strip_prefix('=')?.trim().parse().ok()
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Numbers of the comment lines, from 1, that are wider than `width` and could be broken. Not rows of tables,
/// not what stands in a block of code, and no line that is one word, as a URL is.
fn too_wide(text: &str, width: usize) -> Vec<usize> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            in_code = false;
            continue;
        };
        let words = comment.trim_start_matches(['/', '!']).trim_start();
        if words.starts_with("```") {
            in_code = !in_code;
        } else if !in_code
            && !words.starts_with('|')
            && words.trim_end().contains(' ')
            && line.chars().count() > width
        {
            found.push(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_comments_are_named_and_code_tables_and_urls_are_not() {
        let wide = "x ".repeat(20);
        let text = format!(
            "let a = \"{wide}\";\n// {wide}\n/// short\n    //! {wide}\n/// ```\n/// {wide}\n/// ```\n/// | {wide}\n// https://{}\n",
            "x".repeat(40)
        );
        assert_eq!(too_wide(&text, 30), [2, 4]);
        assert_eq!(too_wide(&text, 80), [0; 0]);
    }

    #[test]
    fn the_width_is_the_one_of_code() {
        assert_eq!(max_width("use_small_heuristics = \"Max\"\nmax_width = 110\n"), Some(110));
        assert_eq!(max_width(""), None);
    }
}
