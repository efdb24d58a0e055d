//! The operator's configuration file: what the platform team decides.
//!
//! A YAML document, strict about names, with a default for everything but the worker's image. It is read once, at start;
//! the chart restarts the operator when it changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use unbloat_api::squash_job::{EmptyDirScratch, Scratch};

use crate::quantity;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Config {
    /// How many squashes run at once.
    pub(crate) concurrency: Concurrency,
    /// Waits between attempts.
    pub(crate) backoff: Backoff,
    /// Whether the operator resolves sources itself.
    pub(crate) resolve: Resolve,
    /// PEM files of certificate authorities that registries' certificates come from, beside the system's.
    pub(crate) registry_ca_files: Vec<PathBuf>,
    /// What workers look like.
    pub(crate) worker: Worker,
    /// How far a job's own `worker` fields may go.
    pub(crate) overrides: Overrides,
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
    /// Without credentials; a registry that refuses leaves it to the worker.
    Anonymous,
    /// Never: workers resolve. For operators that reach no registry.
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
    /// Processors, request and limit.
    pub(crate) cpu: Quantity,
    /// Memory, request and limit.
    pub(crate) memory: Quantity,
    /// The scratch volume.
    pub(crate) scratch: Scratch,
    /// User, group and owner of volumes in the worker's pod.
    pub(crate) run_as_user: i64,
    /// Certificate authorities: a ConfigMap with PEM files, which must be in each namespace that has jobs.
    pub(crate) ca_config_map: Option<String>,
    /// Level of the worker's log, as `RUST_LOG` has it.
    pub(crate) log: String,
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
    pub(crate) max_cpu: Quantity,
    /// Most memory that a job may ask for.
    pub(crate) max_memory: Quantity,
    /// Largest scratch volume that a job may ask for.
    pub(crate) max_scratch: Quantity,
    /// A job may use a claim of its namespace as scratch.
    pub(crate) scratch_claims: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: Concurrency::default(),
            backoff: Backoff::default(),
            resolve: Resolve::Anonymous,
            registry_ca_files: Vec::new(),
            worker: Worker::default(),
            overrides: Overrides::default(),
        }
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { global: 8, per_namespace: 4 }
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
            scratch: Scratch {
                empty_dir: Some(EmptyDirScratch { size_limit: Some(Quantity("20Gi".to_owned())) }),
                ephemeral: None,
                persistent_volume_claim: None,
            },
            run_as_user: 65532,
            ca_config_map: None,
            log: "info".to_owned(),
        }
    }
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            node_selector: true,
            tolerations: true,
            priority_classes: Vec::new(),
            max_cpu: Quantity("8".to_owned()),
            max_memory: Quantity("8Gi".to_owned()),
            max_scratch: Quantity("1Ti".to_owned()),
            scratch_claims: true,
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

    /// What no type can say.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let value = |field, message: &str| Err(ConfigError::Value { field, message: message.to_owned() });
        if self.worker.image.is_empty() {
            return value("worker.image", "it is required");
        }
        if self.concurrency.global == 0 || self.concurrency.per_namespace == 0 {
            return value("concurrency", "at least one squash must be able to run");
        }
        if self.worker.run_as_user <= 0 {
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
            ("overrides.maxCpu", &self.overrides.max_cpu),
            ("overrides.maxMemory", &self.overrides.max_memory),
            ("overrides.maxScratch", &self.overrides.max_scratch),
        ] {
            if quantity::thousandths(quantity).is_none_or(|value| value <= 0) {
                return value(field, "it is not a positive quantity");
            }
        }
        Ok(())
    }
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
    fn a_configuration_without_a_worker_image_is_refused_by_its_field() {
        assert!(Config::default().check().unwrap_err().to_string().contains("worker.image"));
    }
}
