//! The chart's README: each value with its default and the comment that stands over it in `values.yaml`.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{generated::Generated, shell::workspace};

/// One value, as the file has it.
struct Row {
    /// Names from the outermost one.
    path: Vec<String>,
    /// The comment over it.
    about: String,
    /// Whether it has values of its own instead of one.
    is_map: bool,
}

const HEAD: &str = "\
<!-- Generated from values.yaml and Chart.yaml by `cargo xtask generate`. -->
# Unbloat

An operator that finds bloated container images in a cluster and repairs them: layers that copy the same bytes again and again become few,
and nothing is lost. Kubernetes 1.30 or later.

```
helm install unbloat charts/unbloat --namespace unbloat-system --create-namespace
helm test unbloat --namespace unbloat-system
```

More: [install](../../docs/operator/install.md), [configuration](../../docs/operator/configuration.md),
[security](../../docs/operator/security.md), [operations](../../docs/operator/operations.md). `values.schema.json` refuses what is not
listed here.

## Values

| value | default | meaning |
|---|---|---|
";

/// It.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    let text = fs::read_to_string(workspace().join("charts/unbloat/values.yaml"))?;
    let values: Value = serde_saphyr::from_str(&text)?;
    let mut page = HEAD.to_owned();
    for Row { path, about, is_map } in rows(&text) {
        let default = if is_map {
            String::new()
        } else {
            let pointer: String = path.iter().map(|name| format!("/{}", name.replace('/', "~1"))).collect();
            let default = values.pointer(&pointer).with_context(|| format!("no value at {pointer}"))?;
            format!("`{default}`")
        };
        // As `--set` takes it.
        let shown = path.iter().map(|name| name.replace('.', "\\.")).collect::<Vec<_>>().join(".");
        // A map that nothing is said of has its values as rows.
        if !is_map || !about.is_empty() {
            writeln!(
                page,
                "| `{}` | {} | {} |",
                shown,
                default.replace('|', "\\|"),
                about.replace('|', "\\|")
            )?;
        }
    }
    Ok(vec![("charts/unbloat/README.md".into(), page)])
}

/// Every value of the file, in its order. Lines are enough: the file is ours, in block style, indented by
/// two.
fn rows(text: &str) -> Vec<Row> {
    let lines: Vec<&str> = text.lines().collect();
    let mut rows = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut about: Vec<&str> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        if let Some(comment) = trimmed.strip_prefix('#') {
            about.push(comment.trim());
            continue;
        }
        let depth = (line.len() - trimmed.len()) / 2;
        // What is within a list is part of its default.
        let name =
            trimmed.split_once(':').filter(|_| !trimmed.starts_with('-') && !is_in_list(&lines[..at], depth));
        if let Some((name, value)) = name {
            path.truncate(depth);
            path.push(name.to_owned());
            let follows = lines[at + 1..]
                .iter()
                .find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
            let has_more = follows.is_some_and(|next| {
                let inner = next.trim_start();
                next.len() - inner.len() > depth * 2 && !inner.starts_with('-')
            });
            let is_map = value.trim().is_empty() && has_more;
            rows.push(Row { path: path.clone(), about: about.join(" "), is_map });
        }
        about.clear();
    }
    rows
}

/// Whether a line of this depth lies within an item of a list.
fn is_in_list(before: &[&str], mut depth: usize) -> bool {
    for line in before.iter().rev() {
        let trimmed = line.trim_start();
        let own = (line.len() - trimmed.len()) / 2;
        if trimmed.is_empty() || trimmed.starts_with('#') || own >= depth {
            continue;
        }
        if trimmed.starts_with('-') {
            return true;
        }
        depth = own;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_found_with_its_comment() {
        let text = "\
# What runs.
# By digest.
image:
  tag: \"\"  
  # Where.
  registry: r
list:
  - a: 1
    b: 2
    c:
      d: 3
# Not of the list.
last: {x: 1}
";
        let found: Vec<(String, String, bool)> =
            rows(text).into_iter().map(|row| (row.path.join("."), row.about, row.is_map)).collect();
        let wanted = [
            ("image", "What runs. By digest.", true),
            ("image.tag", "", false),
            ("image.registry", "Where.", false),
            ("list", "", false),
            ("last", "Not of the list.", false),
        ];
        assert_eq!(found, wanted.map(|(path, about, is_map)| (path.to_owned(), about.to_owned(), is_map)));
    }
}
