//! Events, on transitions only: progress is in the status, and a repeated event would be shown with its first
//! text.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, Reason, labels};
use unbloat_text::bounded;

use super::fingerprint;
use crate::runtime::calls::{NOTE_LIMIT, REPORTER};

/// The event of a status change, if it is worth one. Its name is made of what happened, so that a repeated
/// write is a 409.
pub(crate) fn event(
    job: &ImageSquashJob,
    new: &ImageSquashJobStatus,
    instance: &str,
    now: Timestamp,
) -> Option<Event> {
    let old = job.status.as_ref();
    let condition = new.succeeded()?;
    let reason = Reason::parse(&condition.reason)?;
    let changed =
        old.and_then(|status| status.succeeded()).is_none_or(|before| before.reason != condition.reason);
    let (type_, reason, note) = match reason {
        Reason::Retrying if new.failures > old.map_or(0, |status| status.failures) => {
            ("Warning", new.last_failure.as_ref()?.reason.clone(), condition.message.clone())
        }
        _ if !changed => return None,
        Reason::Running => {
            let worker = new.worker.as_ref()?;
            ("Normal", "Started".to_owned(), format!("attempt {} runs as Job {}", worker.attempt, worker.job))
        }
        Reason::Suspended => ("Normal", condition.reason.clone(), condition.message.clone()),
        Reason::WorkerUnschedulable | Reason::WorkerImageUnavailable | Reason::WorkerPodRefused => {
            ("Warning", condition.reason.clone(), condition.message.clone())
        }
        _ => match condition.status.as_str() {
            "True" => ("Normal", condition.reason.clone(), condition.message.clone()),
            "False" => ("Warning", condition.reason.clone(), condition.message.clone()),
            _ => return None,
        },
    };
    let uid = job.uid().unwrap_or_default();
    let identity = fingerprint((&uid, &reason, new.attempts, new.failures));
    Some(Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{identity:016x}", job.name_any())),
            namespace: job.namespace(),
            labels: Some([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        action: Some("Squash".to_owned()),
        note: Some(bounded(&note, NOTE_LIMIT)),
        reason: Some(reason),
        type_: Some(type_.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(ImageSquashJob::api_version(&()).into_owned()),
            kind: Some(ImageSquashJob::kind(&()).into_owned()),
            name: Some(job.name_any()),
            namespace: job.namespace(),
            uid: Some(uid),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(bounded(instance, 128)),
        ..Event::default()
    })
}
