//! What is known of an image, gathered from the reports about it: they are the only memory that there is.

use k8s_openapi::jiff::Timestamp;
use unbloat_api::finding::{ANALYZED, INSPECTED, SQUASHABLE};
use unbloat_api::image_report::{
    ReportedCause, ReportedFailures, ReportedPath, ReportedPlatform, ReportedResult,
};
use unbloat_api::{Finding, ImageReport};

/// What is known of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// When it was first seen in use; the report's age.
    pub first_seen: Option<Timestamp>,
    /// Manifest and config.
    pub inspection: Option<Inspection>,
    /// Why they couldn't be read last time.
    pub unreadable: Option<Unreadable>,
    /// What layers told.
    pub analysis: Option<AnalysisFacts>,
    /// Why layers couldn't be read last time, or that somebody is at it.
    pub analysis_state: Option<Finding>,
    /// Failures of jobs and readings.
    pub failures: ReportedFailures,
    /// The squashed image.
    pub result: Option<ReportedResult>,
    /// When the last user went, where a namespace that used it has a report.
    pub unused_since: Option<Timestamp>,
    /// Whether a report says that it is used, or nothing yet.
    pub is_reported_used: bool,
}

/// What manifest and config told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Each platform.
    pub platforms: Vec<ReportedPlatform>,
    /// What for ever speaks against a squash: `Signed`, `WindowsLayers`, `OwnResult`, `OneLayer`, …
    pub blocker: Option<Finding>,
}

/// Why an image couldn't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason.
    pub finding: Finding,
    /// The registry's words.
    pub message: String,
}

/// What layers told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnalysisFacts {
    /// Content bytes that newer layers hide.
    pub wasted_bytes: i64,
    /// As a part of all content bytes.
    pub wasted_percent: i32,
    /// Compressed bytes that a squash would save.
    pub reclaimable_bytes: i64,
    /// Causes, the worst first.
    pub causes: Vec<ReportedCause>,
    /// Paths, the worst first, without deleted secrets.
    pub paths: Vec<ReportedPath>,
    /// Deleted secrets.
    pub secret_paths: Option<i32>,
}

impl Inspection {
    /// Most layers of a platform.
    pub fn layers(&self) -> i32 {
        self.platforms.iter().map(|platform| platform.layers).max().unwrap_or(0)
    }

    /// Compressed bytes of the largest platform.
    pub fn bytes(&self) -> i64 {
        self.platforms.iter().map(|platform| platform.compressed_bytes).max().unwrap_or(0)
    }

    /// Compressed bytes of all platforms: what a squash reads.
    pub(crate) fn all_bytes(&self) -> i64 {
        self.platforms.iter().map(|platform| platform.compressed_bytes).fold(0, i64::saturating_add)
    }
}

/// Findings that stay true of a digest for ever, whatever a policy says.
pub(crate) fn is_for_ever(finding: Finding) -> bool {
    matches!(
        finding,
        Finding::OneLayer
            | Finding::OwnResult
            | Finding::Signed
            | Finding::WindowsLayers
            | Finding::EncryptedLayers
            | Finding::ForeignLayers
    )
}

impl Facts {
    /// What all reports of one image say together: two namespaces that use it don't ask twice.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a ImageReport>) -> Self {
        let mut facts = Facts::default();
        for report in reports {
            facts.add(report);
        }
        facts
    }

    fn add(&mut self, report: &ImageReport) {
        let seen = report.metadata.creation_timestamp.as_ref().map(|time| time.0);
        self.first_seen = match (self.first_seen, seen) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let unused_since = report.status.as_ref().and_then(|status| status.unused_since.as_ref());
        self.is_reported_used |= unused_since.is_none();
        self.unused_since = self.unused_since.max(unused_since.map(|time| time.0));
        let Some(status) = &report.status else { return };
        let condition = |type_| {
            status.condition(type_).map(|condition| {
                (condition.status == "True", Finding::parse(&condition.reason), condition.message.clone())
            })
        };
        match condition(INSPECTED) {
            Some((true, _, _)) if self.inspection.is_none() => {
                let blocker = condition(SQUASHABLE).and_then(|(_, finding, _)| finding);
                self.inspection = Some(Inspection {
                    platforms: status.platforms.clone(),
                    blocker: blocker.filter(|finding| is_for_ever(*finding)),
                });
            }
            Some((false, Some(finding), message)) if finding != Finding::InspectionPending => {
                self.unreadable.get_or_insert(Unreadable { finding, message });
            }
            _ => {}
        }
        match condition(ANALYZED) {
            Some((true, _, _)) if self.analysis.is_none() => {
                self.analysis = Some(AnalysisFacts {
                    wasted_bytes: status.wasted_bytes.unwrap_or(0),
                    wasted_percent: status.wasted_percent.unwrap_or(0),
                    reclaimable_bytes: status.reclaimable_bytes.unwrap_or(0),
                    causes: status.causes.clone(),
                    paths: status.paths.clone(),
                    secret_paths: status.secret_paths,
                });
            }
            Some((false, Some(finding), _)) if finding != Finding::AnalysisNotNeeded => {
                self.analysis_state.get_or_insert(finding);
            }
            _ => {}
        }
        if let Some(failures) = &status.failures {
            let is_newer = |one: &ReportedFailures, other: &ReportedFailures| {
                let at = |failures: &ReportedFailures| failures.last_time.as_ref().map(|time| time.0);
                at(one) > at(other)
            };
            if is_newer(failures, &self.failures) || self.failures == ReportedFailures::default() {
                self.failures = failures.clone();
            }
        }
        // What happened to the original counts for all reports, whichever of them could be written.
        let when = |result: &Option<ReportedResult>| {
            result.as_ref().and_then(|result| result.original_time.as_ref()).map(|time| time.0)
        };
        if self.result.is_none() || when(&status.result) > when(&self.result) {
            self.result.clone_from(&status.result);
        }
        if self.inspection.is_some() {
            self.unreadable = None;
        }
        if self.analysis.is_some() {
            self.analysis_state = None;
        }
    }
}
