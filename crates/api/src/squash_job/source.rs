//! What is squashed, and what of it stays as it is.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, list_map_by_name};

/// The image that is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Reference of the image: `HOST/REPOSITORY:TAG` or `HOST/REPOSITORY@sha256:…`. It is resolved to a
    /// digest once; every attempt reads that digest.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\s]+$"))]
    pub image: String,
    /// Secrets with the credentials to pull. Those of the service account are added, as kubelet does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = list_map_by_name)]
    pub pull_secrets: Vec<SecretRef>,
    /// Speak plain HTTP to the registry of `image`, and to no other.
    #[serde(default, rename = "plainHTTP")]
    pub plain_http: bool,
}

/// The lowest layers, that stay as they are, so that other images go on sharing them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.layers) != has(self.image)").message("give either layers or image"))]
pub struct Base {
    /// Keep the lowest N layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub layers: Option<i32>,
    /// Keep the layers that the source has in common with this image. It is read with the source's
    /// credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\s]+$"))]
    pub image: Option<String>,
}
