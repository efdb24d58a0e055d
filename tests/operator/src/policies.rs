//! Words for policies, their reports, and the workloads that they are about.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use unbloat_api::{ImageReport, ImageSquashPolicy};
use unbloat_cluster::fixture::container;
use unbloat_cluster::{Cluster, Error, Look, Result};

/// Longest wait of a policy's test.
pub const LONG: Duration = Duration::from_secs(180);

/// A policy as a manifest.
pub fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashPolicy", "metadata": {"name": name}, "spec": spec})
}

/// A Deployment whose pods wait for ever.
pub fn deployment(namespace: &str, name: &str, image: &str, labels: &Value) -> Value {
    let mut waits = container("cat");
    waits["image"] = json!(image);
    waits["stdin"] = json!(true);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [waits]},
            },
        },
    })
}

/// Waits until both of its pods are ready.
///
/// # Errors
/// [`Error::Timeout`].
pub async fn ready(cluster: &Cluster, namespace: &str, name: &str) -> Result<Deployment> {
    let api: Api<Deployment> = Api::namespaced(cluster.client().await?, namespace);
    cluster
        .wait_until(&api, name, "ready", LONG, |deployment| {
            deployment.status.as_ref().and_then(|status| status.ready_replicas) == Some(2)
        })
        .await
}

/// The one report of a namespace, once it is as wanted.
///
/// # Errors
/// [`Error::Timeout`].
pub async fn report(
    cluster: &Cluster,
    namespace: &str,
    what: &str,
    wanted: impl Fn(&ImageReport) -> bool,
) -> Result<ImageReport> {
    let api: Api<ImageReport> = Api::namespaced(cluster.client().await?, namespace);
    cluster
        .wait_for(namespace, what, LONG, async || {
            let reports = api.list(&ListParams::default()).await.map_err(Error::kube("list reports"))?.items;
            Ok(match reports.iter().find(|report| wanted(report)) {
                Some(report) => Look::Done(report.clone()),
                None => Look::NotYet(format!(
                    "{:#?}",
                    reports.iter().map(|r| (&r.spec, &r.status)).collect::<Vec<_>>()
                )),
            })
        })
        .await
}

/// Changes a policy's spec.
///
/// # Errors
/// When the API server refuses it.
pub async fn patch_policy(client: &Client, name: &str, spec: &Value) -> Result<()> {
    let api: Api<ImageSquashPolicy> = Api::all(client.clone());
    let patch = json!({"spec": spec});
    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map(drop).map_err(Error::kube("patch the policy"))
}

/// The image of a workload's first container.
pub fn image_of(deployment: &Deployment) -> String {
    let pod = deployment.spec.template.spec.as_ref();
    pod.and_then(|pod| pod.containers[0].image.clone()).unwrap_or_default()
}
