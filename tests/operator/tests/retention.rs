//! What becomes of originals: deleted after their time where a policy asks for it and nothing refers to them,
//! and kept where anything does.

use std::time::Duration;

use serde_json::{Value, json};
use unbloat_api::ImageReport;
use unbloat_api::image_report::ReportedResult;
use unbloat_cluster::fixture::container;
use unbloat_cluster::{Cluster, Registry, RegistryOptions, Result};
use unbloat_operator_tests::{Ground, Layered, deployment, policy, ready, report};

/// A policy that squashes below a path, rolls out, and has originals deleted soon.
fn spec(include: &str, target: &Value) -> Value {
    json!({
        "mode": "Squash",
        "selector": {"images": {"include": [format!("{include}/*")]}},
        "thresholds": {"layers": 50},
        "analysis": "Never",
        "stability": {"minAgeSeconds": 0},
        "limits": {"maxConcurrentJobs": 4, "maxJobsPerHour": 20},
        "target": target,
        "rollout": {"strategy": "Workload", "deadlineSeconds": 120},
        "retention": {"originalSeconds": 5},
    })
}

/// Pushes a bloated image; gives its reference and its digest.
async fn push(cluster: &Cluster, registry: &Registry, name: &str, seed: u64) -> Result<(String, String)> {
    let folder = cluster.folder().join(format!("image-{seed}"));
    let image = Layered { layers: 55, step: 300, seed, programs: true }.write(&folder);
    let reference = cluster.push(registry, &image, name).await?;
    let digest = cluster.crane(registry, &["digest", &reference]).await?.trim().to_owned();
    Ok((reference, digest))
}

/// Whether the registry has a digest.
async fn has(cluster: &Cluster, registry: &Registry, reference: &str, digest: &str) -> bool {
    let (name, _) = reference.rsplit_once(':').expect("a tag");
    cluster.crane(registry, &["manifest", &format!("{name}@{digest}")]).await.is_ok()
}

/// The result, once the report of a digest says this of the original.
async fn told(cluster: &Cluster, namespace: &str, digest: &str, finding: &str) -> Result<ReportedResult> {
    let is_it = |report: &ImageReport| {
        let result = report.status.as_ref().and_then(|status| status.result.as_ref());
        report.spec.digest == digest && result.and_then(|result| result.original.as_deref()) == Some(finding)
    };
    let found = report(cluster, namespace, &format!("the original to be {finding}"), is_it).await?;
    Ok(found.status.and_then(|status| status.result).expect("it was waited for"))
}

async fn events(cluster: &Cluster, namespace: &str) -> Result<String> {
    cluster.kubectl(&["get", "events.events.k8s.io", "-n", namespace, "-o", "yaml"]).await
}

#[tokio::test]
async fn originals_go_after_their_time_and_stay_while_anything_refers_to_them() -> Result<()> {
    let ground = Ground::start().await?;
    let Ground { cluster, registry, .. } = &ground;
    let config = json!({
        "registries": [{"host": registry.host(), "plainHTTP": true}],
        "detection": {"rollouts": true},
    });
    let mut operator = ground.operator("operator-a", &config).await?;
    let host = registry.host();
    for namespace in ["plain", "moved", "by-hand", "asleep", "tagged"] {
        cluster.restricted_namespace(namespace).await?;
    }
    let (plain, plain_digest) = push(cluster, registry, "beside/plain:v1", 31).await?;
    let (moved, moved_digest) = push(cluster, registry, "moving/app:v1", 32).await?;
    let (by_hand, by_hand_digest) = push(cluster, registry, "beside/by-hand:v1", 33).await?;
    let (asleep, asleep_digest) = push(cluster, registry, "beside/asleep:v1", 34).await?;
    let (tagged, tagged_digest) = push(cluster, registry, "beside/tagged:v1", 35).await?;
    cluster.crane(registry, &["tag", &tagged, "stable"]).await?;
    for (namespace, image) in [
        ("plain", &plain),
        ("moved", &moved),
        ("by-hand", &by_hand),
        ("asleep", &asleep),
        ("tagged", &tagged),
    ] {
        cluster.apply(&deployment(namespace, "app", image, &json!({})).to_string()).await?;
    }
    // Nobody can point a pod that was started by hand elsewhere.
    let mut waits = container("cat");
    waits["image"] = json!(by_hand);
    waits["stdin"] = json!(true);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "by-hand", "name": "mine"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [waits.clone()]}});
    cluster.apply(&pod.to_string()).await?;
    // It has no pod now, and will have one.
    waits["image"] = json!(asleep);
    let nightly = json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"namespace": "asleep", "name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "suspend": true, "jobTemplate": {"spec": {"template": {
            "spec": {"restartPolicy": "Never", "containers": [waits]}}}}}});
    cluster.apply(&nightly.to_string()).await?;
    for namespace in ["plain", "moved", "by-hand", "asleep", "tagged"] {
        ready(cluster, namespace, "app").await?;
    }
    for (name, target) in [("beside", json!({"tagSuffix": "-unbloat"})), ("moving", json!({"moveTag": true}))]
    {
        cluster.apply(&policy(name, &spec(&format!("{host}/{name}"), &target)).to_string()).await?;
    }

    // Beside the original: it goes, with its tag; the result stays.
    let result = told(cluster, "plain", &plain_digest, "OriginalDeleted").await?;
    assert!(result.original_time.is_some() && result.policy.as_deref() == Some("beside"), "{result:?}");
    assert!(!has(cluster, registry, &plain, &plain_digest).await);
    let left = cluster.crane(registry, &["ls", &format!("{host}/beside/plain")]).await?;
    assert_eq!(left.trim(), "v1-unbloat");
    assert!(has(cluster, registry, &plain, &result.digest).await);
    assert!(events(cluster, "plain").await?.contains("OriginalDeleted"));
    ready(cluster, "plain", "app").await?;

    // The tag is the result's: the original goes, the tag stays.
    let result = told(cluster, "moved", &moved_digest, "OriginalDeleted").await?;
    assert!(!has(cluster, registry, &moved, &moved_digest).await);
    assert_eq!(cluster.crane(registry, &["digest", &moved]).await?.trim(), result.digest);
    ready(cluster, "moved", "app").await?;

    // A pod, a workload without a pod, another tag: each keeps it, and the event says who.
    told(cluster, "by-hand", &by_hand_digest, "OriginalInUse").await?;
    told(cluster, "asleep", &asleep_digest, "OriginalInUse").await?;
    cluster
        .wait_for("asleep", "an event that names the CronJob", Duration::from_secs(60), async || {
            let events = events(cluster, "asleep").await?;
            Ok(match events.contains("CronJob asleep/nightly") {
                true => unbloat_cluster::Look::Done(()),
                false => unbloat_cluster::Look::NotYet(events),
            })
        })
        .await?;
    told(cluster, "tagged", &tagged_digest, "OriginalTagged").await?;
    assert!(events(cluster, "tagged").await?.contains("stable"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    for (reference, digest) in
        [(&by_hand, &by_hand_digest), (&asleep, &asleep_digest), (&tagged, &tagged_digest)]
    {
        assert!(has(cluster, registry, reference, digest).await, "{reference}: {}", operator.log());
    }

    // The pod goes, and with it the last reference.
    cluster.kubectl(&["delete", "pod", "mine", "-n", "by-hand", "--wait=true"]).await?;
    told(cluster, "by-hand", &by_hand_digest, "OriginalDeleted").await?;
    assert!(!has(cluster, registry, &by_hand, &by_hand_digest).await);
    operator.terminate()?;
    cluster.check_parts()
}

#[tokio::test]
async fn a_registry_that_refuses_to_delete_is_told_of_and_left_alone() -> Result<()> {
    let ground = Ground::start().await?;
    let Ground { cluster, .. } = &ground;
    let options = RegistryOptions { keeps_all: true, ..RegistryOptions::default() };
    let registry = &cluster.start_registry("keeps", options).await?;
    let config = json!({
        "registries": [{"host": registry.host(), "plainHTTP": true}],
        "detection": {"rollouts": true},
    });
    let mut operator = ground.operator("operator-a", &config).await?;
    cluster.restricted_namespace("team").await?;
    let (one, one_digest) = push(cluster, registry, "beside/one:v1", 41).await?;
    let (two, two_digest) = push(cluster, registry, "beside/two:v1", 42).await?;
    for (name, image) in [("one", &one), ("two", &two)] {
        cluster.apply(&deployment("team", name, image, &json!({})).to_string()).await?;
        ready(cluster, "team", name).await?;
    }
    let target = json!({"tagSuffix": "-unbloat"});
    let spec = spec(&format!("{}/beside", registry.host()), &target);
    cluster.apply(&policy("beside", &spec).to_string()).await?;
    told(cluster, "team", &one_digest, "OriginalNotDeletable").await?;
    told(cluster, "team", &two_digest, "OriginalNotDeletable").await?;
    let said = events(cluster, "team").await?;
    assert!(said.contains("OriginalNotDeletable") && said.contains("405"), "{said}");
    // One question, though there are two originals, time passes, and the operator is killed.
    tokio::time::sleep(Duration::from_secs(40)).await;
    operator.kill()?;
    let mut operator = ground.operator("operator-b", &config).await?;
    ground.wait_for_leader(&operator, Duration::from_secs(60)).await?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let log = std::fs::read_to_string(cluster.log(&registry.part())).expect("the registry's log");
    let asked =
        log.lines().filter(|line| line.contains("\"DELETE /v2/") && line.contains("/manifests/")).count();
    assert_eq!(asked, 1, "{log}");
    for (reference, digest) in [(&one, &one_digest), (&two, &two_digest)] {
        assert!(has(cluster, registry, reference, digest).await);
    }
    operator.terminate()?;
    cluster.check_parts()
}
