//! What a worker says, held against what it was told to do.
//!
//! A worker's pod runs in the namespace of the job, where others may run pods too. So its words are a claim:
//! the operator itself knows the target and, where it was pinned, the source; numbers have bounds; a text is
//! shown as plain text. What can't be true is no result.

use unbloat_api::Reason;
use unbloat_api::condition::MESSAGE_LIMIT;
use unbloat_contract::{Figures, SquashResult};
use unbloat_oci::{Digest, Reference};
use unbloat_text::{bounded, sanitize};

use super::world::{AttemptFailure, Ended};

/// Most layers that an image has: a manifest of 4 MiB holds no more.
const MOST_LAYERS: u64 = 40_000;
/// Most bytes that one image is believed to have, stored or unpacked: a hundred times the largest that was
/// ever reported.
const MOST_BYTES: u64 = 100_000_000_000_000;
/// Warnings that a status keeps.
const MAX_WARNINGS: usize = 16;
/// Bytes that a status keeps of one warning.
const MAX_WARNING: usize = 512;

/// What the operator itself knows of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// The image that it reads, as the job names it.
    pub(crate) source: &'a Reference,
    /// The reference that the worker writes.
    pub(crate) target: &'a Reference,
    /// Digest of the source, where it is pinned.
    pub(crate) source_digest: Option<&'a str>,
    /// Seconds since the job's first attempt.
    pub(crate) seconds: i64,
}

/// What is left of an end once it is held against what the worker was told.
pub(crate) fn believed(end: Ended, told: Told<'_>) -> Ended {
    match end {
        Ended::Squashed(result) => checked(result, told, false).map_or_else(Ended::Failed, Ended::Squashed),
        Ended::AlreadyFlat(result) => {
            checked(result, told, true).map_or_else(Ended::Failed, Ended::AlreadyFlat)
        }
        Ended::Failed(failure) => Ended::Failed(plain(failure)),
    }
}

fn plain(failure: AttemptFailure) -> AttemptFailure {
    let digest = |text: Option<String>| text.filter(|text| text.parse::<Digest>().is_ok());
    AttemptFailure {
        message: bounded(&sanitize(&failure.message), MESSAGE_LIMIT),
        source_digest: digest(failure.source_digest),
        digest: digest(failure.digest),
        ..failure
    }
}

fn checked(result: SquashResult, told: Told<'_>, flat: bool) -> Result<SquashResult, AttemptFailure> {
    let refuse = |what: &str| {
        let message = format!("the worker's result can't be believed: {what}");
        Err(AttemptFailure::new(Reason::WorkerFailed, message))
    };
    let SquashResult {
        figures,
        reference,
        reclaimed_bytes: _,
        bytes_read,
        bytes_written,
        duration_seconds,
        warnings,
        platforms: _,
        nothing_to_do,
    } = result;
    let (Ok(source), Ok(written)) =
        (figures.source_digest.parse::<Digest>(), figures.digest.parse::<Digest>())
    else {
        return refuse("its digests are none");
    };
    if told.source_digest.is_some_and(|pinned| pinned != source.to_string()) {
        return refuse("it read another image than the one that the job is pinned to");
    }
    let said = reference.parse::<Reference>().ok();
    let same = |told: &Reference| said.as_ref().is_some_and(|said| said.name() == told.name());
    let place = match (same(told.target), flat && same(told.source)) {
        (true, _) => told.target,
        (false, true) => told.source,
        (false, false) => return refuse("it names another place than the job's target"),
    };
    if figures.layers_before.max(figures.layers_after) > MOST_LAYERS {
        return refuse("no image has as many layers");
    }
    let bytes = [
        figures.compressed_bytes_before,
        figures.compressed_bytes_after,
        figures.unpacked_bytes_before,
        figures.unpacked_bytes_after,
    ];
    if bytes.into_iter().any(|bytes| bytes > MOST_BYTES) {
        return refuse("no image has as many bytes");
    }
    // The reference is ours, but for the digest; the difference and the time are counted here.
    let longest = told.seconds.max(0) as f64 + 1.0;
    let figures = Figures { source_digest: source.to_string(), digest: written.to_string(), ..figures };
    Ok(SquashResult {
        reference: place.with_digest(written).to_string(),
        reclaimed_bytes: figures.pull_bytes_saved(),
        bytes_read: bytes_read.min(MOST_BYTES),
        bytes_written: bytes_written.min(MOST_BYTES),
        duration_seconds: if duration_seconds.is_finite() {
            duration_seconds.clamp(0.0, longest)
        } else {
            0.0
        },
        warnings: warnings
            .iter()
            .take(MAX_WARNINGS)
            .map(|warning| bounded(&sanitize(warning), MAX_WARNING))
            .collect(),
        platforms: Vec::new(),
        nothing_to_do,
        figures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";

    fn honest() -> SquashResult {
        SquashResult {
            figures: Figures {
                source_digest: DIGEST.to_owned(),
                digest: DIGEST.to_owned(),
                layers_before: 272,
                layers_after: 2,
                compressed_bytes_before: 1000,
                compressed_bytes_after: 10,
                ..Figures::default()
            },
            reference: format!("a.example/b:d@{DIGEST}"),
            reclaimed_bytes: 990,
            duration_seconds: 2.5,
            ..SquashResult::default()
        }
    }

    fn held(result: SquashResult, pinned: Option<&str>) -> Ended {
        let (source, target) = ("a.example/b:c".parse().unwrap(), "a.example/b:d".parse().unwrap());
        let told = Told { source: &source, target: &target, source_digest: pinned, seconds: 10 };
        believed(Ended::Squashed(result), told)
    }

    #[test]
    fn an_honest_result_is_believed_as_it_is() {
        assert_eq!(held(honest(), Some(DIGEST)), Ended::Squashed(honest()));
        assert_eq!(held(honest(), None), Ended::Squashed(honest()));
    }

    #[test]
    fn what_can_not_be_true_is_no_result() {
        type Lie = fn(&mut SquashResult);
        let lies: [(&str, Lie); 10] = [
            ("another place", |result| result.reference = format!("evil.example/b:d@{DIGEST}")),
            ("another repository", |result| result.reference = format!("a.example/other:d@{DIGEST}")),
            ("no reference", |result| result.reference = "x".repeat(1500)),
            ("an empty reference", |result| result.reference.clear()),
            ("no digest", |result| result.figures.digest = "latest".to_owned()),
            ("an endless digest", |result| result.figures.digest = format!("sha256:{}", "a".repeat(5000))),
            ("no source digest", |result| result.figures.source_digest.clear()),
            ("9 PB", |result| result.figures.compressed_bytes_before = 9_000_000_000_000_000),
            ("all bytes", |result| result.figures.unpacked_bytes_after = u64::MAX),
            ("all layers", |result| result.figures.layers_before = u64::MAX),
        ];
        for (name, lie) in lies {
            let mut result = honest();
            lie(&mut result);
            let Ended::Failed(failure) = held(result, None) else { panic!("{name} was believed") };
            assert_eq!(failure.reason, Reason::WorkerFailed, "{name}");
        }
        let other = format!("sha256:{}", "0".repeat(64));
        assert!(matches!(held(honest(), Some(&other)), Ended::Failed(_)), "another source");
    }

    #[test]
    fn what_the_operator_can_count_itself_it_counts_itself() {
        let mut result = honest();
        result.reclaimed_bytes = i64::MAX;
        result.duration_seconds = f64::INFINITY;
        result.warnings = vec![format!("red \u{1b}[31m{}", "w".repeat(2000)); 40];
        let Ended::Squashed(believed) = held(result, None) else { panic!("it is possible") };
        assert_eq!(believed.reclaimed_bytes, 990);
        assert!(believed.duration_seconds <= 11.0);
        assert!(believed.warnings.len() == 16 && believed.warnings.iter().all(|text| text.len() <= 512));
        assert!(!believed.warnings[0].contains('\u{1b}'));
    }

    #[test]
    fn a_failures_words_are_plain_and_its_digests_are_digests() {
        let failure = AttemptFailure {
            digest: Some("not one".to_owned()),
            source_digest: Some(DIGEST.to_owned()),
            ..AttemptFailure::new(Reason::InvalidImage, format!("\u{1b}[2J{}", "m".repeat(9000)))
        };
        let (source, target) = ("a.example/b:c".parse().unwrap(), "a.example/b:d".parse().unwrap());
        let told = Told { source: &source, target: &target, source_digest: None, seconds: 10 };
        let Ended::Failed(plain) = believed(Ended::Failed(failure), told) else { panic!("a failure") };
        assert!(plain.message.len() <= MESSAGE_LIMIT && plain.message.starts_with('m'), "{}", plain.message);
        assert_eq!((plain.digest, plain.source_digest.as_deref()), (None, Some(DIGEST)));
    }
}
