//! A policy whose texts are read: schedules, zones, quantities.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use unbloat_api::squash_policy::{Mode, Window};
use unbloat_api::{Finding, ImageSquashPolicy};

use crate::budget::Allowance;
use crate::quantity;
use crate::threshold::Limits;
use crate::window::{Invalid, Opening, Schedule, opening};

/// A policy, understood.
pub(super) struct Parsed<'a> {
    pub(super) object: &'a Arc<ImageSquashPolicy>,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    /// What keeps it from being followed.
    pub(super) invalid: Option<Invalid>,
    pub(super) thresholds: Option<Limits>,
    pub(super) allowance: Allowance,
    pub(super) is_open: bool,
    pub(super) next_window: Option<Timestamp>,
}

impl<'a> Parsed<'a> {
    pub(super) fn of(object: &'a Arc<ImageSquashPolicy>, now: Timestamp) -> Self {
        let spec = &object.spec;
        let mut invalid = None;
        let mut refuse = |one: Invalid| {
            invalid.get_or_insert(one);
        };
        let quantity_of = |field: &str| Invalid {
            finding: Finding::InvalidQuantity,
            message: format!("{field} is no quantity that can be read"),
        };
        let thresholds = Limits::parse(&spec.thresholds).map_err(|field| refuse(quantity_of(field))).ok();
        let bytes = quantity::bytes(&spec.limits.max_bytes_per_day);
        if bytes.is_none() {
            refuse(quantity_of("limits.maxBytesPerDay"));
        }
        let schedules = schedules(&spec.windows).map_err(&mut refuse).ok();
        let opening = schedules.map_or(Opening::ClosedUntil(None), |schedules| opening(&schedules, now));
        Self {
            object,
            name: object.metadata.name.as_deref().unwrap_or_default(),
            uid: object.metadata.uid.as_deref().unwrap_or_default(),
            invalid,
            thresholds,
            allowance: Allowance {
                jobs_per_hour: spec.limits.max_jobs_per_hour,
                bytes_per_day: bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(i64::MAX),
            },
            is_open: opening == Opening::Open,
            next_window: match opening {
                Opening::ClosedUntil(next) => next,
                Opening::Open => None,
            },
        }
    }

    /// Whether it would do more than report.
    pub(super) fn acts(&self) -> bool {
        !self.object.spec.suspend && self.invalid.is_none() && self.object.spec.mode != Mode::Report
    }

    /// What it says of an image that is over when it does nothing about it.
    pub(super) fn idle_finding(&self) -> Finding {
        if self.object.spec.suspend { Finding::PolicySuspended } else { Finding::Reported }
    }
}

fn schedules(windows: &[Window]) -> Result<Vec<Schedule>, Invalid> {
    windows.iter().enumerate().map(|(place, window)| Schedule::parse(place, window)).collect()
}
