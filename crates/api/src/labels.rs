//! Labels and annotations on the objects that the operator makes.

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
/// Annotation of a worker pod that carries its [`WorkerSpec`](unbloat_contract::worker::WorkerSpec); projected into a
/// file, so that a squash needs no ConfigMap.
pub const WORKER_SPEC: &str = "unbloat.dev/worker-spec";
/// Annotation of a worker's Job with a fingerprint of the configuration that it was made with.
pub const WORKER_CONFIG: &str = "unbloat.dev/worker-config";
