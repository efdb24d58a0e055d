//! Labels and annotations on the objects that the operator makes.

use std::collections::BTreeMap;

/// Standard name label; its value is [`WORKER_NAME`] on Jobs and pods.
pub const NAME: &str = "app.kubernetes.io/name";
/// Value of [`NAME`] on Jobs and pods of workers; the operator's watches select by it.
pub const WORKER_NAME: &str = "unbloat-worker";
/// Standard label of the managing tool; its value is [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`], and the field manager of the operator's writes.
pub const MANAGER: &str = "unbloat-operator";
/// Uid of the ImageSquashJob that a Job or pod works for.
pub const SQUASH_JOB_UID: &str = "unbloat.dev/squash-job-uid";
/// Name of the ImageSquashJob that a Job or pod works for.
pub const SQUASH_JOB: &str = "unbloat.dev/squash-job";
/// Number of the attempt, from 1.
pub const ATTEMPT: &str = "unbloat.dev/attempt";
/// Annotation of a worker pod that carries its [`WorkerSpec`](unbloat_contract::worker::WorkerSpec);
/// projected into a file, so that a squash needs no ConfigMap.
pub const WORKER_SPEC: &str = "unbloat.dev/worker-spec";
/// Annotation of a worker's Job with a fingerprint of the configuration that it was made with.
pub const WORKER_CONFIG: &str = "unbloat.dev/worker-config";
/// Name of the ImageSquashPolicy that made an ImageSquashJob; its uid is the owner reference's.
pub const SQUASH_POLICY: &str = "unbloat.dev/squash-policy";
/// Uid of that policy.
pub const SQUASH_POLICY_UID: &str = "unbloat.dev/squash-policy-uid";
/// First 40 hex digits of the SHA-256 of repository and digest: the image that an ImageSquashJob or
/// ImageReport is about.
pub const IMAGE: &str = "unbloat.dev/image";
/// On a pod, workload, devbox or namespace: [`POLICY_IGNORE`] keeps policies away from it.
pub const POLICY: &str = "unbloat.dev/policy";
/// Value of [`POLICY`] that opts out.
pub const POLICY_IGNORE: &str = "ignore";
/// Class of the release that serves an ImageSquashJob or ImageSquashPolicy, and of the release that made an
/// ImageReport; objects without it belong to the release without a class.
pub const CLASS: &str = "unbloat.dev/class";
/// Annotation of a workload that is, or was, pointed at a result: how it goes, as JSON.
pub const ROLLOUT: &str = "unbloat.dev/rollout";

/// The label selector for objects that the release of a class serves; of the release without one, when empty.
///
/// ```
/// assert_eq!(unbloat_api::labels::of_class("fast"), "unbloat.dev/class=fast");
/// assert_eq!(unbloat_api::labels::of_class(""), "!unbloat.dev/class");
/// ```
#[must_use]
pub fn of_class(class: &str) -> String {
    if class.is_empty() { format!("!{CLASS}") } else { format!("{CLASS}={class}") }
}

/// Whether labels of a pod, a workload or a namespace opt out of policies.
#[must_use]
pub fn opts_out(labels: Option<&BTreeMap<String, String>>) -> bool {
    labels.and_then(|labels| labels.get(POLICY)).is_some_and(|value| value == POLICY_IGNORE)
}
