//! The objects that the operator makes, built by plain functions from a job, its plan and the configuration.
//!
//! Names come from the job's uid and the attempt's number alone, so that two operators, or one that was
//! restarted between two writes, make the same object instead of two.

mod credentials;
mod event;
mod identity;
pub(crate) mod pod;
mod request;
mod worker_job;

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use unbloat_api::ImageSquashJob;

use crate::config::Config;

pub(crate) use event::event;
pub(crate) use pod::CONTAINER;
pub(crate) use request::asked;
pub(crate) use worker_job::{is_same, worker_job};

/// Kubernetes limits a Job's name to a label's length, since its pods carry it as one.
const NAME_LIMIT: usize = 63;

/// Name of the Job of an attempt: the job's name for people, a hash of its uid against a namesake that was
/// deleted, and the attempt.
pub(crate) fn job_name(job: &ImageSquashJob, attempt: i32) -> String {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let suffix = format!("-{:06x}-{attempt}", fingerprint(uid) & 0xff_ffff);
    let mut name = job.name_any();
    name.truncate(NAME_LIMIT - suffix.len());
    // A name that was cut at a dot or dash would not be one with the suffix after it.
    let name = name.trim_end_matches(['-', '.']).replace('.', "-");
    format!("{name}{suffix}")
}

/// What an attempt that didn't start is made anew for, when it changes.
pub(crate) fn config_fingerprint(config: &Config) -> String {
    format!("{:016x}", fingerprint(format!("{:?}", config.worker)))
}

/// A stable hash: SipHash with fixed keys.
fn fingerprint(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn owner_reference(job: &ImageSquashJob) -> OwnerReference {
    OwnerReference {
        api_version: ImageSquashJob::api_version(&()).into_owned(),
        kind: ImageSquashJob::kind(&()).into_owned(),
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::squash_job::fixtures::job;

    #[test]
    fn names_differ_by_uid_and_attempt_and_fit_whatever_the_job_is_called() {
        let mut first = job();
        first.metadata.name = Some("a".repeat(52));
        let mut second = first.clone();
        first.metadata.uid = Some("one".into());
        second.metadata.uid = Some("two".into());
        let names = [job_name(&first, 1), job_name(&first, 2), job_name(&second, 1), job_name(&first, 12345)];
        for (at, name) in names.iter().enumerate() {
            assert!(name.len() <= NAME_LIMIT, "{name}");
            assert!(!names[at + 1..].contains(name), "{name}");
        }
        assert_eq!(job_name(&first, 1), names[0]);
        first.metadata.name = Some("v1.2.3".into());
        assert!(job_name(&first, 1).starts_with("v1-2-3-"));
    }
}
