//! What a squash did, in figures.

use serde::{Deserialize, Serialize};

/// What an image was and what it became: one platform's, or all of an index together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
    /// Digest of the manifest or index that was read.
    pub source_digest: String,
    /// Digest of the manifest or index that was written; empty for a dry run.
    pub digest: String,
    /// Layers of the source.
    pub layers_before: u64,
    /// Layers of the result.
    pub layers_after: u64,
    /// The source's layers as stored, in bytes.
    pub compressed_bytes_before: u64,
    /// The result's layers as stored, in bytes.
    pub compressed_bytes_after: u64,
    /// The source's layers as tar, in bytes; 0 where no layer was read.
    pub unpacked_bytes_before: u64,
    /// The result's layers as tar, in bytes; 0 where no layer was read.
    pub unpacked_bytes_after: u64,
    /// Whether the source stores layers plain, as `docker save` does, that the result compresses: then the
    /// stored bytes are of two kinds, and the unpacked ones compare like with like.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_before: bool,
}

impl Figures {
    /// Adds another image's layers and bytes; the digests stay.
    pub fn add(&mut self, other: &Self) {
        let Self {
            source_digest: _,
            digest: _,
            layers_before,
            layers_after,
            compressed_bytes_before,
            compressed_bytes_after,
            unpacked_bytes_before,
            unpacked_bytes_after,
            plain_before,
        } = other;
        self.plain_before |= plain_before;
        for (sum, part) in [
            (&mut self.layers_before, layers_before),
            (&mut self.layers_after, layers_after),
            (&mut self.compressed_bytes_before, compressed_bytes_before),
            (&mut self.compressed_bytes_after, compressed_bytes_after),
            (&mut self.unpacked_bytes_before, unpacked_bytes_before),
            (&mut self.unpacked_bytes_after, unpacked_bytes_after),
        ] {
            *sum = sum.saturating_add(*part);
        }
    }

    /// What a node no longer pulls; negative when another codec makes the result larger. Where the source's
    /// layers are plain and the result's are not, what it no longer unpacks: that they are compressed now is
    /// no gain of a squash.
    #[must_use]
    pub fn pull_bytes_saved(&self) -> i64 {
        if self.plain_before {
            return difference(self.unpacked_bytes_before, self.unpacked_bytes_after);
        }
        difference(self.compressed_bytes_before, self.compressed_bytes_after)
    }
}

fn difference(before: u64, after: u64) -> i64 {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    signed(before) - signed(after)
}

/// The outcome of a squash or an edit, as `--output json` prints it and as a worker leaves it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SquashResult {
    /// All platforms together.
    #[serde(flatten)]
    pub figures: Figures,
    /// Where the result is, as a reference with its digest; empty where nothing was written.
    pub reference: String,
    /// Bytes that the result saves: [`Figures::pull_bytes_saved`].
    pub reclaimed_bytes: i64,
    /// Bytes read from the source over the network or from disk.
    pub bytes_read: u64,
    /// Bytes written to the destination.
    pub bytes_written: u64,
    /// Wall time.
    pub duration_seconds: f64,
    /// What a user should know; each names the layer and the path.
    pub warnings: Vec<String>,
    /// One entry for each image of an index, or the one image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformFigures>,
    /// Why no layer was made, where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nothing_to_do: Option<NothingToDo>,
}

/// One platform's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlatformFigures {
    /// `os/arch[/variant]`.
    pub platform: String,
    /// Its image.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Why a squash left an image as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NothingToDo {
    /// It has the asked shape already, and nothing was to be removed or made anew.
    AlreadyFlat,
    /// It is below a bound of [`crate::Condition`].
    BelowCondition,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outside programs rely on these names.
    #[test]
    fn a_result_is_one_flat_object_with_the_documented_names() {
        let result = SquashResult { platforms: vec![PlatformFigures::default()], ..SquashResult::default() };
        let json = serde_json::to_value(&result).unwrap();
        for name in [
            "sourceDigest",
            "digest",
            "reference",
            "layersBefore",
            "layersAfter",
            "compressedBytesBefore",
            "compressedBytesAfter",
            "unpackedBytesBefore",
            "unpackedBytesAfter",
            "reclaimedBytes",
            "bytesRead",
            "bytesWritten",
            "durationSeconds",
            "warnings",
            "platforms",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        assert_eq!(json["platforms"][0]["layersBefore"], 0);
        assert_eq!(serde_json::from_value::<SquashResult>(json).unwrap(), result);
    }

    #[test]
    fn sums_do_not_overflow_and_savings_may_be_negative() {
        let mut sum = Figures { compressed_bytes_before: u64::MAX, ..Figures::default() };
        sum.add(&Figures { compressed_bytes_before: 9, compressed_bytes_after: 5, ..Figures::default() });
        assert_eq!(sum.compressed_bytes_before, u64::MAX);
        let grown = Figures { compressed_bytes_before: 2, compressed_bytes_after: 5, ..Figures::default() };
        assert_eq!(grown.pull_bytes_saved(), -3);
    }

    #[test]
    fn that_plain_layers_are_compressed_now_is_no_gain() {
        let mut sum = Figures::default();
        sum.add(&Figures {
            compressed_bytes_before: 1000,
            compressed_bytes_after: 300,
            unpacked_bytes_before: 1000,
            unpacked_bytes_after: 900,
            plain_before: true,
            ..Figures::default()
        });
        assert_eq!(sum.pull_bytes_saved(), 100);
    }
}
