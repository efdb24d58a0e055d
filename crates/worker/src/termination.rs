//! The termination message: at most 4 KiB, or Kubernetes cuts it in the middle of the JSON.

use std::path::Path;

use unbloat_api::condition::{MESSAGE_LIMIT, bounded};
use unbloat_api::worker::{CONTRACT_VERSION, Outcome, Summary, TERMINATION_LIMIT, Termination};
use unbloat_squash::SquashResult;

/// Bytes of one warning.
const MOST_OF_A_WARNING: usize = 256;

/// The figures of a result.
pub(crate) fn summary(result: &SquashResult, warnings: Vec<String>) -> Summary {
    let SquashResult {
        source_digest,
        digest,
        reference,
        layers_before,
        layers_after,
        compressed_bytes_before,
        compressed_bytes_after,
        unpacked_bytes_before,
        unpacked_bytes_after,
        reclaimed_bytes,
        bytes_read: _,
        bytes_written: _,
        duration_seconds,
        warnings: of_squash,
        platforms: _,
    } = result;
    Summary {
        source_digest: source_digest.clone(),
        digest: digest.clone(),
        reference: reference.clone(),
        layers_before: *layers_before,
        layers_after: *layers_after,
        compressed_bytes_before: *compressed_bytes_before,
        compressed_bytes_after: *compressed_bytes_after,
        unpacked_bytes_before: *unpacked_bytes_before,
        unpacked_bytes_after: *unpacked_bytes_after,
        reclaimed_bytes: *reclaimed_bytes,
        duration_seconds: *duration_seconds,
        warnings: warnings.into_iter().chain(of_squash.iter().cloned()).collect(),
    }
}

/// Writes it.
pub(crate) fn write(path: &Path, outcome: Outcome) -> std::io::Result<()> {
    std::fs::write(path, text(outcome))
}

/// The message, with as many warnings as fit.
fn text(outcome: Outcome) -> String {
    let mut termination = Termination { version: CONTRACT_VERSION, outcome };
    let mut left_out = 0;
    match &mut termination.outcome {
        Outcome::Failed(failed) => failed.message = bounded(&failed.message, MESSAGE_LIMIT),
        Outcome::Squashed(summary) | Outcome::AlreadyFlat(summary) => {
            for warning in &mut summary.warnings {
                *warning = bounded(warning, MOST_OF_A_WARNING);
            }
        }
    }
    loop {
        let text = serde_json::to_string(&termination).unwrap_or_default();
        let warnings = match &mut termination.outcome {
            Outcome::Squashed(summary) | Outcome::AlreadyFlat(summary) => &mut summary.warnings,
            // A message of 1 KiB has room for every character to be escaped once.
            Outcome::Failed(_) => return text,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_whatever_the_warnings_and_stays_json() {
        let result = SquashResult { warnings: vec!["\"ä\"".repeat(500); 100], ..SquashResult::default() };
        let text = text(Outcome::Squashed(summary(&result, vec!["first".into()])));
        assert!(text.len() <= TERMINATION_LIMIT, "{} bytes", text.len());
        let Outcome::Squashed(summary) = serde_json::from_str::<Termination>(&text).unwrap().outcome else {
            panic!("not what was written");
        };
        assert_eq!(summary.warnings[0], "first");
        assert!(summary.warnings.len() > 3);
        assert!(summary.warnings.last().unwrap().contains("more warnings are in the worker's log"));
    }
}
