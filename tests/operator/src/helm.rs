//! The chart's objects, as helm renders them without a cluster.

use std::process::Command;

use serde_json::Value;
use unbloat_cluster::{Extra, Result, extra, run};

/// Where the project's folders are.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The text that helm makes of the chart with these words (`--set`, `NAME=VALUE`, …).
///
/// # Errors
/// When helm refuses, with what it said.
pub async fn template(words: &[&str]) -> Result<String> {
    let mut command = Command::new(extra(Extra::Helm)?);
    let chart = format!("{WORKSPACE}/charts/unbloat");
    command.args(["template", "unbloat", &chart, "--namespace=unbloat-system", "--kube-version=1.34.0"]);
    command.args(words);
    run(command).await
}

/// The same as objects.
///
/// # Errors
/// When helm refuses, with what it said.
///
/// # Panics
/// When helm makes something that is no YAML.
pub async fn rendered(words: &[&str]) -> Result<Vec<Value>> {
    Ok(objects(&template(words).await?))
}

/// Every object of a text of YAML documents.
///
/// # Panics
/// When a document is no YAML.
pub fn objects(text: &str) -> Vec<Value> {
    let documents = format!("\n{text}").split("\n---").map(str::to_owned).collect::<Vec<_>>();
    documents
        .iter()
        .map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
        .filter(|object: &Value| !object.is_null())
        .collect()
}

/// The objects of one kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// A file of the project.
///
/// # Panics
/// When it can't be read.
pub fn project_file(path: &str) -> String {
    std::fs::read_to_string(format!("{WORKSPACE}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}
