//! Which image a report is about.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::ImageReportStatus;

/// The identity of an image. It never changes.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "unbloat.dev",
    version = "v1alpha1",
    kind = "ImageReport",
    plural = "imagereports",
    namespaced,
    shortname = "imgr",
    category = "unbloat",
    status = "ImageReportStatus",
    derive = "PartialEq",
    doc = "ImageReport says what is known about one image that this namespace uses: layers, bytes, waste, causes, users, result.",
    selectable = ".spec.repository",
    selectable = ".spec.digest",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.reference"),
    printcolumn(name = "Layers", type_ = "integer", json_path = ".status.layers"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Wasted", type_ = "string", json_path = ".status.wasted"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Used-By", type_ = "integer", json_path = ".status.usedBy.count"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result.reference"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.digest", priority = 1),
    printcolumn(
        name = "Squashable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Squashable\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Inspected",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Inspected\")].reason",
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name must be at most 63 characters")
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(
    validation = identity("reference"),
    validation = identity("repository"),
    validation = identity("digest")
)]
pub struct ImageReportSpec {
    /// The image as its first user named it.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
    /// `HOST/REPOSITORY`.
    #[schemars(length(min = 1, max = 384))]
    pub repository: String,
    /// Digest of the manifest or index, as the container's status has it.
    #[schemars(
        length(min = 8, max = 160),
        regex(pattern = r"^[a-z0-9]+([+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+$")
    )]
    pub digest: String,
}

fn identity(field: &str) -> kube::core::Rule {
    kube::core::Rule::new(format!("self.{field} == oldSelf.{field}"))
        .message(format!("{field} is immutable: a report is about one digest").as_str())
        .field_path(format!(".{field}"))
}
