//! Where the result goes.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;

/// Where the result goes: a reference of its own, or the source's tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.image) != self.moveTag")
        .message("give either image, or moveTag to move the source's tag to the result")
)]
pub struct Target {
    /// Reference to push to: `HOST/REPOSITORY:TAG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\s@]+$"))]
    pub image: Option<String>,
    /// Move the source's own tag to the result, if it still points at the digest that was read.
    #[serde(default)]
    pub move_tag: bool,
    /// Secret with the credentials to push; push credentials are always explicit. Where it is absent, the
    /// source's are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_secret: Option<SecretRef>,
    /// Speak plain HTTP to the registry of `image`. That of the source is what `source.plainHTTP` says it is.
    #[serde(default, rename = "plainHTTP")]
    pub plain_http: bool,
}
