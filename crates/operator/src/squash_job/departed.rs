//! The last that was seen of workers' pods that are gone.
//!
//! A drained pod lives on for as little as a second, less than a turn may take; what it left is in the event of its deletion
//! and nowhere else. May be lost at any time: the attempt is then `WorkerLost` instead of `WorkerEvicted`, and retried too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, labels};

use super::world::{WorkerPod, attempt_of};

/// The newest of them for each ImageSquashJob, by the job's uid.
#[derive(Clone, Debug, Default)]
pub(super) struct Departed(Arc<Mutex<HashMap<String, Pod>>>);

impl Departed {
    /// Keeps a deleted pod, if it says how its attempt ended.
    pub(super) fn keep(&self, pod: &Pod) {
        let Some(uid) = pod.labels().get(labels::SQUASH_JOB_UID) else { return };
        let view = WorkerPod::of(pod);
        if !view.has_ended() && view.disruption.is_none() {
            return;
        }
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pods.get(uid).is_none_or(|kept| attempt_of(kept) <= attempt_of(pod)) {
            pods.insert(uid.clone(), pod.clone());
        }
    }

    /// The pod of an attempt.
    pub(super) fn of(&self, uid: &str, attempt: i32) -> Option<WorkerPod> {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pod = pods.get(uid).filter(|pod| attempt_of(pod) == Some(attempt))?;
        Some(WorkerPod { gone: true, ..WorkerPod::of(pod) })
    }

    /// Forgets pods of jobs that are done or gone.
    pub(super) fn sweep(&self, jobs: &[&Arc<ImageSquashJob>]) {
        let finished =
            |job: &ImageSquashJob| job.status.as_ref().is_some_and(ImageSquashJobStatus::is_finished);
        let open: Vec<_> = jobs.iter().filter(|job| !finished(job)).filter_map(|job| job.uid()).collect();
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.retain(|uid, _| open.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::squash_job::fixtures;

    fn pod(attempt: &str, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": attempt, "labels": {labels::SQUASH_JOB_UID: "uid-1", labels::ATTEMPT: attempt}},
            "status": status,
        }))
        .expect("a valid pod")
    }

    fn drained() -> Value {
        let condition =
            json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"});
        json!({"phase": "Running", "conditions": [condition]})
    }

    #[test]
    fn an_evicted_pod_that_is_gone_has_ended() {
        let departed = Departed::default();
        departed.keep(&pod("1", &drained()));
        let kept = departed.of("uid-1", 1).expect("it was kept");
        assert!(kept.has_ended() && kept.disruption.is_some(), "{kept:?}");
        assert_eq!(departed.of("uid-1", 2), None);
        assert_eq!(departed.of("uid-2", 1), None);
    }

    #[test]
    fn a_pod_that_says_nothing_is_not_kept_nor_an_older_one() {
        let departed = Departed::default();
        departed.keep(&pod("1", &json!({"phase": "Running"})));
        assert_eq!(departed.of("uid-1", 1), None);
        departed.keep(&pod("2", &drained()));
        departed.keep(&pod("1", &drained()));
        assert!(departed.of("uid-1", 2).is_some());
    }

    #[test]
    fn pods_of_finished_and_gone_jobs_are_forgotten() {
        let departed = Departed::default();
        let open = Arc::new(fixtures::job());
        departed.keep(&pod("1", &drained()));
        departed.sweep(&[&open]);
        assert!(departed.of("uid-1", 1).is_some());
        departed.sweep(&[]);
        assert_eq!(departed.of("uid-1", 1), None);
    }
}
