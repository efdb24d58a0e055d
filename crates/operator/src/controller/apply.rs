//! Writes to the API server: each under a time limit, only while the lease is good, counted.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde_json::json;
use unbloat_api::{ImageSquashJob, ImageSquashJobStatus, labels};

use super::context::Context;
use crate::build;
use crate::decide::Start;
use crate::metrics::WriteLabels;
use crate::observe::WorkerJob;

/// Why a turn couldn't be finished; the next one starts over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ApplyError {
    /// The API server refused, or wasn't there.
    #[error("{operation} failed: {source}")]
    Kube {
        /// What was tried.
        operation: &'static str,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// The API server didn't answer in time.
    #[error("{operation}: no answer from the API server within {limit:?}")]
    Timeout {
        /// What was tried.
        operation: &'static str,
        /// How long.
        limit: Duration,
    },
    /// Another replica leads; nothing may be written.
    #[error("{operation} was not tried: the lease is not ours any more")]
    NotLeading {
        /// What was to be tried.
        operation: &'static str,
    },
    /// The worker's spec can't be written as JSON.
    #[error("the worker's spec cannot be written: {0}")]
    Spec(#[from] serde_json::Error),
    /// A reconcile panicked.
    #[error("the reconcile panicked: {0}")]
    Panic(String),
}

impl ApplyError {
    /// Whether the same turn can succeed later: all but a fault of our own can.
    pub(super) fn is_retryable(&self) -> bool {
        !matches!(self, ApplyError::Spec(_))
    }

    fn status(&self) -> Option<u16> {
        match self {
            ApplyError::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// The object was written by somebody else since it was read.
    pub(super) fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// The object is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.status() == Some(404)
    }

    /// The API server understood, and said no to this very object: quota, admission, validation.
    fn is_refusal(&self) -> bool {
        matches!(self.status(), Some(400 | 403 | 413 | 422))
    }

    fn words(&self) -> String {
        match self {
            ApplyError::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            },
            other => other.to_string(),
        }
    }
}

/// What came of creating a Job.
pub(super) enum Created {
    /// It is there, made now or before.
    There,
    /// The API server said no, in these words.
    Refused(String),
}

impl Context {
    /// A call that reads.
    pub(super) async fn read<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError> {
        let limit = self.settings.api_timeout;
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|source| ApplyError::Kube { operation, source: Box::new(source) }),
            Err(_) => Err(ApplyError::Timeout { operation, limit }),
        }
    }

    /// A call that writes.
    async fn write<T>(
        &self,
        operation: &'static str,
        (verb, kind): (&'static str, &'static str),
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError> {
        if !self.leadership.is_valid() {
            return Err(ApplyError::NotLeading { operation });
        }
        self.metrics.api_writes.get_or_create(&WriteLabels { verb, kind }).inc();
        self.read(operation, call).await
    }

    /// Creates the Job of an attempt. That it exists is a success, if it is this job's.
    pub(super) async fn create_worker(
        &self,
        job: &ImageSquashJob,
        start: &Start,
    ) -> Result<Created, ApplyError> {
        let namespace = job.namespace().unwrap_or_default();
        let secrets = self.service_account_secrets(&namespace, &job.spec.service_account_name).await?;
        let object = build::worker_job(job, start, &self.config, &secrets)?;
        let api: Api<Job> = Api::namespaced(self.client.clone(), &namespace);
        let parameters = PostParams::default();
        let call = api.create(&parameters, &object);
        match self.write("create Job", ("create", "Job"), call).await {
            Ok(_) => Ok(Created::There),
            Err(error) if error.is_conflict() => {
                let name = object.name_any();
                let found = self.read("get Job", api.get(&name)).await?;
                match WorkerJob::of(&found, &job.uid().unwrap_or_default()) {
                    Some(_) => Ok(Created::There),
                    None => {
                        Ok(Created::Refused(format!("there is a Job {name} that belongs to something else")))
                    }
                }
            }
            Err(error) if error.is_refusal() => Ok(Created::Refused(error.words())),
            Err(error) => Err(error),
        }
    }

    /// Names of a service account's image pull secrets; a missing account has none, as its pod will tell.
    async fn service_account_secrets(&self, namespace: &str, name: &str) -> Result<Vec<String>, ApplyError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let account = self.read("get ServiceAccount", api.get_opt(name)).await?;
        let secrets = account.and_then(|account| account.image_pull_secrets).unwrap_or_default();
        Ok(secrets.into_iter().map(|secret| secret.name).filter(|name| !name.is_empty()).collect())
    }

    /// Deletes the Job of an attempt and its pod.
    pub(super) async fn stop_worker(&self, job: &ImageSquashJob, name: &str) -> Result<(), ApplyError> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), &job.namespace().unwrap_or_default());
        let parameters = DeleteParams::background();
        let call = api.delete(name, &parameters);
        match self.write("delete Job", ("delete", "Job"), call).await {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes an ImageSquashJob whose time to live is over, if it is still the same one.
    pub(super) async fn expire(&self, job: &ImageSquashJob) -> Result<(), ApplyError> {
        let api: Api<ImageSquashJob> =
            Api::namespaced(self.client.clone(), &job.namespace().unwrap_or_default());
        let same = Preconditions { uid: job.uid(), resource_version: None };
        let name = job.name_any();
        let parameters = DeleteParams::background().preconditions(same);
        let call = api.delete(&name, &parameters);
        match self.write("delete ImageSquashJob", ("delete", "ImageSquashJob"), call).await {
            Err(error) if !error.is_gone() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the status, if nobody wrote the object since it was read.
    pub(super) async fn write_status(
        &self,
        job: &ImageSquashJob,
        status: &ImageSquashJobStatus,
    ) -> Result<ImageSquashJob, ApplyError> {
        let api: Api<ImageSquashJob> =
            Api::namespaced(self.client.clone(), &job.namespace().unwrap_or_default());
        let name = job.name_any();
        let patch = json!({
            "apiVersion": ImageSquashJob::api_version(&()),
            "kind": ImageSquashJob::kind(&()),
            "metadata": {"name": name, "uid": job.uid(), "resourceVersion": job.resource_version()},
            "status": status,
        });
        let parameters = PatchParams::apply(labels::MANAGER).force();
        let patch = Patch::Apply(&patch);
        let call = api.patch_status(&name, &parameters, &patch);
        self.write("write status", ("patch", "ImageSquashJob"), call).await
    }

    /// Writes an event. One that is there already, or can't be written, changes nothing.
    pub(super) async fn write_event(&self, event: &Event) {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &event.namespace().unwrap_or_default());
        let parameters = PostParams::default();
        let call = api.create(&parameters, event);
        match self.write("create Event", ("create", "Event"), call).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => tracing::warn!(%error, "an event is lost"),
        }
    }
}
