//! A job from `kubectl apply` to a pod that runs from its result.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;
use unbloat_cluster::fixture::{container, pod};
use unbloat_cluster::{Cluster, Result, termination};
use unbloat_operator_tests::{Ground, Jobs, Layered, list_tree_script, reason};

const LONG: Duration = Duration::from_secs(180);

#[tokio::test]
async fn the_incidents_image_is_squashed_under_restricted_and_a_pod_runs_from_the_result() -> Result<()> {
    let ground = Ground::start().await?;
    let Ground { cluster, registry, .. } = &ground;
    let mut operator = ground.operator("operator-a", &json!({})).await?;
    cluster.restricted_namespace("team").await?;
    let image = Layered { layers: 272, step: 4000, seed: 1, programs: true }
        .write(&cluster.folder().join("incident"));
    let source = cluster.push(registry, &image, "team/app:v1").await?;
    let target = format!("{}/team/app:flat", registry.host());

    let jobs = Jobs::of(cluster, "team").await?;
    let spec = json!({"source": {"image": source, "plainHTTP": true}, "target": {"image": target}});
    jobs.apply("incident", &spec).await?;
    let done = jobs.wait_for_end("incident", LONG).await?;
    assert_eq!(reason(&done), ("True".into(), "Squashed".into()), "{:#?}\n{}", done.status, operator.log());

    let status = done.status.expect("it has ended");
    assert_eq!((status.attempts, status.failures), (1, 0));
    let (before, after) = (status.source.expect("read"), status.target.expect("written"));
    let manifest = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("a manifest");
    let sizes = |manifest: &serde_json::Value| {
        let layers = manifest["layers"].as_array().expect("an image");
        (layers.len() as i64, layers.iter().map(|layer| layer["size"].as_i64().expect("a size")).sum::<i64>())
    };
    let (layers, bytes) = sizes(&manifest(cluster.crane(registry, &["manifest", &source]).await?));
    assert_eq!((before.layers, before.compressed_bytes), (Some(layers), Some(bytes)));
    let (new_layers, new_bytes) = sizes(&manifest(cluster.crane(registry, &["manifest", &target]).await?));
    assert_eq!((after.layers, after.compressed_bytes), (Some(new_layers), Some(new_bytes)));
    assert_eq!((layers, new_layers), (272, 1));
    assert_eq!(status.reclaimed_bytes, Some(bytes - new_bytes));
    assert_eq!(after.digest, Some(cluster.crane(registry, &["digest", &target]).await?.trim().to_owned()));
    assert_eq!(status.layers.as_deref(), Some("272→1"));

    let original = tree_of(cluster, "original", &source).await?;
    let squashed = tree_of(cluster, "squashed", &target).await?;
    assert!(original.len() > 300, "{original:?}");
    let differing: Vec<_> = original.symmetric_difference(&squashed).collect();
    assert!(differing.is_empty(), "{differing:#?}");

    let writes = cluster.writes(|write| {
        write.user.ends_with(":unbloat-operator") && write.namespace == "team" && write.code < 300
    })?;
    assert!(writes.len() <= 12, "{} writes: {writes:#?}", writes.len());
    assert!(!writes.iter().any(|write| write.verb == "delete"), "the worker and its log stay: {writes:#?}");
    let events = cluster
        .kubectl(&["get", "events", "--namespace=team", "--output=custom-columns=R:.reason,M:.message"])
        .await?;
    assert!(events.contains("Started") && events.contains("Squashed"), "{events}");
    let table = cluster.kubectl(&["get", "isj", "--namespace=team"]).await?;
    assert!(table.contains("272→1") && table.contains("Squashed"), "{table}");
    operator.terminate()?;
    cluster.check_parts()
}

/// What a pod that runs from this image sees.
async fn tree_of(cluster: &Cluster, name: &str, image: &str) -> Result<BTreeSet<String>> {
    let mut seen = container(list_tree_script());
    seen["image"] = json!(image);
    seen["imagePullPolicy"] = json!("Always");
    let mut manifest = pod("team", name, seen);
    // A token would be mounted below /var.
    manifest["spec"]["automountServiceAccountToken"] = json!(false);
    cluster.apply(&manifest.to_string()).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "team");
    let ended = cluster.wait_until(&pods, name, "at its end", LONG, |pod| termination(pod).is_some()).await?;
    let end = termination(&ended).expect("it was waited for");
    let listed = cluster.kubectl(&["logs", "--namespace=team", name]).await?;
    assert_eq!(end.exit_code, 0, "{end:?}: {listed}");
    Ok(listed.lines().map(str::to_owned).collect())
}
