//! Words for ImageSquashJobs.

use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use unbloat_api::ImageSquashJob;
use unbloat_cluster::{Cluster, Error, Result};

/// A job as a manifest.
pub fn job(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "unbloat.dev/v1alpha1",
        "kind": "ImageSquashJob",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// Status and reason of the summary; empty before there is one.
pub fn reason(job: &ImageSquashJob) -> (String, String) {
    let condition = job.status.as_ref().and_then(|status| status.succeeded());
    condition.map(|condition| (condition.status.clone(), condition.reason.clone())).unwrap_or_default()
}

/// The jobs of one namespace.
pub struct Jobs<'a> {
    cluster: &'a Cluster,
    api: Api<ImageSquashJob>,
    namespace: String,
}

impl<'a> Jobs<'a> {
    /// Those of this namespace.
    ///
    /// # Errors
    /// When no client can be made.
    pub async fn of(cluster: &'a Cluster, namespace: &str) -> Result<Self> {
        let api = Api::namespaced(cluster.client().await?, namespace);
        Ok(Self { cluster, api, namespace: namespace.to_owned() })
    }

    /// Applies a job.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, name: &str, spec: &Value) -> Result<()> {
        self.cluster.apply(&job(&self.namespace, name, spec).to_string()).await.map(drop)
    }

    /// Waits until a job is as wanted.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn wait_for(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&ImageSquashJob) -> bool,
    ) -> Result<ImageSquashJob> {
        self.cluster.wait_until(&self.api, name, what, limit, wanted).await
    }

    /// Waits until a job has this reason.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn wait_for_reason(&self, name: &str, wanted: &str, limit: Duration) -> Result<ImageSquashJob> {
        let what = format!("reason {wanted}");
        self.cluster.wait_until(&self.api, name, &what, limit, |job| reason(job).1 == wanted).await
    }

    /// Waits until a job has ended.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn wait_for_end(&self, name: &str, limit: Duration) -> Result<ImageSquashJob> {
        let is_done = |job: &ImageSquashJob| {
            job.status.as_ref().is_some_and(unbloat_api::ImageSquashJobStatus::is_finished)
        };
        self.cluster.wait_until(&self.api, name, "at its end", limit, is_done).await
    }

    /// All of them.
    ///
    /// # Errors
    /// When the API server doesn't answer.
    pub async fn list(&self) -> Result<Vec<ImageSquashJob>> {
        let list = self.api.list(&ListParams::default()).await.map_err(Error::kube("list jobs"))?;
        Ok(list.items)
    }

    /// Changes a job by a merge patch.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<ImageSquashJob> {
        let patch = Patch::Merge(patch);
        self.api.patch(name, &PatchParams::default(), &patch).await.map_err(Error::kube("patch a job"))
    }

    /// The worker pods of a job, by its name.
    ///
    /// # Errors
    /// When the API server doesn't answer.
    pub async fn pods(&self, name: &str) -> Result<Vec<k8s_openapi::api::core::v1::Pod>> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.cluster.client().await?, &self.namespace);
        let of_job = ListParams::default().labels(&format!("{}={name}", unbloat_api::labels::SQUASH_JOB));
        let mut pods = pods.list(&of_job).await.map_err(Error::kube("list pods"))?.items;
        pods.sort_by_key(ResourceExt::creation_timestamp);
        Ok(pods)
    }
}
