//! The reasons that reports and policies carry: what each means and what to do.
//!
//! One table, as [`crate::reason`] is for jobs: code, documentation and tests can't drift apart.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use unbloat_text::bounded;

use crate::condition::State;

/// Condition of a report: manifest and config were read.
pub const INSPECTED: &str = "Inspected";
/// Condition of a report: layers were read.
pub const ANALYZED: &str = "Analyzed";
/// Condition of a report: nothing speaks against a squash.
pub const SQUASHABLE: &str = "Squashable";
/// Condition of a policy: it is understood and followed.
pub const READY: &str = "Ready";
/// Condition of a policy: something waits for a limit or a window.
pub const LIMITED: &str = "Limited";
/// Condition of a policy: images that it matches can't be read with the credentials that there are.
pub const CREDENTIALS_UNAVAILABLE: &str = "CredentialsUnavailable";

/// Longest message of a condition on a report or a policy, in bytes: reports are small.
pub const MESSAGE_LIMIT: usize = 240;

macro_rules! findings {
    ($( $name:ident, $where_:literal, $meaning:literal, $todo:literal; )+) => {
        /// A CamelCase reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Finding {
            $( #[doc = $meaning] #[doc = ""] #[doc = $todo] $name, )+
        }

        impl Finding {
            /// Every one.
            pub const ALL: &'static [Finding] = &[$( Finding::$name, )+];

            /// As the API spells it.
            pub fn as_str(self) -> &'static str {
                match self { $( Finding::$name => stringify!($name), )+ }
            }

            /// The conditions and fields that carry it.
            pub fn carriers(self) -> &'static str {
                match self { $( Finding::$name => $where_, )+ }
            }

            /// What was found, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $( Finding::$name => $meaning, )+ }
            }

            /// What the reader should do, in one sentence.
            pub fn what_to_do(self) -> &'static str {
                match self { $( Finding::$name => $todo, )+ }
            }
        }
    };
}

findings! {
    Inspected, "Inspected", "Manifest and config were read.",
        "Nothing.";
    InspectionPending, "Inspected", "The image waits for its turn: a registry is asked only so often.",
        "Wait; `detection.requestsPerSecond` in the operator's configuration is the pace.";
    PullUnauthorized, "Inspected, Analyzed", "The registry refused the platform's credentials, or there are none for its host.",
        "Put a secret of type kubernetes.io/dockerconfigjson for the host in the operator's namespace.";
    ImageGone, "Inspected, Analyzed", "The registry doesn't have the digest any more, though nodes do.",
        "Push the image again, or roll out a newer one: a node that is new can't pull it.";
    RegistryUnavailable, "Inspected, Analyzed", "The registry didn't answer, or answered with an error of its own; it is asked again after a growing wait.",
        "Check the registry; the message has its words.";
    RegistryRateLimited, "Inspected, Analyzed", "The registry asked for patience; the whole host is left alone until then.",
        "Lower `detection.requestsPerSecond`, or give the operator an account with a higher limit.";
    RegistryNotAllowed, "Inspected", "The registry's address is one that the operator may not speak to.",
        "List the host under `registries` in the operator's configuration, if it is trusted.";
    InvalidImage, "Inspected, Analyzed", "Manifest, config or a layer can't be used; the message names it.",
        "Push the image again from a good copy.";
    Analyzed, "Analyzed", "Layers were read: waste, causes and paths are known.",
        "Nothing.";
    AnalysisNotNeeded, "Analyzed", "No policy asks for an analysis of this image.",
        "Nothing; `analysis: Always` in a policy asks for it.";
    AnalysisPending, "Analyzed", "An analysis waits for a free place or runs.",
        "Wait.";
    AnalysisFailed, "Analyzed", "The worker that read the layers failed; it is tried again after a growing wait.",
        "Read the message and the worker's log.";
    Squashable, "Squashable", "Nothing speaks against a squash.",
        "Nothing.";
    SquashabilityUnknown, "Squashable", "What has to be known isn't yet.",
        "See condition Inspected.";
    OneLayer, "Squashable, policies", "There is one layer: nothing to merge.",
        "Nothing.";
    OwnResult, "Squashable, policies", "The image is a squash's result; it is not squashed again.",
        "Nothing.";
    Signed, "Squashable, policies", "The image is signed; a squashed one would carry no signature.",
        "Squash before signing, or sign the result and roll it out by hand.";
    WindowsLayers, "Squashable, policies", "The image is for Windows, whose layers can't be merged.",
        "Nothing.";
    EncryptedLayers, "Squashable, policies", "Layers are encrypted.",
        "Squash before encrypting.";
    ForeignLayers, "Squashable, policies", "Layers are stored outside the registry.",
        "Push the image with its layers.";
    ImmutableTag, "Squashable, policies", "The registry refused to write the target's tag.",
        "Use another `target`, or let the registry accept the tag.";
    NoPushAccess, "Squashable, policies", "The registry refused the credentials to push.",
        "Check the push secret in the policy's `jobNamespace`.";
    UsedByDigest, "Squashable, policies", "Somebody uses the image by its digest, so its tag can't be moved to the result.",
        "Use `target.tagSuffix`.";
    Quarantined, "Squashable, policies", "Jobs of this image failed too often; it is left alone for a while.",
        "Read the failed jobs' messages; deleting them and the report starts over.";
    BelowThreshold, "policies", "The image is below the policy's thresholds.",
        "Nothing.";
    Reported, "policies", "The policy reports and does no more.",
        "Set `mode` to Plan or Squash to have it repaired.";
    OlderPolicyActs, "policies", "An older policy that matches the image acts.",
        "Nothing, or narrow one of the two selectors.";
    PolicySuspended, "policies, Ready", "The policy is suspended.",
        "Set `spec.suspend` to false.";
    TooYoung, "policies", "The image hasn't been in use for `stability.minAgeSeconds` yet.",
        "Wait.";
    CoolingDown, "policies", "An image of the same repository was squashed less than `stability.cooldownSeconds` ago, is being squashed, or its job failed a short time ago.",
        "Wait; better, mend what pushes the bloat, or what the report says of the failure.";
    OptedOut, "policies", "Everything that uses the image carries the label `unbloat.dev/policy: ignore`, or its namespace does.",
        "Remove the label.";
    WaitingForWindow, "policies, Limited", "No window of the policy is open.",
        "Wait until `status.nextWindowTime`.";
    WaitingForPlace, "policies, Limited", "As many jobs run as `limits.maxConcurrentJobs`, or the limit over all policies, allows.",
        "Wait, or raise the limit.";
    HourSpent, "policies, Limited", "`limits.maxJobsPerHour` jobs were made this hour.",
        "Wait, or raise the limit.";
    DaySpent, "policies, Limited", "`limits.maxBytesPerDay` would be passed today.",
        "Wait, or raise the limit.";
    LargerThanDay, "policies, Limited", "The image alone is larger than `limits.maxBytesPerDay`.",
        "Raise the limit, or create an ImageSquashJob by hand.";
    NoTag, "policies", "The image is used by its digest alone, so there is no tag to derive the target from.",
        "Use `target.repository`, or name the image by a tag.";
    JobPlanned, "policies", "A suspended job waits for approval.",
        "`unbloat approve JOB`, or clear `spec.suspend` of the job.";
    JobRunning, "policies", "A job is at work.",
        "Wait.";
    ResultAvailable, "policies", "A squashed image exists.",
        "Use `status.result.reference`, or set the policy's `rollout`.";
    Following, "Ready", "The policy is understood and followed.",
        "Nothing.";
    InvalidSchedule, "Ready", "A window's schedule can't be read; the message has field and position.",
        "Correct it; nothing is squashed until then.";
    InvalidTimeZone, "Ready", "A window's time zone is unknown.",
        "Use a name of the IANA database, such as Europe/Berlin.";
    InvalidQuantity, "Ready", "A size can't be read as a quantity.",
        "Write it as 10Gi or 500M.";
    InvalidSelector, "Ready", "A selector can't be understood.",
        "Correct the field that the message names.";
    WithinLimits, "Limited", "Nothing waits for a limit or a window.",
        "Nothing.";
    CredentialsWork, "CredentialsUnavailable", "Every image that was read could be read.",
        "Nothing.";
    RollingOut, "result.rollout", "Workloads are being pointed at the result.",
        "Wait.";
    RolledOut, "result.rollout", "Every workload that may be changed runs the result.",
        "Nothing.";
    RolloutReverted, "result.rollout", "A workload didn't become ready with the result and got its original back.",
        "Look at the workload's events; clear the annotation unbloat.dev/rollout to have it tried again.";
    ManagedByGitOps, "result.rollout", "The workload belongs to Argo CD, Flux or Helm, which would put the original back.",
        "Commit the image that the event and the report name.";
    PullNotProven, "result.rollout", "The result is in another repository than the original; that the workload's credentials can pull it isn't proven.",
        "Use `target.tagSuffix`, or roll it out by hand.";
    RolloutRefused, "result.rollout", "The API server refuses the change of a workload: the operator's account may not make it, or another check says no.",
        "Read the workload's event; `config.detection.rollouts` of the chart gives the operator the right.";
    NotAWorkload, "result.rollout", "Pods that were started by hand, or by something else than a Deployment, StatefulSet or DaemonSet, use the image.",
        "Use the result the next time that they are started.";
    OriginalKept, "result.original", "The original stays until `retention.originalSeconds` after the squash and after its last user.",
        "Nothing.";
    OriginalInUse, "result.original", "A pod, a workload or another object still refers to the original, by its digest or by a tag of it; the event names one.",
        "Nothing, or roll the result out there too.";
    OriginalTagged, "result.original", "Another tag than the one that was squashed points at the original; the event names it.",
        "Nothing, or delete or move that tag.";
    OriginalDeleted, "result.original", "The original's manifest is deleted; the registry frees its bytes when it collects garbage.",
        "Nothing.";
    OriginalNotDeletable, "result.original", "The registry refuses to delete the original; it is asked again after a day at the earliest.",
        "Read the event: it has the registry's words. Let the platform's credentials delete there, let the registry delete at all, or leave `retention` out.";
    ResultNotProven, "result.original", "The result isn't in its registry any more, doesn't say that it was made of this original, or lacks one of its platforms: the original stays.",
        "Nothing, or push the result again.";
    OriginalUnknown, "result.original", "Whether something refers to the original can't be told now; it is tried again.",
        "Read the event: it says who didn't answer.";
}

impl Finding {
    /// The finding with this name.
    pub fn parse(name: &str) -> Option<Finding> {
        Finding::ALL.iter().copied().find(|finding| finding.as_str() == name)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A condition on its way into a status.
#[derive(Clone, Debug)]
pub struct Statement {
    type_: &'static str,
    state: State,
    finding: Finding,
    message: String,
    generation: Option<i64>,
}

impl Statement {
    /// The type's state, with the finding and its meaning as the message.
    pub fn new(type_: &'static str, state: State, finding: Finding) -> Self {
        Self { type_, state, finding, message: finding.meaning().to_owned(), generation: None }
    }

    /// Says more than the finding's meaning.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Generation of the spec that it is about.
    #[must_use]
    pub fn generation(mut self, generation: Option<i64>) -> Self {
        self.generation = generation;
        self
    }

    /// Puts it in its place; `lastTransitionTime` moves only when the state does.
    pub fn put(self, conditions: &mut Vec<Condition>, now: Timestamp) {
        let Statement { type_, state, finding, message, generation } = self;
        let old = conditions.iter().position(|condition| condition.type_ == type_);
        let since = old
            .map(|at| &conditions[at])
            .filter(|condition| condition.status == state.as_str())
            .map_or(Time(now), |condition| condition.last_transition_time.clone());
        let condition = Condition {
            type_: type_.to_owned(),
            status: state.as_str().to_owned(),
            reason: finding.as_str().to_owned(),
            message: bounded(&message, MESSAGE_LIMIT),
            observed_generation: generation,
            last_transition_time: since,
        };
        match old {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_a_valid_condition_reason_and_says_what_to_do() {
        for finding in Finding::ALL {
            let name = finding.as_str();
            assert!(name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            assert_eq!(Finding::parse(name), Some(*finding));
            assert!(finding.meaning().ends_with('.') && finding.what_to_do().ends_with('.'), "{name}");
            assert!(!finding.carriers().is_empty(), "{name}");
        }
    }

    #[test]
    fn a_transition_time_moves_with_the_state_alone() {
        let at = |second| Timestamp::from_second(second).expect("a second after 1970");
        let mut conditions = Vec::new();
        Statement::new(READY, State::True, Finding::Following).put(&mut conditions, at(10));
        Statement::new(READY, State::True, Finding::Following).message("x").put(&mut conditions, at(20));
        assert_eq!((conditions.len(), conditions[0].last_transition_time.clone()), (1, Time(at(10))));
        Statement::new(READY, State::False, Finding::InvalidSchedule).put(&mut conditions, at(30));
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
        Statement::new(LIMITED, State::False, Finding::WithinLimits)
            .message("ü".repeat(500))
            .put(&mut conditions, at(30));
        assert!(conditions[1].message.len() <= MESSAGE_LIMIT);
    }
}
