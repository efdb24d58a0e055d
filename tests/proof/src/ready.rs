//! The ready-made cases, which live with the crate whose rules they show: `crates/layers/tests/torture`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

const CASES: &str = include_str!("../../../crates/layers/tests/torture/cases.json");

/// A stack of layers and the merged tree that the rules make of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// Layers as tars, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The merged tree as [`crate::model::listing`] writes it, or `error`.
    pub expect: String,
}

/// Every case, by name.
pub fn cases() -> Vec<Case> {
    stacks(CASES)
}

/// Cases as the file has them: `{id: {layers: [base64 of a tar, lowest first], expect}}`.
pub(crate) fn stacks(json: &str) -> Vec<Case> {
    let parsed: Value = serde_json::from_str(json).expect("the cases are JSON");
    let case = |(id, case): (&String, &Value)| {
        let tars = case["layers"].as_array().expect("layers");
        let tar = |tar: &Value| STANDARD.decode(tar.as_str().expect("text")).expect("base64");
        let expect = case["expect"].as_str().unwrap_or_default().to_owned();
        Case { id: id.clone(), layers: tars.iter().map(tar).collect(), expect }
    };
    parsed.as_object().expect("an object of cases").iter().map(case).collect()
}
