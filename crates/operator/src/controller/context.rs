//! What every reconcile shares.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc::UnboundedSender;
use unbloat_api::{ImageSquashJob, labels};

use super::departed::Departed;
use super::memory::Memory;
use super::progress::ProgressClient;
use super::resolve::Resolver;
use crate::config::Config;
use crate::lease::Leadership;
use crate::metrics::{Metrics, StateLabel};
use crate::observe::{Slot, WorkerPod};
use crate::queue;

/// Settings of the process beside the configuration file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace to work in; all of them when absent.
    pub namespace: Option<String>,
    /// Name of this replica, for events and the lease.
    pub instance: String,
    /// Reconciles at once.
    pub concurrency: u16,
    /// Limit of one call to the API server.
    pub api_timeout: Duration,
}

/// What every reconcile shares.
pub struct Context {
    pub(super) client: Client,
    pub(super) config: Config,
    pub(super) settings: Settings,
    pub(super) leadership: Leadership,
    pub(super) metrics: Metrics,
    pub(super) squash_jobs: Store<ImageSquashJob>,
    pub(super) jobs: Store<Job>,
    pub(super) pods: Store<Pod>,
    pub(super) progress: ProgressClient,
    pub(super) resolver: Resolver,
    pub(super) queue: UnboundedSender<ObjectRef<ImageSquashJob>>,
    pub(super) departed: Departed,
    pub(super) memory: Mutex<Memory>,
}

impl Context {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves the maps whole: each change is one call.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a job may start now; a place that is granted stays reserved until [`Context::settle`].
    pub(super) fn slot(&self, job: &ImageSquashJob, now: Timestamp) -> Slot {
        let Some(uid) = job.uid() else { return Slot::Waiting };
        if !queue::wants_place(job, now) {
            return Slot::Waiting;
        }
        let mut memory = self.memory();
        if memory.reserved.contains(&uid) {
            return Slot::Granted;
        }
        if !self.granted(&memory, now).iter().any(|granted| granted.uid().as_ref() == Some(&uid)) {
            return Slot::Waiting;
        }
        memory.reserved.insert(uid);
        Slot::Granted
    }

    /// A turn is over: what the job holds now is in its status.
    pub(super) fn settle(&self, uid: &str) {
        self.memory().reserved.remove(uid);
    }

    /// Sends the jobs into the queue that may start now. Called when a place has become free.
    pub(super) fn wake_waiting(&self) {
        let granted = self.granted(&self.memory(), Timestamp::now());
        for job in granted {
            // The receiver ends only with the process.
            let _ = self.queue.send(ObjectRef::from_obj(&*job));
        }
    }

    fn granted(&self, memory: &Memory, now: Timestamp) -> Vec<Arc<ImageSquashJob>> {
        let jobs: Vec<_> = self.squash_jobs.state().iter().map(|job| memory.newest(job)).collect();
        let lingering = self.lingering(&jobs);
        let limits = self.config.concurrency;
        let granted = queue::grants(jobs.iter().map(|job| &**job), &memory.reserved, &lingering, limits, now);
        let uids: Vec<_> = granted.iter().map(|job| job.uid()).collect();
        jobs.into_iter().filter(|job| uids.contains(&job.uid())).collect()
    }

    /// Namespaces of worker pods that still end though their job holds no place any more, or is gone.
    fn lingering(&self, jobs: &[Arc<ImageSquashJob>]) -> Vec<String> {
        let holders: HashSet<_> =
            jobs.iter().filter(|job| queue::holds_place(job)).map(|job| job.uid()).collect();
        let pods = self.pods.state();
        let lingering = pods.iter().filter(|pod| {
            let uid = pod.labels().get(labels::SQUASH_JOB_UID).cloned();
            !holders.contains(&uid) && !WorkerPod::of(pod).has_ended()
        });
        lingering.map(|pod| pod.namespace().unwrap_or_default()).collect()
    }

    /// Forgets what isn't needed any more and brings the gauges up to date.
    pub(super) fn sweep(&self) {
        let cached = self.squash_jobs.state();
        self.memory().sweep(&cached);
        self.departed.sweep(&cached);
        let mut counts: HashMap<&'static str, i64> = STATES.iter().map(|state| (*state, 0)).collect();
        for job in &cached {
            *counts.entry(state(job)).or_default() += 1;
        }
        for (state, count) in counts {
            self.metrics.jobs.get_or_create(&StateLabel { state }).set(count);
        }
        self.metrics.sample_memory();
    }
}

const STATES: [&str; 6] = ["queued", "running", "retrying", "suspended", "succeeded", "failed"];

fn state(job: &ImageSquashJob) -> &'static str {
    let Some(condition) = job.status.as_ref().and_then(|status| status.succeeded()) else { return "queued" };
    match (condition.status.as_str(), condition.reason.as_str()) {
        ("True", _) => "succeeded",
        ("False", _) => "failed",
        (_, "Queued") => "queued",
        (_, "Retrying") => "retrying",
        (_, "Suspended") => "suspended",
        _ => "running",
    }
}
