//! Where workers run: on dedicated nodes, on scratch that the platform team prepared, behind registries with
//! certificates of its own; and what becomes of a job whose worker is evicted from there.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::api::EvictParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{MutexGuard, OnceCell};
use unbloat_cluster::{Cluster, Error, Image, Look, RegistryOptions, Result};
use unbloat_operator_tests::{CA_CONFIG_MAP, Gates, Ground, Jobs, Layered, Operator, Stage, fresh, reason};

const LONG: Duration = Duration::from_secs(120);
const NOBODY: u32 = 65532;

/// What each test has: the shared ground for itself, with a prepared node, and an operator that is told of
/// it.
struct Scene {
    ground: MutexGuard<'static, Ground>,
    image: &'static Image,
    operator: Operator,
}

impl Scene {
    async fn begin() -> Result<Self> {
        static PREPARED: OnceCell<Image> = OnceCell::const_new();
        let ground = Ground::shared().await?;
        let image = PREPARED.get_or_try_init(async || {
            prepare_the_node(&ground).await?;
            let image = Layered { layers: 5, step: 2000, seed: 51, programs: true }
                .write(&ground.cluster.folder().join("image"));
            ground.cluster.push(&ground.registry, &image, "team/app:v1").await?;
            Ok::<_, Error>(image)
        });
        let image = image.await?;
        let operator = ground.operator(&fresh("operator"), &Self::changes(&ground, &[])).await?;
        Ok(Self { ground, image, operator })
    }

    /// The operator's configuration, which asks `registries` by itself.
    fn changes(ground: &Ground, registries: &[&str]) -> Value {
        json!({
            "resolveRegistries": registries,
            "registryCaFiles": [ground.cluster.ca_file()],
            "worker": {
                "nodeSelector": {"unbloat.dev/squash-node": "true"},
                "tolerations": [{"key": "unbloat.dev/squash-node", "operator": "Exists", "effect": "NoSchedule"}],
                "priorityClassName": "squash",
                "caConfigMap": CA_CONFIG_MAP,
                // As much asked for as allowed: nobody else has it.
                "requests": {"cpu": "200m", "memory": "128Mi"},
            },
        })
    }

    async fn end(mut self) -> Result<()> {
        self.operator.terminate()?;
        self.ground.cluster.check_parts()
    }
}

/// A taint that keeps others away, a priority class, and two volumes on its disk.
async fn prepare_the_node(ground: &Ground) -> Result<()> {
    let cluster = &ground.cluster;
    cluster.kubectl(&["taint", "node", "node-0", "unbloat.dev/squash-node=true:NoSchedule"]).await?;
    cluster.kubectl(&["label", "node", "node-0", "unbloat.dev/squash-node=true"]).await?;
    let priority = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "squash"}, "value": 1000, "description": "Squashes."});
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "prepared"},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": "team", "name": "stripe"},
        "spec": {"storageClassName": "prepared", "accessModes": ["ReadWriteOnce"], "volumeName": "claimed",
            "resources": {"requests": {"storage": "1Gi"}}}});
    let authority = std::fs::read_to_string(cluster.ca_file()).expect("the cluster has an authority");
    let authority = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "team", "name": CA_CONFIG_MAP}, "data": {"ca.crt": authority}});
    let mut manifests: Vec<Value> = vec![priority, class, claim, authority];
    for name in ["own", "claimed"] {
        let path = cluster.folder().join(format!("volume-{name}"));
        std::fs::create_dir(&path).expect("a folder of the test's own");
        let hostname = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-0"]});
        let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "prepared",
                "persistentVolumeReclaimPolicy": "Retain", "local": {"path": path},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}}}});
        if name == "claimed" {
            volume["spec"]["claimRef"] = json!({"namespace": "team", "name": "stripe"});
        }
        manifests.push(volume);
    }
    let manifests: Vec<String> = manifests.iter().map(Value::to_string).collect();
    cluster.apply(&manifests.join("\n---\n")).await.map(drop)
}

fn spec(ground: &Ground, target: &str) -> Value {
    let host = ground.registry.host();
    json!({"source": {"image": format!("{host}/team/app:v1"), "plainHTTP": true},
        "target": {"image": format!("{host}/team/{target}:flat")}})
}

async fn squashed(ground: &Ground, name: &str, spec: &Value) -> Result<Pod> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply(name, spec).await?;
    let done = jobs.wait_for_end(name, LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{name}: {:#?}", done.status);
    Ok(jobs.pods(name).await?.remove(0))
}

#[tokio::test]
async fn a_worker_is_guaranteed_on_its_node_with_a_volume_of_its_own() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let mut spec = spec(ground, "ephemeral");
    spec["worker"] = json!({"scratch": {"ephemeral": {"size": "1Gi", "storageClassName": "prepared"}}});
    let pod = squashed(ground, "ephemeral", &spec).await?;
    let qos = pod.status.as_ref().and_then(|status| status.qos_class.clone());
    assert_eq!(qos.as_deref(), Some("Guaranteed"));
    let name = pod.name_any();
    let PodSpec { node_name, priority, service_account_name, volumes, .. } =
        pod.spec.expect("a pod has a spec");
    assert_eq!((node_name.as_deref(), priority), (Some("node-0"), Some(1000)));
    assert_eq!(service_account_name.as_deref(), Some("default"));
    let sources: Vec<String> = volumes.iter().flatten().map(|volume| volume.name.clone()).collect();
    assert!(
        !sources.iter().any(|name| name.starts_with("kube-api-access")),
        "a worker has a token: {sources:?}"
    );
    let claims = ground.cluster.kubectl(&["get", "pvc", "--namespace=team", "--output=name"]).await?;
    assert!(claims.contains(&format!("{name}-scratch")), "{claims}");
    the_volume_is_the_workers(ground, "own");
    scene.end().await
}

#[tokio::test]
async fn a_claim_that_was_prepared_is_scratch_too() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let mut spec = spec(ground, "claim");
    spec["worker"] = json!({"scratch": {"persistentVolumeClaim": {"claimName": "stripe"}}});
    squashed(ground, "claim", &spec).await?;
    the_volume_is_the_workers(ground, "claimed");
    scene.end().await
}

/// Names are resolved by the C library, which static programs bring along: operator and worker need no file
/// of an image's.
#[tokio::test]
async fn a_registry_is_found_by_its_name() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let (address, port) =
        ground.registry.host().split_once(':').map(|(a, p)| (a.to_owned(), p.to_owned())).expect("a port");
    let names = ground.cluster.serve_names(&[("registry.test", address.parse().expect("an address"))])?;
    let named = format!("registry.test:{port}");
    let spec = spec(ground, "named").to_string().replace(&ground.registry.host(), &named);
    let spec: Value = serde_json::from_str(&spec).expect("still JSON");
    squashed(ground, "named", &spec).await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let done = jobs.wait_for_end("named", LONG).await?;
    // The operator found it as well, and pinned it before a worker started.
    let conditions = done.status.unwrap_or_default().conditions;
    assert!(conditions.iter().any(|condition| condition.reason == "Resolved"), "{conditions:#?}");
    drop(names);
    scene.end().await
}

/// kubelet gave the volume to the group of the worker's pod.
fn the_volume_is_the_workers(ground: &Ground, name: &str) {
    let folder = std::fs::metadata(ground.cluster.folder().join(format!("volume-{name}")));
    let folder = folder.expect("it was made before");
    assert_eq!((folder.gid(), folder.mode() & 0o070), (NOBODY, 0o070), "{name}");
}

#[tokio::test]
async fn registries_with_certificates_of_the_platforms_own_are_trusted_by_operator_and_worker() -> Result<()>
{
    let mut scene = Scene::begin().await?;
    let (ground, image) = (&*scene.ground, scene.image);
    let login = Some(("alice".to_owned(), "open sesame".to_owned()));
    let options = RegistryOptions { tls: true, login, version_3: true, ..Default::default() };
    let private = ground.cluster.start_registry("private", options).await?;
    let source = ground.cluster.push(&private, image, "team/app:v1").await?;
    ground.cluster.apply(&private.pull_secret("team", "private")).await?;
    let secret = json!({"name": "private"});
    let mut tls = spec(ground, "tls");
    tls["source"] = json!({"image": source, "pullSecrets": [secret]});
    tls["target"] = json!({"image": source.replace(":v1", ":flat"), "pushSecret": secret});
    squashed(ground, "tls", &tls).await?;

    // The operator trusts it too, where it may ask the registry: it sees by itself that there is nothing to
    // do.
    let open =
        ground.cluster.start_registry("tls", RegistryOptions { tls: true, ..Default::default() }).await?;
    scene.operator.terminate()?;
    let changes = Scene::changes(ground, &[&open.host()]);
    scene.operator = ground.operator(&fresh("operator"), &changes).await?;
    let flat = Layered { layers: 1, step: 100, seed: 52, programs: true }
        .write(&ground.cluster.folder().join("flat"));
    let source = ground.cluster.push(&open, &flat, "team/flat:v1").await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply("flat", &json!({"source": {"image": source}, "target": {"moveTag": true}})).await?;
    let done = jobs.wait_for_end("flat", LONG).await?;
    assert_eq!(reason(&done).1, "AlreadyFlat", "{:#?}", done.status);
    assert_eq!(jobs.pods("flat").await?.len(), 0);
    scene.end().await
}

#[tokio::test]
async fn an_evicted_worker_is_said_to_be_and_tried_again() -> Result<()> {
    let scene = Scene::begin().await?;
    let (ground, operator) = (&*scene.ground, &scene.operator);
    let cluster = &ground.cluster;
    let jobs = Jobs::of(cluster, "team").await?;
    let gates = Gates::open(ground).await?;
    for case in ["drained", "drained-unseen", "over-its-disk"] {
        let stage = Stage::Reading;
        let name = Gates::name(case, stage);
        let mut spec = gates.spec(case, stage);
        spec["worker"] = json!({"scratch": {"emptyDir": {"sizeLimit": "1Mi"}}});
        gates.hold(stage);
        jobs.apply(&name, &spec).await?;
        gates.wait_for(case, stage).await?;
        let pod = jobs.pods(&name).await?.remove(0);
        match case {
            "drained" => evict(cluster, &pod).await?,
            // The operator is so slow that the pod is gone before it looks.
            "drained-unseen" => {
                operator.pause();
                evict(cluster, &pod).await?;
                let gone = cluster
                    .wait_for("team", "the evicted pod to go", LONG, async || {
                        let left = jobs.pods(&name).await?.len();
                        Ok(if left == 0 { Look::Done(()) } else { Look::NotYet(format!("{left} left")) })
                    })
                    .await;
                operator.resume();
                gone?;
            }
            // As a worker would that needs more than it was given.
            _ => {
                let uid = pod.uid().unwrap_or_default();
                let scratch = format!("kubelet-0/pods/{uid}/volumes/kubernetes.io~empty-dir/scratch/filler");
                std::fs::write(cluster.folder().join(scratch), vec![1; 4 << 20]).expect("kubelet made it");
            }
        }
        let failed = jobs.wait_for_reason(&name, "Retrying", LONG).await?;
        let failure = failed.status.unwrap_or_default().last_failure.expect("it failed");
        assert_eq!(failure.reason, "WorkerEvicted", "{case}: {failure:?}");
        assert_eq!(gates.tags(case, stage).await?, "", "{case}");
        gates.let_go(stage);
        let done = jobs.wait_for_end(&name, LONG).await?;
        assert_eq!(reason(&done).1, "Squashed", "{case}: {:#?}", done.status);
        assert_eq!(done.status.unwrap_or_default().attempts, 2, "{case}");
    }
    drop(gates);
    scene.end().await
}

/// As `kubectl drain` does.
async fn evict(cluster: &Cluster, pod: &Pod) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "team");
    let evicted = pods.evict(&pod.name_any(), &EvictParams::default()).await;
    evicted.map(drop).map_err(Error::kube("evict a pod"))
}
