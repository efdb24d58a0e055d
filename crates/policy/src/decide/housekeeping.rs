//! Jobs that have to go: beyond the history limits, planned for what nobody plans any more, of policies that
//! are gone.

use std::collections::BTreeMap;

use unbloat_api::image_report::Verdict;
use unbloat_api::squash_policy::Mode;

use super::parsed::Parsed;
use super::{ImageOutcome, Picture};
use crate::image::ImageKey;
use crate::job::{JobState, PolicyJob};

/// Namespaces and names of the jobs to delete.
pub(super) fn delete(
    picture: &Picture<'_>,
    policies: &[Parsed<'_>],
    images: &BTreeMap<ImageKey, ImageOutcome>,
) -> Vec<(String, String)> {
    let mut delete: Vec<&PolicyJob> = Vec::new();
    let over: BTreeMap<String, &ImageOutcome> =
        images.iter().map(|(key, outcome)| (key.id(), outcome)).collect();
    for job in picture.jobs.iter().filter(|job| !policies.iter().any(|policy| policy.uid == job.policy_uid)) {
        delete.push(job);
    }
    for policy in policies {
        let spec = &policy.object.spec;
        let own = picture.jobs.iter().filter(|job| job.policy_uid == policy.uid);
        let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
        for job in own {
            match &job.state {
                // A label alone proves nothing: history is what is where the policy has its jobs.
                JobState::Succeeded { at, .. } if job.namespace == spec.job_namespace => {
                    succeeded.push((*at, job));
                }
                JobState::Failed { at, .. } if job.namespace == spec.job_namespace => failed.push((*at, job)),
                JobState::Planned => {
                    let is_wanted = spec.mode != Mode::Report
                        && job.namespace == spec.job_namespace
                        && over.get(&job.image).is_some_and(|image| is_over(image, policy.name));
                    if !is_wanted {
                        delete.push(job);
                    }
                }
                _ => {}
            }
        }
        for (mut ended, limit) in
            [(succeeded, spec.successful_jobs_history_limit), (failed, spec.failed_jobs_history_limit)]
        {
            // The newest stay; names decide between those of one second.
            ended.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
            delete.extend(ended.iter().skip(usize::try_from(limit).unwrap_or(0)).map(|(_, job)| *job));
        }
    }
    delete.iter().map(|job| (job.namespace.clone(), job.name.clone())).collect()
}

/// Whether a policy still finds an image too much. What isn't known any more is no reason to throw a plan
/// away.
fn is_over(image: &ImageOutcome, policy: &str) -> bool {
    image.policies.iter().any(|verdict| {
        verdict.name == policy && matches!(verdict.verdict, Verdict::OverThreshold | Verdict::Unknown)
    })
}
