//! What a failed wait prints: parts that died, pods and how they are, events, the last lines of logs.

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};

use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// For all of it: what takes longer is not there to be asked.
const LIMIT: Duration = Duration::from_secs(10);
/// Of each container's log.
const LOG_LINES: i64 = 30;
/// The latest, of a namespace.
const EVENTS: usize = 40;

impl Cluster {
    /// Tells how things are in `namespace` (all of them when empty). Never fails: what cannot be had is said
    /// instead.
    pub async fn diagnose(&self, namespace: &str) -> String {
        let mut text = String::new();
        if let Err(error) = self.check_parts() {
            let _ = writeln!(text, "--- {error}");
        }
        // What was gathered until then is shown too.
        let gathered = tokio::time::timeout(LIMIT, gather(self, namespace, &mut text)).await;
        let why = match gathered {
            Ok(Ok(())) => return text,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
        };
        let _ = writeln!(text, "--- incomplete: {why}");
        text
    }
}

async fn gather(cluster: &Cluster, namespace: &str, text: &mut String) -> Result<()> {
    let client = cluster.client().await?;
    let events = api::<Event>(&client, namespace).list(&ListParams::default()).await;
    let mut events = events.map_err(Error::kube("list events"))?.items;
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    let _ = writeln!(text, "--- events");
    for event in events.iter().rev().take(EVENTS).rev() {
        let object = &event.involved_object;
        let _ = writeln!(
            text,
            "{} {} {}/{} (x{}): {}",
            event.type_.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default(),
            event.count.unwrap_or(1),
            event.message.as_deref().unwrap_or_default().trim(),
        );
    }
    let pods = api::<Pod>(&client, namespace).list(&ListParams::default()).await;
    for pod in pods.map_err(Error::kube("list pods"))?.items {
        describe(&client, &pod, text).await;
    }
    Ok(())
}

async fn describe(client: &Client, pod: &Pod, text: &mut String) {
    let namespace = pod.namespace().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or("no phase");
    let address = status.pod_ip.as_deref().unwrap_or("no address");
    let _ = writeln!(text, "--- pod {namespace}/{}: {phase}, {address}", pod.name_any());
    for word in [&status.reason, &status.message].into_iter().flatten() {
        let _ = writeln!(text, "    {word}");
    }
    for condition in status.conditions.iter().flatten().filter(|condition| condition.status != "True") {
        let reason = condition.reason.as_deref().unwrap_or_default();
        let message = condition.message.as_deref().unwrap_or_default();
        let _ = writeln!(text, "    not {}: {reason} {message}", condition.type_);
    }
    let logs: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let statuses =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    for container in statuses {
        let state = serde_json::to_string(&container.state).unwrap_or_default();
        let _ = writeln!(text, "    {}: {state}, {} restarts", container.name, container.restart_count);
        for previous in [container.restart_count > 0, false] {
            let parameters = LogParams {
                container: Some(container.name.clone()),
                previous,
                tail_lines: Some(LOG_LINES),
                ..Default::default()
            };
            let log = logs.logs(&pod.name_any(), &parameters).await.unwrap_or_else(|error| error.to_string());
            for line in log.lines() {
                let _ = writeln!(text, "    | {line}");
            }
            if !previous {
                break;
            }
        }
    }
}

fn api<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    if namespace.is_empty() { Api::all(client.clone()) } else { Api::namespaced(client.clone(), namespace) }
}
