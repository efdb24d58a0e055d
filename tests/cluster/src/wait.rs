//! Waiting: each wait has a limit, and a message that makes a second run unnecessary.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// Between two looks: short beside everything that is waited for, long beside a look's 3 ms.
const PAUSE: Duration = Duration::from_millis(50);
/// For one look: longer, and the API server is away.
const LOOK: Duration = Duration::from_secs(5);

/// What one look showed.
pub enum Look<T> {
    /// It came true.
    Done(T),
    /// Not yet; what there is instead, for the message.
    NotYet(String),
}

/// How a Job ended.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// Whether its `Complete` condition is true; else `Failed` is.
    pub succeeded: bool,
    /// The reason of that condition.
    pub reason: String,
    /// What the last of its pods wrote as its termination message.
    pub termination_message: Option<String>,
    /// The exit code of that pod's first container.
    pub exit_code: Option<i32>,
}

impl Cluster {
    /// Looks again and again until `look` is done or `limit` has passed. Errors of a look are not final: the
    /// API server may be away. The message of a timeout has the last look, and statuses, events and logs of
    /// `namespace`.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `limit`.
    pub async fn wait_for<T>(
        &self,
        namespace: &str,
        what: &str,
        limit: Duration,
        mut look: impl AsyncFnMut() -> Result<Look<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        let mut last;
        loop {
            last = match tokio::time::timeout(LOOK, look()).await {
                Ok(Ok(Look::Done(found))) => return Ok(found),
                Ok(Ok(Look::NotYet(seen))) => seen,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", LOOK.as_secs()),
            };
            if began.elapsed() > limit {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut diagnosis = self.diagnose(namespace).await;
        let _ = writeln!(diagnosis, "--- the cluster's logs, after its end: {}", self.keep_logs().display());
        Err(Error::Timeout { what: what.into(), after: limit, last, diagnosis })
    }

    /// Waits until the object `name` satisfies `is_so`.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `limit`, with the object's last state.
    pub async fn wait_until<K>(
        &self,
        api: &Api<K>,
        name: &str,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&K) -> bool,
    ) -> Result<K>
    where
        K: Resource<DynamicType: Default> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        // The path of the resource has its namespace, which the interface does not give otherwise.
        let namespace = namespace_of(api.resource_url());
        self.wait_for(&namespace, &format!("{kind} {name}: {what}"), limit, async || {
            let found = api.get_opt(name).await.map_err(Error::kube(format!("get {kind} {name}")))?;
            Ok(match found {
                Some(object) if is_so(&object) => Look::Done(object),
                Some(object) => Look::NotYet(state_of(&object)),
                None => Look::NotYet(format!("no {kind} {name}")),
            })
        })
        .await
    }

    /// Waits until a Job is complete or failed.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `limit`.
    pub async fn wait_for_job_end(&self, namespace: &str, name: &str, limit: Duration) -> Result<JobEnd> {
        let client = self.client().await?;
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        let end = |job: &Job| {
            let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let mut ends = conditions.filter(|condition| condition.status == "True");
            ends.find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed")).cloned()
        };
        let job = self.wait_until(&jobs, name, "at its end", limit, |job| end(job).is_some()).await?;
        let condition = end(&job).expect("it was waited for");
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
        let mut pods = pods.list(&of_job).await.map_err(Error::kube("list a Job's pods"))?.items;
        pods.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
        let terminated = pods.last().and_then(termination);
        Ok(JobEnd {
            succeeded: condition.type_ == "Complete",
            reason: condition.reason.unwrap_or_default(),
            exit_code: terminated.as_ref().map(|state| state.exit_code),
            termination_message: terminated.and_then(|state| state.message),
        })
    }

    /// Waits until a pod's containers are all ready.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `limit`.
    pub async fn wait_for_pod_ready(&self, namespace: &str, name: &str, limit: Duration) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client().await?, namespace);
        self.wait_until(&pods, name, "ready", limit, |pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
        .await
    }

    /// Waits until a node is Ready.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `limit`.
    pub async fn wait_for_node(&self, name: &str, limit: Duration) -> Result<Node> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        self.wait_until(&nodes, name, "ready", limit, is_ready).await
    }

    /// Waits until a service account exists: no pod is admitted before its own does.
    ///
    /// # Errors
    /// [`Error::Timeout`] after 30 s.
    pub async fn wait_for_service_account(&self, namespace: &str, name: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let limit = Duration::from_secs(30);
        self.wait_until(&accounts, name, "there", limit, |_| true).await.map(|_| ())
    }
}

/// Whether a node's `Ready` condition is true.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// How a pod's first container ended, if it did.
pub fn termination(pod: &Pod) -> Option<k8s_openapi::api::core::v1::ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.terminated.clone()
}

/// The part of an object that tells how far it is.
fn state_of(object: &impl Serialize) -> String {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    let shown = if value["status"].is_null() { &mut value } else { &mut value["status"] };
    if let Some(fields) = shown.as_object_mut() {
        // A node's list of images is longer than everything else together.
        fields.remove("images");
    }
    shown.to_string()
}

fn namespace_of(url: &str) -> String {
    let mut parts = url.split('/').skip_while(|part| *part != "namespaces").skip(1);
    parts.next().unwrap_or_default().to_owned()
}
