//! Files that are made from the custom resources' types: their definitions, and the tables of the
//! documentation.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use kube::CustomResourceExt;
use serde_json::Value;
use unbloat_api::reason::{Kind, Reason};
use unbloat_api::{Finding, ImageReport, ImageSquashJob, ImageSquashPolicy};

use crate::generated::Generated;

/// All of them.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    let mut files: Vec<Generated> = Vec::new();
    for (definition, rule) in [
        (
            serde_json::to_value(ImageSquashJob::crd())?,
            "Every field of the spec but `suspend` and `ttlSecondsAfterFinished` is immutable.",
        ),
        (
            serde_json::to_value(ImageSquashPolicy::crd())?,
            "It is of the cluster. Every field of the spec may change; what it says then holds from the next decision on. \
             [policies.md](policies.md) has examples.",
        ),
        (
            serde_json::to_value(ImageReport::crd())?,
            "It is made by the operator in the namespace where the image is used, is at most 4 KiB, and goes a day after \
             the last user went.",
        ),
    ] {
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap_or_default();
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap_or_default().to_lowercase();
        files.push((format!("config/crd/unbloat.dev_{plural}.yaml").into(), plain(&definition)?));
        files.push((format!("charts/unbloat/templates/crd-{plural}.yaml").into(), templated(&definition)?));
        files.push((format!("docs/operator/{kind}.md").into(), reference(&definition, rule)));
    }
    files.push(("docs/operator/reasons.md".into(), reasons()));
    files.push(("docs/operator/findings.md".into(), findings()));
    Ok(files)
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

fn reference(definition: &Value, rule: &str) -> String {
    let names = &definition["spec"]["names"];
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut text = format!(
        "# {}\n\n<!-- Generated from crates/api by `cargo xtask generate`. -->\n\n`{}/{}`, short name `{}`. {rule}\n",
        names["kind"].as_str().unwrap_or_default(),
        unbloat_api::GROUP,
        unbloat_api::VERSION,
        names["shortNames"][0].as_str().unwrap_or_default(),
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

fn findings() -> String {
    let mut text = "# Reasons of reports and policies\n\n<!-- Generated from crates/api by `cargo xtask generate`. -->\n\n\
        What an ImageReport and an ImageSquashPolicy give as reasons. `policies` is the reason that a report has for each \
        policy that matches its image; the other names are those of conditions and fields.\n\n\
        | reason | where | what was found | what to do |\n|---|---|---|---|\n"
        .to_owned();
    for finding in Finding::ALL {
        let _ = writeln!(
            text,
            "| `{finding}` | {} | {} | {} |",
            finding.carriers(),
            finding.meaning(),
            finding.what_to_do()
        );
    }
    text
}
