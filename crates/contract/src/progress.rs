//! How far a task is.

use serde::{Deserialize, Serialize};

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Reading manifests and configs.
    #[default]
    Resolving,
    /// Reading, merging and writing layers.
    Merging,
    /// Reading layers for what is in them.
    Analyzing,
    /// Making the kept layers be at the destination.
    CopyingBase,
    /// Reading the result back.
    Verifying,
    /// Writing config, manifest and tag.
    Publishing,
    /// Done.
    #[serde(alias = "done")]
    Finished,
    /// What a newer release calls something else.
    #[serde(other)]
    Unknown,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// What is being done.
    pub stage: Stage,
    /// The platform it is done for, when there are several.
    pub platform: String,
    /// Layers to read, all platforms that were begun.
    pub layers_total: u64,
    /// Layers read to their end.
    pub layers_done: u64,
    /// Compressed bytes to read; 0 until known.
    pub bytes_total: u64,
    /// Compressed bytes read.
    pub bytes_read: u64,
    /// Bytes they unpacked to.
    pub bytes_unpacked: u64,
    /// Compressed bytes of the result so far.
    pub bytes_written: u64,
}

impl Snapshot {
    /// Part that is done, 0 to 100. Reading is what takes the time; the last tenth is for what comes after
    /// it.
    #[must_use]
    pub fn percent(&self) -> u8 {
        if self.stage == Stage::Finished {
            return 100;
        }
        let read = self.bytes_read.min(self.bytes_total);
        u8::try_from((read * 90).checked_div(self.bytes_total).unwrap_or(0)).unwrap_or(90)
    }
}

/// Answer of a worker's `GET /progress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressReport {
    /// [`crate::worker::CONTRACT_VERSION`] of the writer.
    pub version: u32,
    /// Digest of the source, as soon as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Part that is done, 0 to 100.
    pub percent: u8,
    /// Seconds since the start.
    pub elapsed_seconds: u64,
    /// What is being tried again now, in the words of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The counters.
    #[serde(flatten)]
    pub snapshot: Snapshot,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_follows_the_bytes_and_is_complete_only_at_the_end() {
        let at = |bytes_read, bytes_total, stage| {
            Snapshot { bytes_read, bytes_total, stage, ..Snapshot::default() }.percent()
        };
        assert_eq!(at(0, 0, Stage::Resolving), 0);
        assert_eq!(at(50, 100, Stage::Merging), 45);
        assert_eq!(at(200, 100, Stage::Verifying), 90);
        assert_eq!(at(100, 100, Stage::Finished), 100);
    }

    #[test]
    fn a_report_of_another_release_is_read_as_far_as_it_is_known() {
        let text = r#"{"version": 1, "stage": "done", "percent": 100, "bytesRead": 7, "shoeSize": 44}"#;
        let report: ProgressReport = serde_json::from_str(text).unwrap();
        assert_eq!((report.snapshot.stage, report.snapshot.bytes_read), (Stage::Finished, 7));
        let newer: ProgressReport = serde_json::from_str(r#"{"stage": "dreaming"}"#).unwrap();
        assert_eq!(newer.snapshot.stage, Stage::Unknown);
    }
}
