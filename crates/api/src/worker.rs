//! The contract between the operator and its worker pods: the spec file, the progress document, the termination message.
//!
//! Both sides come from one release, but an upgrade can meet a worker of the release before: so each document has a
//! version, readers ignore fields that they don't know, and a version that they don't know is an error that says so.

use serde::{Deserialize, Serialize};

use crate::Reason;

/// Version of the three documents.
pub const CONTRACT_VERSION: u32 = 1;
/// The spec file, projected from the pod's annotation [`crate::labels::WORKER_SPEC`].
pub const SPEC_PATH: &str = "/etc/unbloat/spec.json";
/// Folder with one folder for each secret.
pub const CREDENTIALS_PATH: &str = "/etc/unbloat/credentials";
/// Where the scratch volume is mounted.
pub const SCRATCH_PATH: &str = "/scratch";
/// Where the worker leaves its [`Termination`].
pub const TERMINATION_PATH: &str = "/dev/termination-log";
/// Kubernetes keeps this much of a termination message.
pub const TERMINATION_LIMIT: usize = 4096;
/// Port of `/progress`, `/metrics` and `/healthz` in the worker's pod.
pub const PORT: u16 = 9090;

/// What a worker is to do. `Request` is the engine's squash request; this crate doesn't know the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec<Request> {
    /// [`CONTRACT_VERSION`] of the writer.
    pub version: u32,
    /// The squash.
    pub request: Request,
    /// An image with at most this many layers a platform is left as it is; see [`crate::flat::flat_up_to`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_up_to: Option<u32>,
    /// Credentials that are mounted, most specific use first.
    #[serde(default)]
    pub credentials: Vec<CredentialMount>,
}

/// One mounted secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialMount {
    /// Name of the secret, for messages.
    pub secret: String,
    /// Folder that holds `.dockerconfigjson` or `.dockercfg`.
    pub path: String,
    /// What it is for.
    pub usage: CredentialUsage,
    /// Whether its absence is an error; the secrets of a service account may be missing, as kubelet has it.
    pub required: bool,
}

/// What a mounted secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialUsage {
    /// Reading the source and the base.
    Pull,
    /// Writing the target.
    Push,
}

/// Answer of `GET /progress`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressReport {
    /// [`CONTRACT_VERSION`] of the writer.
    pub version: u32,
    /// What goes on, in a word: `starting`, `reading`, `writing`, `verifying`, `done`.
    pub stage: String,
    /// Digest of the source, as soon as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Part that is done, 0 to 100.
    pub percent: u8,
    /// Compressed bytes read from the source.
    pub bytes_read: u64,
    /// Compressed bytes that the source has; 0 until known.
    pub bytes_total: u64,
    /// Bytes written to the target.
    pub bytes_written: u64,
    /// Layers that are completely read.
    pub layers_done: u64,
    /// Layers that the source has.
    pub layers_total: u64,
    /// Seconds since the start.
    pub elapsed_seconds: u64,
}

/// What a worker leaves when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// [`CONTRACT_VERSION`] of the writer.
    pub version: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The result is in the registry.
    Squashed(Summary),
    /// There was nothing to do and nothing was written; the figures are the source's.
    AlreadyFlat(Summary),
    /// It failed.
    Failed(Failed),
}

/// Figures of a squash; the platforms' own figures are left out for the 4 KiB that Kubernetes keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Digest of the manifest or index that was read.
    pub source_digest: String,
    /// Digest of the manifest or index that was written.
    pub digest: String,
    /// Where the result is, with its digest.
    pub reference: String,
    /// Layers of the source.
    pub layers_before: u64,
    /// Layers of the result.
    pub layers_after: u64,
    /// Stored layer bytes of the source.
    pub compressed_bytes_before: u64,
    /// Stored layer bytes of the result.
    pub compressed_bytes_after: u64,
    /// Layer bytes of the source as tar.
    pub unpacked_bytes_before: u64,
    /// Layer bytes of the result as tar.
    pub unpacked_bytes_after: u64,
    /// Compressed bytes that the result saves.
    pub reclaimed_bytes: i64,
    /// Wall time.
    pub duration_seconds: f64,
    /// What a user should know, as far as it fits.
    pub warnings: Vec<String>,
}

/// Why a worker failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The reason for the condition.
    pub reason: Reason,
    /// What happened, where, and what to do.
    pub message: String,
    /// Whether another attempt may fare better; a worker may know better than its reason does.
    pub retryable: bool,
    /// Digest of the source, where it was resolved: the next attempt reads the same image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Digest of a result that stays though the tag wasn't moved (`SourceChanged`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}
