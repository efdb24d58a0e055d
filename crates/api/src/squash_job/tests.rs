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
        (json!({"shape": {"maxLayers": 16}}), "shape.maxLayers: this version makes flat results alone"),
        (json!({"shape": {"maxWasteBytes": 1}}), "shape.maxWasteBytes: a flat result hides nothing"),
        (json!({"shape": {"maxLayerSize": "4Gi"}}), "shape.maxLayerSize: this version doesn't cut layers"),
        (json!({"condition": {}}), "give minLayers, minWastedBytes or both"),
        (json!({"compression": "Zstd", "format": "Docker"}), "Docker manifests have no zstd layers"),
        (json!({"worker": {"scratch": {}}}), "exactly one of emptyDir"),
        (json!({"worker": {"cloudIdentity": {}}}), "exactly one of aws"),
        (
            json!({"worker": {"cloudIdentity": {"gcp": {}, "azure": {"clientID": "a", "tenantID": "b"}}}}),
            "exactly one of aws",
        ),
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
        json!({"shape": {}}),
        json!({"condition": {"minLayers": 25}}),
        json!({"condition": {"minWastedBytes": 1_073_741_824}}),
        json!({"shape": {"maxLayers": 1, "maxWasteBytes": 0}}),
        json!({"base": {"image": "a.example/base:1"}}),
        json!({"compression": "Zstd", "format": "OCI"}),
        json!({"worker": {"scratch": {"ephemeral": {"size": "1Gi"}}}}),
        json!({"worker": {"cloudIdentity": {"aws": {"roleARN": "arn:aws:iam::123456789012:role/squash"}}}}),
        json!({"worker": {"cloudIdentity": {"gcp": {}}}}),
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
        ("shape", json!({"shape": {}})),
        ("condition", json!({"condition": {"minLayers": 25}})),
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
fn the_patterns_of_a_spec_are_bounded_together() {
    // The API server counts characters, the check here bytes.
    let pattern = "a".repeat(1000);
    let valid = job(&json!({"remove": vec![pattern.clone(); 8], "truncate": vec![pattern.clone(); 8]}));
    valid.validate_cel().unwrap();
    for patch in [
        json!({"remove": vec![pattern.clone(); 17]}),
        json!({"truncate": vec![pattern.clone(); 17]}),
        json!({"remove": vec![pattern.clone(); 9], "truncate": vec![pattern.clone(); 9]}),
    ] {
        let errors = job(&patch).validate_cel().expect_err("too much");
        assert!(errors.iter().any(|error| error.message.contains("16384 characters together")), "{errors:?}");
    }
}

#[test]
fn a_quantity_may_be_a_number() {
    let job = job(&json!({"worker": {"resources": {"cpu": 2, "memory": 536_870_912}}}));
    let resources = job.spec.worker.unwrap().resources.unwrap();
    assert_eq!((resources.cpu.unwrap().0.as_str(), resources.memory.unwrap().0.as_str()), ("2", "536870912"));
}

#[test]
fn every_number_has_a_maximum() {
    fn walk(path: &str, schema: &Value, unbounded: &mut Vec<String>) {
        let is_number = matches!(schema.get("type").and_then(Value::as_str), Some("integer" | "number"));
        if is_number && (schema.get("maximum").is_none() || schema.get("minimum").is_none()) {
            unbounded.push(path.to_owned());
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, unbounded);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(schema) = schema.get(inner) {
                walk(&format!("{path}[]"), schema, unbounded);
            }
        }
    }
    let mut unbounded = Vec::new();
    walk("", &schema(), &mut unbounded);
    // Kubernetes' own types: 64 bits wide, as the type that reads them; a toleration's has its maximum from
    // us.
    unbounded.retain(|path| {
        path != ".status.conditions[].observedGeneration"
            && path != ".spec.worker.tolerations[].tolerationSeconds"
    });
    assert_eq!(unbounded, Vec::<String>::new());
    let tolerations = &schema()["properties"]["spec"]["properties"]["worker"]["properties"]["tolerations"];
    assert!(tolerations["items"]["properties"]["tolerationSeconds"]["maximum"].is_number(), "{tolerations}");
    assert!(tolerations["items"]["properties"]["value"]["maxLength"].is_number(), "{tolerations}");
}

/// Values that a schema takes, its extremes first: one object that can't be read would otherwise stop a
/// watch.
#[test]
fn whatever_the_schema_takes_can_be_read() {
    struct Draw(u64);
    impl Draw {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }

        fn value(&mut self, schema: &Value) -> Value {
            if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
                let at = usize::try_from(self.below(choices.len() as u64)).unwrap();
                return choices[at].clone();
            }
            if schema.get("x-kubernetes-int-or-string").is_some() {
                return [json!("1500m"), json!(2), json!(-3), json!(i64::MAX)]
                    [usize::try_from(self.below(4)).unwrap()]
                .clone();
            }
            match schema.get("type").and_then(Value::as_str) {
                Some("integer") => {
                    let bound = |name: &str, otherwise: i64| {
                        schema.get(name).and_then(Value::as_f64).map_or(otherwise, |bound| bound as i64)
                    };
                    let (least, most) = (bound("minimum", i64::MIN), bound("maximum", i64::MAX));
                    json!([least, most, least.midpoint(most)][usize::try_from(self.below(3)).unwrap()])
                }
                Some("number") => json!(0.5),
                Some("boolean") => json!(self.below(2) == 1),
                Some("string") if schema.get("format").and_then(Value::as_str) == Some("date-time") => {
                    json!("2026-11-27T18:29:39Z")
                }
                Some("string") => {
                    let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(2000);
                    let length = [1, most][usize::try_from(self.below(2)).unwrap()];
                    json!("ü".repeat(usize::try_from(length).unwrap()))
                }
                Some("array") => {
                    let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(3).min(3);
                    (0..self.below(most + 1)).map(|_| self.value(&schema["items"])).collect()
                }
                _ => {
                    let required: Vec<&str> = schema["required"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .collect();
                    let mut object = serde_json::Map::new();
                    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                        if required.contains(&name.as_str()) || self.below(4) > 0 {
                            object.insert(name.clone(), self.value(property));
                        }
                    }
                    if let Some(values) =
                        schema.get("additionalProperties").filter(|values| values.is_object())
                    {
                        object.insert("k".repeat(300), self.value(values));
                    }
                    Value::Object(object)
                }
            }
        }
    }
    let mut draw = Draw(0x2545_f491_4f6c_dd1d);
    let schema = schema();
    for _ in 0..2000 {
        let mut object = draw.value(&schema);
        object["apiVersion"] = json!("unbloat.dev/v1alpha1");
        object["kind"] = json!("ImageSquashJob");
        object["metadata"] = json!({"name": "drawn", "namespace": "team"});
        let read: Result<ImageSquashJob, _> = serde_json::from_value(object.clone());
        let read = read.unwrap_or_else(|error| panic!("{error}: {}", &object.to_string()[..4000]));
        // And written, so that nothing is lost on the way back.
        let again: ImageSquashJob = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
        assert_eq!(read, again);
    }
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
