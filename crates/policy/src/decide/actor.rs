//! Which policy acts on an image that is over its threshold, and what still keeps it from acting.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::jiff::Timestamp;
use unbloat_api::Finding;
use unbloat_api::image_report::Verdict;
use unbloat_api::squash_policy::Mode;

use super::judge::Judged;
use super::parsed::Parsed;
use super::{ImageOutcome, Picture, Start, tell};
use crate::facts::Facts;
use crate::image::ImageKey;
use crate::job::{JobState, PolicyJob, job_name};
use crate::target;

/// Seconds after the first failed job until the next try; doubled for each further one.
const RETRY_SECONDS: i64 = 300;

/// An image that could be squashed now, if places and budgets allow.
pub(super) struct Candidate {
    /// Place of the policy.
    pub(super) policy: usize,
    pub(super) start: Start,
    /// Compressed bytes of the source.
    pub(super) bytes: i64,
    /// What it gives back, as far as it is known.
    pub(super) worth: i64,
}

/// Finds them.
pub(super) fn candidates(
    picture: &Picture<'_>,
    policies: &[Parsed<'_>],
    judged: &[Judged<'_>],
    images: &mut BTreeMap<ImageKey, ImageOutcome>,
) -> Vec<Candidate> {
    let jobs = jobs_by_image(picture, policies);
    let cooling = cooling(picture, judged, &jobs);
    let mut found = Vec::new();
    for image in judged {
        let over = |at: &usize| image.policies[at].0 == Verdict::OverThreshold;
        let Some(actor) = image.policies.keys().copied().find(|at| policies[*at].acts() && over(at)) else {
            continue;
        };
        for at in image.policies.keys().filter(|at| **at != actor && policies[**at].acts() && over(at)) {
            tell(images, image.key, policies[*at].name, Finding::OlderPolicyActs);
        }
        let known = Facts::default();
        let facts = picture.facts.get(image.key).unwrap_or(&known);
        let jobs = jobs.get(image.key.id().as_str()).map(Vec::as_slice).unwrap_or_default();
        match consider(picture, &policies[actor], actor, image, facts, jobs, &cooling) {
            Ok(candidate) => found.push(candidate),
            Err(finding) => tell(images, image.key, policies[actor].name, finding),
        }
    }
    found
}

fn consider(
    picture: &Picture<'_>,
    policy: &Parsed<'_>,
    at: usize,
    image: &Judged<'_>,
    facts: &Facts,
    jobs: &[&PolicyJob],
    cooling: &HashMap<&str, Vec<(Timestamp, String)>>,
) -> Result<Candidate, Finding> {
    let spec = &policy.object.spec;
    let inspection = facts.inspection.as_ref().ok_or(Finding::InspectionPending)?;
    if let Some(blocker) = inspection.blocker {
        return Err(blocker);
    }
    // Nobody who opted out may have the tag changed below their feet.
    if spec.target.move_tag && image.somebody_ignores {
        return Err(Finding::OptedOut);
    }
    let places = target::places(&spec.target, image.key, &image.tags, image.by_digest)?;
    if places.target.as_deref().is_some_and(|target| !target::is_valid(target)) {
        return Err(Finding::NoTag);
    }
    let mut planned = None;
    for job in jobs {
        match &job.state {
            JobState::Running => return Err(Finding::JobRunning),
            JobState::Planned => planned = Some(*job),
            JobState::Succeeded { has_result, .. } => {
                return Err(if *has_result { Finding::ResultAvailable } else { Finding::OneLayer });
            }
            JobState::Failed { .. } => {}
        }
    }
    let (failures, last) = failures(facts, jobs);
    if let Some((time, finding)) = last {
        let wait = retry_wait(policy, failures);
        if picture.now.as_second() < time.as_second() + wait {
            return Err(if failures >= spec.failure.quarantine_after {
                Finding::Quarantined
            } else {
                finding
            });
        }
    }
    let number = failures.saturating_add(1);
    let name = job_name(policy.name, image.key, number);
    if planned.is_none() {
        let since = image.uses.iter().map(|using| using.since).min().unwrap_or(picture.now);
        let since = facts.first_seen.map_or(since, |seen| seen.min(since));
        if picture.now.as_second() - since.as_second() < spec.stability.min_age_seconds {
            return Err(Finding::TooYoung);
        }
    }
    let id = image.key.id();
    let is_cooling = cooling.get(image.key.repository.as_str()).is_some_and(|all| {
        all.iter().any(|(time, of)| {
            *of != id && picture.now.as_second() - time.as_second() < spec.stability.cooldown_seconds
        })
    });
    if is_cooling {
        return Err(Finding::CoolingDown);
    }
    let is_plan = spec.mode == Mode::Plan;
    if is_plan && planned.is_some() {
        return Err(Finding::JobPlanned);
    }
    if !is_plan && !policy.is_open {
        return Err(Finding::WaitingForWindow);
    }
    let start = Start {
        image: image.key.clone(),
        places,
        number: planned.map_or(number, |job| job.number),
        name: planned.map_or(name, |job| job.name.clone()),
        is_suspended: is_plan,
        is_resume: planned.is_some(),
    };
    let bytes = inspection.all_bytes();
    let worth = facts.analysis.as_ref().map_or(0, |analysis| analysis.reclaimable_bytes);
    Ok(Candidate { policy: at, start, bytes, worth })
}

/// How often jobs of an image failed in a row, when the last one did, and what that says.
fn failures(facts: &Facts, jobs: &[&PolicyJob]) -> (i32, Option<(Timestamp, Finding)>) {
    let mut count = facts.failures.jobs;
    let reported = facts.failures.last_time.as_ref().filter(|_| count > 0).map(|time| time.0);
    let mut last = reported.map(|time| (time, facts.failures.last_reason.clone().unwrap_or_default()));
    for job in jobs {
        if let JobState::Failed { at, reason } = &job.state {
            // The number is in the name: counting twice what was counted before is impossible.
            count = count.max(job.number);
            if last.as_ref().is_none_or(|(time, _)| at > time) {
                last = Some((*at, reason.clone()));
            }
        }
    }
    let last = last.map(|(time, reason)| {
        let finding = match reason.as_str() {
            "PushUnauthorized" => Finding::NoPushAccess,
            "TargetRefused" => Finding::ImmutableTag,
            _ => Finding::CoolingDown,
        };
        (time, finding)
    });
    (count, last)
}

fn retry_wait(policy: &Parsed<'_>, failures: i32) -> i64 {
    let failure = &policy.object.spec.failure;
    if failures >= failure.quarantine_after {
        return failure.quarantine_seconds;
    }
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(16);
    RETRY_SECONDS.saturating_mul(1 << doublings).min(failure.quarantine_seconds)
}

/// Jobs of the policies that there are, each where its policy has its jobs: a label alone proves nothing.
fn jobs_by_image<'p>(
    picture: &'p Picture<'_>,
    policies: &[Parsed<'_>],
) -> HashMap<&'p str, Vec<&'p PolicyJob>> {
    let mut jobs: HashMap<&str, Vec<&PolicyJob>> = HashMap::new();
    for job in picture.jobs {
        let is_proven = policies
            .iter()
            .any(|policy| policy.uid == job.policy_uid && policy.object.spec.job_namespace == job.namespace);
        if is_proven {
            jobs.entry(job.image.as_str()).or_default().push(job);
        }
    }
    jobs
}

/// When images of a repository were last squashed: by their jobs, and by the results in reports.
fn cooling<'p>(
    picture: &'p Picture<'_>,
    judged: &'p [Judged<'_>],
    jobs: &HashMap<&str, Vec<&PolicyJob>>,
) -> HashMap<&'p str, Vec<(Timestamp, String)>> {
    let mut times: HashMap<&str, Vec<(Timestamp, String)>> = HashMap::new();
    let in_use: BTreeSet<&ImageKey> = judged.iter().map(|image| image.key).collect();
    let with_facts = picture.facts.keys().filter(|key| !in_use.contains(key));
    for key in in_use.iter().copied().chain(with_facts) {
        let id = key.id();
        let mut add = |time| times.entry(key.repository.as_str()).or_default().push((time, id.clone()));
        if let Some(result) = picture.facts.get(key).and_then(|facts| facts.result.as_ref())
            && let Some(time) = &result.time
        {
            add(time.0);
        }
        for job in jobs.get(id.as_str()).into_iter().flatten() {
            match &job.state {
                JobState::Running => add(picture.now),
                JobState::Succeeded { at, has_result: true } => add(*at),
                _ => {}
            }
        }
    }
    times
}

/// When an age, a cooldown, a wait or a quarantine ends next.
pub(super) fn next_time(
    picture: &Picture<'_>,
    policies: &[Parsed<'_>],
    judged: &[Judged<'_>],
) -> Option<Timestamp> {
    let mut next = super::Next(None);
    let mut soon = |second: i64| {
        if second > picture.now.as_second() {
            next.at(Timestamp::from_second(second).ok());
        }
    };
    let jobs = jobs_by_image(picture, policies);
    let unknown = Facts::default();
    for image in judged {
        let facts = picture.facts.get(image.key).unwrap_or(&unknown);
        for (at, _) in image.policies.iter().filter(|(_, (verdict, _))| *verdict == Verdict::OverThreshold) {
            let policy = &policies[*at];
            if !policy.acts() {
                continue;
            }
            let spec = &policy.object.spec;
            let since = image.uses.iter().map(|using| using.since).min().unwrap_or(picture.now);
            let since = facts.first_seen.map_or(since, |seen| seen.min(since));
            soon(since.as_second() + spec.stability.min_age_seconds);
            let jobs = jobs.get(image.key.id().as_str()).map(Vec::as_slice).unwrap_or_default();
            if let (count, Some((time, _))) = failures(facts, jobs) {
                soon(time.as_second() + retry_wait(policy, count));
            }
        }
        if let Some(time) = facts.result.as_ref().and_then(|result| result.time.as_ref()) {
            for policy in policies.iter().filter(|policy| policy.acts()) {
                soon(time.0.as_second() + policy.object.spec.stability.cooldown_seconds);
            }
        }
    }
    next.0
}
