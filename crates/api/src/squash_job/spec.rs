//! What a job asks for.
//!
//! Each field has a default in the schema, or is optional. All but `suspend` and `ttlSecondsAfterFinished`
//! are immutable, each by a rule of its own, so that the API server's refusal names the field. A rule on an
//! optional field would not run when the field is added or removed; so the rules sit on the spec and compare
//! presence as well.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use unbloat_contract::{Compression, Format};

use super::{Base, Condition, ImageSquashJobStatus, Shape, Source, Target, WorkerOverrides, list_atomic};

/// One squash of one image.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "unbloat.dev",
    version = "v1alpha1",
    kind = "ImageSquashJob",
    plural = "imagesquashjobs",
    namespaced,
    shortname = "isj",
    category = "unbloat",
    status = "ImageSquashJobStatus",
    derive = "PartialEq",
    doc = "ImageSquashJob rewrites the layers of one image as one (or as kept base layers plus one), with the same file tree.",
    selectable = ".spec.source.image",
    selectable = ".spec.suspend",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.source.image"),
    printcolumn(name = "Layers", type_ = "string", json_path = ".status.layers"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Reclaimed", type_ = "string", json_path = ".status.reclaimed"),
    printcolumn(
        name = "Succeeded",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].reason"
    ),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.target.reference", priority = 1),
    printcolumn(name = "Attempts", type_ = "integer", json_path = ".status.attempts", priority = 1),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.worker.node", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].message",
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 52")
        .message("metadata.name must be at most 52 characters: the worker's Job is named after it")
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(
    validation = immutable("source"),
    validation = immutable("target"),
    validation = immutable("serviceAccountName"),
    validation = immutable_optional("remove"),
    validation = immutable_optional("truncate"),
    validation = immutable("strict"),
    validation = immutable_optional("base"),
    validation = immutable_optional("shape"),
    validation = immutable_optional("condition"),
    validation = immutable_optional("platforms"),
    validation = immutable("compression"),
    validation = immutable_optional("level"),
    validation = immutable("format"),
    validation = immutable("verify"),
    validation = immutable("backoffLimit"),
    validation = immutable("activeDeadlineSeconds"),
    validation = immutable_optional("worker"),
    validation = Rule::new("!has(self.target.image) || self.target.image != self.source.image")
        .message("target.image is the source itself; set target.moveTag instead, which moves the tag only when nobody else did")
        .field_path(".target"),
    validation = Rule::new("!self.target.moveTag || !self.source.image.contains('@')")
        .message("target.moveTag needs a source with a tag; the source is a digest")
        .field_path(".target"),
    validation = Rule::new(
        "(has(self.remove) ? size(self.remove.join('')) : 0) + (has(self.truncate) ? size(self.truncate.join('')) : 0) <= 16384"
    )
        .message("remove and truncate may have 16384 characters together")
        .field_path(".remove"),
    validation = Rule::new("!(self.compression == 'Zstd' && self.format == 'Docker')")
        .message("Docker manifests have no zstd layers; use format OCI, or another compression")
        .field_path(".compression")
)]
pub struct ImageSquashJobSpec {
    /// The image that is read.
    pub source: Source,
    /// Where the result goes.
    pub target: Target,
    /// Service account whose image pull secrets are used for the source too, as kubelet does for a pod. The
    /// worker never gets its token.
    #[serde(default = "default_service_account")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account_name: String,
    /// Paths or globs to drop from the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)), transform = list_atomic)]
    pub remove: Vec<String>,
    /// Paths or globs whose files are kept with zero length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)), transform = list_atomic)]
    pub truncate: Vec<String>,
    /// A path or glob that matches nothing is an error instead of a warning.
    #[serde(default)]
    pub strict: bool,
    /// The lowest layers, that stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// What the result looks like: flat, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// When it is worth it. Below it the job ends as `AlreadyFlat` and nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Platforms (`os/arch[/variant]`) of an index to squash; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(max = 64), regex(pattern = r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$")),
        transform = list_atomic
    )]
    pub platforms: Vec<String>,
    /// How the new layer is compressed. `Keep` copies compressed bytes that survive instead of making them
    /// again.
    #[serde(default)]
    pub compression: Compression,
    /// Compression level, in the codec's own scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -7, max = 22))]
    pub level: Option<i32>,
    /// Family of media types of the result.
    #[serde(default)]
    pub format: Format,
    /// Read the result back and prove that its file tree is the source's before a tag moves.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Stop the worker, or don't start one. Resuming starts over with a new attempt.
    #[serde(default)]
    pub suspend: bool,
    /// Failed attempts that are followed by another one.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 20))]
    pub backoff_limit: i32,
    /// Seconds from the first attempt's start until the job is given up, waits between attempts included.
    #[serde(default = "default_active_deadline_seconds")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub active_deadline_seconds: i64,
    /// Seconds after the end until the job and what it made in the cluster are deleted; kept when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Where and with what the worker runs; what is left out comes from the operator's configuration, which
    /// also says how far a job may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerOverrides>,
}

fn yes() -> bool {
    true
}

fn default_service_account() -> String {
    "default".to_owned()
}

/// With the default backoff of 10 s, doubled: the fourth and last attempt starts some 70 s after the first
/// failed.
fn default_backoff_limit() -> i32 {
    3
}

/// Six hours: the incident of 800 GB took one with the tools of its time.
fn default_active_deadline_seconds() -> i64 {
    6 * 3600
}

/// A field that is always present (it has a default or is required) never changes.
fn immutable(field: &str) -> kube::core::Rule {
    kube::core::Rule::new(format!("self.{field} == oldSelf.{field}"))
        .message(immutable_message(field).as_str())
        .field_path(format!(".{field}"))
}

/// A field that may be absent neither changes, nor comes, nor goes.
fn immutable_optional(field: &str) -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    ))
    .message(immutable_message(field).as_str())
    .field_path(format!(".{field}"))
}

fn immutable_message(field: &str) -> String {
    format!("{field} is immutable; create another ImageSquashJob")
}
