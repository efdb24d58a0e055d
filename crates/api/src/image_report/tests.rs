//! The schema of reports, as the API server would apply it.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::*;
use crate::squash_policy::tests::unbounded;

fn schema() -> Value {
    let crd = ImageReport::crd();
    serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
        .unwrap()
}

fn report(change: &Value) -> ImageReport {
    let mut spec = json!({
        "reference": "a.example/b:c", "repository": "a.example/b", "digest": "sha256:00112233445566778899",
    });
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageReport",
        "metadata": {"name": "report", "namespace": "team"}, "spec": spec,
    }))
    .unwrap()
}

#[test]
fn identity_is_immutable_and_the_refusal_names_the_field() {
    let before = report(&json!({}));
    before.validate_cel_update(&before).unwrap();
    for field in ["reference", "repository", "digest"] {
        let errors = report(&json!({field: "another"})).validate_cel_update(&before).expect_err(field);
        assert!(
            errors.iter().any(|error| error.message.starts_with(&format!("{field} is immutable"))),
            "{errors:?}"
        );
    }
}

#[test]
fn every_string_list_and_number_is_bounded() {
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        unbounded(part, &schema()["properties"][part], &mut found);
    }
    found.retain(|path| !path.starts_with("status.conditions[]"));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_definition_has_names_and_columns() {
    let crd = ImageReport::crd();
    assert_eq!(crd.spec.scope, "Namespaced");
    let names = &crd.spec.names;
    assert_eq!(
        (names.plural.as_str(), names.short_names.as_deref()),
        ("imagereports", Some(&["imgr".to_owned()][..]))
    );
    let version = &crd.spec.versions[0];
    let columns: Vec<_> =
        version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
    assert_eq!(columns[..8], ["Image", "Layers", "Size", "Wasted", "Verdict", "Used-By", "Result", "Age"]);
}
