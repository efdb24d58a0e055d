//! One round: from what is known to what is to be done. No call is made here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use unbloat_api::image_report::{ReportedResult, Verdict};
use unbloat_api::{
    Finding, ImageReport, ImageReportSpec, ImageReportStatus, ImageSquashJob, ImageSquashPolicy,
    ImageSquashPolicyStatus,
};
use unbloat_policy::decide::{Decision, ImageOutcome, Picture, Rollouts, Settings, Start, decide};
use unbloat_policy::facts::Facts;
use unbloat_policy::image::ImageKey;
use unbloat_policy::inventory::{Use, Workload};
use unbloat_policy::job::{JobState, PolicyJob};
use unbloat_policy::report;
use unbloat_policy::retention::Original;

use super::analysis::Analyzed;
use super::metrics::Figures;
use super::state::{Reading, State};
use super::{originals, rollouts};
use crate::config::Config;

/// A report lives for so long after its last user.
const KEPT_SECONDS: i64 = 86_400;
/// First wait after an image that couldn't be read; doubled for each further failure.
const FIRST_RETRY_SECONDS: i64 = 60;
/// Longest such wait.
const LONGEST_RETRY_SECONDS: i64 = 86_400;

/// What is to be done.
#[derive(Default)]
pub(super) struct Work {
    /// Policies whose status changes, with what to start once it is written.
    pub(super) policies: Vec<PolicyWork>,
    /// Reports to write or delete.
    pub(super) reports: Vec<ReportWork>,
    /// Images to read.
    pub(super) inspect: Vec<ImageKey>,
    /// Images whose layers are to be read.
    pub(super) analyze: Vec<ImageKey>,
    /// Workloads that were pointed at results and have to be looked at.
    pub(super) following: Vec<Workload>,
    /// Workloads to point at results.
    pub(super) rollouts: Vec<Rollouts>,
    /// Originals whose time is over.
    pub(super) originals: Vec<Original>,
    /// Jobs to delete.
    pub(super) delete: Vec<(String, String)>,
    /// For the metrics.
    pub(super) figures: Figures,
    /// When to look again.
    pub(super) next: Option<Timestamp>,
}

/// A policy's status, and what to start.
pub(super) struct PolicyWork {
    pub(super) policy: Arc<ImageSquashPolicy>,
    /// The status, where it changed.
    pub(super) status: Option<ImageSquashPolicyStatus>,
    pub(super) start: Vec<Start>,
}

/// A report to write.
pub(super) enum ReportWork {
    Create { namespace: String, image: ImageKey, spec: ImageReportSpec, status: ImageReportStatus },
    Update { report: Arc<ImageReport>, status: ImageReportStatus },
    Delete { report: Arc<ImageReport> },
}

/// Does the round.
pub(super) fn round(state: &mut State, config: &Config, now: Timestamp) -> Work {
    let readings = std::mem::take(&mut state.readings);
    let mut kept = HashMap::new();
    let analyses = std::mem::take(&mut state.analyses);
    let mut kept_analyses = HashMap::new();
    let jobs: Vec<(PolicyJob, &Arc<ImageSquashJob>)> =
        state.jobs.values().filter_map(|job| Some((PolicyJob::of(job)?, job))).collect();
    let reports = by_image(&state.reports, &config.class);
    let uses = state.world.uses();
    let keys: BTreeSet<ImageKey> =
        uses.keys().map(|(key, _)| key.clone()).chain(reports.keys().cloned()).collect();
    let mut facts: HashMap<ImageKey, Facts> = HashMap::with_capacity(keys.len());
    for key in &keys {
        let known = reports.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut one = Facts::of(known.iter().map(|report| &***report));
        if let Some(reading) = readings.get(key) {
            // A report that couldn't be written is written in a later round, without asking the registry
            // again.
            if matches!(reading, Reading::Read(inspection) if one.inspection.as_ref() != Some(inspection)) {
                kept.insert(key.clone(), reading.clone());
            }
            learn(&mut one, reading, now);
        }
        if let Some(analyzed) = analyses.get(key) {
            if matches!(analyzed, Analyzed::Read(_)) && one.analysis.is_none() {
                kept_analyses.insert(key.clone(), analyzed.clone());
            }
            learn_layers(&mut one, analyzed, now);
        }
        facts.insert(key.clone(), one);
    }
    learn_from_jobs(&mut facts, &jobs, &state.policies);
    state.originals.tell(&mut facts);

    let policies: Vec<_> = state.policies.values().cloned().collect();
    let only_jobs: Vec<PolicyJob> = jobs.iter().map(|(job, _)| job.clone()).collect();
    let settings = Settings {
        system_namespaces: config.detection.system_namespaces.iter().cloned().collect(),
        max_concurrent_jobs: config.detection.max_concurrent_jobs,
        rolls_out: config.detection.rollouts,
    };
    let mut decision = decide(&Picture {
        policies: &policies,
        world: &state.world,
        uses: &uses,
        facts: &facts,
        jobs: &only_jobs,
        settings: &settings,
        now,
    });

    let mut work = Work { next: decision.next, delete: decision.delete.clone(), ..Work::default() };
    work.delete.retain(|key| {
        let job = only_jobs.iter().find(|job| job.namespace == key.0 && job.name == key.1);
        !job.is_some_and(|job| state.unreadable_policies.contains(&job.policy_uid))
    });
    work.figures = Figures::of(&decision, &facts);
    inspections(&mut work, &decision, &facts, state, now);
    originals::decided(&mut facts, &decision.originals);
    state.rollouts.keep(&uses);
    let reached = rollouts::reached(&state.rollouts, &state.world);
    let said = |namespace: &str, key: &ImageKey| -> Option<Finding> {
        let result = &facts.get(key)?.result.as_ref()?.reference;
        let reached = reached.get(&(namespace.to_owned(), result.clone()));
        reached.or_else(|| decision.unrolled.get(&(key.clone(), namespace.to_owned()))).copied()
    };
    report_work(&mut work, &uses, &reports, &facts, &decision, &said, now);
    work.rollouts = std::mem::take(&mut decision.rollouts);
    for outcome in decision.policies {
        let changed = outcome.policy.status.as_ref() != Some(&outcome.status);
        if changed || !outcome.start.is_empty() {
            work.policies.push(PolicyWork {
                policy: outcome.policy,
                status: changed.then_some(outcome.status),
                start: outcome.start,
            });
        }
    }
    state.readings = kept;
    state.analyses = kept_analyses;
    let (following, next) = state.rollouts.due(&state.world, now);
    work.following = following;
    let (originals, look) = state.originals.due(std::mem::take(&mut decision.originals.due), now);
    work.originals = originals;
    work.next = [work.next, next, look].into_iter().flatten().min();
    work
}

fn by_image<'a>(
    reports: &'a HashMap<(String, String), Arc<ImageReport>>,
    class: &str,
) -> BTreeMap<ImageKey, Vec<&'a Arc<ImageReport>>> {
    let mut by_image: BTreeMap<ImageKey, Vec<&Arc<ImageReport>>> = BTreeMap::new();
    for report in reports.values() {
        let key = ImageKey { repository: report.spec.repository.clone(), digest: report.spec.digest.clone() };
        // One that is named otherwise was made by somebody else: its word counts for nothing.
        if report.metadata.name.as_deref() == Some(key.report_name(class).as_str()) {
            by_image.entry(key).or_default().push(report);
        }
    }
    by_image
}

fn learn(facts: &mut Facts, reading: &Reading, now: Timestamp) {
    match reading {
        Reading::Read(inspection) => {
            facts.inspection = Some(inspection.clone());
            facts.unreadable = None;
            facts.failures.reads = 0;
            facts.failures.next_time = None;
        }
        Reading::Failed(unreadable) => {
            failed(facts, unreadable.finding, now);
            facts.unreadable = Some(unreadable.clone());
        }
    }
}

fn learn_layers(facts: &mut Facts, analyzed: &Analyzed, now: Timestamp) {
    match analyzed {
        Analyzed::Read(analysis) => {
            facts.analysis = Some(analysis.clone());
            facts.analysis_state = None;
            facts.failures.reads = 0;
            facts.failures.next_time = None;
        }
        Analyzed::Failed(words) => {
            tracing::warn!(%words, "layers couldn't be read; tried again later");
            failed(facts, Finding::AnalysisFailed, now);
            facts.analysis_state = Some(Finding::AnalysisFailed);
        }
    }
}

/// Counts a reading that failed: the next one waits longer.
fn failed(facts: &mut Facts, finding: Finding, now: Timestamp) {
    facts.failures.reads = facts.failures.reads.saturating_add(1);
    facts.failures.last_time = Some(Time(now));
    facts.failures.last_reason = Some(finding.as_str().to_owned());
    let doublings = u32::try_from(facts.failures.reads.saturating_sub(1)).unwrap_or(0).min(16);
    let wait = FIRST_RETRY_SECONDS.saturating_mul(1 << doublings).min(LONGEST_RETRY_SECONDS);
    facts.failures.next_time = Timestamp::from_second(now.as_second() + wait).ok().map(Time);
}

/// Results and failures of jobs, told by the reports from now on.
fn learn_from_jobs(
    facts: &mut HashMap<ImageKey, Facts>,
    jobs: &[(PolicyJob, &Arc<ImageSquashJob>)],
    policies: &HashMap<String, Arc<ImageSquashPolicy>>,
) {
    let by_id: HashMap<String, ImageKey> = facts.keys().map(|key| (key.id(), key.clone())).collect();
    for (job, object) in jobs {
        // A label is no proof: the job has to be where the policy has its jobs.
        let policy = policies.get(&job.policy_uid);
        let Some(policy) = policy.filter(|policy| policy.spec.job_namespace == job.namespace) else {
            continue;
        };
        let Some(facts) = by_id.get(&job.image).and_then(|key| facts.get_mut(key)) else { continue };
        match &job.state {
            JobState::Succeeded { at, has_result: true } if facts.result.is_none() => {
                facts.result = result(object, policy, *at);
            }
            JobState::Succeeded { has_result: false, .. } => {
                if let Some(inspection) = &mut facts.inspection {
                    inspection.blocker.get_or_insert(Finding::OneLayer);
                }
            }
            JobState::Failed { at, reason } if job.number > facts.failures.jobs => {
                facts.failures.jobs = job.number;
                facts.failures.last_time = Some(Time(*at));
                facts.failures.last_reason = Some(reason.clone());
            }
            _ => {}
        }
    }
}

fn result(job: &ImageSquashJob, policy: &ImageSquashPolicy, at: Timestamp) -> Option<ReportedResult> {
    let status = job.status.as_ref()?;
    let target = status.target.as_ref()?;
    let digest = target.digest.clone()?;
    let tagged = job.spec.target.image.clone().unwrap_or_else(|| job.spec.source.image.clone());
    let name = tagged.split_once('@').map_or(tagged.as_str(), |(name, _)| name);
    Some(ReportedResult {
        reference: format!("{name}@{digest}"),
        digest,
        job: job.metadata.name.clone().unwrap_or_default(),
        time: Some(Time(at)),
        pull_bytes_saved: status.reclaimed_bytes,
        policy: policy.metadata.name.clone(),
        ..ReportedResult::default()
    })
}

fn inspections(
    work: &mut Work,
    decision: &Decision,
    facts: &HashMap<ImageKey, Facts>,
    state: &State,
    now: Timestamp,
) {
    for (key, outcome) in &decision.images {
        let known = &facts[key];
        let waits = known.failures.next_time.as_ref().is_some_and(|next| next.0 > now);
        let wants_layers = outcome.wants_analysis && known.analysis.is_none() && known.result.is_none();
        if wants_layers && !waits && !state.analyzing.contains(key) {
            work.analyze.push(key.clone());
        }
        if !outcome.wants_inspection || known.inspection.is_some() || state.reading.contains(key) {
            continue;
        }
        match &known.failures.next_time {
            Some(next) if next.0 > now => {
                work.next = Some(work.next.map_or(next.0, |known| known.min(next.0)));
            }
            _ => work.inspect.push(key.clone()),
        }
    }
}

fn report_work(
    work: &mut Work,
    uses: &BTreeMap<(ImageKey, &str), Use<'_>>,
    reports: &BTreeMap<ImageKey, Vec<&Arc<ImageReport>>>,
    facts: &HashMap<ImageKey, Facts>,
    decision: &Decision,
    said: &dyn Fn(&str, &ImageKey) -> Option<Finding>,
    now: Timestamp,
) {
    let status =
        |old: Option<&ImageReportStatus>, using: Option<&Use<'_>>, key: &ImageKey, namespace: &str| {
            report::status(old, using, &facts[key], decision.images.get(key), said(namespace, key), now)
        };
    let nothing = ImageOutcome::default();
    for ((key, namespace), using) in uses {
        let outcome = decision.images.get(key).unwrap_or(&nothing);
        let known = reports.get(key).and_then(|all| {
            all.iter().find(|report| report.metadata.namespace.as_deref() == Some(*namespace))
        });
        if known.is_none() && outcome.wants_inspection {
            work.reports.push(ReportWork::Create {
                namespace: (*namespace).to_owned(),
                image: key.clone(),
                spec: report::spec(key, using),
                status: status(None, Some(using), key, namespace),
            });
        }
    }
    for (key, all) in reports {
        for report in all {
            let namespace = report.metadata.namespace.as_deref().unwrap_or_default();
            let outcome = decision.images.get(key);
            // An image that no policy matches any more is nobody's: its report goes as that of an unused one
            // does.
            let using = uses
                .get(&(key.clone(), namespace))
                .filter(|_| outcome.is_some_and(|outcome| !outcome.policies.is_empty()));
            let status = status(report.status.as_ref(), using, key, namespace);
            // What the original waits for is written nowhere else.
            let is_waited_for = decision.originals.until.get(key).is_some_and(|until| now < *until);
            let is_over = !is_waited_for
                && status
                    .unused_since
                    .as_ref()
                    .is_some_and(|since| now.as_second() - since.0.as_second() >= KEPT_SECONDS);
            if is_over {
                work.reports.push(ReportWork::Delete { report: Arc::clone(report) });
            } else if report.status.as_ref() != Some(&status) {
                work.reports.push(ReportWork::Update { report: Arc::clone(report), status });
            }
        }
    }
}

/// Verdicts in the order of the metrics.
pub(super) const VERDICTS: [(Verdict, &str); 6] = [
    (Verdict::Unknown, "Unknown"),
    (Verdict::Fine, "Fine"),
    (Verdict::OverThreshold, "OverThreshold"),
    (Verdict::Squashed, "Squashed"),
    (Verdict::Flat, "Flat"),
    (Verdict::Excluded, "Excluded"),
];
