//! Doing what a round decided.
//!
//! Order: a policy's status, with what is paid, is written before anything that it pays for is made. What a
//! call answers is known to the next round at once, before the watch tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use unbloat_api::{Finding, ImageReport, ImageSquashJob, ImageSquashPolicy, labels};
use unbloat_policy::decide::Start;
use unbloat_policy::image::ImageKey;
use unbloat_policy::job::{self, Order};

use super::analysis::Analyzers;
use super::inspect::Inspectors;
use super::originals::Originals;
use super::rollouts::Rollouts;
use super::round::{PolicyWork, ReportWork, Work};
use super::state::{Reading, Shared as SharedState, key, put};
use crate::runtime::calls::{CallError, Calls};
use crate::shared::Shared;

/// Writes at once: 2,000 images at the first start are 4,000 writes.
const AT_ONCE: usize = 8;

/// Labels of a report.
fn report_labels(image: &ImageKey, class: &str) -> BTreeMap<String, String> {
    let class = (!class.is_empty()).then(|| (labels::CLASS.to_owned(), class.to_owned()));
    [(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()), (labels::IMAGE.to_owned(), image.id())]
        .into_iter()
        .chain(class)
        .collect()
}

/// Does it.
pub(super) struct Applier {
    calls: Calls,
    state: Arc<SharedState>,
    inspectors: Inspectors,
    analyzers: Analyzers,
    rollouts: Rollouts,
    originals: Originals,
    own_namespace: String,
    config: Arc<crate::config::Config>,
}

impl Applier {
    pub(super) fn new(
        shared: &Shared,
        state: Arc<SharedState>,
        inspectors: Inspectors,
        analyzers: Analyzers,
        rollouts: Rollouts,
        originals: Originals,
    ) -> Self {
        Self {
            calls: shared.calls.clone(),
            state,
            inspectors,
            analyzers,
            rollouts,
            originals,
            own_namespace: shared.own_namespace.clone(),
            config: Arc::clone(&shared.config),
        }
    }

    pub(super) async fn apply(&self, work: Work) {
        let Work {
            policies,
            reports,
            inspect,
            analyze,
            delete,
            following,
            rollouts,
            originals,
            figures: _,
            next: _,
        } = work;
        self.originals.apply(originals);
        for image in analyze {
            self.analyzers.read(image);
        }
        for image in inspect {
            self.inspectors.read(image);
        }
        stream::iter(reports)
            .for_each_concurrent(AT_ONCE, |report| async move {
                if let Err(error) = self.report(report).await {
                    told(&error, "a report");
                }
            })
            .await;
        for (namespace, name) in delete {
            if let Err(error) = self.delete_job(&namespace, &name).await {
                told(&error, "a policy's job");
            }
        }
        for policy in policies {
            if let Err(error) = self.policy(policy).await {
                told(&error, "a policy");
            }
        }
        self.rollouts.apply(following, rollouts).await;
    }

    async fn report(&self, work: ReportWork) -> Result<(), CallError> {
        let parameters = PostParams::default();
        match work {
            ReportWork::Create { namespace, image, spec, status } => {
                let api: Api<ImageReport> = self.calls.api(&namespace);
                let mut report = ImageReport::new(&image.report_name(&self.config.class), spec);
                report.metadata.labels = Some(report_labels(&image, &self.config.class));
                let call = api.create(&parameters, &report);
                let made = match self.calls.write("create ImageReport", ("create", "ImageReport"), call).await
                {
                    Ok(made) => made,
                    // It is there: the watch tells how it looks. A namespace that ends takes no new object.
                    Err(error) if error.is_conflict() || error.is_refusal() || error.is_gone() => {
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                self.status(&made, status).await
            }
            ReportWork::Update { report, status } => self.status(&report, status).await,
            ReportWork::Delete { report } => {
                let (namespace, name) = key(&*report);
                let uid = report.metadata.uid.clone();
                self.calls.delete::<ImageReport>("ImageReport", &namespace, &name, uid).await?;
                self.state.with(|state| state.reports.remove(&(namespace, name)));
                Ok(())
            }
        }
    }

    async fn status(
        &self,
        report: &ImageReport,
        status: unbloat_api::ImageReportStatus,
    ) -> Result<(), CallError> {
        match self.calls.write_status::<ImageReport>("ImageReport", &report.metadata, &status).await {
            Ok(written) => {
                self.state.with(|state| put(&mut state.reports, key(&written), Arc::new(written)));
                Ok(())
            }
            Err(error) if error.is_conflict() || error.is_gone() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_job(&self, namespace: &str, name: &str) -> Result<(), CallError> {
        let key = (namespace.to_owned(), name.to_owned());
        let uid = self.state.with(|state| state.jobs.get(&key).and_then(|job| job.metadata.uid.clone()));
        self.calls.delete::<ImageSquashJob>("ImageSquashJob", namespace, name, uid).await?;
        self.state.with(|state| state.jobs.remove(&key));
        Ok(())
    }

    async fn policy(&self, work: PolicyWork) -> Result<(), CallError> {
        let PolicyWork { policy, status, start } = work;
        if let Some(status) = status {
            let api: Api<ImageSquashPolicy> = Api::all(self.calls.client());
            let name = policy.metadata.name.clone().unwrap_or_default();
            let patch = json!({
                "apiVersion": format!("{}/{}", unbloat_api::GROUP, unbloat_api::VERSION),
                "kind": "ImageSquashPolicy",
                "metadata": {
                    "name": name,
                    "uid": policy.metadata.uid,
                    "resourceVersion": policy.metadata.resource_version,
                },
                "status": status,
            });
            let parameters = PatchParams::apply(labels::MANAGER).force();
            let patch = Patch::Apply(&patch);
            let call = api.patch_status(&name, &parameters, &patch);
            let written = self.calls.write("write status", ("patch", "ImageSquashPolicy"), call).await?;
            let uid = written.metadata.uid.clone().unwrap_or_default();
            self.state.with(|state| put(&mut state.policies, uid, Arc::new(written)));
        }
        for start in start {
            self.start(&policy, start).await?;
        }
        Ok(())
    }

    /// Makes a job, or lets one go. That it exists already is a success.
    async fn start(&self, policy: &ImageSquashPolicy, start: Start) -> Result<(), CallError> {
        if !start.is_resume && !self.is_still_right(&start).await {
            return Ok(());
        }
        let namespace = &policy.spec.job_namespace;
        let api: Api<ImageSquashJob> = self.calls.api(namespace);
        let job = if start.is_resume {
            let patch = json!({"spec": {"suspend": false}});
            let (patch, parameters) = (Patch::Merge(&patch), PatchParams::default());
            let call = api.patch(&start.name, &parameters, &patch);
            self.calls.write("resume ImageSquashJob", ("patch", "ImageSquashJob"), call).await?
        } else {
            let host = start.image.host();
            // Secrets can be mounted only where they are.
            let secrets = if *namespace == self.own_namespace {
                self.state.with(|state| state.secrets.names_for(host))
            } else {
                Vec::new()
            };
            let object = job::build(&Order {
                policy,
                class: &self.config.class,
                image: &start.image,
                places: &start.places,
                number: start.number,
                is_suspended: start.is_suspended,
                is_plain_http: self.config.is_plain_http(host),
                platform_secrets: &secrets,
            });
            let object: ImageSquashJob = match serde_json::from_value(object) {
                Ok(object) => object,
                Err(error) => {
                    tracing::error!(%error, job = start.name, "a policy's job can't be built");
                    return Ok(());
                }
            };
            let parameters = PostParams::default();
            let call = api.create(&parameters, &object);
            match self.calls.write("create ImageSquashJob", ("create", "ImageSquashJob"), call).await {
                Ok(made) => {
                    tracing::info!(job = start.name, namespace, "a policy's job is made");
                    made
                }
                // It was made before: what somebody did with it since stays.
                Err(error) if error.is_conflict() => {
                    self.calls.read("get ImageSquashJob", api.get(&start.name)).await?
                }
                Err(error) => return Err(error),
            }
        };
        self.state.with(|state| put(&mut state.jobs, key(&job), Arc::new(job)));
        Ok(())
    }

    /// What has to be true at the last moment: nobody signed the image meanwhile, and a tag that is to be
    /// moved stands.
    async fn is_still_right(&self, start: &Start) -> bool {
        match self.inspectors.is_signed(&start.image).await {
            Ok(false) => {}
            Ok(true) => {
                self.forbid(&start.image, Finding::Signed);
                return false;
            }
            Err(error) => {
                tracing::warn!(%error, "a job waits: whether its image is signed can't be told");
                return false;
            }
        }
        if start.places.target.is_some() {
            return true;
        }
        match self.inspectors.stands(&start.places.source, &start.image).await {
            Ok(stands) => stands,
            Err(error) => {
                tracing::warn!(%error, "a job waits: whether its tag stands can't be told");
                false
            }
        }
    }

    fn forbid(&self, image: &ImageKey, finding: Finding) {
        self.state.change(|state| {
            let reports = state.reports.values().filter(|report| {
                report.spec.repository == image.repository && report.spec.digest == image.digest
            });
            let known = unbloat_policy::facts::Facts::of(reports.map(|report| &**report)).inspection;
            if let Some(mut inspection) = known {
                inspection.blocker = Some(finding);
                state.readings.insert(image.clone(), Reading::Read(inspection));
            }
        });
    }
}

fn told(error: &CallError, what: &str) {
    if !error.is_conflict() {
        tracing::warn!(%error, what, "not written; the next round tries again");
    }
}
