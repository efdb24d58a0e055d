//! The operator's configuration file: what the platform team decides.
//!
//! A YAML document, strict about names, with a default for everything but the worker's image. It is read
//! once, at start; the chart restarts the operator when it changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use unbloat_api::squash_job::{EmptyDirScratch, Scratch};
use unbloat_policy::quantity;
use unbloat_registry::Guard;

/// Fewer bytes than this and the codecs' windows, the buffers of a transfer and the process itself do not
/// fit: the kernel would end the worker with the reason that it reached its limit.
pub(crate) const MEMORY_FLOOR: u64 = 128 << 20;

/// Ten years: longer is a mistake, and sums of it stay far below what a number holds.
const MOST_SECONDS: i64 = 315_360_000;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Which objects are this release's: those with the label `unbloat.dev/class` of this value, or those
    /// without the label, when empty.
    pub(crate) class: String,
    /// How many squashes run at once.
    pub(crate) concurrency: Concurrency,
    /// Waits between attempts.
    pub(crate) backoff: Backoff,
    /// Whether the operator resolves sources itself.
    pub(crate) resolve: Resolve,
    /// Registries (`HOST[:PORT]`) whose sources the operator resolves itself; every other is asked by workers
    /// alone.
    pub(crate) resolve_registries: Vec<String>,
    /// How long an attempt may take to start, to make progress, and a job in all.
    pub(crate) deadlines: Deadlines,
    /// PEM files of certificate authorities that registries' certificates come from, beside the system's.
    pub(crate) registry_ca_files: Vec<PathBuf>,
    /// What workers look like.
    pub(crate) worker: Worker,
    /// How far a job's own `worker` fields may go.
    pub(crate) overrides: Overrides,
    /// Finding what is bloated.
    pub(crate) detection: Detection,
    /// What is known of registries.
    pub(crate) registries: Vec<RegistrySettings>,
}

/// Finding what is bloated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Detection {
    /// Whether policies are followed.
    pub(crate) enabled: bool,
    /// Questions that each registry host is asked in a second, at most.
    pub(crate) requests_per_second: f64,
    /// Jobs of all policies that run at once.
    pub(crate) max_concurrent_jobs: usize,
    /// Images whose layers are read at once, each by a worker in the operator's namespace.
    pub(crate) max_concurrent_analyses: usize,
    /// Whether workloads may be pointed at results; the operator's account has to be allowed to.
    pub(crate) rollouts: bool,
    /// Namespaces that a policy matches only when it names them.
    pub(crate) system_namespaces: Vec<String>,
}

/// What is known of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RegistrySettings {
    /// `HOST[:PORT]`.
    pub(crate) host: String,
    /// It speaks plain HTTP.
    #[serde(default, rename = "plainHTTP")]
    pub(crate) plain_http: bool,
}

/// How many squashes run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Concurrency {
    /// In all namespaces together.
    pub(crate) global: usize,
    /// In each namespace.
    pub(crate) per_namespace: usize,
}

/// How long things may take, whatever a job asks for. All in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Deadlines {
    /// Most of a job's `activeDeadlineSeconds`; one that asks for more gets this.
    pub(crate) max_active_seconds: i64,
    /// A worker that doesn't run by then gives its place back and is made anew later.
    pub(crate) start_seconds: i64,
    /// A worker whose figures don't change for this long is stopped.
    pub(crate) idle_seconds: i64,
}

/// Waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Backoff {
    /// Seconds after the first failure; doubled for each further one.
    pub(crate) base_seconds: u64,
    /// Longest wait.
    pub(crate) cap_seconds: u64,
}

/// Whether the operator reads a source's manifest before it starts a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Resolve {
    /// Without credentials, at the registries that are listed; what fails there is left to the worker.
    Anonymous,
    /// Never: workers resolve.
    Never,
}

/// What workers look like.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Worker {
    /// The worker's image.
    pub(crate) image: String,
    /// Pull policy of that image.
    pub(crate) image_pull_policy: String,
    /// Labels of squash nodes.
    pub(crate) node_selector: BTreeMap<String, String>,
    /// Taints of squash nodes.
    pub(crate) tolerations: Vec<Toleration>,
    /// Priority class.
    pub(crate) priority_class_name: Option<String>,
    /// Most processors.
    #[serde(deserialize_with = "unbloat_api::quantity::read")]
    pub(crate) cpu: Quantity,
    /// Most memory.
    #[serde(deserialize_with = "unbloat_api::quantity::read")]
    pub(crate) memory: Quantity,
    /// What is asked for of these; a worker may use more where the node has it.
    pub(crate) requests: WorkerRequests,
    /// Secrets for the worker's image, which have to be in each namespace that has jobs.
    pub(crate) image_pull_secrets: Vec<String>,
    /// What workers must not connect to.
    pub(crate) network: WorkerNetwork,
    /// Further environment, such as a proxy.
    pub(crate) env: BTreeMap<String, String>,
    /// The scratch volume.
    pub(crate) scratch: Scratch,
    /// User, group and owner of volumes in the worker's pod; null leaves all three to the platform.
    pub(crate) run_as_user: Option<i64>,
    /// Certificate authorities: a ConfigMap with PEM files, which must be in each namespace that has jobs.
    pub(crate) ca_config_map: Option<String>,
    /// Level of the worker's log, as `RUST_LOG` has it.
    pub(crate) log: String,
}

/// What is asked for of processor and memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WorkerRequests {
    /// Processors.
    #[serde(deserialize_with = "unbloat_api::quantity::read")]
    pub(crate) cpu: Quantity,
    /// Memory.
    #[serde(deserialize_with = "unbloat_api::quantity::read")]
    pub(crate) memory: Quantity,
}

/// What workers must not connect to, wherever an image's name, a redirect, a token's realm or an upload's
/// location leads.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct WorkerNetwork {
    /// `Own` (the machine, its links, clouds' metadata servers), `Private` (private networks as well), or
    /// networks.
    pub(crate) refuse: Vec<String>,
    /// Hosts that are excepted, by their names without a port.
    pub(crate) allow_hosts: Vec<String>,
}

/// How far a job's own `worker` fields may go.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Overrides {
    /// A job may choose nodes.
    pub(crate) node_selector: bool,
    /// A job may tolerate taints.
    pub(crate) tolerations: bool,
    /// Priority classes that a job may choose.
    pub(crate) priority_classes: Vec<String>,
    /// Most processors that a job may ask for.
    #[serde(deserialize_with = "unbloat_api::quantity::read")]
    pub(crate) max_cpu: Quantity,
    /// Most memory that a job may ask for.
    #[serde(deserialize_with = "unbloat_api::quantity::read")]
    pub(crate) max_memory: Quantity,
    /// Largest scratch volume that a job may ask for.
    #[serde(deserialize_with = "unbloat_api::quantity::read")]
    pub(crate) max_scratch: Quantity,
    /// A job may use a claim of its namespace as scratch.
    pub(crate) scratch_claims: bool,
    /// Clouds in which a job may be its service account.
    pub(crate) cloud_identities: Vec<CloudName>,
}

/// A cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum CloudName {
    /// Amazon's.
    #[serde(rename = "AWS")]
    Aws,
    /// Microsoft's.
    Azure,
    /// Google's.
    #[serde(rename = "GCP")]
    Gcp,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            class: String::new(),
            concurrency: Concurrency::default(),
            backoff: Backoff::default(),
            resolve: Resolve::Anonymous,
            resolve_registries: Vec::new(),
            deadlines: Deadlines::default(),
            registry_ca_files: Vec::new(),
            worker: Worker::default(),
            overrides: Overrides::default(),
            detection: Detection::default(),
            registries: Vec::new(),
        }
    }
}

impl Default for Detection {
    fn default() -> Self {
        let system = ["kube-system", "kube-public", "kube-node-lease", "unbloat-system"];
        Self {
            enabled: true,
            requests_per_second: 10.0,
            max_concurrent_jobs: 4,
            max_concurrent_analyses: 2,
            rollouts: false,
            system_namespaces: system.map(str::to_owned).into(),
        }
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { global: 8, per_namespace: 4 }
    }
}

impl Default for Deadlines {
    /// A day; five minutes, in which a cluster adds a node; a quarter of an hour, which is longer than any
    /// registry takes to commit a layer.
    fn default() -> Self {
        Self { max_active_seconds: 86_400, start_seconds: 300, idle_seconds: 900 }
    }
}

impl Default for WorkerNetwork {
    fn default() -> Self {
        Self { refuse: vec!["Own".to_owned()], allow_hosts: Vec::new() }
    }
}

impl Default for WorkerRequests {
    fn default() -> Self {
        Self { cpu: Quantity("100m".to_owned()), memory: Quantity("256Mi".to_owned()) }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_seconds: 10, cap_seconds: 360 }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            image: String::new(),
            image_pull_policy: "IfNotPresent".to_owned(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class_name: None,
            cpu: Quantity("2".to_owned()),
            memory: Quantity("512Mi".to_owned()),
            requests: WorkerRequests::default(),
            network: WorkerNetwork::default(),
            image_pull_secrets: Vec::new(),
            env: BTreeMap::new(),
            scratch: Scratch {
                empty_dir: Some(EmptyDirScratch { size_limit: Some(Quantity("10Gi".to_owned())) }),
                ephemeral: None,
                persistent_volume_claim: None,
            },
            run_as_user: Some(65532),
            ca_config_map: None,
            log: "info".to_owned(),
        }
    }
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            node_selector: false,
            tolerations: false,
            priority_classes: Vec::new(),
            max_cpu: Quantity("8".to_owned()),
            max_memory: Quantity("8Gi".to_owned()),
            max_scratch: Quantity("1Ti".to_owned()),
            scratch_claims: true,
            cloud_identities: Vec::new(),
        }
    }
}

impl Backoff {
    /// First wait.
    pub(crate) fn base(&self) -> Duration {
        Duration::from_secs(self.base_seconds)
    }

    /// Longest wait.
    pub(crate) fn cap(&self) -> Duration {
        Duration::from_secs(self.cap_seconds)
    }
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It isn't what it should be; the message has line and field.
    #[error("the configuration {path} is invalid: {message}")]
    Parse {
        /// The file.
        path: String,
        /// The parser's words.
        message: String,
    },
    /// A value that no default replaces is missing or out of range.
    #[error("the configuration's {field} is invalid: {message}")]
    Value {
        /// Path of the field.
        field: &'static str,
        /// What it should be.
        message: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`]; each names the file or the field.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        let config: Config = serde_saphyr::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: name, message: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    /// Whether the operator itself resolves sources of this registry.
    pub(crate) fn resolves(&self, registry: &str) -> bool {
        self.resolve == Resolve::Anonymous && self.resolve_registries.iter().any(|listed| listed == registry)
    }

    /// Registries that speak plain HTTP.
    pub(crate) fn plain_http_hosts(&self) -> impl Iterator<Item = &str> {
        self.registries.iter().filter(|one| one.plain_http).map(|one| one.host.as_str())
    }

    /// Whether a registry speaks plain HTTP.
    pub(crate) fn is_plain_http(&self, host: &str) -> bool {
        self.registries.iter().any(|registry| registry.host == host && registry.plain_http)
    }

    /// What no type can say.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let value = |field, message: &str| Err(ConfigError::Value { field, message: message.to_owned() });
        if self.worker.image.is_empty() {
            return value("worker.image", "it is required");
        }
        if !is_class(&self.class) {
            return value("class", "it is at most 40 lower-case letters, digits and dashes, a letter first");
        }
        if self.concurrency.global == 0 || self.concurrency.per_namespace == 0 {
            return value("concurrency", "at least one squash must be able to run");
        }
        if !(self.detection.requests_per_second > 0.0 && self.detection.requests_per_second <= 1000.0) {
            return value("detection.requestsPerSecond", "it is above 0 and at most 1000");
        }
        if self.detection.max_concurrent_analyses == 0 {
            return value("detection.maxConcurrentAnalyses", "at least one must be able to run");
        }
        if self.detection.max_concurrent_jobs == 0 {
            return value("detection.maxConcurrentJobs", "at least one job must be able to run");
        }
        let Deadlines { max_active_seconds, start_seconds, idle_seconds } = self.deadlines;
        if [max_active_seconds, start_seconds, idle_seconds]
            .iter()
            .any(|seconds| !(1..=MOST_SECONDS).contains(seconds))
        {
            return value("deadlines", "each is at least 1 and at most ten years");
        }
        if self.worker.run_as_user.is_some_and(|user| user <= 0) {
            return value("worker.runAsUser", "workers don't run as root");
        }
        let Scratch { empty_dir, ephemeral, persistent_volume_claim } = &self.worker.scratch;
        let kinds = [empty_dir.is_some(), ephemeral.is_some(), persistent_volume_claim.is_some()];
        if kinds.iter().filter(|is_set| **is_set).count() != 1 {
            return value(
                "worker.scratch",
                "give exactly one of emptyDir, ephemeral and persistentVolumeClaim",
            );
        }
        for (field, quantity) in [
            ("worker.cpu", &self.worker.cpu),
            ("worker.memory", &self.worker.memory),
            ("worker.requests.cpu", &self.worker.requests.cpu),
            ("worker.requests.memory", &self.worker.requests.memory),
            ("overrides.maxCpu", &self.overrides.max_cpu),
            ("overrides.maxMemory", &self.overrides.max_memory),
            ("overrides.maxScratch", &self.overrides.max_scratch),
        ] {
            if quantity::thousandths(quantity).is_none_or(|value| value <= 0) {
                return value(field, "it is not a positive quantity");
            }
        }
        if let Err(error) = Guard::of_words(self.worker.network.refuse.iter().map(String::as_str)) {
            return value("worker.network.refuse", &error.to_string());
        }
        if quantity::bytes(&self.worker.memory).is_none_or(|bytes| bytes < MEMORY_FLOOR) {
            return value("worker.memory", "a worker needs at least 128Mi");
        }
        Ok(())
    }
}

/// As a label's value, and short enough to be a part of an object's name.
fn is_class(class: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    class.is_empty()
        || (class.len() <= 40
            && class.starts_with(|c: char| c.is_ascii_lowercase())
            && class.chars().all(is_plain)
            && !class.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_is_enough_and_a_misspelt_field_is_refused() {
        let config: Config =
            serde_saphyr::from_str("worker: {image: example.com/worker:1}\nconcurrency: {global: 3}")
                .unwrap();
        config.check().unwrap();
        assert_eq!(config.concurrency, Concurrency { global: 3, per_namespace: 4 });
        let error = serde_saphyr::from_str::<Config>("worker: {img: x}").unwrap_err().to_string();
        assert!(error.contains("img"), "{error}");
    }

    #[test]
    fn a_quantity_may_be_a_number() {
        let config: Config =
            serde_saphyr::from_str("worker: {cpu: 2, memory: 512Mi, requests: {cpu: 0.5}}").unwrap();
        assert_eq!((config.worker.cpu.0.as_str(), config.worker.requests.cpu.0.as_str()), ("2", "0.5"));
    }

    #[test]
    fn a_class_is_a_labels_value() {
        let of = |class: &str| {
            let text = format!("class: {class:?}\nworker: {{image: example.com/worker:1}}");
            serde_saphyr::from_str::<Config>(&text).unwrap().check().is_ok()
        };
        assert!(of("") && of("fast") && of("team-2"));
        assert!(!of("Fast") && !of("a/b") && !of("-a") && !of("a-") && !of(&"a".repeat(41)));
    }

    #[test]
    fn a_configuration_without_a_worker_image_is_refused_by_its_field() {
        assert!(Config::default().check().unwrap_err().to_string().contains("worker.image"));
    }
}
