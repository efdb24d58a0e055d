//! A cache of one kind of objects, filled by a watch.
//!
//! Guarantees: an object that can't be read as its type fails alone ([`Tolerant`]); a list is read in pages
//! whose size bounds what is in memory at once, whatever the objects hold; what nobody reads is dropped
//! before it is kept.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::tolerant::Tolerant;

/// Objects of one page of a list. The API server takes objects of up to 1.5 MB, and reading a page takes some
/// three times its bytes: so a page of the largest stays below 40 MB, and 1,000 jobs are listed in a second.
const PAGE: u32 = 8;

/// A cache, and the task that fills it.
pub(crate) struct Cache<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash,
{
    pub(crate) store: Store<Tolerant<K>>,
    pub(crate) task: JoinHandle<()>,
}

/// What a cache keeps and tells.
pub(crate) struct Watch<K, Changed, Deleted> {
    /// Labels that the objects have; every object when absent.
    pub(crate) labels: Option<String>,
    /// Drops of an object what nobody reads.
    pub(crate) prune: fn(&mut K),
    /// Called with each object that came or changed.
    pub(crate) changed: Changed,
    /// Called with the last that was seen of an object that is gone.
    pub(crate) deleted: Deleted,
}

impl<K> Cache<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Starts watching.
    pub(crate) fn start<Changed, Deleted>(api: Api<Tolerant<K>>, watch: Watch<K, Changed, Deleted>) -> Self
    where
        Changed: Fn(&Tolerant<K>) + Send + 'static,
        Deleted: Fn(&K) + Send + 'static,
    {
        let Watch { labels, prune, changed, deleted } = watch;
        let (store, writer) = reflector::store();
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let config = watcher::Config { label_selector: labels, ..watcher::Config::default().page_size(PAGE) };
        let unreadable_kind = kind.clone();
        let events = watcher(api, config)
            .default_backoff()
            .modify(move |object| match &mut object.0 {
                Ok(object) => prune(Arc::make_mut(object)),
                Err(unreadable) => tracing::warn!(
                    kind = unreadable_kind,
                    namespace = unreadable.metadata.namespace,
                    name = unreadable.metadata.name,
                    "an object cannot be read and is left out"
                ),
            })
            .inspect(move |event| {
                if let Ok(Event::Delete(Tolerant(Ok(object)))) = event {
                    deleted(object);
                }
            });
        let stream = events.reflect(writer).touched_objects();
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(object) => changed(&object),
                    Err(error) => {
                        tracing::warn!(kind, error = %without_body(&error), "the watch is broken; starting over");
                    }
                }
            }
        });
        Self { store, task }
    }
}

/// The words of a watch's error, without what an object holds: a parser quotes what it can't read.
fn without_body(error: &watcher::Error) -> String {
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => source,
        watcher::Error::WatchError(status) => return format!("{} ({})", status.message, status.code),
        watcher::Error::NoResourceVersion => return error.to_string(),
    };
    match source {
        kube::Error::SerdeError(_) => "an answer that cannot be read".to_owned(),
        other => other.to_string(),
    }
}

/// The name of an object with its namespace, for the log.
pub(crate) fn full_name(object: &impl Resource) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
