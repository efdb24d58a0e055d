//! What a policy asks for. Every field may change at any time: what it says holds from the next decision on.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    FailureLimits, ImageSquashPolicyStatus, JobTemplate, Limits, PolicyTarget, Retention, Rollout, Selector,
    Stability, Thresholds, Window,
};
use crate::squash_job::list_atomic;

/// Which images, when it is too much, and what to do.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "unbloat.dev",
    version = "v1alpha1",
    kind = "ImageSquashPolicy",
    plural = "imagesquashpolicies",
    shortname = "isp",
    category = "unbloat",
    status = "ImageSquashPolicyStatus",
    derive = "PartialEq",
    doc = "ImageSquashPolicy finds images in use that are bloated, reports them, and has them squashed within limits.",
    selectable = ".spec.mode",
    selectable = ".spec.suspend",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.images.matched"),
    printcolumn(name = "Over", type_ = "integer", json_path = ".status.images.overThreshold"),
    printcolumn(name = "Squashed", type_ = "integer", json_path = ".status.images.squashed"),
    printcolumn(name = "Reclaimable", type_ = "string", json_path = ".status.reclaimable.summary"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Limited",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Limited\")].reason",
        priority = 1
    ),
    printcolumn(name = "Unknown", type_ = "integer", json_path = ".status.images.unknown", priority = 1),
    printcolumn(name = "Quarantined", type_ = "integer", json_path = ".status.images.quarantined", priority = 1),
    printcolumn(name = "Next-Window", type_ = "date", json_path = ".status.nextWindowTime", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 52")
        .message("metadata.name must be at most 52 characters: its jobs are named and labelled after it")
)]
#[cfg_attr(test, kube(cel))]
#[x_kube(
    validation = Rule::new("self.analysis != 'Never' || !(has(self.thresholds.wastedBytes) || has(self.thresholds.wastedPercent)) || (has(self.thresholds.layers) || has(self.thresholds.size))")
        .message("thresholds.wastedBytes and thresholds.wastedPercent are never known with analysis Never; set analysis to OverThreshold or Always")
        .field_path(".analysis"),
    validation = Rule::new("!(self.analysis == 'Never' && self.thresholds.match == 'All' && (has(self.thresholds.wastedBytes) || has(self.thresholds.wastedPercent)))")
        .message("thresholds.match All with wastedBytes or wastedPercent is never met with analysis Never; set analysis to OverThreshold or Always")
        .field_path(".analysis"),
    validation = Rule::new("self.rollout.strategy != 'Devbox' || self.selector.sources.exists(source, source == 'Devboxes')")
        .message("rollout.strategy Devbox needs Devboxes in selector.sources")
        .field_path(".rollout"),
    validation = Rule::new("!has(self.retention) || !self.target.moveTag || self.rollout.strategy != 'None'")
        .message("retention with target.moveTag needs a rollout.strategy: pods of the old digest would lose their image")
        .field_path(".retention")
)]
pub struct ImageSquashPolicySpec {
    /// Do nothing new: no report is begun and no job is made. Jobs that run go on.
    #[serde(default)]
    pub suspend: bool,
    /// How far the policy goes by itself.
    #[serde(default)]
    pub mode: Mode,
    /// Which images.
    #[serde(default)]
    pub selector: Selector,
    /// When it is too much. At least one of the limits has to be given; when `thresholds` is left out
    /// altogether, more than 50 layers, 10Gi, 1Gi wasted or 20 % wasted is.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// When layers are read to know what is wasted, and why.
    #[serde(default)]
    pub analysis: Analysis,
    /// With what images are inspected.
    #[serde(default)]
    pub credentials: CredentialSource,
    /// How long an image has to be left in peace.
    #[serde(default)]
    pub stability: Stability,
    /// How much may be done at once, an hour and a day.
    #[serde(default)]
    pub limits: Limits,
    /// When jobs may start; always, when empty. A job that runs goes on when its window closes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = list_atomic)]
    pub windows: Vec<Window>,
    /// The namespace that jobs run in, with its pull and push secrets.
    #[serde(default = "default_job_namespace")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub job_namespace: String,
    /// What the jobs look like, beside source and target.
    #[serde(default)]
    pub job_template: JobTemplate,
    /// Where results go.
    #[serde(default)]
    pub target: PolicyTarget,
    /// Who gets the result.
    #[serde(default)]
    pub rollout: Rollout,
    /// When originals are deleted; never, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// When an image whose jobs fail is left alone.
    #[serde(default)]
    pub failure: FailureLimits,
    /// Jobs that succeeded and are kept.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub successful_jobs_history_limit: i32,
    /// Jobs that failed and are kept.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub failed_jobs_history_limit: i32,
}

/// How far a policy goes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Reports and metrics.
    #[default]
    Report,
    /// Jobs that are suspended: a person approves one by clearing `spec.suspend`.
    Plan,
    /// Jobs that run.
    Squash,
}

/// When layers are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Analysis {
    /// Never: only layers and sizes are known.
    Never,
    /// When an image is over `thresholds.layers` or `thresholds.size`, or when neither of them is given and
    /// it has more than one layer.
    #[default]
    OverThreshold,
    /// Of every image that the policy matches.
    Always,
}

/// With what images are inspected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialSource {
    /// The operator's own secrets, one for each registry host.
    #[default]
    Platform,
    /// What those can't read is read by a worker in the pod's namespace, with the pod's own pull secrets.
    PodPullSecrets,
}

fn default_job_namespace() -> String {
    "unbloat-system".to_owned()
}

fn default_history_limit() -> i32 {
    5
}
