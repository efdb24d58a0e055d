//! The ready-made cases: what the rules say must come out.

use unbloat_layers::Options;
use unbloat_proof::{
    engine, model,
    ready::{Case, cases},
};

#[test]
fn the_plain_model_gives_every_ready_made_case_as_it_is_written() {
    let cases = cases();
    assert!(cases.len() >= 83, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for Case { id, layers, expect } in cases {
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
    for Case { id, layers, expect } in cases() {
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
