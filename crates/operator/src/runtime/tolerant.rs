//! An object of the cluster that may not be what its type says.
//!
//! A list or a watch is read as a whole: one object that can't be read as its type would otherwise take all
//! the others with it, for ever. So each is read for itself: what can't be read keeps its identity and says
//! why.
//!
//! What nobody here reads is dropped before the typed value is made: managed fields, and annotations that
//! aren't ours. Both are the writer's to fill, up to a quarter of a megabyte, and managed fields hold times
//! that no type of ours has to take.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use unbloat_text::bounded;

/// Annotations and labels of ours begin with this.
const OURS: &str = "unbloat.dev/";
/// Longest words of an unreadable object that are kept: they hold what its writer wrote.
const WORDS: usize = 512;

/// An object, or what is left of it.
#[derive(Clone, Debug)]
pub(crate) struct Tolerant<K>(pub(crate) Result<Arc<K>, Unreadable>);

/// An object that can't be read as its type.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    /// Its identity: name, namespace, uid and versions, and nothing else.
    pub(crate) metadata: ObjectMeta,
    /// What its status says, as far as that can be read.
    pub(crate) conditions: Vec<Condition>,
    /// What is wrong with it.
    pub(crate) words: String,
}

impl<K> Tolerant<K> {
    /// The object, if it can be read.
    pub(crate) fn readable(&self) -> Option<&Arc<K>> {
        self.0.as_ref().ok()
    }
}

impl<'de, K: Resource + serde::de::DeserializeOwned> Deserialize<'de> for Tolerant<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        let metadata = prune_metadata(&mut object);
        let error = match K::deserialize(&object) {
            Ok(read) => return Ok(Tolerant(Ok(Arc::new(read)))),
            Err(error) => error,
        };
        let conditions = conditions(&object);
        Ok(Tolerant(Err(Unreadable { metadata, conditions, words: bounded(&error.to_string(), WORDS) })))
    }
}

/// Drops what nobody reads, and gives the identity.
fn prune_metadata(object: &mut Value) -> ObjectMeta {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return ObjectMeta::default();
    };
    metadata.remove("managedFields");
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.retain(|name, _| name.starts_with(OURS));
    }
    let text = |field: &str| text(metadata, field);
    ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        generation: metadata.get("generation").and_then(Value::as_i64),
        ..ObjectMeta::default()
    }
}

fn conditions(object: &Value) -> Vec<Condition> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().filter_map(|condition| Condition::deserialize(condition).ok()).collect()
}

fn text(object: &Map<String, Value>, field: &str) -> Option<String> {
    object.get(field).and_then(Value::as_str).map(str::to_owned)
}

impl<K: Resource + Clone> Resource for Tolerant<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, |object| object.meta())
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0
            .as_mut()
            .map_or_else(|unreadable| &mut unreadable.metadata, |object| Arc::make_mut(object).meta_mut())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::ResourceExt;
    use kube::core::ObjectList;
    use serde_json::json;
    use unbloat_api::ImageSquashJob;

    use super::*;

    fn job(name: &str, ttl: &Value) -> Value {
        json!({
            "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob",
            "metadata": {"name": name, "namespace": "team", "uid": name, "resourceVersion": "7"},
            "spec": {"source": {"image": "a.example/b:c"}, "target": {"image": "a.example/b:d"},
                "ttlSecondsAfterFinished": ttl},
        })
    }

    #[test]
    fn one_object_that_cannot_be_read_leaves_the_others_of_its_list() {
        let list = json!({"apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJobList", "metadata": {},
            "items": [job("good", &json!(5)), job("bad", &json!(3_000_000_000_u64)), job("odd", &json!({"a": 1}))]});
        let list: ObjectList<Tolerant<ImageSquashJob>> = serde_json::from_value(list).unwrap();
        assert!(list.items[0].readable().is_some());
        for (at, name) in [(1, "bad"), (2, "odd")] {
            let unreadable = list.items[at].0.as_ref().unwrap_err();
            assert_eq!(unreadable.metadata.uid.as_deref(), Some(name));
            assert_eq!(list.items[at].name_any(), name);
            assert!(!unreadable.words.is_empty());
        }
    }

    #[test]
    fn even_metadata_that_no_type_takes_is_read_past() {
        let pod = |metadata: Value| -> Tolerant<Pod> {
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap()
        };
        // The API server takes any year; the type ends with 9999-12-30.
        let time = json!([{"manager": "tenant", "time": "9999-12-31T23:59:59Z"}]);
        let far = pod(json!({"name": "far", "managedFields": time}));
        assert!(far.readable().is_some(), "{far:?}");
        let broken = pod(json!({"name": "broken", "creationTimestamp": "9999-12-31T23:59:59Z"}));
        assert!(broken.readable().is_none());
        assert_eq!(broken.name_any(), "broken");
    }

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let mut object = job("annotated", &json!(5));
        object["metadata"]["annotations"] = json!({"x": "y".repeat(200_000), "unbloat.dev/kept": "1"});
        let read: Tolerant<ImageSquashJob> = serde_json::from_value(object).unwrap();
        assert_eq!(read.annotations().keys().collect::<Vec<_>>(), ["unbloat.dev/kept"]);
    }
}
