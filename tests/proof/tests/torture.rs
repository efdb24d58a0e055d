//! The ready-made cases: what the rules say must come out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use unbloat_layers::Options;
use unbloat_proof::{engine, model};

const CASES: &str = include_str!("../torture/cases.json");

/// Cases whose written result contradicts their own layers, with the result that the layers give.
///
/// The second layer of the sparse case is one plain file `x`, which nothing removes: GNU tar unpacks it too, and the
/// seven other cases with that same second layer list it. The data is kept as it came.
const CORRECTED: [(&str, &str, &str); 1] =
    [("F07-gnu-sparse-S", "f=sparse:8192 g=after", "f=sparse:8192 g=after x=x")];

fn cases() -> Vec<(String, Vec<Vec<u8>>, String)> {
    let parsed: serde_json::Value = serde_json::from_str(CASES).expect("the cases are JSON");
    let cases = parsed.as_object().expect("an object of cases");
    cases
        .iter()
        .map(|(id, case)| {
            let layers = case["layers"].as_array().expect("layers");
            let layers =
                layers.iter().map(|tar| STANDARD.decode(tar.as_str().expect("text")).expect("base64"));
            let mut expect = case["expect"].as_str().expect("text");
            if let Some((_, written, right)) = CORRECTED.iter().find(|(corrected, ..)| corrected == id) {
                assert_eq!(expect, *written, "{id} was corrected at its source: drop it from the list");
                expect = right;
            }
            (id.clone(), layers.collect(), expect.to_owned())
        })
        .collect()
}

#[test]
fn the_plain_model_gives_every_ready_made_case_as_it_is_written() {
    let cases = cases();
    assert_eq!(cases.len(), 83);
    let mut wrong = Vec::new();
    for (id, layers, expect) in cases {
        let (found, reason) = match model::merge(&layers) {
            Ok(tree) => (model::listing(&tree), String::new()),
            Err(error) => ("error".to_owned(), error.0),
        };
        if found != expect {
            wrong.push(format!("{id}: should be\n  {expect}\nfound\n  {found} {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_gives_every_ready_made_case_with_all_its_metadata() {
    let mut wrong = Vec::new();
    for (id, layers, expect) in cases() {
        let found = engine::flatten(&layers, &Options::default(), 1 << 20);
        if expect == "error" {
            if let Ok(output) = found {
                wrong.push(format!(
                    "{id}: should be refused, found {:?}",
                    model::merge(&[output]).map(|t| model::listing(&t))
                ));
            }
            continue;
        }
        match found.and_then(|output| model::merge(&[output]).map_err(|error| error.0)) {
            Ok(tree) => {
                let expected = model::merge(&layers).expect("the model agrees with the case");
                let differences = model::diff(&expected, &tree);
                if model::listing(&tree) != expect || !differences.is_empty() {
                    wrong.push(format!(
                        "{id}: should be\n  {expect}\nfound\n  {}\n  {differences:?}",
                        model::listing(&tree)
                    ));
                }
            }
            Err(error) => wrong.push(format!("{id}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
