//! Many pods on nodes that are names only: what detection costs the API server, the registry and the
//! operator.
//!
//! Nobody runs the pods; their status is what kubelet would write. (kwok would write its own over it, without
//! the digests that detection goes by.)
//!
//! `UNBLOAT_PODS` says how many pods, with a fifth as many images; 10,000 is the long form.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use unbloat_api::ImageReport;
use unbloat_api::image_report::MOST_BYTES;
use unbloat_cluster::{Error, Look, Result, run};
use unbloat_operator_tests::{Ground, Layered, Operator, are_quick, digest, manifest_of, policy};

const SYSTEM: &str = "unbloat-system";
/// Pods where nothing else is asked for.
const PODS: usize = 500;
/// Pods for each image.
const SHARED_BY: usize = 5;
const NAMESPACES: usize = 10;
const NODES: usize = 100;
/// Requests to the API server at once.
const AT_ONCE: usize = 48;
const LONG: Duration = Duration::from_secs(300);
/// Most memory that the operator may have, whatever it watches.
const MOST_MEMORY: f64 = 150e6;

/// What of this is measured.
struct Scene {
    ground: Ground,
    /// `HOST/REPOSITORY@DIGEST` of each image.
    images: Vec<String>,
}

fn namespace(number: usize) -> String {
    format!("team-{}", number % NAMESPACES)
}

fn node(number: usize) -> String {
    format!("name-only-{}", number % NODES)
}

impl Scene {
    /// A registry with so many images, which share their layers.
    async fn begin(images: usize) -> Result<Self> {
        let ground = Ground::start().await?;
        let named = |kind: &str, name: String| {
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}).to_string()
        };
        let mut objects: Vec<String> = (0..NODES).map(|number| named("Node", node(number))).collect();
        objects.extend((0..NAMESPACES).map(|number| named("Namespace", namespace(number))));
        ground.cluster.apply(&objects.join("\n---\n")).await?;
        let folder = ground.cluster.folder().join("image");
        let image = Layered { layers: 12, step: 200, seed: 17, programs: false }.write(&folder);
        ground.cluster.push(&ground.registry, &image, "many/app:v1").await?;
        let manifest = manifest_of(&folder);
        let bodies = ground.cluster.folder().join("manifests");
        std::fs::create_dir(&bodies).map_err(Error::io("make a folder"))?;
        let (mut uploads, mut references) = (String::new(), Vec::new());
        for number in 0..images {
            let mut own = manifest.clone();
            own["annotations"] = json!({"number": number.to_string()});
            let body = own.to_string();
            let digest = digest(body.as_bytes());
            let file = bodies.join(number.to_string());
            std::fs::write(&file, &body).map_err(Error::io("write a manifest"))?;
            let (host, outside) = (ground.registry.host(), ground.registry.host_outside());
            uploads += &format!(
                "url = \"http://{outside}/v2/many/app/manifests/{digest}\"\nupload-file = \"{}\"\n\
                 header = \"Content-Type: application/vnd.oci.image.manifest.v1+json\"\noutput = \"/dev/null\"\n\
                 fail\nnext\n",
                file.display()
            );
            references.push(format!("{host}/many/app@{digest}"));
        }
        let list = ground.cluster.folder().join("uploads");
        std::fs::write(&list, uploads.trim_end_matches("next\n")).map_err(Error::io("write a list"))?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--config"]).arg(list);
        run(curl).await?;
        Ok(Self { ground, images: references })
    }

    async fn operator(&self, name: &str) -> Result<Operator> {
        let host = self.ground.registry.host();
        let config = json!({
            "registries": [{"host": host, "plainHTTP": true}],
            // The default is for registries of others.
            "detection": {"requestsPerSecond": 1000},
        });
        self.ground.operator(name, &config).await
    }

    /// Makes pods that run by what their status says: number `first` and on.
    async fn pods(&self, first: usize, count: usize) -> Result<()> {
        let client = self.ground.cluster.client().await?;
        let next = Arc::new(AtomicUsize::new(first));
        let images = Arc::new(self.images.clone());
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let (client, next, images) = (client.clone(), Arc::clone(&next), Arc::clone(&images));
            workers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + count {
                        return Ok(());
                    }
                    pod(&client, number, &images[number / SHARED_BY % images.len()]).await?;
                }
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.expect("no panic")?;
        }
        Ok(())
    }

    async fn reports(&self) -> Result<Vec<ImageReport>> {
        let api: Api<ImageReport> = Api::all(self.ground.cluster.client().await?);
        Ok(api.list(&ListParams::default()).await.map_err(Error::kube("list reports"))?.items)
    }

    /// Waits until there are so many reports, and each says how many layers its image has.
    async fn reported(&self, count: usize) -> Result<Vec<ImageReport>> {
        let what = format!("{count} reports with figures");
        self.ground
            .cluster
            .wait_for(SYSTEM, &what, LONG, async || {
                let reports = self.reports().await?;
                let known = |report: &&ImageReport| {
                    report.status.as_ref().is_some_and(|status| status.layers == Some(12))
                };
                let ready = reports.iter().filter(known).count();
                if ready == count {
                    return Ok(Look::Done(reports));
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(Look::NotYet(format!("{ready} of {}", reports.len())))
            })
            .await
    }

    /// Requests that the registry was asked so far.
    fn asked(&self) -> usize {
        let folder = self.ground.cluster.folder().join("logs");
        let files = std::fs::read_dir(folder).expect("logs").flatten();
        let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("registry"));
        let lines = logs.map(|file| {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            text.lines()
                .filter(|line| line.contains("\"GET /v2/many") || line.contains("\"HEAD /v2/many"))
                .count()
        });
        lines.sum()
    }

    /// Writes of the operator to its reports.
    fn report_writes(&self) -> Result<usize> {
        let writes = self.ground.cluster.writes(|write| {
            write.user.ends_with(":unbloat-operator") && write.resource.starts_with("imagereports")
        })?;
        Ok(writes.len())
    }

    async fn memory(&self, operator: &Operator) -> Result<f64> {
        self.ground.metric(operator, "process_resident_memory_bytes").await
    }
}

/// Makes a pod of `image`, and says that it runs.
async fn pod(client: &kube::Client, number: usize, image: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace(number / SHARED_BY));
    let name = format!("pod-{number}");
    let object: Pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": format!("app-{}", number / SHARED_BY)}},
        "spec": {
            "nodeName": node(number),
            "automountServiceAccountToken": false,
            // The node is never ready, and nothing of it has to go for that.
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "app", "image": image, "env": [{"name": "FILLER", "value": "x".repeat(2000)}]}],
        },
    }))
    .expect("a pod");
    api.create(&PostParams::default(), &object).await.map_err(Error::kube("make a pod"))?;
    let status = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "app", "image": image, "imageID": image, "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }]}});
    let patched = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await;
    patched.map(drop).map_err(Error::kube("say that a pod runs"))
}

#[tokio::test]
async fn thousands_of_pods_cost_little_and_a_new_one_is_seen_at_once() -> Result<()> {
    let pods = std::env::var("UNBLOAT_PODS").map_or(PODS, |text| text.parse().expect("a number of pods"));
    let images = pods / SHARED_BY;
    // Some more, for pods that come later.
    let later = 20;
    let scene = Scene::begin(images + later).await?;
    let start = Instant::now();
    scene.pods(0, pods).await?;
    println!("{pods} pods of {images} images after {:?}", start.elapsed());

    let mut operator = scene.operator("operator-a").await?;
    let spec = json!({
        "mode": "Report",
        "selector": {"images": {"include": [format!("{}/*", scene.ground.registry.host())]}},
        "thresholds": {"layers": 10},
        "analysis": "Never",
        "stability": {"minAgeSeconds": 0},
    });
    let start = Instant::now();
    scene.ground.cluster.apply(&policy("main", &spec).to_string()).await?;
    let reports = scene.reported(images).await?;
    let all = start.elapsed();
    let memory = scene.memory(&operator).await?;
    println!("{} reports after {all:?}, {:.0} MB", reports.len(), memory / 1e6);
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    let largest = reports.iter().map(|report| serde_json::to_string(report).expect("JSON").len()).max();
    assert!(largest.is_some_and(|bytes| bytes <= MOST_BYTES), "{largest:?}");
    // One that makes it, one that says that it waits, one with what was read.
    let writes = scene.report_writes()?;
    assert!(writes <= 3 * images, "{writes} writes of {images} reports");
    // Manifest, config, and the places of signatures; a few before, by whoever pushed.
    let asked = scene.asked();
    println!("{asked} questions to the registry, {writes} writes of reports");
    assert!(asked >= images && asked <= 6 * images + 50, "{asked} questions for {images} images");

    // Pods of new images, one after the other.
    let mut waits = Vec::new();
    for number in 0..later {
        let first = pods + number * SHARED_BY;
        let start = Instant::now();
        scene.pods(first, 1).await?;
        scene.reported(images + number + 1).await?;
        waits.push(start.elapsed());
    }
    waits.sort();
    println!("a new pod's report: {:?} in the middle, {:?} at most", waits[later / 2], waits[later - 1]);
    // The list of all reports, twice a second, is a part of it.
    assert!(are_quick() || waits[later - 1] <= Duration::from_secs(4), "{waits:?}");

    // Nothing goes on without a reason, and a restart begins nothing anew.
    let (writes, asked) = (scene.report_writes()?, scene.asked());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((scene.report_writes()?, scene.asked()), (writes, asked), "while nothing happened");
    operator.kill()?;
    let start = Instant::now();
    let mut operator = scene.operator("operator-b").await?;
    scene.ground.wait_for_leader(&operator, Duration::from_secs(60)).await?;
    let led = start.elapsed();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!((scene.report_writes()?, scene.asked()), (writes, asked), "after a restart");
    let memory = scene.memory(&operator).await?;
    println!("a restart: leads after {led:?}, {:.0} MB", memory / 1e6);
    assert!(memory < MOST_MEMORY, "{memory} bytes");

    // What runs no more is noticed without a storm.
    let api: Api<Pod> = Api::namespaced(scene.ground.cluster.client().await?, &namespace(0));
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    api.delete_collection(&now, &ListParams::default()).await.map_err(Error::kube("delete pods"))?;
    let unused =
        |report: &&ImageReport| report.status.as_ref().is_some_and(|status| status.unused_since.is_some());
    let expected = reports.iter().filter(|r| r.metadata.namespace.as_deref() == Some("team-0")).count();
    scene
        .ground
        .cluster
        .wait_for(SYSTEM, "reports of what runs no more", LONG, async || {
            let found = scene.reports().await?.iter().filter(unused).count();
            Ok(if found >= expected { Look::Done(()) } else { Look::NotYet(format!("{found}")) })
        })
        .await?;
    operator.terminate()?;
    scene.ground.cluster.check_parts()
}
