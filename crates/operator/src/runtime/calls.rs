//! Calls to the API server: each under a time limit, writes only while the lease is good, and counted.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{NamespaceResourceScope, ObjectMeta};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use unbloat_api::labels;

use super::lease::Leadership;
use super::metrics::{RuntimeMetrics, WriteLabels};

/// Longest note of an event that the API takes, in bytes.
pub(crate) const NOTE_LIMIT: usize = 1024;
/// Who reports events.
pub(crate) const REPORTER: &str = "unbloat.dev/operator";

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
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
}

impl CallError {
    fn status(&self) -> Option<u16> {
        match self {
            CallError::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// The object was written by somebody else since it was read, or is there already.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// The object is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.status() == Some(404)
    }

    /// The API server understood, and said no to this very object: quota, admission, validation.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.status(), Some(400 | 403 | 413 | 422))
    }

    /// The server's own words, where there are any.
    pub(crate) fn words(&self) -> String {
        match self {
            CallError::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            },
            other => other.to_string(),
        }
    }
}

/// What a write is, for the metrics: verb and kind.
pub(crate) type Write = (&'static str, &'static str);

/// The client under its conditions.
#[derive(Clone)]
pub(crate) struct Calls {
    client: Client,
    leadership: Leadership,
    metrics: RuntimeMetrics,
    limit: Duration,
}

impl Calls {
    pub(crate) fn new(
        client: Client,
        leadership: Leadership,
        metrics: RuntimeMetrics,
        limit: Duration,
    ) -> Self {
        Self { client, leadership, metrics, limit }
    }

    /// The client itself, for watches and for what is of the cluster; calls go through [`Calls::read`] and
    /// [`Calls::write`].
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The objects of a kind in a namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The objects of a kind in the namespace that the operator works in, or in all of them.
    pub(crate) fn watched<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match namespace {
            Some(namespace) => self.api(namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// A call that reads.
    pub(crate) async fn read<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CallError> {
        let limit = self.limit;
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|source| CallError::Kube { operation, source: Box::new(source) }),
            Err(_) => Err(CallError::Timeout { operation, limit }),
        }
    }

    /// Whether something may be written now, here or elsewhere: the lease is ours.
    pub(crate) fn may_write(&self, operation: &'static str) -> Result<(), CallError> {
        if self.leadership.is_valid() { Ok(()) } else { Err(CallError::NotLeading { operation }) }
    }

    /// A call that writes.
    pub(crate) async fn write<T>(
        &self,
        operation: &'static str,
        (verb, kind): Write,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CallError> {
        self.may_write(operation)?;
        self.metrics.api_writes.get_or_create(&WriteLabels { verb, kind }).inc();
        self.read(operation, call).await
    }

    /// Writes the status of the object that has this metadata, if nobody wrote it since it was read.
    pub(crate) async fn write_status<K>(
        &self,
        kind: &'static str,
        metadata: &ObjectMeta,
        status: &impl Serialize,
    ) -> Result<K, CallError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api(metadata.namespace.as_deref().unwrap_or_default());
        let name = metadata.name.as_deref().unwrap_or_default();
        let patch = json!({
            "apiVersion": K::api_version(&K::DynamicType::default()),
            "kind": K::kind(&K::DynamicType::default()),
            "metadata": {"name": name, "uid": metadata.uid, "resourceVersion": metadata.resource_version},
            "status": status,
        });
        let parameters = PatchParams::apply(labels::MANAGER).force();
        let patch = Patch::Apply(&patch);
        let call = api.patch_status(name, &parameters, &patch);
        self.write("write status", ("patch", kind), call).await
    }

    /// Deletes an object and what it owns, if it is still the same one. One that is gone already is a
    /// success.
    pub(crate) async fn delete<K>(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        uid: Option<String>,
    ) -> Result<(), CallError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api(namespace);
        let same = Preconditions { uid, resource_version: None };
        let parameters = DeleteParams::background().preconditions(same);
        let call = api.delete(name, &parameters);
        match self.write("delete", ("delete", kind), call).await {
            Err(error) if !error.is_gone() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes an event. One that is there already, or can't be written, changes nothing.
    pub(crate) async fn write_event(&self, event: &Event) {
        let api: Api<Event> = self.api(&event.namespace().unwrap_or_default());
        let parameters = PostParams::default();
        let call = api.create(&parameters, event);
        match self.write("create Event", ("create", "Event"), call).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => tracing::warn!(%error, "an event is lost"),
        }
    }
}
