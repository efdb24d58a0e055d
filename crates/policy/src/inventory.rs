//! Which images are in use, by whom, since when: from pods, their owners and namespaces.
//!
//! Facts are kept in small records, so that ten thousand pods are a few megabytes. Pods that have ended use
//! nothing. A static pod is what its mirror in the API shows; the same one on many nodes is one user.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use unbloat_api::image_report::ReportedUser;
use unbloat_api::labels::{ROLLOUT, opts_out};

use crate::image::{ImageKey, named};
use crate::rollout::{self, State};

/// Owners of owners that are followed: custom resources own Deployments that own ReplicaSets.
const MOST_OWNERS: usize = 8;
/// The mark that kubelet puts on the API's mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Pods by namespace and name.
    pub pods: HashMap<(String, String), Pod>,
    /// Objects that own pods or each other, by uid.
    pub owners: HashMap<String, Owner>,
    /// Labels of namespaces.
    pub namespaces: HashMap<String, BTreeMap<String, String>>,
}

/// What is read of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What controls it.
    pub controller: Option<Controller>,
    /// The node whose static pod it mirrors.
    pub static_on: Option<String>,
    /// Whether it runs no more.
    pub has_ended: bool,
    /// Its containers of every kind.
    pub containers: Vec<Container>,
    /// Secrets to pull with, and the service account that has more.
    pub pull_secrets: Vec<String>,
    /// Service account.
    pub service_account: String,
}

/// What is read of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The image as the spec has it.
    pub image: String,
    /// The image as kubelet has it; empty until it is pulled.
    pub image_id: String,
    /// When it started, or its pod was made.
    pub since: Timestamp,
}

/// A controlling owner reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// What is read of an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its own controller.
    pub controller: Option<Controller>,
    /// Whether it opts out.
    pub is_ignored: bool,
    /// Its resource version: what was refused is looked at again when it changed.
    pub version: String,
    /// Where it was pointed at a result.
    pub rollout: Option<Box<Rolled>>,
}

/// A workload that was pointed at a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolled {
    /// Which one.
    pub workload: Workload,
    /// What its annotation says.
    pub state: State,
}

/// A workload, by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One image that one namespace uses.
#[derive(Clone, Debug)]
pub struct Use<'a> {
    /// The image.
    pub image: ImageKey,
    /// The namespace.
    pub namespace: &'a str,
    /// Tags by which it is used.
    pub tags: BTreeSet<String>,
    /// Whether somebody names it by digest.
    pub by_digest: bool,
    /// The oldest container that runs it.
    pub since: Timestamp,
    /// The top owners.
    pub users: BTreeSet<ReportedUser>,
    /// The pods, with the image as each writes it.
    pub pods: Vec<UsingPod<'a>>,
}

/// A pod that uses an image.
#[derive(Clone, Debug)]
pub struct UsingPod<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The image as its spec has it.
    pub written: &'a str,
    /// Its top owner.
    pub top: ReportedUser,
    /// The top owner's version, where it is known.
    pub top_version: Option<&'a str>,
    /// Whether it, an owner or its namespace opts out.
    pub is_ignored: bool,
}

/// Images in use by namespace.
pub type Uses<'a> = BTreeMap<(ImageKey, &'a str), Use<'a>>;

impl Pod {
    /// What is read of a pod.
    pub fn of(pod: &core::Pod) -> Self {
        let core::Pod { metadata, spec, status } = pod;
        let created = metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let phase = status.as_ref().and_then(|status| status.phase.as_deref());
        let mut statuses: HashMap<(u8, &str), &core::ContainerStatus> = HashMap::new();
        if let Some(status) = status {
            for (kind, list) in [
                (0, &status.container_statuses),
                (1, &status.init_container_statuses),
                (2, &status.ephemeral_container_statuses),
            ] {
                statuses.extend(list.iter().flatten().map(|one| ((kind, one.name.as_str()), one)));
            }
        }
        let mut containers = Vec::new();
        let mut add = |kind: u8, name: &str, image: Option<&String>| {
            let status = statuses.get(&(kind, name));
            let started = status.and_then(|status| status.state.as_ref()).and_then(started_at);
            let container = Container {
                image: image.cloned().unwrap_or_default(),
                image_id: status.map(|status| status.image_id.clone()).unwrap_or_default(),
                since: started.unwrap_or(created),
            };
            if !containers.contains(&container) {
                containers.push(container);
            }
        };
        if let Some(spec) = spec {
            for container in &spec.containers {
                add(0, &container.name, container.image.as_ref());
            }
            for container in spec.init_containers.iter().flatten() {
                add(1, &container.name, container.image.as_ref());
            }
            for container in spec.ephemeral_containers.iter().flatten() {
                add(2, &container.name, container.image.as_ref());
            }
        }
        let node = spec.as_ref().and_then(|spec| spec.node_name.clone());
        let is_mirror = metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            labels: metadata.labels.clone().unwrap_or_default(),
            controller: controller(metadata),
            static_on: node.filter(|_| is_mirror),
            has_ended: matches!(phase, Some("Succeeded" | "Failed")),
            containers,
            pull_secrets: spec
                .iter()
                .flat_map(|spec| spec.image_pull_secrets.iter().flatten())
                .map(|secret| secret.name.clone())
                .collect(),
            service_account: spec
                .as_ref()
                .and_then(|spec| spec.service_account_name.clone())
                .unwrap_or_else(|| "default".to_owned()),
        }
    }
}

impl Owner {
    /// What is read of an owner's metadata.
    pub fn of(kind: &str, metadata: &ObjectMeta) -> Self {
        let text = metadata.annotations.as_ref().and_then(|all| all.get(ROLLOUT));
        let rollout = text.and_then(|text| rollout::parse(text)).map(|state| {
            let workload = Workload {
                kind: kind.to_owned(),
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone().unwrap_or_default(),
            };
            Box::new(Rolled { workload, state })
        });
        Self {
            controller: controller(metadata),
            is_ignored: opts_out(metadata.labels.as_ref()),
            version: metadata.resource_version.clone().unwrap_or_default(),
            rollout,
        }
    }
}

impl World {
    /// The images in use.
    pub fn uses(&self) -> Uses<'_> {
        let mut uses = Uses::new();
        let mut pods: Vec<&Pod> = self.pods.values().filter(|pod| !pod.has_ended).collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        for pod in pods {
            let (top, owner) = self.top_owner(pod);
            let owner_ignores = owner.is_ignored;
            let is_ignored =
                owner_ignores || opts_out(Some(&pod.labels)) || opts_out(self.namespaces.get(&pod.namespace));
            for container in &pod.containers {
                let Some(named) = named(&container.image, &container.image_id) else { continue };
                let using = uses.entry((named.key.clone(), pod.namespace.as_str())).or_insert_with(|| Use {
                    image: named.key,
                    namespace: &pod.namespace,
                    tags: BTreeSet::new(),
                    by_digest: false,
                    since: container.since,
                    users: BTreeSet::new(),
                    pods: Vec::new(),
                });
                using.tags.extend(named.tag);
                using.by_digest |= named.by_digest;
                using.since = using.since.min(container.since);
                using.users.insert(top.clone());
                let known = using
                    .pods
                    .last()
                    .is_some_and(|last| std::ptr::eq(last.pod, pod) && last.written == container.image);
                if !known {
                    using.pods.push(UsingPod {
                        pod,
                        written: &container.image,
                        top: top.clone(),
                        top_version: owner.version,
                        is_ignored,
                    });
                }
            }
        }
        uses
    }

    /// The topmost owner that is known, and what is known of the owners.
    fn top_owner(&self, pod: &Pod) -> (ReportedUser, Owners<'_>) {
        let itself = |name: &str| ReportedUser { kind: "Pod".to_owned(), name: name.to_owned() };
        let mut owners = Owners::default();
        if let Some(node) = &pod.static_on {
            let name = pod.name.strip_suffix(&format!("-{node}")).unwrap_or(&pod.name);
            return (itself(name), owners);
        }
        let Some(mut top) = pod.controller.as_ref() else { return (itself(&pod.name), owners) };
        for _ in 0..MOST_OWNERS {
            let Some(owner) = self.owners.get(&top.uid) else {
                owners.version = None;
                break;
            };
            owners.is_ignored |= owner.is_ignored;
            owners.version = Some(&owner.version);
            let Some(next) = &owner.controller else { break };
            top = next;
        }
        (ReportedUser { kind: top.kind.clone(), name: top.name.clone() }, owners)
    }
}

/// What is known of a pod's owners.
#[derive(Default)]
struct Owners<'a> {
    /// Whether one on the way opts out.
    is_ignored: bool,
    /// The topmost one's version, where it is known.
    version: Option<&'a str>,
}

fn controller(metadata: &ObjectMeta) -> Option<Controller> {
    let owner: &OwnerReference =
        metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some(Controller { kind: owner.kind.clone(), name: owner.name.clone(), uid: owner.uid.clone() })
}

fn started_at(state: &core::ContainerState) -> Option<Timestamp> {
    let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
    let ended = state.terminated.as_ref().and_then(|ended| ended.started_at.as_ref());
    running.or(ended).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{DIGEST, pod, world};

    fn users(world: &World) -> Vec<(String, usize)> {
        let uses = world.uses();
        let using = uses.values().next().expect("one image");
        using.users.iter().map(|user| (format!("{}/{}", user.kind, user.name), using.pods.len())).collect()
    }

    #[test]
    fn a_deployments_replicas_are_one_user() {
        let mut world = world();
        for number in 0..3 {
            world.add(&pod("team", &format!("app-{number}"), "a.example/b:v1").owned(
                "ReplicaSet",
                "app-1",
                "rs",
            ));
        }
        world.own("rs", Some(("Deployment", "app", "deploy")), false);
        world.own("deploy", None, false);
        assert_eq!(users(&world.world), [("Deployment/app".to_owned(), 3)]);
    }

    #[test]
    fn owners_are_followed_to_the_top_and_no_further_than_they_are_known() {
        let mut world = world();
        world.add(&pod("team", "db-0", "a.example/b:v1").owned("StatefulSet", "db", "sts"));
        world.own("sts", Some(("Postgres", "main", "cr")), false);
        assert_eq!(users(&world.world), [("Postgres/main".to_owned(), 1)]);
        // Two that own each other are no endless loop.
        world.own("cr", Some(("StatefulSet", "db", "sts")), false);
        assert_eq!(users(&world.world).len(), 1);
    }

    #[test]
    fn a_static_pod_on_three_nodes_is_one_user() {
        let mut world = world();
        for node in ["n1", "n2", "n3"] {
            world.add(&pod("kube-system", &format!("etcd-{node}"), "a.example/etcd:3").mirror(node));
        }
        assert_eq!(users(&world.world), [("Pod/etcd".to_owned(), 3)]);
    }

    #[test]
    fn init_and_ephemeral_containers_count_and_ended_pods_do_not() {
        let object: core::Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "creationTimestamp": "2026-05-01T00:00:00Z"},
            "spec": {
                "containers": [{"name": "a", "image": "a.example/a:1"}],
                "initContainers": [{"name": "a", "image": "a.example/i:1"}],
                "ephemeralContainers": [{"name": "e", "image": "a.example/e:1"}],
            },
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": "a", "image": "", "imageID": format!("a.example/a@{DIGEST}"),
                    "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-05-02T00:00:00Z"}}}],
                "initContainerStatuses": [{"name": "a", "image": "", "imageID": format!("a.example/i@{DIGEST}"),
                    "ready": true, "restartCount": 0}],
                "ephemeralContainerStatuses": [{"name": "e", "image": "", "imageID": format!("a.example/e@{DIGEST}"),
                    "ready": true, "restartCount": 0}],
            },
        }))
        .unwrap();
        let mut world = World::default();
        world.pods.insert(("n".into(), "p".into()), Pod::of(&object));
        let uses = world.uses();
        let found: Vec<_> =
            uses.values().map(|using| (using.image.repository.as_str(), using.since.to_string())).collect();
        assert_eq!(
            found,
            [
                ("a.example/a", "2026-05-02T00:00:00Z".to_owned()),
                ("a.example/e", "2026-05-01T00:00:00Z".to_owned()),
                ("a.example/i", "2026-05-01T00:00:00Z".to_owned()),
            ]
        );
        for phase in ["Succeeded", "Failed"] {
            let mut ended = object.clone();
            ended.status.as_mut().unwrap().phase = Some(phase.to_owned());
            world.pods.insert(("n".into(), "p".into()), Pod::of(&ended));
            assert!(world.uses().is_empty(), "{phase}");
        }
    }

    #[test]
    fn one_digest_under_two_tags_is_one_image_and_each_namespace_has_its_own_use() {
        let mut world = world();
        world.add(&pod("one", "a", "a.example/b:v1"));
        world.add(&pod("one", "b", "a.example/b:v2"));
        world.add(&pod("two", "c", &format!("a.example/b@{DIGEST}")));
        let uses = world.world.uses();
        assert_eq!(uses.len(), 2);
        let one = uses.values().find(|using| using.namespace == "one").unwrap();
        assert_eq!(one.tags.iter().map(String::as_str).collect::<Vec<_>>(), ["v1", "v2"]);
        assert!(!one.by_digest);
        assert!(uses.values().find(|using| using.namespace == "two").unwrap().by_digest);
    }

    #[test]
    fn a_pod_an_owner_or_a_namespace_opts_out() {
        let ignored = |world: &World| world.uses().values().next().unwrap().pods[0].is_ignored;
        let mut w = world();
        w.add(&pod("team", "a", "a.example/b:v1").owned("Deployment", "d", "d"));
        assert!(!ignored(&w.world));
        w.own("d", None, true);
        assert!(ignored(&w.world));
        w.own("d", None, false);
        w.add(&pod("team", "a", "a.example/b:v1").label("unbloat.dev/policy", "ignore"));
        assert!(ignored(&w.world));
        w.add(&pod("team", "a", "a.example/b:v1").label("unbloat.dev/policy", "other"));
        assert!(!ignored(&w.world));
        w.world.namespaces.insert("team".into(), [("unbloat.dev/policy".into(), "ignore".into())].into());
        assert!(ignored(&w.world));
    }
}
