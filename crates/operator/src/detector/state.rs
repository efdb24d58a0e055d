//! What is known between rounds. All of it may be lost at any time: a restart reads it again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::Resource;
use tokio::sync::Notify;
use unbloat_api::{ImageReport, ImageSquashJob, ImageSquashPolicy};
use unbloat_policy::facts::{Inspection, Unreadable};
use unbloat_policy::image::ImageKey;
use unbloat_policy::inventory::World;

use super::analysis::Analyzed;
use super::credentials::PlatformSecrets;
use super::originals::Memory as Originals;
use super::rollouts::Memory;

/// Namespace and name.
pub(super) type Key = (String, String);

/// What is known.
#[derive(Default)]
pub(super) struct State {
    /// Pods, owners, namespaces.
    pub(super) world: World,
    /// Policies by uid.
    pub(super) policies: HashMap<String, Arc<ImageSquashPolicy>>,
    /// Policies that can't be read: what they made stays as it is.
    pub(super) unreadable_policies: HashSet<String>,
    /// Reports.
    pub(super) reports: HashMap<Key, Arc<ImageReport>>,
    /// Jobs of policies.
    pub(super) jobs: HashMap<Key, Arc<ImageSquashJob>>,
    /// What registries said and reports don't yet.
    pub(super) readings: HashMap<ImageKey, Reading>,
    /// Images that are being read.
    pub(super) reading: HashSet<ImageKey>,
    /// What layers told and reports don't yet.
    pub(super) analyses: HashMap<ImageKey, Analyzed>,
    /// Images whose layers are being read, or wait for a place.
    pub(super) analyzing: HashSet<ImageKey>,
    /// What is known of rollouts.
    pub(super) rollouts: Memory,
    /// What is known of originals.
    pub(super) originals: Originals,
    /// The platform's credentials.
    pub(super) secrets: PlatformSecrets,
    /// Feeds that haven't listed yet.
    pub(super) unsynced: BTreeSet<&'static str>,
}

/// What a registry said of an image.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// It was read.
    Read(Inspection),
    /// It couldn't be.
    Failed(Unreadable),
}

/// The state, and a bell.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    bell: Notify,
}

impl Shared {
    /// Looks at it, or changes it without a round.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere leaves the maps whole: each change is one call.
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it and asks for a round.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.with(change);
        self.bell.notify_one();
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.bell.notified().await;
    }

    /// Whether every feed has listed once.
    pub(super) fn is_synced(&self) -> bool {
        self.with(|state| state.unsynced.is_empty())
    }
}

/// Puts an object into a map, unless the map has a newer version: what was written is known before the watch
/// tells it.
pub(super) fn put<K, I>(map: &mut HashMap<I, Arc<K>>, key: I, object: Arc<K>)
where
    K: Resource,
    I: std::hash::Hash + Eq,
{
    let is_older = map
        .get(&key)
        .is_some_and(|known| known.meta().uid == object.meta().uid && version(&**known) > version(&*object));
    if !is_older {
        map.insert(key, object);
    }
}

/// Resource versions of one resource are comparable as numbers (KEP-5504).
fn version(object: &impl Resource) -> u128 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Namespace and name of an object.
pub(super) fn key(object: &impl Resource) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
