//! The termination message: at most 4 KiB, or Kubernetes cuts it in the middle of the JSON.

use std::path::Path;

use unbloat_contract::SquashResult;
use unbloat_contract::worker::{CONTRACT_VERSION, Outcome, TERMINATION_LIMIT, Termination};
use unbloat_text::bounded;

/// Bytes of a failure's message, as a condition may have.
const MESSAGE_LIMIT: usize = 1024;
/// Bytes of one warning.
const MOST_OF_A_WARNING: usize = 256;

/// A result without what does not fit: the platforms' own figures. Warnings about credentials come first.
pub(crate) fn summary(result: SquashResult, warnings: Vec<String>) -> SquashResult {
    let warnings = warnings.into_iter().chain(result.warnings).collect();
    SquashResult { warnings, platforms: Vec::new(), ..result }
}

/// Writes it.
pub(crate) fn write(path: &Path, outcome: Outcome) -> std::io::Result<()> {
    std::fs::write(path, text(outcome))
}

/// The message, with as many warnings as fit.
fn text(outcome: Outcome) -> String {
    let mut termination = Termination { version: CONTRACT_VERSION, outcome };
    let mut left_out = 0;
    if let Outcome::Failed(failure) = &mut termination.outcome {
        failure.message = bounded(&failure.message, MESSAGE_LIMIT);
    }
    for warning in warnings(&mut termination.outcome).into_iter().flatten() {
        *warning = bounded(warning, MOST_OF_A_WARNING);
    }
    loop {
        let text = serde_json::to_string(&termination).unwrap_or_default();
        // A message of 1 KiB has room for every character to be escaped once.
        let Some(warnings) = warnings(&mut termination.outcome) else { return text };
        if text.len() <= TERMINATION_LIMIT || warnings.is_empty() {
            return text;
        }
        if left_out > 0 {
            warnings.pop();
        }
        warnings.pop();
        left_out += 1;
        warnings.push(format!("{left_out} more warnings are in the worker's log"));
    }
}

fn warnings(outcome: &mut Outcome) -> Option<&mut Vec<String>> {
    match outcome {
        Outcome::Squashed(result) | Outcome::AlreadyFlat(result) => Some(&mut result.warnings),
        Outcome::Analyzed(figures) => Some(&mut figures.warnings),
        Outcome::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_whatever_the_warnings_and_stays_json() {
        let result = SquashResult { warnings: vec!["\"ä\"".repeat(500); 100], ..SquashResult::default() };
        let text = text(Outcome::Squashed(summary(result, vec!["first".into()])));
        assert!(text.len() <= TERMINATION_LIMIT, "{} bytes", text.len());
        let Outcome::Squashed(summary) = serde_json::from_str::<Termination>(&text).unwrap().outcome else {
            panic!("not what was written");
        };
        assert_eq!(summary.warnings[0], "first");
        assert!(summary.warnings.len() > 3);
        assert!(summary.warnings.last().unwrap().contains("more warnings are in the worker's log"));
    }
}
