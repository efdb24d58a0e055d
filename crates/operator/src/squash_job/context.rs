//! What every reconcile of an ImageSquashJob shares.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use unbloat_api::ImageSquashJob;

use super::departed::Departed;
use super::idle::Idle;
use super::metrics::{JobMetrics, StateLabel};
use super::places;
use super::progress::ProgressClient;
use super::resolve::Resolver;
use super::world::{Place, WorkerPod, owner_of_job, owner_of_pod};
use crate::config::Config;
use crate::runtime::calls::Calls;
use crate::runtime::reconciler::Queue;
use crate::runtime::tolerant::Tolerant;
use crate::runtime::written::Written;

/// What every reconcile shares.
pub(super) struct Context {
    pub(super) calls: Calls,
    pub(super) config: Arc<Config>,
    /// Name of this replica, for events.
    pub(super) instance: String,
    pub(super) metrics: JobMetrics,
    pub(super) squash_jobs: Store<Tolerant<ImageSquashJob>>,
    pub(super) worker_jobs: Store<Tolerant<Job>>,
    pub(super) pods: Store<Tolerant<Pod>>,
    pub(super) departed: Departed,
    pub(super) progress: ProgressClient,
    pub(super) resolver: Resolver,
    pub(super) queue: Queue<ImageSquashJob>,
    pub(super) written: Written<ImageSquashJob>,
    pub(super) idle: Idle,
    /// Namespaces of the Jobs that are known to be the operator's own, by uid.
    pub(super) own: Mutex<HashMap<String, String>>,
    /// Uids of jobs that were let in and whose status doesn't say so yet. May be lost: a restart only repeats
    /// reads.
    pub(super) reserved: Mutex<HashSet<String>>,
}

impl Context {
    fn reserved(&self) -> MutexGuard<'_, HashSet<String>> {
        // A panic elsewhere leaves the set whole: each change is one call.
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_jobs(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a Job that the operator made, or that a status says it made.
    pub(super) fn own(&self, uid: Option<String>, namespace: &str) {
        if let Some(uid) = uid {
            self.own_jobs().insert(uid, namespace.to_owned());
        }
    }

    /// Whether a Job of this uid is in the namespace and one of this ImageSquashJob's.
    pub(super) fn is_job_of(&self, uid: &str, namespace: &str, of: &ImageSquashJob) -> bool {
        let own = self.own_jobs().get(uid).is_some_and(|found| found == namespace);
        own && self.worker_jobs.state().iter().filter_map(|job| job.readable()).any(|job| {
            job.metadata.uid.as_deref() == Some(uid) && owner_of_job(job) == of.metadata.uid.as_deref()
        })
    }

    /// Every job that can be read, as new as it is known.
    fn newest(&self) -> Vec<Arc<ImageSquashJob>> {
        self.squash_jobs.state().iter().filter_map(|job| self.written.newest(job)).collect()
    }

    /// Whether a job may start now; a place that it gets stays reserved until [`Context::settle`].
    pub(super) fn place(&self, job: &ImageSquashJob, now: Timestamp) -> Place {
        let Some(uid) = job.uid() else { return Place::Waiting };
        if !places::wants_place(job, now) {
            return Place::Waiting;
        }
        let mut reserved = self.reserved();
        if reserved.contains(&uid) {
            return Place::Granted;
        }
        if !self.granted(&reserved, now).iter().any(|granted| granted.uid().as_ref() == Some(&uid)) {
            return Place::Waiting;
        }
        reserved.insert(uid);
        Place::Granted
    }

    /// A reconcile is over: what the job holds now is in its status.
    pub(super) fn settle(&self, uid: &str) {
        self.reserved().remove(uid);
    }

    /// Queues the jobs that may start now. Called when a place has become free.
    pub(super) fn wake_waiting(&self) {
        let granted = self.granted(&self.reserved(), Timestamp::now());
        for job in granted {
            // The receiver ends only with the process.
            let _ =
                self.queue.send(ObjectRef::new(&job.name_any()).within(&job.namespace().unwrap_or_default()));
        }
    }

    fn granted(&self, reserved: &HashSet<String>, now: Timestamp) -> Vec<Arc<ImageSquashJob>> {
        let jobs = self.newest();
        let lingering = self.lingering(&jobs);
        let limits = self.config.concurrency;
        let granted = places::grants(jobs.iter().map(|job| &**job), reserved, &lingering, limits, now);
        let uids: Vec<_> = granted.iter().map(|job| job.uid()).collect();
        jobs.into_iter().filter(|job| uids.contains(&job.uid())).collect()
    }

    /// Namespaces of the operator's own worker pods that still end though their job holds no place any more,
    /// or is gone.
    fn lingering(&self, jobs: &[Arc<ImageSquashJob>]) -> Vec<String> {
        let held: HashSet<&str> = jobs
            .iter()
            .filter(|job| places::holds_place(job))
            .filter_map(|job| job.status.as_ref()?.worker.as_ref()?.uid.as_deref())
            .collect();
        let now = Timestamp::now();
        let own = self.own_jobs();
        let pods = self.pods.state();
        let lingering = pods.iter().filter_map(|pod| pod.readable()).filter(|pod| {
            let Some(owner) = owner_of_pod(pod) else { return false };
            let ours = own.get(owner).is_some_and(|namespace| pod.namespace().as_ref() == Some(namespace));
            let view = || WorkerPod::of(pod);
            ours && !held.contains(owner) && !view().has_ended() && !view().is_lost(now)
        });
        lingering.map(|pod| pod.namespace().unwrap_or_default()).collect()
    }

    /// Forgets what isn't needed any more and brings the gauges up to date.
    pub(super) fn sweep(&self) {
        let cached = self.squash_jobs.state();
        self.written.sweep(&cached);
        let jobs: Vec<_> = cached.iter().filter_map(|job| job.readable()).collect();
        self.sweep_workers(&jobs);
        let uids: HashSet<_> = jobs.iter().filter_map(|job| job.uid()).collect();
        self.reserved().retain(|uid| uids.contains(uid));
        let mut counts: HashMap<&'static str, i64> = STATES.iter().map(|state| (*state, 0)).collect();
        for job in jobs {
            *counts.entry(state(job)).or_default() += 1;
        }
        for (state, count) in counts {
            self.metrics.jobs.get_or_create(&StateLabel { state }).set(count);
        }
    }
}

impl Context {
    /// Forgets what was remembered of workers that have no pod and that no job works with.
    fn sweep_workers(&self, jobs: &[&Arc<ImageSquashJob>]) {
        let open = jobs.iter().filter_map(|job| job.status.as_ref()).filter(|status| !status.is_finished());
        let mut workers: HashSet<String> =
            open.filter_map(|status| status.worker.as_ref()?.uid.clone()).collect();
        self.departed.sweep(&workers);
        self.idle.sweep(&workers);
        let pods = self.pods.state();
        let owners = pods.iter().filter_map(|pod| pod.readable()).filter_map(|pod| owner_of_pod(pod));
        workers.extend(owners.map(str::to_owned));
        self.own_jobs().retain(|uid, _| workers.contains(uid));
    }
}

const STATES: [&str; 6] = ["queued", "running", "retrying", "suspended", "succeeded", "failed"];

fn state(job: &ImageSquashJob) -> &'static str {
    let Some(condition) = job.status.as_ref().and_then(|status| status.succeeded()) else { return "queued" };
    match (condition.status.as_str(), condition.reason.as_str()) {
        ("True", _) => "succeeded",
        ("False", _) => "failed",
        (_, "Queued") => "queued",
        (_, "Suspended") => "suspended",
        _ if places::holds_place(job) => "running",
        _ => "retrying",
    }
}
