//! What a report says, in at most 4 KiB.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use unbloat_api::condition::State;
use unbloat_api::finding::{ANALYZED, INSPECTED, SQUASHABLE, Statement};
use unbloat_api::image_report::{
    MOST_BYTES, MOST_CAUSES, MOST_PATHS, MOST_PLATFORMS, MOST_USERS, ReportedFailures, ReportedUsers, Verdict,
};
use unbloat_api::{Finding, ImageReportSpec, ImageReportStatus};
use unbloat_text::{bounded, signed_bytes};

use crate::decide::ImageOutcome;
use crate::facts::{Facts, Unreadable};
use crate::image::ImageKey;
use crate::inventory::Use;

/// Bytes that the API server adds to a report: metadata with its managed fields.
const METADATA_BYTES: usize = 1400;
/// Bytes of a path in a report.
const MOST_OF_A_PATH: usize = 128;

/// The identity of a report, by the first of the tags that its namespace uses.
pub fn spec(image: &ImageKey, using: &Use<'_>) -> ImageReportSpec {
    let reference = match using.tags.iter().next() {
        Some(tag) => format!("{}:{tag}", image.repository),
        None => image.reference(),
    };
    ImageReportSpec {
        reference: bounded(&reference, 512),
        repository: bounded(&image.repository, 384),
        digest: image.digest.clone(),
    }
}

/// The status of a report. `using` is the use in its own namespace alone, and `rollout` how far the result
/// has come there: nothing of others is told.
pub fn status(
    old: Option<&ImageReportStatus>,
    using: Option<&Use<'_>>,
    facts: &Facts,
    outcome: Option<&ImageOutcome>,
    rollout: Option<Finding>,
    now: Timestamp,
) -> ImageReportStatus {
    let old = old.cloned().unwrap_or_default();
    let mut status = ImageReportStatus {
        observed_at: old.observed_at.clone(),
        conditions: old.conditions.clone(),
        unused_since: match using {
            Some(_) => None,
            None => Some(old.unused_since.clone().unwrap_or(Time(now))),
        },
        ..ImageReportStatus::default()
    };
    let policies = outcome.map(|outcome| outcome.policies.clone()).unwrap_or_default();
    status.verdict = match outcome {
        Some(outcome) => outcome.verdict,
        None if facts.result.is_some() => Verdict::Squashed,
        None => old.verdict,
    };
    status.policies = policies;
    status.used_by = using.map(users).unwrap_or_default();
    status.result.clone_from(&facts.result);
    if let Some(result) = &mut status.result {
        result.rollout = rollout.map(|finding| finding.as_str().to_owned());
    }
    status.failures =
        Some(facts.failures.clone()).filter(|failures| *failures != ReportedFailures::default());
    if let Some(inspection) = &facts.inspection {
        status.layers = Some(inspection.layers());
        status.size = Some(signed_bytes(inspection.bytes()));
        status.platforms = inspection.platforms.iter().take(MOST_PLATFORMS).cloned().collect();
    }
    if let Some(analysis) = &facts.analysis {
        status.wasted_bytes = Some(analysis.wasted_bytes);
        status.wasted_percent = Some(analysis.wasted_percent);
        status.wasted =
            Some(format!("{} ({}%)", signed_bytes(analysis.wasted_bytes), analysis.wasted_percent));
        status.reclaimable_bytes = Some(analysis.reclaimable_bytes);
        status.causes = analysis.causes.iter().take(MOST_CAUSES).cloned().collect();
        status.paths = analysis.paths.iter().take(MOST_PATHS).cloned().collect();
        for path in &mut status.paths {
            path.path = bounded(&path.path, MOST_OF_A_PATH);
        }
        status.secret_paths = analysis.secret_paths;
    }
    conditions(&mut status, facts, outcome, now);
    fit(&mut status);
    let mut without_time = status.clone();
    without_time.observed_at.clone_from(&old.observed_at);
    if without_time != old || old.observed_at.is_none() {
        status.observed_at = Some(Time(now));
    }
    status
}

fn users(using: &Use<'_>) -> ReportedUsers {
    ReportedUsers {
        count: i32::try_from(using.users.len()).unwrap_or(i32::MAX).min(1_000_000),
        workloads: using.users.iter().take(MOST_USERS).cloned().collect(),
    }
}

fn conditions(status: &mut ImageReportStatus, facts: &Facts, outcome: Option<&ImageOutcome>, now: Timestamp) {
    let inspected = match (&facts.inspection, &facts.unreadable) {
        (Some(_), _) => Statement::new(INSPECTED, State::True, Finding::Inspected),
        (None, Some(Unreadable { finding, message })) => {
            Statement::new(INSPECTED, State::False, *finding).message(message.clone())
        }
        (None, None) => Statement::new(INSPECTED, State::Unknown, Finding::InspectionPending),
    };
    let wants_analysis = outcome.is_some_and(|outcome| outcome.wants_analysis);
    let analyzed = match (&facts.analysis, facts.analysis_state) {
        (Some(_), _) => Statement::new(ANALYZED, State::True, Finding::Analyzed),
        (None, Some(finding)) => Statement::new(ANALYZED, State::False, finding),
        (None, None) if wants_analysis => Statement::new(ANALYZED, State::Unknown, Finding::AnalysisPending),
        (None, None) => Statement::new(ANALYZED, State::False, Finding::AnalysisNotNeeded),
    };
    let told = |finding: &Finding| {
        outcome
            .is_some_and(|outcome| outcome.policies.iter().any(|verdict| verdict.reason == finding.as_str()))
    };
    let changing =
        [Finding::Quarantined, Finding::NoPushAccess, Finding::ImmutableTag, Finding::UsedByDigest];
    let squashable = match facts.inspection.as_ref().map(|inspection| inspection.blocker) {
        None => Statement::new(SQUASHABLE, State::Unknown, Finding::SquashabilityUnknown),
        Some(Some(blocker)) => Statement::new(SQUASHABLE, State::False, blocker),
        Some(None) => match changing.iter().find(|finding| told(finding)) {
            Some(finding) => Statement::new(SQUASHABLE, State::False, *finding),
            None => Statement::new(SQUASHABLE, State::True, Finding::Squashable),
        },
    };
    for statement in [inspected, analyzed, squashable] {
        statement.put(&mut status.conditions, now);
    }
}

/// Leaves out what is least missed until the report fits.
fn fit(status: &mut ImageReportStatus) {
    const MOST: usize = MOST_BYTES - METADATA_BYTES;
    let size =
        |status: &ImageReportStatus| serde_json::to_string(status).map_or(usize::MAX, |text| text.len());
    for path in &mut status.paths {
        // A path may need twice its bytes as JSON.
        path.path = bounded(&path.path, MOST_OF_A_PATH);
    }
    while size(status) > MOST {
        let dropped = status.paths.len() > 1 && status.paths.pop().is_some()
            || status.used_by.workloads.len() > 3 && status.used_by.workloads.pop().is_some()
            || status.causes.len() > 3 && status.causes.pop().is_some()
            || status.platforms.len() > 4 && status.platforms.pop().is_some()
            || status.policies.len() > 4 && status.policies.pop().is_some()
            || status.paths.pop().is_some()
            || status.used_by.workloads.pop().is_some()
            || status.causes.pop().is_some()
            || status.platforms.len() > 1 && status.platforms.pop().is_some()
            || status.policies.pop().is_some();
        if !dropped {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use unbloat_api::image_report::{
        PolicyVerdict, ReportedCause, ReportedPath, ReportedPlatform, ReportedResult,
    };

    use super::*;
    use crate::facts::{AnalysisFacts, Inspection};
    use crate::fixtures::{at, pod, world};

    #[test]
    fn the_largest_report_that_can_be_fits() {
        let mut world = world();
        for number in 0..200 {
            let long = "n".repeat(240);
            world.add(&pod("team", &format!("{long}-{number:03}"), "a.example/b:v1"));
        }
        let uses = world.world.uses();
        let using = uses.values().next().unwrap();
        let facts = Facts {
            inspection: Some(Inspection {
                platforms: (0..40)
                    .map(|n| ReportedPlatform {
                        platform: "linux/architecture/v1".into(),
                        layers: n,
                        compressed_bytes: i64::MAX,
                    })
                    .collect(),
                blocker: None,
            }),
            analysis: Some(AnalysisFacts {
                causes: vec![
                    ReportedCause { cause: "c".repeat(48), paths: i64::MAX, wasted_bytes: i64::MAX };
                    20
                ],
                paths: vec![
                    ReportedPath { path: "\u{1}\"ü".repeat(200), copies: 9, wasted_bytes: i64::MAX };
                    20
                ],
                ..AnalysisFacts::default()
            }),
            result: Some(ReportedResult {
                reference: "r".repeat(500),
                digest: "d".repeat(71),
                job: "j".repeat(52),
                ..ReportedResult::default()
            }),
            ..Facts::default()
        };
        let outcome = ImageOutcome {
            verdict: Verdict::OverThreshold,
            policies: vec![
                PolicyVerdict {
                    name: "p".repeat(52),
                    verdict: Verdict::OverThreshold,
                    reason: "r".repeat(64)
                };
                8
            ],
            ..ImageOutcome::default()
        };
        let status = status(None, Some(using), &facts, Some(&outcome), None, at("2026-05-10T00:00:00Z"));
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.len() <= MOST_BYTES - METADATA_BYTES, "{} bytes", text.len());
        assert_eq!((status.used_by.count, status.verdict), (200, Verdict::OverThreshold));
        assert!(!status.causes.is_empty());
    }

    #[test]
    fn nothing_changes_when_nothing_changed() {
        let mut world = world();
        world.add(&pod("team", "p", "a.example/b:v1"));
        let uses = world.world.uses();
        let using = uses.values().next().unwrap();
        let facts = Facts::default();
        let first = status(None, Some(using), &facts, None, None, at("2026-05-10T00:00:00Z"));
        let second = status(Some(&first), Some(using), &facts, None, None, at("2026-05-11T00:00:00Z"));
        assert_eq!(first, second);
        // The last user goes: that is news once.
        let third = status(Some(&second), None, &facts, None, None, at("2026-05-12T00:00:00Z"));
        assert_eq!(third.unused_since, Some(Time(at("2026-05-12T00:00:00Z"))));
        assert_eq!(status(Some(&third), None, &facts, None, None, at("2026-05-13T00:00:00Z")), third);
    }

    #[test]
    fn what_a_report_says_can_be_read_back_as_facts() {
        let mut world = world();
        world.add(&pod("team", "p", "a.example/b:v1"));
        let uses = world.world.uses();
        let using = uses.values().next().unwrap();
        let facts = Facts {
            inspection: Some(Inspection {
                platforms: vec![ReportedPlatform {
                    platform: "linux/amd64".into(),
                    layers: 60,
                    compressed_bytes: 7,
                }],
                blocker: Some(Finding::Signed),
            }),
            analysis: Some(AnalysisFacts {
                wasted_bytes: 5,
                wasted_percent: 50,
                reclaimable_bytes: 3,
                ..AnalysisFacts::default()
            }),
            ..Facts::default()
        };
        let told = status(None, Some(using), &facts, None, None, at("2026-05-10T00:00:00Z"));
        let mut report = unbloat_api::ImageReport::new("r", spec(&using.image, using));
        report.status = Some(told);
        let read = Facts::of([&report]);
        assert_eq!((read.inspection, read.analysis), (facts.inspection, facts.analysis));
        assert_eq!(report.spec.reference, "a.example/b:v1");
    }
}
