//! What a policy's jobs look like: an ImageSquashJob's spec without the images of source and target, with
//! their secrets.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::squash_job::{
    Base, Compression, Format, SecretRef, Shape, WorkerOverrides, list_atomic, list_map_by_name,
};

/// A policy's job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobTemplate {
    /// Labels and annotations.
    #[serde(default)]
    pub metadata: JobTemplateMetadata,
    /// The rest.
    #[serde(default)]
    pub spec: JobTemplateSpec,
}

/// Labels and annotations of a policy's jobs. Those of `unbloat.dev` are the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobTemplateMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), transform = label_values)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), transform = annotation_values)]
    pub annotations: BTreeMap<String, String>,
}

/// Fields as in an ImageSquashJob's spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.compression) && self.compression == 'Zstd' && has(self.format) && self.format == 'Docker')")
        .message("jobTemplate.spec.compression: Docker manifests have no zstd layers; use format OCI, or another compression")
        .field_path(".compression")
)]
pub struct JobTemplateSpec {
    /// Secrets of `jobNamespace` to pull with, beside those of the service account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_map_by_name)]
    pub pull_secrets: Vec<SecretRef>,
    /// Secret of `jobNamespace` to push with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_secret: Option<SecretRef>,
    /// Speak plain HTTP to registries.
    #[serde(default, rename = "plainHTTP", skip_serializing_if = "Option::is_none")]
    pub plain_http: Option<bool>,
    /// Service account of `jobNamespace` whose image pull secrets are used too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,
    /// Paths or globs to drop from results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)), transform = list_atomic)]
    pub remove: Vec<String>,
    /// Paths or globs whose files are kept with zero length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)), transform = list_atomic)]
    pub truncate: Vec<String>,
    /// A path or glob that matches nothing is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// The lowest layers, that stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// What results look like: flat, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Platforms of an index to squash; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(max = 64), regex(pattern = r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$")),
        transform = list_atomic
    )]
    pub platforms: Vec<String>,
    /// How new layers are compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Compression level, in the codec's own scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -7, max = 22))]
    pub level: Option<i32>,
    /// Family of media types of results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Prove that a result's file tree is the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// Failed attempts of a job that are followed by another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub backoff_limit: Option<i32>,
    /// Seconds after which a job is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds after a job's end until it is deleted, beside the history limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Where and with what the worker runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerOverrides>,
}

/// The values of a map of labels, as long as Kubernetes takes them.
pub(super) fn label_values(schema: &mut Schema) {
    bounded_values(schema, 63);
}

fn annotation_values(schema: &mut Schema) {
    bounded_values(schema, 256);
}

fn bounded_values(schema: &mut Schema, most: u32) {
    if let Some(values) = schema.get_mut("additionalProperties").and_then(serde_json::Value::as_object_mut) {
        values.insert("maxLength".to_owned(), most.into());
    }
}
