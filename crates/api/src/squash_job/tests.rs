//! Each rule and default of the schema, as the API server would apply it.

use kube::CustomResourceExt;
use kube::core::cel::apply_defaults;
use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    let crd = ImageSquashJob::crd();
    serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
        .unwrap()
}

/// A job as the API server has it after defaulting, with a merge patch on its spec.
fn job(patch: &Value) -> ImageSquashJob {
    let mut object = json!({
        "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob",
        "metadata": {"name": "job", "namespace": "team"},
        "spec": {"source": {"image": "a.example/b:c"}, "target": {"image": "a.example/b:d"}},
    });
    merge(&mut object["spec"], patch);
    serde_json::from_value(apply_defaults(&schema(), &object)).unwrap()
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else if target.get(key).is_some_and(Value::is_object) {
            merge(&mut target[key], value);
        } else {
            target[key] = value.clone();
        }
    }
}

#[test]
fn the_defaults_are_in_the_schema_and_are_those_of_the_types() {
    let object = json!({"spec": {"source": {"image": "a"}, "target": {"image": "b"}}});
    let defaulted = apply_defaults(&schema(), &object);
    let by_types: ImageSquashJobSpec = serde_json::from_value(object["spec"].clone()).unwrap();
    let by_schema: ImageSquashJobSpec = serde_json::from_value(defaulted["spec"].clone()).unwrap();
    assert_eq!(by_types, by_schema);
    for (field, value) in [
        ("serviceAccountName", json!("default")),
        ("strict", json!(false)),
        ("compression", json!("Keep")),
        ("format", json!("Keep")),
        ("verify", json!(true)),
        ("suspend", json!(false)),
        ("backoffLimit", json!(3)),
        ("activeDeadlineSeconds", json!(21600)),
    ] {
        assert_eq!(defaulted["spec"][field], value, "{field}");
    }
}

#[test]
fn a_rule_that_is_broken_names_the_field_and_says_what_to_do() {
    for (patch, words) in [
        (json!({"target": {"moveTag": true}}), "give either image, or moveTag"),
        (json!({"target": {"image": null}}), "give either image, or moveTag"),
        (json!({"target": {"image": "a.example/b:c"}}), "set target.moveTag instead"),
        (
            json!({"source": {"image": "a.example/b@sha256:00"}, "target": {"image": null, "moveTag": true}}),
            "needs a source with a tag",
        ),
        (json!({"base": {}}), "give either layers or image"),
        (json!({"base": {"layers": 1, "image": "x"}}), "give either layers or image"),
        (json!({"compression": "Zstd", "format": "Docker"}), "Docker manifests have no zstd layers"),
        (json!({"worker": {"scratch": {}}}), "exactly one of emptyDir"),
        (
            json!({"worker": {"scratch": {"emptyDir": {"sizeLimit": "1Gi"}, "ephemeral": {"size": "1Gi"}}}}),
            "exactly one of emptyDir",
        ),
    ] {
        let errors = job(&patch).validate_cel().expect_err(&patch.to_string());
        let text = errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("\n");
        assert!(text.contains(words), "{patch}: {text}");
    }
}

#[test]
fn valid_jobs_pass_every_rule() {
    for patch in [
        json!({}),
        json!({"target": {"image": null, "moveTag": true}}),
        json!({"base": {"layers": 3}}),
        json!({"base": {"image": "a.example/base:1"}}),
        json!({"compression": "Zstd", "format": "OCI"}),
        json!({"worker": {"scratch": {"ephemeral": {"size": "1Gi"}}}}),
    ] {
        let job = job(&patch);
        if let Err(errors) = job.validate_cel() {
            panic!("{patch}: {errors:?}");
        }
        job.validate_cel_update(&job).unwrap();
    }
}

#[test]
fn every_field_but_two_is_immutable_and_the_refusal_names_it() {
    let changes = [
        ("source", json!({"source": {"image": "other.example/b:c"}})),
        ("source", json!({"source": {"plainHTTP": true}})),
        ("target", json!({"target": {"image": "a.example/b:other"}})),
        ("target", json!({"target": {"pushSecret": {"name": "s"}}})),
        ("serviceAccountName", json!({"serviceAccountName": "other"})),
        ("remove", json!({"remove": ["/var/log/btmp"]})),
        ("truncate", json!({"truncate": ["/var/log/btmp"]})),
        ("strict", json!({"strict": true})),
        ("base", json!({"base": {"layers": 1}})),
        ("platforms", json!({"platforms": ["linux/amd64"]})),
        ("compression", json!({"compression": "Gzip"})),
        ("level", json!({"level": 9})),
        ("format", json!({"format": "OCI"})),
        ("verify", json!({"verify": false})),
        ("backoffLimit", json!({"backoffLimit": 9})),
        ("activeDeadlineSeconds", json!({"activeDeadlineSeconds": 9})),
        ("worker", json!({"worker": {"priorityClassName": "p"}})),
    ];
    let before = job(&json!({}));
    for (field, patch) in &changes {
        let after = job(patch);
        // Both ways: a field that comes, and one that goes.
        for (new, old) in [(&after, &before), (&before, &after)] {
            let errors = new.validate_cel_update(old).expect_err(field);
            let message = format!("{field} is immutable");
            assert!(errors.iter().any(|error| error.message.starts_with(&message)), "{field}: {errors:?}");
        }
    }
    for patch in [json!({"suspend": true}), json!({"ttlSecondsAfterFinished": 5})] {
        job(&patch).validate_cel_update(&before).unwrap();
        before.validate_cel_update(&job(&patch)).unwrap();
    }

    // A new field must be in one of the two lists.
    let properties = schema()["properties"]["spec"]["properties"].clone();
    for name in properties.as_object().unwrap().keys() {
        let known = ["suspend", "ttlSecondsAfterFinished"].contains(&name.as_str())
            || changes.iter().any(|(field, _)| field == name);
        assert!(known, "{name} is neither mutable nor tested to be immutable");
    }
}

#[test]
fn a_name_that_is_too_long_for_the_workers_job_is_refused() {
    let mut job = job(&json!({}));
    job.metadata.name = Some("a".repeat(52));
    job.validate_cel().unwrap();
    job.metadata.name = Some("a".repeat(53));
    let errors = job.validate_cel().unwrap_err();
    assert!(errors.iter().any(|error| error.message.contains("at most 52 characters")), "{errors:?}");
}

#[test]
fn every_string_list_and_map_that_a_user_writes_is_bounded() {
    fn walk(path: &str, schema: &Value, unbounded: &mut Vec<String>) {
        let bounded = |key: &str| schema.get(key).is_some();
        match schema.get("type").and_then(Value::as_str) {
            Some("string") if !bounded("maxLength") && !bounded("enum") => unbounded.push(path.to_owned()),
            Some("array") => {
                if !bounded("maxItems") {
                    unbounded.push(path.to_owned());
                }
                walk(&format!("{path}[]"), &schema["items"], unbounded);
            }
            Some("object") => {
                if schema.get("additionalProperties").is_some() && !bounded("maxProperties") {
                    unbounded.push(path.to_owned());
                }
                for (name, property) in
                    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
                {
                    walk(&format!("{path}.{name}"), property, unbounded);
                }
            }
            _ => {}
        }
    }
    let mut unbounded = Vec::new();
    walk("spec", &schema()["properties"]["spec"], &mut unbounded);
    // Kubernetes' own type; the list of them is bounded.
    unbounded.retain(|path| !path.starts_with("spec.worker.tolerations[]"));
    assert_eq!(unbounded, Vec::<String>::new());
}

#[test]
fn the_definition_has_names_columns_and_selectable_fields() {
    let crd = ImageSquashJob::crd();
    let names = &crd.spec.names;
    assert_eq!(
        (names.plural.as_str(), names.short_names.as_deref()),
        ("imagesquashjobs", Some(&["isj".to_owned()][..]))
    );
    assert_eq!(names.categories.as_deref(), Some(&["unbloat".to_owned()][..]));
    let version = &crd.spec.versions[0];
    let columns: Vec<_> =
        version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
    assert_eq!(
        columns[..8],
        ["Image", "Layers", "Size", "Reclaimed", "Succeeded", "Reason", "Progress", "Age"]
    );
    assert_eq!(version.selectable_fields.as_ref().unwrap().len(), 2);
    assert!(version.subresources.as_ref().unwrap().status.is_some());
}
