//! What is done in the cluster for an ImageSquashJob.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use kube::api::PostParams;
use unbloat_api::ImageSquashJob;

use super::build;
use super::context::Context;
use super::decide::Attempt;
use super::world::owner_of_job;
use crate::runtime::calls::CallError;
use crate::runtime::reconciler::ReconcileError;

/// What came of creating a Job.
pub(super) enum Created {
    /// It is there, made now or, with the same content, before; its uid.
    There(String),
    /// A Job of that name is there, and another one.
    Taken,
    /// The API server said no, in these words.
    Refused(String),
}

impl Context {
    /// Creates the Job of an attempt. That one exists is a success if it is what would have been made: an
    /// operator that ended between two writes made it, or somebody who wanted the same.
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
        let made = match self.calls.write("create Job", ("create", "Job"), call).await {
            Ok(made) => made,
            Err(error) if error.is_refusal() => return Ok(Created::Refused(error.words())),
            Err(error) if error.is_conflict() => {
                let name = object.name_any();
                let found = self.calls.read("get Job", api.get_opt(&name)).await?;
                match found {
                    Some(found) if build::is_same(&found, &object) => found,
                    Some(found) => {
                        self.remove_impostor(job, &found).await?;
                        return Ok(Created::Taken);
                    }
                    None => return Ok(Created::Taken),
                }
            }
            Err(error) => return Err(error.into()),
        };
        let uid = made.uid().unwrap_or_default();
        self.own(Some(uid.clone()), &namespace);
        Ok(Created::There(uid))
    }

    /// Deletes a Job that calls itself this job's and isn't what the operator makes. One that doesn't is left
    /// alone.
    async fn remove_impostor(&self, job: &ImageSquashJob, found: &Job) -> Result<(), CallError> {
        if owner_of_job(found) != job.metadata.uid.as_deref() {
            return Ok(());
        }
        let namespace = job.namespace().unwrap_or_default();
        self.calls.delete::<Job>("Job", &namespace, &found.name_any(), found.uid()).await
    }

    /// Names of a service account's image pull secrets; a missing account has none, as its pod will tell.
    async fn service_account_secrets(&self, namespace: &str, name: &str) -> Result<Vec<String>, CallError> {
        let api = self.calls.api::<ServiceAccount>(namespace);
        let account = self.calls.read("get ServiceAccount", api.get_opt(name)).await?;
        let secrets = account.and_then(|account| account.image_pull_secrets).unwrap_or_default();
        Ok(secrets.into_iter().map(|secret| secret.name).filter(|name| !name.is_empty()).collect())
    }

    /// Deletes the Job of an attempt and its pod.
    pub(super) async fn stop_worker(
        &self,
        job: &ImageSquashJob,
        name: &str,
        uid: String,
    ) -> Result<(), CallError> {
        let namespace = job.namespace().unwrap_or_default();
        self.calls.delete::<Job>("Job", &namespace, name, Some(uid)).await
    }

    /// Deletes an ImageSquashJob whose time to live is over, if it is still the same one.
    pub(super) async fn expire(&self, job: &ImageSquashJob) -> Result<(), CallError> {
        let namespace = job.namespace().unwrap_or_default();
        self.calls.delete::<ImageSquashJob>("ImageSquashJob", &namespace, &job.name_any(), job.uid()).await
    }
}
