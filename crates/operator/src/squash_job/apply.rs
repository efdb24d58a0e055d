//! What is done in the cluster for an ImageSquashJob.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use kube::api::PostParams;
use unbloat_api::ImageSquashJob;

use super::build;
use super::context::Context;
use super::decide::Attempt;
use super::world::WorkerJob;
use crate::runtime::calls::CallError;
use crate::runtime::reconciler::ReconcileError;

/// What came of creating a Job.
pub(super) enum Created {
    /// It is there, made now or before.
    There,
    /// The API server said no, in these words.
    Refused(String),
}

impl Context {
    /// Creates the Job of an attempt. That it exists is a success, if it is this job's.
    pub(super) async fn create_worker(
        &self,
        job: &ImageSquashJob,
        attempt: &Attempt,
    ) -> Result<Created, ReconcileError> {
        let namespace = job.namespace().unwrap_or_default();
        let secrets = self.service_account_secrets(&namespace, &job.spec.service_account_name).await?;
        let object = build::worker_job(job, attempt, &self.config, &secrets)?;
        let api = self.calls.api::<Job>(&namespace);
        let parameters = PostParams::default();
        let call = api.create(&parameters, &object);
        match self.calls.write("create Job", ("create", "Job"), call).await {
            Ok(_) => Ok(Created::There),
            Err(error) if error.is_conflict() => {
                let name = object.name_any();
                let found = self.calls.read("get Job", api.get(&name)).await?;
                match WorkerJob::of(&found, &job.uid().unwrap_or_default()) {
                    Some(_) => Ok(Created::There),
                    None => {
                        Ok(Created::Refused(format!("there is a Job {name} that belongs to something else")))
                    }
                }
            }
            Err(error) if error.is_refusal() => Ok(Created::Refused(error.words())),
            Err(error) => Err(error.into()),
        }
    }

    /// Names of a service account's image pull secrets; a missing account has none, as its pod will tell.
    async fn service_account_secrets(&self, namespace: &str, name: &str) -> Result<Vec<String>, CallError> {
        let api = self.calls.api::<ServiceAccount>(namespace);
        let account = self.calls.read("get ServiceAccount", api.get_opt(name)).await?;
        let secrets = account.and_then(|account| account.image_pull_secrets).unwrap_or_default();
        Ok(secrets.into_iter().map(|secret| secret.name).filter(|name| !name.is_empty()).collect())
    }

    /// Deletes the Job of an attempt and its pod.
    pub(super) async fn stop_worker(&self, job: &ImageSquashJob, name: &str) -> Result<(), CallError> {
        self.calls.delete::<Job>("Job", &job.namespace().unwrap_or_default(), name, None).await
    }

    /// Deletes an ImageSquashJob whose time to live is over, if it is still the same one.
    pub(super) async fn expire(&self, job: &ImageSquashJob) -> Result<(), CallError> {
        let namespace = job.namespace().unwrap_or_default();
        self.calls.delete::<ImageSquashJob>("ImageSquashJob", &namespace, &job.name_any(), job.uid()).await
    }
}
