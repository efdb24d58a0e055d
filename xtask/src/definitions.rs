//! Files that are made from the custom resources' types: their definitions, and the tables of the documentation.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use kube::CustomResourceExt;
use serde_json::Value;
use unbloat_api::ImageSquashJob;
use unbloat_api::reason::{Kind, Reason};

use crate::generated::Generated;

/// All of them.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    let definition = definition()?;
    let files = [
        ("config/crd/unbloat.dev_imagesquashjobs.yaml", plain(&definition)?),
        ("charts/unbloat/templates/crd-imagesquashjobs.yaml", templated(&definition)?),
        ("docs/operator/imagesquashjob.md", reference(&definition)),
        ("docs/operator/reasons.md", reasons()),
    ];
    Ok(files.map(|(path, text)| (path.into(), text)).into())
}

fn definition() -> Result<Value> {
    Ok(serde_json::to_value(ImageSquashJob::crd())?)
}

const HEADER: &str = "# Generated from crates/api by `cargo xtask generate`.\n";

fn plain(definition: &Value) -> Result<String> {
    Ok(format!("{HEADER}{}", yaml(definition)?))
}

/// In the chart's templates, and not in its `crds` folder, which helm never upgrades.
fn templated(definition: &Value) -> Result<String> {
    let mut definition = definition.clone();
    definition["metadata"]["annotations"] = serde_json::json!({ "unbloat.dev/keep": "" });
    let text = yaml(&definition)?;
    if text.contains("{{") {
        bail!("a description has braces, which helm would take for a template");
    }
    let marker = text
        .lines()
        .find(|line| line.contains("unbloat.dev/keep"))
        .context("the marker is in the definition")?
        .to_owned();
    let text = text.replace(
        &format!("  annotations:\n{marker}\n"),
        "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n",
    );
    if text.contains("unbloat.dev/keep") {
        bail!("the annotation was not replaced");
    }
    Ok(format!("{HEADER}{{{{- if .Values.crds.enabled }}}}\n{text}{{{{- end }}}}\n"))
}

fn yaml(value: &Value) -> Result<String> {
    let text = serde_saphyr::to_string(value).context("write YAML")?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

fn reference(definition: &Value) -> String {
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut text = format!(
        "# ImageSquashJob\n\n<!-- Generated from crates/api by `cargo xtask generate`. -->\n\n`{}/{}`, short name `isj`. {}\n",
        unbloat_api::GROUP,
        unbloat_api::VERSION,
        "Every field of the spec but `suspend` and `ttlSecondsAfterFinished` is immutable."
    );
    for part in ["spec", "status"] {
        let _ = write!(text, "\n## {part}\n\n| field | type | default | meaning |\n|---|---|---|---|\n");
        rows(&mut text, part, &schema[part]);
    }
    text
}

fn rows(text: &mut String, path: &str, schema: &Value) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &property["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            default => format!("`{default}`"),
        };
        let meaning =
            property["description"].as_str().unwrap_or_default().split("\n\n").next().unwrap_or_default();
        let meaning = meaning.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(text, "| `{path}` | {} | {default} | {meaning} |", kind(property));
        // Kubernetes' own types are documented there.
        if !name.starts_with("tolerations") && !name.starts_with("conditions") {
            rows(text, &path, property);
            rows(text, &format!("{path}[]"), &property["items"]);
        }
    }
}

fn kind(property: &Value) -> String {
    if let Some(values) = property["enum"].as_array() {
        let values: Vec<_> =
            values.iter().filter(|value| !value.is_null()).map(|value| format!("`{value}`")).collect();
        return values.join(", ").replace('"', "");
    }
    match property["type"].as_str() {
        Some("array") => format!("list of {}", property["items"]["type"].as_str().unwrap_or("quantity")),
        Some(kind) => kind.to_owned(),
        None => "quantity".to_owned(),
    }
}

fn reasons() -> String {
    let mut text = "# Conditions and reasons\n\n<!-- Generated from crates/api by `cargo xtask generate`. -->\n\n\
        `Succeeded` is the summary of a job: `Unknown` while it waits or runs, then `True` or `False`. \
        `SourceResolved` says whether the source is pinned to a digest. Each reason below is also the `reason` of an event \
        and a label of the metrics.\n\n| reason | kind | what happened | what to do |\n|---|---|---|---|\n"
        .to_owned();
    for reason in Reason::ALL {
        let kind = match reason.kind() {
            Kind::Progressing => "goes on",
            Kind::Success => "success",
            Kind::Final => "final",
            Kind::Retried => "retried",
        };
        let _ = writeln!(text, "| `{reason}` | {kind} | {} | {} |", reason.meaning(), reason.what_to_do());
    }
    text
}
