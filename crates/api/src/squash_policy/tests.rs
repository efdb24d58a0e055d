//! Each rule, bound and default of the schema, as the API server would apply it.

use kube::CustomResourceExt;
use kube::core::cel::apply_defaults;
use serde_json::{Value, json};

use super::*;

pub(crate) fn schema() -> Value {
    let crd = ImageSquashPolicy::crd();
    serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
        .unwrap()
}

/// A policy as the API server has it after defaulting.
fn policy(spec: &Value) -> ImageSquashPolicy {
    let object = json!({
        "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashPolicy",
        "metadata": {"name": "policy"}, "spec": spec,
    });
    serde_json::from_value(apply_defaults(&schema(), &object)).unwrap()
}

#[test]
fn the_defaults_are_in_the_schema_and_are_those_of_the_types() {
    for spec in [
        json!({}),
        json!({"thresholds": {"layers": 30}}),
        json!({"selector": {"images": {"exclude": ["x"]}}, "limits": {"maxConcurrentJobs": 7}}),
        json!({"windows": [{"schedule": "0 1 * * *", "durationSeconds": 60}]}),
        json!({"retention": {}}),
    ] {
        let by_types: ImageSquashPolicySpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(by_types, policy(&spec).spec, "{spec}");
    }
    let spec = serde_json::to_value(policy(&json!({})).spec).unwrap();
    for (pointer, value) in [
        ("/suspend", json!(false)),
        ("/mode", json!("Report")),
        ("/selector/sources", json!(["Pods", "Devboxes"])),
        ("/selector/images/include", json!(["*"])),
        ("/thresholds/match", json!("Any")),
        ("/thresholds/layers", json!(50)),
        ("/thresholds/size", json!("10Gi")),
        ("/thresholds/wastedBytes", json!("1Gi")),
        ("/thresholds/wastedPercent", json!(20)),
        ("/analysis", json!("OverThreshold")),
        ("/credentials", json!("Platform")),
        ("/stability/minAgeSeconds", json!(3600)),
        ("/stability/cooldownSeconds", json!(86400)),
        ("/limits/maxConcurrentJobs", json!(2)),
        ("/limits/maxJobsPerHour", json!(10)),
        ("/limits/maxBytesPerDay", json!("500Gi")),
        ("/jobNamespace", json!("unbloat-system")),
        ("/target/tagSuffix", json!("-unbloat")),
        ("/rollout/strategy", json!("None")),
        ("/failure/quarantineAfter", json!(3)),
        ("/failure/quarantineSeconds", json!(86400)),
        ("/successfulJobsHistoryLimit", json!(5)),
        ("/failedJobsHistoryLimit", json!(5)),
    ] {
        assert_eq!(spec.pointer(pointer), Some(&value), "{pointer}");
    }
    assert_eq!(policy(&json!({"thresholds": {"layers": 30}})).spec.thresholds.size, None);
}

#[test]
fn a_rule_that_is_broken_names_the_field_and_says_what_to_do() {
    for (spec, words) in [
        (json!({"target": {}}), "exactly one of tagSuffix, repository and moveTag"),
        (json!({"target": {"tagSuffix": "-a", "moveTag": true}}), "exactly one of tagSuffix"),
        (json!({"target": {"repository": "a.example/b", "tagSuffix": "-x"}}), "exactly one of tagSuffix"),
        (json!({"target": {"repository": "a.example/b", "moveTag": true}}), "exactly one of tagSuffix"),
        (json!({"thresholds": {}}), "thresholds needs at least one of layers, size, wastedBytes"),
        (json!({"thresholds": {"match": "All"}}), "thresholds needs at least one"),
        (
            json!({"analysis": "Never", "thresholds": {"wastedBytes": "1Gi"}}),
            "never known with analysis Never",
        ),
        (json!({"analysis": "Never", "thresholds": {"wastedPercent": 5}}), "never known with analysis Never"),
        (
            json!({"analysis": "Never", "thresholds": {"match": "All", "layers": 5, "wastedPercent": 5}}),
            "never met with analysis Never",
        ),
        (
            json!({"rollout": {"strategy": "Devbox"}, "selector": {"sources": ["Pods"]}}),
            "rollout.strategy Devbox needs Devboxes",
        ),
        (json!({"retention": {}, "target": {"moveTag": true}}), "needs a rollout.strategy"),
        (json!({"jobTemplate": {"spec": {"shape": {"maxLayers": 16}}}}), "shape.maxLayers: this version"),
        (
            json!({"selector": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
            "values is required for operators In and NotIn",
        ),
        (
            json!({"selector": {"namespaceSelector": {"matchExpressions":
                [{"key": "a", "operator": "Exists", "values": ["b"]}]}}}),
            "must be empty for Exists and DoesNotExist",
        ),
        (
            json!({"jobTemplate": {"spec": {"compression": "Zstd", "format": "Docker"}}}),
            "Docker manifests have no zstd layers",
        ),
    ] {
        let errors = policy(&spec).validate_cel().expect_err(&spec.to_string());
        let text = errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("\n");
        assert!(text.contains(words), "{spec}: {text}");
    }
    let mut long = policy(&json!({}));
    long.metadata.name = Some("a".repeat(53));
    let errors = long.validate_cel().unwrap_err();
    assert!(
        errors.iter().any(|error| error.message.contains("metadata.name must be at most 52")),
        "{errors:?}"
    );
}

#[test]
fn valid_policies_pass_every_rule() {
    for spec in [
        json!({}),
        json!({"mode": "Squash", "target": {"moveTag": true}}),
        json!({"mode": "Plan", "target": {"repository": "b.example:5000/squashed"}}),
        json!({"analysis": "Never"}),
        json!({"analysis": "Never", "thresholds": {"layers": 5}}),
        json!({"rollout": {"strategy": "Devbox"}, "selector": {"sources": ["Devboxes"]}}),
        json!({"retention": {"originalSeconds": 0}, "target": {"moveTag": true}, "rollout": {"strategy": "Workload"}}),
        json!({"selector": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}}}),
        json!({"windows": [{"schedule": "0 22 * * 1-5", "durationSeconds": 14400, "timeZone": "Europe/Berlin"}]}),
    ] {
        let policy = policy(&spec);
        if let Err(errors) = policy.validate_cel() {
            panic!("{spec}: {errors:?}");
        }
        policy.validate_cel_update(&policy).unwrap();
    }
}

/// Walks a schema and says what has no bound.
pub(crate) fn unbounded(path: &str, schema: &Value, found: &mut Vec<String>) {
    let has = |key: &str| schema.get(key).is_some();
    match schema.get("type").and_then(Value::as_str) {
        Some("string") if !has("maxLength") && !has("enum") && schema["format"] != "date-time" => {
            found.push(path.to_owned());
        }
        Some("integer") if !(has("minimum") && has("maximum")) => found.push(path.to_owned()),
        Some("array") => {
            if !has("maxItems") {
                found.push(path.to_owned());
            }
            unbounded(&format!("{path}[]"), &schema["items"], found);
        }
        Some("object") => {
            if let Some(values) = schema.get("additionalProperties") {
                if !has("maxProperties") {
                    found.push(path.to_owned());
                }
                unbounded(&format!("{path}{{}}"), values, found);
            }
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                unbounded(&format!("{path}.{name}"), property, found);
            }
        }
        None if has("x-kubernetes-int-or-string") && !has("maxLength") => found.push(path.to_owned()),
        _ => {}
    }
}

#[test]
fn every_string_list_map_and_number_is_bounded() {
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        unbounded(part, &schema()["properties"][part], &mut found);
    }
    // Kubernetes' own types, and those of jobs; the lists of them are bounded.
    found.retain(|path| {
        !path.starts_with("spec.jobTemplate.spec.worker.") && !path.starts_with("status.conditions[]")
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn numbers_at_their_bounds_can_be_read() {
    for (field, least, most) in [
        ("/thresholds/layers", 1_i64, 100_000_i64),
        ("/thresholds/wastedPercent", 1, 100),
        ("/stability/minAgeSeconds", 0, 31_536_000),
        ("/limits/maxConcurrentJobs", 1, 1000),
        ("/limits/maxJobsPerHour", 1, 10_000),
        ("/failure/quarantineAfter", 1, 100),
        ("/retention/originalSeconds", 0, 315_360_000),
        ("/successfulJobsHistoryLimit", 0, 100),
    ] {
        let pointer = format!("/properties/spec{}", field.replace('/', "/properties/"));
        let schema = schema();
        let property = schema.pointer(&pointer).unwrap_or_else(|| panic!("{pointer}"));
        let bounds = (property["minimum"].as_f64(), property["maximum"].as_f64());
        assert_eq!(bounds, (Some(least as f64), Some(most as f64)), "{field}");
        for value in [least, most] {
            let mut spec = json!({});
            let mut parts: Vec<&str> = field.trim_start_matches('/').split('/').collect();
            let last = parts.pop().unwrap();
            let place = parts.iter().fold(&mut spec, |place, part| {
                place[*part] = json!({});
                &mut place[*part]
            });
            place[last] = json!(value);
            policy(&spec);
        }
    }
}

#[test]
fn the_definition_has_names_columns_and_is_of_the_cluster() {
    let crd = ImageSquashPolicy::crd();
    assert_eq!(crd.spec.scope, "Cluster");
    let names = &crd.spec.names;
    assert_eq!(
        (names.plural.as_str(), names.short_names.as_deref()),
        ("imagesquashpolicies", Some(&["isp".to_owned()][..]))
    );
    assert_eq!(names.categories.as_deref(), Some(&["unbloat".to_owned()][..]));
    let version = &crd.spec.versions[0];
    let columns: Vec<_> =
        version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
    assert_eq!(
        columns[..8],
        ["Mode", "Matched", "Over", "Squashed", "Reclaimable", "Ready", "Reason", "Age"]
    );
    assert!(version.subresources.as_ref().unwrap().status.is_some());
}
