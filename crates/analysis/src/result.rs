//! What an analysis found: one type for the command's JSON, the page, the terminal browser and the operator's
//! reports.
//!
//! Sizes are bytes. A path begins with `/`, so that it can be given to `--remove` and `--truncate` as it
//! stands. Names come from the image, and an image can hold any name: whoever shows one escapes it for where
//! it is shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is in an image, what of it is wasted, why, and what would help.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// The image as given.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: String,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// The layers, lowest first.
    pub layers: Vec<LayerReport>,
    /// The image as a whole.
    pub totals: Totals,
    /// Paths, the one with the most wasted bytes first; then by total bytes, then by name. As many as were
    /// asked for.
    pub paths: Vec<PathReport>,
    /// Paths that the image's layers name, of which `paths` may list but the worst.
    pub paths_total: u64,
    /// Why bytes are wasted, the costliest cause first.
    pub causes: Vec<CauseReport>,
    /// Equal content that several visible files hold, the costliest first.
    pub duplicates: Vec<DuplicateReport>,
    /// Secrets that were deleted or replaced but can still be read in a lower layer. Names only, never
    /// content.
    pub risks: Vec<RiskReport>,
    /// What a squash would save.
    pub estimate: Estimate,
    /// Where runtimes disagree about this image, and what was left out.
    pub warnings: Vec<String>,
}

/// One layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerReport {
    /// Place in the image, 0 at the lowest.
    pub index: u32,
    /// Digest of the blob.
    pub digest: String,
    /// Digest of the blob's decoded stream.
    pub diff_id: String,
    /// Media type of the blob.
    pub media_type: String,
    /// Size of the blob.
    pub compressed_bytes: u64,
    /// Content of the layer's regular files.
    pub unpacked_bytes: u64,
    /// What of that content the image does not show.
    pub wasted_bytes: u64,
    /// Records of the layer's tar, whiteouts among them.
    pub entries: u64,
    /// The command that made the layer, where the image's history agrees with its layers.
    pub created_by: Option<String>,
    /// When it was made, as written.
    pub created: Option<String>,
    /// Size of the decoded tar stream.
    pub tar_bytes: u64,
    /// Paths that no lower layer showed.
    pub added: Tally,
    /// Paths that replace what lower layers showed there.
    pub changed: Tally,
    /// Those of `changed` whose content is what it replaced: only owner, mode, time or attributes differ.
    pub metadata_only: Tally,
    /// What lower layers showed and this layer hides by a whiteout, an opaque mark or a file in the place of
    /// a directory.
    pub removed: Tally,
    /// Content of lower layers that the image shows no more since this layer.
    pub hides_bytes: u64,
    /// Whiteouts and opaque marks.
    pub whiteouts: u64,
    /// Those of them that hide most.
    pub worst_whiteouts: Vec<WhiteoutReport>,
}

/// A number of paths and the content of the regular files among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Paths.
    pub paths: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A whiteout and what it hides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhiteoutReport {
    /// The path that it takes away; for an opaque mark the directory that it empties.
    pub path: String,
    /// Whether it is an opaque mark.
    pub opaque: bool,
    /// Visible paths that it hides.
    pub paths: u64,
    /// Content that it hides.
    pub bytes: u64,
}

/// The image as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Number of layers.
    pub layers: u64,
    /// Size of all blobs.
    pub compressed_bytes: u64,
    /// Content of the regular files of all layers.
    pub unpacked_bytes: u64,
    /// Content of the regular files that the image shows, an inode counted once.
    pub merged_bytes: u64,
    /// Content that it does not show: `unpackedBytes - mergedBytes`.
    pub wasted_bytes: u64,
    /// Content that it does show and that need not be there: `removableBytes` of all causes but equal
    /// content.
    #[serde(default)]
    pub removable_bytes: u64,
    /// `mergedBytes / unpackedBytes`; 1 for an image without content.
    pub efficiency: f64,
    /// Paths that the image shows.
    pub merged_paths: u64,
    /// Size of all decoded tar streams.
    pub tar_bytes: u64,
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathReport {
    /// The path; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// The path's bytes in hexadecimal, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// Entries of this path, in all layers; whiteouts do not count.
    pub copies: u32,
    /// Content of all of them. Content belongs to the path whose entry brought it: further hard links have
    /// none.
    pub total_bytes: u64,
    /// What of that content the image does not show.
    pub wasted_bytes: u64,
    /// The layers that have an entry of this path, lowest first.
    pub layers: Vec<u32>,
    /// `layers` and `versions` lack some: there were too many for the memory that is promised. All counts are
    /// exact.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
    /// Why it wastes bytes: `cause` of one of [`Analysis::causes`].
    pub cause: Option<String>,
    /// What the image shows here, if anything.
    pub shows: Option<EntryKind>,
    /// What each layer did to the path, lowest first.
    pub versions: Vec<PathVersion>,
}

/// What one layer did to a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathVersion {
    /// The layer.
    pub layer: u32,
    /// What it did.
    pub change: Change,
    /// What it put there; `None` for a removal.
    pub kind: Option<EntryKind>,
    /// Content of a regular file.
    pub bytes: u64,
    /// Content that the image does not show.
    pub wasted_bytes: u64,
    /// Mode, owner and link target, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
}

/// Metadata of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Target of a symbolic or hard link, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// What a layer does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// No lower layer showed it.
    Added,
    /// It replaces what lower layers showed.
    Changed,
    /// It replaces something by the same content with another owner, mode or attributes.
    Metadata,
    /// It hides what lower layers showed.
    Removed,
    /// It replaces an entry of the same layer.
    Repeated,
    /// It replaces something by the same content with another time, and nothing else differs.
    Time,
    /// It replaces something by what it was: the layer need not have it.
    Identical,
    /// It replaces something by the same content because the layer gives it another name: a hard link needs
    /// its file beside it.
    Linked,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
}

impl Change {
    /// Whether the content stays what it was.
    #[must_use]
    pub(crate) fn keeps_content(self) -> bool {
        matches!(self, Self::Metadata | Self::Time | Self::Identical | Self::Linked)
    }
}

/// One cause with all that it costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CauseReport {
    /// Its name, as `copied-up-log`; `docs/causes.md` explains each.
    pub cause: String,
    /// The name for people.
    pub title: String,
    /// Paths that it concerns.
    pub paths: u64,
    /// Content that the image does not show because of it: what a squash gives back.
    pub wasted_bytes: u64,
    /// Content that the image does show and that need not be there: what `--remove` or another build gives
    /// back.
    pub removable_bytes: u64,
    /// What to do.
    pub advice: String,
    /// Options of `unbloat squash` that go with the advice, as `--truncate /var/log/btmp`.
    pub options: Vec<String>,
    /// The costliest paths and what was seen of them.
    pub evidence: Vec<Evidence>,
}

/// What was seen of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The path.
    pub path: String,
    /// Its wasted and removable bytes.
    pub bytes: u64,
    /// What was seen, in one sentence without names from the image.
    pub seen: String,
    /// Layers that play a part, lowest first; of many, the first and the last ones.
    pub layers: Vec<u32>,
}

/// Visible files with the same content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DuplicateReport {
    /// Size of one of them.
    pub bytes: u64,
    /// How many there are.
    pub copies: u64,
    /// Bytes beyond the first: `bytes * (copies - 1)`.
    pub extra_bytes: u64,
    /// Some of their paths, in order of name.
    pub paths: Vec<String>,
}

/// A secret that can still be read in a lower layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RiskReport {
    /// What kind of secret its name promises, as `ssh-private-key`.
    pub risk: String,
    /// The path.
    pub path: String,
    /// Layers that hold hidden content of it.
    pub layers: Vec<u32>,
    /// Whether the image shows another file there now.
    pub replaced: bool,
    /// What to do.
    pub advice: String,
}

/// What a squash of the whole image would save, roughly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Compressed bytes that it would save: the share of each blob that holds hidden content.
    pub compressed_bytes: u64,
    /// Unpacked bytes that it would save: exactly the wasted bytes.
    pub unpacked_bytes: u64,
    /// Seconds that it would take here, from what reading the layers took.
    pub seconds: f64,
}
