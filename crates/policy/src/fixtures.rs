//! Short words for tests.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use unbloat_api::ImageSquashPolicy;

use crate::inventory::{Container, Controller, Owner, Pod, World};

pub(crate) const DIGEST: &str = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";
pub(crate) const OTHER: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub(crate) struct Built(pub(crate) Pod);

/// A pod that has run an image since the first of May.
pub(crate) fn pod(namespace: &str, name: &str, image: &str) -> Built {
    let place = image.split_once('@').map_or(image, |(place, _)| place);
    let digest = image.split_once('@').map_or(DIGEST, |(_, digest)| digest);
    let container = Container {
        image: image.to_owned(),
        image_id: format!("{}@{digest}", place.rsplit_once(':').map_or(place, |(place, _)| place)),
        since: at("2026-05-01T00:00:00Z"),
    };
    Built(Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        containers: vec![container],
        service_account: "default".to_owned(),
        ..Pod::default()
    })
}

impl Built {
    pub(crate) fn owned(mut self, kind: &str, name: &str, uid: &str) -> Self {
        self.0.controller = Some(Controller { kind: kind.into(), name: name.into(), uid: uid.into() });
        self
    }

    pub(crate) fn mirror(mut self, node: &str) -> Self {
        self.0.static_on = Some(node.to_owned());
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.0.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn digest(mut self, digest: &str) -> Self {
        let container = &mut self.0.containers[0];
        let place = container.image_id.split_once('@').expect("a digest").0.to_owned();
        container.image_id = format!("{place}@{digest}");
        self
    }

    pub(crate) fn since(mut self, time: &str) -> Self {
        self.0.containers[0].since = at(time);
        self
    }
}

#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) world: World,
}

pub(crate) fn world() -> Builder {
    Builder::default()
}

impl Builder {
    pub(crate) fn add(&mut self, built: &Built) {
        let pod = built.0.clone();
        let labels: BTreeMap<_, _> =
            [("kubernetes.io/metadata.name".to_owned(), pod.namespace.clone())].into();
        self.world.namespaces.entry(pod.namespace.clone()).or_insert(labels);
        self.world.pods.insert((pod.namespace.clone(), pod.name.clone()), pod);
    }

    pub(crate) fn own(&mut self, uid: &str, by: Option<(&str, &str, &str)>, is_ignored: bool) {
        let controller =
            by.map(|(kind, name, uid)| Controller { kind: kind.into(), name: name.into(), uid: uid.into() });
        self.world.owners.insert(uid.to_owned(), Owner { controller, is_ignored, ..Owner::default() });
    }
}

/// A policy that was made on a day of April.
pub(crate) fn policy(name: &str, day: u8, spec: &Value) -> ImageSquashPolicy {
    serde_json::from_value(json!({
        "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashPolicy",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1,
            "creationTimestamp": format!("2026-04-{day:02}T00:00:00Z")},
        "spec": spec,
    }))
    .expect("a policy")
}
