//! What this process wrote and a cache doesn't show yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Resource;

use super::tolerant::Tolerant;

/// Newest versions of objects that were written, by uid. May be lost at any time: a restart only repeats
/// reads.
#[derive(Debug)]
pub(crate) struct Written<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource + Clone> Written<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<K>>> {
        // A panic elsewhere leaves the map whole: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newer of the cached version and what was written; `None` if the object can't be read.
    pub(crate) fn newest(&self, cached: &Tolerant<K>) -> Option<Arc<K>> {
        let cached = cached.readable()?;
        let written = cached.meta().uid.as_ref().and_then(|uid| self.lock().get(uid).cloned());
        Some(match written {
            Some(written) if version(&*written) > version(&**cached) => written,
            _ => Arc::clone(cached),
        })
    }

    /// Remembers what the API server answered to a write.
    pub(crate) fn wrote(&self, object: Arc<K>) {
        if let Some(uid) = object.meta().uid.clone() {
            self.lock().insert(uid, object);
        }
    }

    /// Forgets what the cache has caught up with, and objects that are gone.
    pub(crate) fn sweep(&self, cached: &[Arc<Tolerant<K>>]) {
        let versions: HashMap<&str, u128> = cached
            .iter()
            .filter_map(|object| Some((object.meta().uid.as_deref()?, version(&**object))))
            .collect();
        let caught_up =
            |uid: &str, object: &K| versions.get(uid).is_none_or(|cached| *cached >= version(object));
        self.lock().retain(|uid, object| !caught_up(uid, object));
    }
}

/// Resource versions of one resource are comparable as numbers (KEP-5504, and etcd's revisions before it).
fn version(object: &impl Resource) -> u128 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::ResourceExt;

    use super::*;

    fn pod(version: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = Some("uid-1".to_owned());
        pod.metadata.resource_version = Some(version.to_owned());
        pod
    }

    fn cached(version: &str) -> Arc<Tolerant<Pod>> {
        Arc::new(Tolerant(Ok(Arc::new(pod(version)))))
    }

    #[test]
    fn what_was_written_wins_until_the_cache_has_caught_up() {
        let written = Written::default();
        written.wrote(Arc::new(pod("100")));
        let newest = |version: &str| written.newest(&cached(version)).unwrap().resource_version();
        assert_eq!(newest("99").as_deref(), Some("100"));
        assert_eq!(newest("101").as_deref(), Some("101"));
        written.sweep(&[cached("99")]);
        assert_eq!(written.lock().len(), 1);
        written.sweep(&[cached("100")]);
        assert_eq!(written.lock().len(), 0);
    }
}
