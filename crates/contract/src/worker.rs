//! The contract between the operator and its worker pods: the spec file, the progress document, the
//! termination message.
//!
//! Both sides come from one release, but an upgrade can meet a worker of the release before: so each document
//! has a version, readers ignore fields that they don't know, and a version that they don't know is an error
//! that says so.
//!
//! Versions: 1 had one squash as its `request`; 2 has a `task` of several kinds. Progress and termination of
//! both are alike.

use serde::{Deserialize, Serialize};

use crate::analysis::AnalysisFigures;
use crate::failure::Failure;
use crate::figures::SquashResult;
use crate::request::{AnalyzeRequest, SquashRequest};

/// Version of the three documents.
pub const CONTRACT_VERSION: u32 = 2;
/// Oldest version of a progress document or a termination message that this release reads.
pub(crate) const OLDEST_RESULT: u32 = 1;
/// The spec file, projected from the pod's annotation.
pub const SPEC_PATH: &str = "/etc/unbloat/spec.json";
/// Folder with one folder for each secret.
pub const CREDENTIALS_PATH: &str = "/etc/unbloat/credentials";
/// Where the scratch volume is mounted.
pub const SCRATCH_PATH: &str = "/scratch";
/// Where the worker leaves its [`Termination`].
pub const TERMINATION_PATH: &str = "/dev/termination-log";
/// Kubernetes keeps this much of a termination message.
pub const TERMINATION_LIMIT: usize = 4096;
/// Port of `/progress`, `/metrics` and `/healthz` in the worker's pod.
pub const PORT: u16 = 9090;

/// Whether a result of this version can be read.
#[must_use]
pub fn is_readable(version: u32) -> bool {
    (OLDEST_RESULT..=CONTRACT_VERSION).contains(&version)
}

/// What a worker is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerSpec {
    /// [`CONTRACT_VERSION`] of the writer.
    pub version: u32,
    /// The task.
    pub task: Task,
    /// Hosts (`HOST[:PORT]`) that are spoken to in plain HTTP. Every other one that is not on loopback is
    /// spoken to with TLS.
    #[serde(default)]
    pub plain_http_hosts: Vec<String>,
    /// Credentials that are mounted, most specific use first.
    #[serde(default)]
    pub credentials: Vec<CredentialMount>,
}

/// The kinds of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// Read an image and write another.
    Squash(Box<SquashRequest>),
    /// Read an image and write nothing.
    Analyze(Box<AnalyzeRequest>),
}

/// One mounted secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialMount {
    /// Name of the secret, for messages.
    pub secret: String,
    /// Folder that holds `.dockerconfigjson` or `.dockercfg`.
    pub path: String,
    /// What it is for.
    pub usage: CredentialUsage,
    /// Whether its absence is an error; the secrets of a service account may be missing, as kubelet has it.
    pub required: bool,
}

/// What a mounted secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialUsage {
    /// Reading the source and the base.
    Pull,
    /// Writing the target.
    Push,
}

/// What a worker leaves when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// [`CONTRACT_VERSION`] of the writer.
    pub version: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The result is in the registry. The platforms' own figures are left out for the 4 KiB that Kubernetes
    /// keeps.
    Squashed(SquashResult),
    /// There was nothing to do and nothing was written; the figures are the source's.
    AlreadyFlat(SquashResult),
    /// The image was read.
    Analyzed(AnalysisFigures),
    /// It failed.
    Failed(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    #[test]
    fn the_message_of_a_worker_of_the_release_before_is_understood() {
        let text = r#"{"version": 1, "outcome": {"failed": {"reason": "WorkerLost", "message": "m", "retryable": true}}}"#;
        let termination: Termination = serde_json::from_str(text).unwrap();
        assert!(is_readable(termination.version));
        let Outcome::Failed(failure) = termination.outcome else { panic!("not a failure") };
        assert_eq!(failure.reason, FailureKind::Cancelled);
        let text = r#"{"version": 1, "outcome": {"squashed": {"digest": "sha256:x", "layersAfter": 1}}}"#;
        let Outcome::Squashed(result) = serde_json::from_str::<Termination>(text).unwrap().outcome else {
            panic!("not a result");
        };
        assert_eq!(result.figures.layers_after, 1);
    }

    #[test]
    fn a_task_is_read_as_it_was_written() {
        let spec = WorkerSpec {
            version: CONTRACT_VERSION,
            task: Task::Squash(Box::new(SquashRequest::new("a.example/b:c", "a.example/b:d"))),
            plain_http_hosts: Vec::new(),
            credentials: Vec::new(),
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.contains(r#""task":{"squash":{"source":"a.example/b:c""#), "{text}");
        assert_eq!(serde_json::from_str::<WorkerSpec>(&text).unwrap(), spec);
        let least = r#"{"version": 2, "task": {"squash": {"source": "a", "destination": "b"}}}"#;
        assert!(serde_json::from_str::<WorkerSpec>(least).is_ok());
        let wrong =
            r#"{"version": 2, "task": {"squash": {"source": "a", "destination": "b", "remvoe": []}}}"#;
        assert!(serde_json::from_str::<WorkerSpec>(wrong).unwrap_err().to_string().contains("remvoe"));
    }
}
