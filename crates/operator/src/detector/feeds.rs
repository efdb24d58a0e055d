//! Watches, and the small records that they leave.
//!
//! What a watch brings is turned into a record at once and dropped: a pod of 20 kB leaves some 400 bytes.
//! Owners are watched by their metadata alone.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::Resource;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use unbloat_api::{ImageReport, ImageSquashJob, ImageSquashPolicy, labels};
use unbloat_policy::inventory::{Owner, Pod as PodRecord};

use super::state::{Key, Shared as SharedState, State, key, put};
use crate::runtime::tolerant::Tolerant;
use crate::shared::Shared;
use crate::squash_job::drop_patterns;

/// Objects in a page of a list: what is in memory at once.
const PAGE: u32 = 200;

/// How a kind of objects changes the state.
struct Feed<K> {
    name: &'static str,
    put: fn(&mut State, K),
    gone: fn(&mut State, &K),
    /// Drops what a new list doesn't have; the key is namespace and name.
    keep: fn(&mut State, &HashSet<Key>),
}

/// Starts all of them.
pub(super) fn start(shared: &Shared, state: &Arc<SharedState>) -> Vec<JoinHandle<()>> {
    let client = shared.calls.client();
    let plain = || watcher::Config::default().page_size(PAGE);
    let own_class = labels::of_class(&shared.config.class);
    let of_class = || plain().labels(&own_class);
    let of_policies = plain().labels(&format!("{},{own_class}", labels::SQUASH_POLICY));
    let own = shared.own_namespace.as_str();
    let credentials = plain().fields("type=kubernetes.io/dockerconfigjson");
    vec![
        full(Api::<Pod>::all(client.clone()), plain(), state, &PODS),
        full(Api::<Tolerant<ImageSquashPolicy>>::all(client.clone()), of_class(), state, &POLICIES),
        full(Api::<Tolerant<ImageReport>>::all(client.clone()), of_class(), state, &REPORTS),
        full(Api::<Tolerant<ImageSquashJob>>::all(client.clone()), of_policies, state, &JOBS),
        full(Api::<Secret>::namespaced(client.clone(), own), credentials, state, &SECRETS),
        full(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), plain(), state, &NAMESPACES),
        full(
            Api::<PartialObjectMeta<ReplicaSet>>::all(client.clone()),
            plain(),
            state,
            &owners("replicasets"),
        ),
        full(
            Api::<PartialObjectMeta<Deployment>>::all(client.clone()),
            plain(),
            state,
            &owners("deployments"),
        ),
        full(
            Api::<PartialObjectMeta<StatefulSet>>::all(client.clone()),
            plain(),
            state,
            &owners("statefulsets"),
        ),
        full(Api::<PartialObjectMeta<DaemonSet>>::all(client.clone()), plain(), state, &owners("daemonsets")),
        full(Api::<PartialObjectMeta<Job>>::all(client.clone()), plain(), state, &owners("jobs")),
        full(Api::<PartialObjectMeta<CronJob>>::all(client), plain(), state, &owners("cronjobs")),
    ]
}

const PODS: Feed<Pod> = Feed {
    name: "pods",
    put: |state, pod| {
        let record = PodRecord::of(&pod);
        state.world.pods.insert((record.namespace.clone(), record.name.clone()), record);
    },
    gone: |state, pod| {
        state.world.pods.remove(&key(pod));
    },
    keep: |state, seen| state.world.pods.retain(|key, _| seen.contains(key)),
};

const POLICIES: Feed<Tolerant<ImageSquashPolicy>> = Feed {
    name: "imagesquashpolicies",
    put: |state, policy| {
        let uid = policy.meta().uid.clone().unwrap_or_default();
        match policy.0 {
            Ok(policy) => {
                state.unreadable_policies.remove(&uid);
                put(&mut state.policies, uid, policy);
            }
            // It is followed no more, and what it made is left alone.
            Err(_) => {
                state.policies.remove(&uid);
                state.unreadable_policies.insert(uid);
            }
        }
    },
    gone: |state, policy| {
        let uid = policy.meta().uid.as_deref().unwrap_or_default();
        state.policies.remove(uid);
        state.unreadable_policies.remove(uid);
    },
    keep: |state, seen| state.policies.retain(|_, policy| seen.contains(&key(&**policy))),
};

const REPORTS: Feed<Tolerant<ImageReport>> = Feed {
    name: "imagereports",
    put: |state, report| {
        if let Ok(report) = report.0 {
            put(&mut state.reports, key(&*report), report);
        }
    },
    gone: |state, report| {
        state.reports.remove(&key(report));
    },
    keep: |state, seen| state.reports.retain(|key, _| seen.contains(key)),
};

const JOBS: Feed<Tolerant<ImageSquashJob>> = Feed {
    name: "imagesquashjobs",
    put: |state, job| {
        if let Ok(mut job) = job.0 {
            drop_patterns(Arc::make_mut(&mut job));
            put(&mut state.jobs, key(&*job), job);
        }
    },
    gone: |state, job| {
        state.jobs.remove(&key(job));
    },
    keep: |state, seen| state.jobs.retain(|key, _| seen.contains(key)),
};

const SECRETS: Feed<Secret> = Feed {
    name: "secrets",
    put: |state, secret| state.secrets.put(&secret),
    gone: |state, secret| state.secrets.remove(secret.metadata.name.as_deref().unwrap_or_default()),
    keep: |state, seen| state.secrets.retain(|name| seen.iter().any(|(_, known)| known == name)),
};

const NAMESPACES: Feed<PartialObjectMeta<Namespace>> = Feed {
    name: "namespaces",
    put: |state, namespace| {
        let name = namespace.metadata.name.unwrap_or_default();
        state.world.namespaces.insert(name, namespace.metadata.labels.unwrap_or_default());
    },
    gone: |state, namespace| {
        state.world.namespaces.remove(namespace.metadata.name.as_deref().unwrap_or_default());
    },
    keep: |state, seen| {
        state.world.namespaces.retain(|name, _| seen.iter().any(|(_, known)| known == name));
    },
};

/// Owners of six kinds share a map; one that a broken watch missed stays until its pods are gone, and harms
/// nobody.
fn owners<K>(name: &'static str) -> Feed<PartialObjectMeta<K>>
where
    K: Resource,
    K::DynamicType: Default,
{
    Feed {
        name,
        put: |state, owner| {
            let uid = owner.metadata.uid.clone().unwrap_or_default();
            state.world.owners.insert(uid, Owner::of(&K::kind(&K::DynamicType::default()), &owner.metadata));
        },
        gone: |state, owner| {
            state.world.owners.remove(owner.metadata.uid.as_deref().unwrap_or_default());
        },
        keep: |_, _| {},
    }
}

fn full<K>(api: Api<K>, config: watcher::Config, state: &Arc<SharedState>, feed: &Feed<K>) -> JoinHandle<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    follow(watcher(api, config).default_backoff(), state, feed)
}

fn follow<K, S>(events: S, state: &Arc<SharedState>, feed: &Feed<K>) -> JoinHandle<()>
where
    K: Resource + Send + 'static,
    S: futures::Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
{
    let state = Arc::clone(state);
    let Feed { name, put, gone, keep } = *feed;
    state.with(|state| state.unsynced.insert(name));
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        let mut seen = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => seen.clear(),
                Ok(Event::InitApply(object)) => {
                    seen.insert(key(&object));
                    state.with(|state| put(state, object));
                }
                Ok(Event::InitDone) => {
                    let seen = std::mem::take(&mut seen);
                    state.change(|state| {
                        keep(state, &seen);
                        state.unsynced.remove(name);
                    });
                }
                Ok(Event::Apply(object)) => state.change(|state| put(state, object)),
                Ok(Event::Delete(object)) => state.change(|state| gone(state, &object)),
                // The words of an error may quote what an object holds.
                Err(_) => tracing::warn!(feed = name, "the watch is broken; starting over"),
            }
        }
    })
}
