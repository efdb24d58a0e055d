//! One hostile tenant for each attack, and a victim's job beside it that ends in its usual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::{MutexGuard, OnceCell};
use unbloat_cluster::{Entrance, Flow, Result, TOOLBOX, run};
use unbloat_operator_tests::{
    Ground, Jobs, Layered, Operator, WORKER_IMAGE, digest, fresh, job, manifest_of, reason,
};

const LONG: Duration = Duration::from_secs(120);
/// A victim's job takes some seconds; with a machine that does other things too, this is far too long still.
const USUAL: Duration = Duration::from_secs(45);

/// What each test has: the shared ground for itself, an operator, and an image that a victim squashes.
struct Scene {
    ground: MutexGuard<'static, Ground>,
    operator: Operator,
    source: &'static str,
}

impl Scene {
    async fn begin() -> Result<Self> {
        Self::with(&json!({"concurrency": {"global": 8, "perNamespace": 4}})).await
    }

    async fn with(configuration: &Value) -> Result<Self> {
        static SOURCE: OnceCell<String> = OnceCell::const_new();
        let ground = Ground::shared().await?;
        let operator = ground.operator(&fresh("operator"), configuration).await?;
        let source = SOURCE.get_or_try_init(async || {
            for namespace in ["victim", "evil", "evil-b"] {
                ground.cluster.restricted_namespace(namespace).await?;
            }
            let image = Layered { layers: 3, step: 1000, seed: 3, programs: false }
                .write(&ground.cluster.folder().join("image"));
            ground.cluster.push(&ground.registry, &image, "team/app:v1").await
        });
        let source = source.await?;
        Ok(Self { ground, operator, source })
    }

    /// An honest job ends well in its usual time.
    async fn victim_ends(&self, name: &str) -> Result<()> {
        let jobs = Jobs::of(&self.ground.cluster, "victim").await?;
        let start = Instant::now();
        jobs.apply(name, &spec(&self.ground, self.source, name)).await?;
        let done = jobs.wait_for_end(name, LONG).await?;
        assert_eq!(reason(&done).1, "Squashed", "{name}: {:#?}", done.status);
        assert!(start.elapsed() < USUAL, "{name}: {:?}", start.elapsed());
        Ok(())
    }

    /// The operator has survived, and ends as it is asked to.
    async fn end(mut self) -> Result<()> {
        assert!(self.operator.program.ended().is_none(), "the operator ended:\n{}", self.operator.log());
        self.operator.terminate()?;
        self.ground.cluster.check_parts()
    }
}

fn spec(ground: &Ground, source: &str, name: &str) -> Value {
    let target = format!("{}/victim/{name}:flat", ground.registry.host());
    json!({"source": {"image": source, "plainHTTP": true}, "target": {"image": target, "plainHTTP": true}})
}

/// As if it was stored by a release whose schema had no maximum.
#[tokio::test]
async fn an_object_that_cannot_be_read_ends_alone() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let path =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/ttlSecondsAfterFinished/maximum";
    let definition = ["patch", "crd", "imagesquashjobs.unbloat.dev", "--type=json", "--patch"];
    let patch = |patch: Value| [&definition[..], &[&*patch.to_string().leak()]].concat();
    let mut large = job("evil", "large", &spec(ground, scene.source, "large"));
    large["spec"]["ttlSecondsAfterFinished"] = json!(3_000_000_000_u64);
    let refused = ground.cluster.apply(&large.to_string()).await.expect_err("it has a maximum").to_string();
    assert!(refused.contains("ttlSecondsAfterFinished"), "{refused}");
    ground.cluster.kubectl(&patch(json!([{"op": "remove", "path": path}]))).await?;
    // The API server takes up the change a moment later.
    let start = Instant::now();
    while let Err(error) = ground.cluster.apply(&large.to_string()).await {
        assert!(start.elapsed() < LONG, "{error}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let start = Instant::now();
    loop {
        let shown =
            ["get", "isj", "large", "--namespace=evil", "--output=jsonpath={.status.conditions[0].reason}"];
        if ground.cluster.kubectl(&shown).await? == "InvalidSpec" {
            break;
        }
        assert!(start.elapsed() < LONG, "it has no reason");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    scene.victim_ends("beside-unreadable").await?;
    ground.cluster.kubectl(&["delete", "isj", "large", "--namespace=evil"]).await?;
    let maximum = json!([{"op": "add", "path": path, "value": 2_147_483_647}]);
    ground.cluster.kubectl(&patch(maximum)).await?;
    scene.end().await
}

/// A pod of a tenant that calls itself a worker's.
fn forged(name: &str, uid: &str, attempt: &str, command: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "evil", "labels": {
            "app.kubernetes.io/name": "unbloat-worker", "app.kubernetes.io/managed-by": "unbloat-operator",
            "unbloat.dev/squash-job": name, "unbloat.dev/squash-job-uid": uid, "unbloat.dev/attempt": attempt}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "worker", "image": TOOLBOX, "imagePullPolicy": "Never",
                "command": ["busybox", "sh", "-c", command],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    })
}

#[tokio::test]
async fn labels_hold_no_place() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    for number in 0..8 {
        let mut pod = forged(&format!("label-{number}"), "no-such-uid", "1", "sleep 3600");
        pod["spec"]["nodeSelector"] = json!({"no": "such-node"});
        ground.cluster.apply(&pod.to_string()).await?;
    }
    scene.victim_ends("beside-labels").await?;
    ground
        .cluster
        .kubectl(&["delete", "pods", "--all", "--namespace=evil", "--grace-period=0", "--force"])
        .await?;
    scene.end().await
}

#[tokio::test]
async fn a_result_from_another_namespace_is_nobodys() -> Result<()> {
    let scene = Scene::begin().await?;
    let (ground, source) = (&*scene.ground, scene.source);
    let jobs = Jobs::of(&ground.cluster, "victim").await?;
    let mut suspended = spec(ground, source, "robbed");
    suspended["suspend"] = json!(true);
    jobs.apply("robbed", &suspended).await?;
    let waiting = jobs.wait_for_reason("robbed", "Suspended", LONG).await?;
    let uid = waiting.uid().unwrap_or_default();
    let digest = format!("sha256:{}", "0".repeat(64));
    let lie = json!({"version": 2, "outcome": {"squashed": {"sourceDigest": digest, "digest": digest,
        "reference": format!("evil.example/x@{digest}"), "layersBefore": 9, "layersAfter": 1,
        "compressedBytesBefore": 9_000_000_000_000_000_u64}}});
    for attempt in ["1", "2", "2147483647", "99999999999"] {
        let command = format!("echo '{lie}' > /dev/termination-log");
        let pod = forged(&format!("lie-{attempt}"), &uid, attempt, &command);
        ground.cluster.apply(&pod.to_string()).await?;
    }
    jobs.patch("robbed", &json!({"spec": {"suspend": false}})).await?;
    let done = jobs.wait_for_end("robbed", LONG).await?;
    let status = done.status.clone().unwrap_or_default();
    assert_eq!((reason(&done).1.as_str(), status.attempts), ("Squashed", 1), "{status:#?}");
    let reference = status.target.unwrap_or_default().reference.unwrap_or_default();
    assert!(reference.starts_with(&ground.registry.host()), "{reference}");
    assert!(status.reclaimed_bytes.unwrap_or(0) < 1_000_000_000);
    scene.end().await
}

#[tokio::test]
async fn a_job_made_in_advance_is_not_adopted() -> Result<()> {
    let scene = Scene::begin().await?;
    let (ground, source) = (&*scene.ground, scene.source);
    let jobs = Jobs::of(&ground.cluster, "evil").await?;
    let registry: SocketAddr = ground.registry.host().parse().expect("a registry has an address");
    let way = ground.cluster.tunnel(Entrance::Pods, registry)?;
    way.set(Flow::Frozen);
    let mut steered = spec(ground, source, "steered");
    steered["source"]["image"] = json!(format!("{}/team/app:v1", way.address()));
    jobs.apply("steered", &steered).await?;
    let running = jobs.wait_for_reason("steered", "Running", LONG).await?;
    jobs.patch("steered", &json!({"spec": {"suspend": true}})).await?;
    jobs.wait_for_reason("steered", "Suspended", LONG).await?;

    // The next attempt's name follows from the last one's.
    let last = running.status.clone().unwrap_or_default().worker.unwrap_or_default().job;
    let next = format!("{}-2", last.strip_suffix("-1").expect("the first attempt"));
    let uid = running.uid().unwrap_or_default();
    let mut pod = forged("x", &uid, "2", "sleep 3600");
    pod["metadata"] = json!({"labels": pod["metadata"]["labels"]});
    let in_advance = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": next, "namespace": "evil",
            "labels": {"app.kubernetes.io/name": "unbloat-worker", "unbloat.dev/attempt": "99999999999",
                "unbloat.dev/squash-job": "steered", "unbloat.dev/squash-job-uid": uid},
            "annotations": {"unbloat.dev/source-digest": format!("sha256:{}", "0".repeat(64))},
            "ownerReferences": [{"apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob", "name": "steered",
                "uid": uid, "controller": true}]},
        "spec": {"template": {"metadata": pod["metadata"], "spec": pod["spec"]}},
    });
    ground.cluster.apply(&in_advance.to_string()).await?;
    way.set(Flow::Open);
    jobs.patch("steered", &json!({"spec": {"suspend": false}})).await?;
    let done = jobs.wait_for_end("steered", LONG).await?;
    let status = done.status.clone().unwrap_or_default();
    assert_eq!((reason(&done).1.as_str(), status.attempts), ("Squashed", 3), "{status:#?}");
    let pulled = ground.cluster.crane(&ground.registry, &["digest", source]).await?;
    assert_eq!(status.source.unwrap_or_default().digest.as_deref(), Some(pulled.trim()));
    let left = ground.cluster.kubectl(&["get", "jobs", "--namespace=evil", "--output=name"]).await?;
    assert!(!left.contains(&next), "{left}");
    drop(way);
    scene.end().await
}

#[tokio::test]
async fn registries_that_never_answer_leave_a_place() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let registry: SocketAddr = ground.registry.host().parse().expect("a registry has an address");
    let dead = ground.cluster.tunnel(Entrance::Pods, registry)?;
    dead.set(Flow::Frozen);
    for namespace in ["evil", "evil-b"] {
        let jobs = Jobs::of(&ground.cluster, namespace).await?;
        for number in 0..4 {
            let mut spec = spec(ground, scene.source, "never");
            spec["source"]["image"] = json!(format!("{}/team/app:v1", dead.address()));
            spec["activeDeadlineSeconds"] = json!(2_592_000);
            jobs.apply(&format!("holds-{number}"), &spec).await?;
        }
        jobs.wait_for_reason("holds-0", "Running", LONG).await?;
    }
    scene.victim_ends("beside-holders").await?;
    for namespace in ["evil", "evil-b"] {
        let namespace = format!("--namespace={namespace}");
        ground.cluster.kubectl(&["delete", "isj", "--all", &namespace]).await?;
    }
    drop(dead);
    scene.end().await
}

/// Workers that no quota lets start, as many as may run at all.
#[tokio::test]
async fn jobs_that_never_run_hold_no_place() -> Result<()> {
    let scene = Scene::with(&json!({"concurrency": {"global": 2, "perNamespace": 2}})).await?;
    let ground = &*scene.ground;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "evil"},
        "spec": {"hard": {"pods": "0"}}});
    ground.cluster.apply(&quota.to_string()).await?;
    let jobs = Jobs::of(&ground.cluster, "evil").await?;
    let names = ["refused-0", "refused-1"];
    for name in names {
        jobs.apply(name, &spec(ground, scene.source, name)).await?;
    }
    for name in names {
        jobs.wait_for_reason(name, "WorkerPodRefused", LONG).await?;
    }
    scene.victim_ends("beside-refused").await?;
    // With room they run: nothing was given up.
    ground.cluster.delete(&quota.to_string()).await?;
    for name in names {
        let done = jobs.wait_for_end(name, LONG).await?;
        assert_eq!(reason(&done).1, "Squashed", "{name}: {:#?}", done.status);
        assert_eq!(done.status.as_ref().map(|status| status.attempts), Some(1), "{name}");
    }
    scene.end().await
}

/// Most that an operator may hold whatever it is shown: three quarters of the limit in the chart.
const MOST_MEMORY: f64 = (96 << 20) as f64;

impl Scene {
    /// The most memory that the operator held while a victim's job ran to its end.
    async fn most_memory_beside(&self, victim: &str) -> Result<f64> {
        let mut most = 0.0_f64;
        let mut ends = std::pin::pin!(self.victim_ends(victim));
        loop {
            tokio::select! {
                ended = &mut ends => return ended.map(|()| most),
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    let now = self.ground.metric(&self.operator, "process_resident_memory_bytes").await?;
                    most = most.max(now);
                }
            }
        }
    }

    /// Puts a document into the registry's repository `evil/app`.
    async fn put(&self, path: &str, media_type: &str, body: &[u8]) -> Result<()> {
        let file = self.ground.cluster.folder().join("body");
        std::fs::write(&file, body).expect("a folder of the test's own");
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--request", "PUT", "--header"])
            .arg(format!("Content-Type: {media_type}"))
            .args(["--data-binary", &format!("@{}", file.display())])
            .arg(format!("http://{}/v2/evil/app/{path}", self.ground.registry.host_outside()));
        run(curl).await.map(drop)
    }
}

/// What the operator would hold at once if it read all platforms of an index: twice what it may have.
#[tokio::test]
async fn an_index_of_large_manifests_costs_no_memory() -> Result<()> {
    let registry = Ground::shared().await?.registry.host();
    let scene = Scene::with(&json!({"resolveRegistries": [registry]})).await?;
    let ground = &*scene.ground;
    // Their blobs are there: the registry looks.
    let image = Layered { layers: 2, step: 1000, seed: 9, programs: false }
        .write(&ground.cluster.folder().join("small"));
    ground.cluster.push(&ground.registry, &image, "evil/app:small").await?;
    let manifest = manifest_of(&ground.cluster.folder().join("small"));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let mut entries = Vec::new();
    for number in 0..32 {
        let mut large = manifest.clone();
        large["mediaType"] = json!(media_type);
        large["annotations"] = json!({"number": number.to_string(), "filler": "x".repeat(4_100_000)});
        let body = large.to_string();
        let digest = digest(body.as_bytes());
        scene.put(&format!("manifests/{digest}"), media_type, body.as_bytes()).await?;
        entries.push(json!({"mediaType": media_type, "digest": digest, "size": body.len(),
            "platform": {"os": "linux", "architecture": format!("a{number}")}}));
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).to_string();
    scene.put("manifests/many", media_type, index.as_bytes()).await?;
    let jobs = Jobs::of(&ground.cluster, "evil").await?;
    for number in 0..3 {
        let source = format!("{}/evil/app:many", ground.registry.host());
        jobs.apply(&format!("large-{number}"), &spec(ground, &source, &format!("large-{number}"))).await?;
    }
    let most = scene.most_memory_beside("beside-large-manifests").await?;
    assert!(most < MOST_MEMORY, "{:.1} MiB", most / f64::from(1 << 20));
    ground.cluster.kubectl(&["delete", "isj", "--all", "--namespace=evil"]).await?;
    scene.end().await
}

/// Objects that do nothing, each as large as the API server takes it.
#[tokio::test]
async fn large_objects_that_do_nothing_cost_no_memory() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let jobs: Vec<String> = (0..150)
        .map(|number| {
            let mut spec = spec(ground, scene.source, "never");
            spec["suspend"] = json!(true);
            spec["remove"] = json!(vec!["\u{10348}".repeat(250); 64]);
            let mut object = job("evil", &format!("heavy-{number}"), &spec);
            object["metadata"]["annotations"] = json!({"filler": "x".repeat(200_000)});
            object.to_string()
        })
        .collect();
    for part in jobs.chunks(30) {
        ground.cluster.apply(&part.join("\n---\n")).await?;
    }
    let seen = scene.most_memory_beside("beside-large-objects").await?;
    // One that has to read them all at its start holds no more.
    scene.operator.terminate()?;
    scene.operator = ground.operator(&fresh("operator"), &json!({})).await?;
    let listed = scene.most_memory_beside("beside-large-objects-again").await?;
    println!("150 large objects: {:.1} MiB, {:.1} after a start", seen / 1048576.0, listed / 1048576.0);
    assert!(seen.max(listed) < MOST_MEMORY, "{:.1}, {:.1} MiB", seen / 1048576.0, listed / 1048576.0);
    ground.cluster.kubectl(&["delete", "isj", "--all", "--namespace=evil"]).await?;
    scene.end().await
}

/// Connections that ask for nothing, as anybody in the cluster's network can hold them.
#[tokio::test]
async fn connections_that_say_nothing_keep_no_probe_from_its_answer() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let mut held = Vec::new();
    for _ in 0..200 {
        // What is refused at once holds nothing.
        held.extend(ground.cluster.connect(scene.operator.address).await.ok());
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            match ground.get(scene.operator.probes, "/livez").await {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => return,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    assert!(answer.await.is_ok(), "200 idle connections keep a probe from its answer");
    scene.victim_ends("beside-idle-connections").await?;
    drop(held);
    scene.end().await
}

#[tokio::test]
async fn the_operators_token_makes_workers_and_nothing_else() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    // The API server takes it for the operator, with its rights and by its admission policy.
    let as_the_operator = "--as=system:serviceaccount:unbloat-system:unbloat-operator";
    let owner = json!([{"apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob", "name": "x", "uid": "x",
        "controller": true}]);
    let stolen = |change: fn(&mut Value)| {
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "stolen", "namespace": "victim", "ownerReferences": owner},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "worker", "image": WORKER_IMAGE, "args": ["--spec", "/etc/unbloat/spec.json"],
                    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]}}}]}}},
        });
        change(&mut job);
        job
    };
    type Change = fn(&mut Value);
    let attempts: [(&str, Change); 10] = [
        ("no owner", |job| job["metadata"]["ownerReferences"] = json!([])),
        ("another image", |job| job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("busybox")),
        ("a command", |job| job["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sh"])),
        ("a token", |job| job["spec"]["template"]["spec"]["automountServiceAccountToken"] = json!(true)),
        ("a token in a volume", |job| {
            job["spec"]["template"]["spec"]["volumes"] = json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]);
        }),
        ("a token for a cloud that is not allowed here", |job| {
            let token = json!({"path": "token", "audience": "sts.amazonaws.com"});
            job["spec"]["template"]["spec"]["volumes"] = json!([{"name": "cloud-identity",
                "projected": {"sources": [{"serviceAccountToken": token}]}}]);
        }),
        ("a secret by way of a projection", |job| {
            job["spec"]["template"]["spec"]["volumes"] =
                json!([{"name": "s", "projected": {"sources": [{"secret": {"name": "any"}}]}}]);
        }),
        ("a host path", |job| {
            job["spec"]["template"]["spec"]["volumes"] = json!([{"name": "h", "hostPath": {"path": "/"}}]);
        }),
        ("a whole secret", |job| {
            job["spec"]["template"]["spec"]["volumes"] =
                json!([{"name": "s", "secret": {"secretName": "any"}}]);
        }),
        ("the host's network", |job| job["spec"]["template"]["spec"]["hostNetwork"] = json!(true)),
    ];
    let create = async |job: Value| {
        let file = ground.cluster.folder().join("stolen.json");
        std::fs::write(&file, job.to_string()).expect("a folder of the test's own");
        let file = format!("--filename={}", file.display());
        ground.cluster.kubectl(&["create", as_the_operator, &file, "--dry-run=server"]).await
    };
    create(stolen(|_| {})).await?;
    for (name, change) in attempts {
        let refused = create(stolen(change)).await.expect_err(name).to_string();
        assert!(refused.contains("ValidatingAdmissionPolicy"), "{name}: {refused}");
    }
    scene.end().await
}
