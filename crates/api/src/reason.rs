//! The reasons that a condition, an event and a metric may carry: what each means and what to do.
//!
//! One table, so that the code, the documentation and the metrics' labels can't drift apart.

use std::fmt;

use serde::{Deserialize, Serialize};
use unbloat_contract::FailureKind;

/// What comes of a failure with this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work goes on or waits; the job isn't finished.
    Progressing,
    /// The job is finished and did what it was asked for.
    Success,
    /// The job is finished; the same input would fail again.
    Final,
    /// An attempt failed in a way that another one may not, up to `backoffLimit`.
    Retried,
}

macro_rules! reasons {
    ($( $name:ident, $kind:ident, $meaning:literal, $todo:literal; )+) => {
        /// A CamelCase reason, as the Kubernetes API conventions have it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $( #[doc = $meaning] #[doc = ""] #[doc = $todo] $name, )+
        }

        impl Reason {
            /// Every reason, in the order of a job's life.
            pub const ALL: &'static [Reason] = &[$( Reason::$name, )+];

            /// As the API spells it.
            pub fn as_str(self) -> &'static str {
                match self { $( Reason::$name => stringify!($name), )+ }
            }

            /// What the reason says about the job.
            pub fn kind(self) -> Kind {
                match self { $( Reason::$name => Kind::$kind, )+ }
            }

            /// What happened, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $( Reason::$name => $meaning, )+ }
            }

            /// What the reader should do, in one sentence.
            pub fn what_to_do(self) -> &'static str {
                match self { $( Reason::$name => $todo, )+ }
            }
        }
    };
}

reasons! {
    Queued, Progressing, "The job waits for a free place: as many squashes run as the limits allow.",
        "Wait, or raise `concurrency` in the operator's configuration.";
    Suspended, Progressing, "`spec.suspend` is set; nothing runs.",
        "Set `spec.suspend` to false.";
    Resolving, Progressing, "The operator reads the source's manifest.",
        "Wait.";
    WorkerPending, Progressing, "The attempt's Job exists and its pod doesn't run yet.",
        "Wait; when it lasts, look at the pod's events: image pulls, volumes and admission show there.";
    WorkerUnschedulable, Progressing, "No node takes the worker's pod; the message has the scheduler's words.",
        "Check node selector, tolerations, requests and the scratch volume against the squash nodes.";
    WorkerImageUnavailable, Progressing, "The node can't get the worker's image; the message has the node's words.",
        "Have the platform team check the worker's image, its tag and the pull secrets for it in the operator's configuration.";
    WorkerPodRefused, Progressing, "The worker's Job is there and its pod is refused; the message has the API server's words.",
        "Check the namespace's quota, limit ranges, service account and admission policies.";
    Running, Progressing, "A worker reads, merges and pushes; `status.progress` tells how far.",
        "Wait.";
    Retrying, Progressing, "An attempt failed in a way that another may not; the next one starts at `status.nextAttemptTime`.",
        "Read the message and `status.lastFailure`; delete the job when trying again is pointless.";
    Resolved, Success, "The source was read and is pinned to `status.source.digest`.",
        "Nothing.";
    ResolvedByWorker, Progressing, "The operator can't read the source's registry itself; the worker pins the digest.",
        "Nothing.";
    Squashed, Success, "The result is in the registry and, where asked for, verified.",
        "Use `status.target.reference`.";
    AlreadyFlat, Success, "The source has no layer to merge and nothing was to be removed, or it is below `spec.condition`: it stays as it is.",
        "Use `status.target.reference`.";
    InvalidReference, Final, "An image reference can't be parsed; the message has the field and the position.",
        "Create the job anew with a valid reference.";
    InvalidSpec, Final, "The worker refused the request, such as a pattern or a platform that the image doesn't have; or the object can't be read as a job.",
        "Read the message, then create the job anew with the value it names corrected.";
    OverrideNotAllowed, Final, "`spec.worker` asks for something that the platform's limits don't allow.",
        "Leave the field out, stay within the limit that the message names, or have the platform team raise it.";
    SecretNotFound, Retried, "A secret that the job names is missing or holds no docker configuration.",
        "Create it in the job's namespace with type kubernetes.io/dockerconfigjson.";
    PullUnauthorized, Final, "The source's registry refused the credentials, or there are none.",
        "Check the secrets in `spec.source.pullSecrets`, then create the job anew.";
    PushUnauthorized, Final, "The target's registry refused the credentials, or there are none.",
        "Check `spec.target.pushSecret`, and that its account may push, then create the job anew.";
    ImageNotFound, Final, "The source, its tag or the base image isn't there.",
        "Check the name, and `spec.platforms` against the image.";
    RegistryUnavailable, Retried, "A registry didn't answer, or answered with an error of its own.",
        "Check the registry; the message has the operation and the registry's words.";
    TargetRefused, Final, "The target's registry took the credentials and refused the content.",
        "Read the registry's words in the message: read-only, immutable tags, a quota or an unsupported media type.";
    InvalidImage, Final, "The source is corrupt, hostile or of a kind that can't be merged; the message names the layer.",
        "Push the source again from a good copy; nothing was published.";
    SourceChanged, Final, "The source's tag moved while it was squashed; the result stays under its digest, the tag wasn't moved.",
        "Create a job for the tag's new image.";
    VerifyFailed, Final, "The result's file tree differs from the source's; no tag was moved.",
        "Report it as a bug of Unbloat with the source's digest.";
    LimitExceeded, Final, "The image needs more than a limit allows: unpacked bytes, paths or scratch.",
        "Raise the limit that the message names, if you trust the image.";
    ScratchFailed, Retried, "The worker couldn't read or write its scratch volume.",
        "Check the volume's size and health on the node that `status.worker` names.";
    WorkerOOMKilled, Final, "The kernel ended the worker: it reached its memory limit.",
        "Raise `spec.worker.resources.memory`; images with millions of paths need 150 bytes a path.";
    WorkerEvicted, Retried, "The node evicted or preempted the worker's pod.",
        "Give the worker a priority class, or its node room; disk pressure points to the scratch volume.";
    WorkerLost, Retried, "The worker's pod vanished: its node is gone, or somebody deleted it.",
        "Check the node; the attempt is repeated.";
    WorkerStalled, Retried, "The worker made no progress for as long as the platform allows, and was stopped.",
        "Check the registries that the job names: one of them neither answers nor refuses.";
    WorkerFailed, Retried, "The worker ended in a way that it shouldn't; the message has its exit code.",
        "Read the pod's log, and report it as a bug if it lasts.";
    WorkerCreateFailed, Retried, "The API server refused the worker's Job; the message has its words.",
        "Check the namespace's quota, limit ranges and admission policies.";
    DeadlineExceeded, Final, "`spec.activeDeadlineSeconds`, or the platform's `deadlines.maxActiveSeconds`, passed before the job was done.",
        "Raise it, or find in `status.lastFailure` and `status.progress` what took the time.";
}

impl Reason {
    /// The reason with this name.
    pub fn parse(name: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }

    /// Whether another attempt may fare better.
    pub fn is_retryable(self) -> bool {
        self.kind() == Kind::Retried
    }

    /// The failure that the same squash would end with at a command line, and so its exit code; `None` of a
    /// reason that is no failure.
    pub fn failure(self) -> Option<FailureKind> {
        Some(match self {
            Reason::InvalidReference | Reason::InvalidSpec | Reason::OverrideNotAllowed => {
                FailureKind::InvalidSpec
            }
            Reason::SecretNotFound => FailureKind::SecretNotFound,
            Reason::PullUnauthorized => FailureKind::PullUnauthorized,
            Reason::PushUnauthorized => FailureKind::PushUnauthorized,
            Reason::ImageNotFound => FailureKind::ImageNotFound,
            Reason::RegistryUnavailable => FailureKind::RegistryUnavailable,
            Reason::TargetRefused => FailureKind::TargetRefused,
            Reason::InvalidImage => FailureKind::InvalidImage,
            Reason::SourceChanged => FailureKind::SourceChanged,
            Reason::VerifyFailed => FailureKind::VerifyFailed,
            Reason::LimitExceeded | Reason::WorkerOOMKilled | Reason::DeadlineExceeded => {
                FailureKind::LimitExceeded
            }
            Reason::ScratchFailed => FailureKind::LocalFile,
            _ if matches!(self.kind(), Kind::Final | Kind::Retried) => FailureKind::Internal,
            _ => return None,
        })
    }
}

impl From<FailureKind> for Reason {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::InvalidSpec => Reason::InvalidSpec,
            FailureKind::ImageNotFound => Reason::ImageNotFound,
            FailureKind::SecretNotFound => Reason::SecretNotFound,
            FailureKind::PullUnauthorized => Reason::PullUnauthorized,
            FailureKind::PushUnauthorized => Reason::PushUnauthorized,
            FailureKind::RegistryUnavailable => Reason::RegistryUnavailable,
            FailureKind::TargetRefused => Reason::TargetRefused,
            FailureKind::InvalidImage => Reason::InvalidImage,
            FailureKind::SourceChanged => Reason::SourceChanged,
            FailureKind::VerifyFailed => Reason::VerifyFailed,
            FailureKind::LimitExceeded => Reason::LimitExceeded,
            FailureKind::LocalFile => Reason::ScratchFailed,
            FailureKind::Cancelled => Reason::WorkerLost,
            FailureKind::Internal => Reason::WorkerFailed,
        }
    }
}

impl From<Reason> for &'static str {
    fn from(reason: Reason) -> Self {
        reason.as_str()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_a_valid_condition_reason_and_says_what_to_do() {
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert!(name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            assert_eq!(Reason::parse(name), Some(*reason));
            assert!(reason.meaning().ends_with('.') && reason.what_to_do().ends_with('.'), "{name}");
            let failed = matches!(reason.kind(), Kind::Final | Kind::Retried);
            assert_eq!(reason.failure().is_some(), failed, "{name}");
        }
    }

    /// The termination message names the kind, the condition the reason: they are one word.
    #[test]
    fn a_workers_failure_has_the_name_of_its_reason_and_is_retried_as_it() {
        for kind in FailureKind::ALL {
            let reason = Reason::from(kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), reason.as_str());
            assert_eq!(kind.is_retried(), reason.is_retryable(), "{reason}");
            if !matches!(kind, FailureKind::Cancelled) {
                assert_eq!(reason.failure(), Some(kind));
            }
        }
    }
}
