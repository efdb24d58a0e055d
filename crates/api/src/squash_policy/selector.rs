//! Which images a policy is about.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::template::label_values;
use crate::squash_job::list_atomic;

/// Which images: those that what is selected here uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// What uses images.
    #[serde(default = "all_sources")]
    #[schemars(length(min = 1, max = 2), transform = list_atomic)]
    pub sources: Vec<SourceKind>,
    /// Labels of the namespaces; all but the platform's own when empty. `kube-system`, `kube-public`,
    /// `kube-node-lease` and the operator's namespace are matched only by a selector that asks for
    /// `kubernetes.io/metadata.name` with their name.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// Labels of the pods; all when empty.
    #[serde(default)]
    pub pod_selector: LabelSelector,
    /// Names of the images.
    #[serde(default)]
    pub images: ImagePatterns,
}

/// What uses images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceKind {
    /// Pods, with their init and ephemeral containers.
    Pods,
    /// Sealos devboxes, running or stopped.
    Devboxes,
}

/// A label selector, as Kubernetes has it. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), transform = label_values)]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = list_atomic)]
    pub match_expressions: Vec<LabelExpression>,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0")
        .message("values is required for operators In and NotIn, and must be empty for Exists and DoesNotExist")
        .field_path(".values")
)]
pub struct LabelExpression {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the value is compared.
    pub operator: LabelOperator,
    /// Values for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)), transform = list_atomic)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// The value is one of `values`.
    In,
    /// The label is absent, or its value none of `values`.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Names of images. `*` stands for any characters, slashes too, `?` for one. A pattern is compared with
/// `HOST/REPOSITORY`, with `HOST/REPOSITORY:TAG`, and with what the pod's spec says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePatterns {
    /// One of these has to match.
    #[serde(default = "everything")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 512)), transform = list_atomic)]
    pub include: Vec<String>,
    /// None of these may match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)), transform = list_atomic)]
    pub exclude: Vec<String>,
}

impl Default for Selector {
    fn default() -> Self {
        Self {
            sources: all_sources(),
            namespace_selector: LabelSelector::default(),
            pod_selector: LabelSelector::default(),
            images: ImagePatterns::default(),
        }
    }
}

impl Default for ImagePatterns {
    fn default() -> Self {
        Self { include: everything(), exclude: Vec::new() }
    }
}

fn all_sources() -> Vec<SourceKind> {
    vec![SourceKind::Pods, SourceKind::Devboxes]
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}
