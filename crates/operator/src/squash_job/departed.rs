//! The last that was seen of workers' pods that are gone.
//!
//! A drained pod lives on for as little as a second, less than a turn may take; what it left is in the event
//! of its deletion and nowhere else. May be lost at any time: the attempt is then `WorkerLost` instead of
//! `WorkerEvicted`, and retried too.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;

use super::world::{WorkerPod, owner_of_pod};

/// The last of them for each worker's Job, by the Job's uid.
#[derive(Clone, Debug, Default)]
pub(super) struct Departed(Arc<Mutex<HashMap<String, Pod>>>);

impl Departed {
    /// Keeps a deleted pod, if it says how its attempt ended.
    pub(super) fn keep(&self, pod: &Pod) {
        let Some(owner) = owner_of_pod(pod) else { return };
        let view = WorkerPod::of(pod);
        if !view.has_ended() && view.disruption.is_none() {
            return;
        }
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pods.len() < MOST || pods.contains_key(owner) {
            pods.insert(owner.to_owned(), pod.clone());
        }
    }

    /// The pod of a worker's Job.
    pub(super) fn of(&self, worker: &str) -> Option<WorkerPod> {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.get(worker).map(|pod| WorkerPod { gone: true, ..WorkerPod::of(pod) })
    }

    /// Forgets pods of workers that nobody follows any more.
    pub(super) fn sweep(&self, workers: &HashSet<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| workers.contains(uid));
    }
}

/// Pods that are kept at most between two sweeps: whoever deletes many at once learns less of them.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(job: &str, status: &Value) -> Pod {
        let owner =
            json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": job, "controller": true}]);
        serde_json::from_value(json!({"metadata": {"name": job, "ownerReferences": owner}, "status": status}))
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
        departed.keep(&pod("job-1", &drained()));
        let kept = departed.of("job-1").expect("it was kept");
        assert!(kept.has_ended() && kept.disruption.is_some(), "{kept:?}");
        assert_eq!(departed.of("job-2"), None);
    }

    #[test]
    fn a_pod_that_says_nothing_or_that_no_job_made_is_not_kept() {
        let departed = Departed::default();
        departed.keep(&pod("job-1", &json!({"phase": "Running"})));
        assert_eq!(departed.of("job-1"), None);
        let mut alone = pod("job-1", &drained());
        alone.metadata.owner_references = None;
        departed.keep(&alone);
        assert_eq!(departed.of("job-1"), None);
    }

    #[test]
    fn pods_of_workers_that_nobody_follows_are_forgotten() {
        let departed = Departed::default();
        departed.keep(&pod("job-1", &drained()));
        departed.sweep(&HashSet::from(["job-1".to_owned()]));
        assert!(departed.of("job-1").is_some());
        departed.sweep(&HashSet::new());
        assert_eq!(departed.of("job-1"), None);
    }
}
