//! The story of a policy: a Deployment runs a bloated image; the policy reports it with figures, turns to
//! planning and to squashing; what nobody asked for is not touched.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use unbloat_api::image_report::{MOST_BYTES, Verdict};
use unbloat_api::{ImageReport, ImageSquashJob, ImageSquashPolicy, condition, finding};
use unbloat_cluster::{Error, Look, Result};
use unbloat_operator_tests::{
    Ground, LONG, Layered, deployment, image_of, patch_policy, policy, ready, reason, report,
};

const SYSTEM: &str = "unbloat-system";

async fn jobs(client: &Client) -> Result<Vec<ImageSquashJob>> {
    let api: Api<ImageSquashJob> = Api::all(client.clone());
    Ok(api.list(&ListParams::default()).await.map_err(Error::kube("list jobs"))?.items)
}

#[tokio::test]
async fn a_bloated_image_is_reported_planned_approved_and_squashed_and_nothing_else_is_touched() -> Result<()>
{
    let ground = Ground::start().await?;
    let Ground { cluster, registry, .. } = &ground;
    let client = cluster.client().await?;
    let config = json!({"registries": [{"host": registry.host(), "plainHTTP": true}]});
    let mut operator = ground.operator("operator-a", &config).await?;
    for namespace in ["team", "quiet"] {
        cluster.restricted_namespace(namespace).await?;
    }
    let image =
        Layered { layers: 60, step: 2000, seed: 3, programs: true }.write(&cluster.folder().join("bloated"));
    let source = cluster.push(registry, &image, "team/app:v1").await?;
    let small =
        Layered { layers: 3, step: 10, seed: 4, programs: true }.write(&cluster.folder().join("small"));
    let small = cluster.push(registry, &small, "team/small:v1").await?;
    for manifest in [
        deployment("team", "app", &source, &json!({})),
        deployment("team", "small", &small, &json!({})),
        deployment("quiet", "app", &source, &json!({"unbloat.dev/policy": "ignore"})),
    ] {
        cluster.apply(&manifest.to_string()).await?;
    }
    ready(cluster, "team", "app").await?;

    // Report: cause and figures, no job.
    let spec = json!({
        "mode": "Report",
        "selector": {"images": {"include": [format!("{}/*", registry.host())]}},
        "thresholds": {"layers": 50},
        "stability": {"minAgeSeconds": 0},
    });
    cluster.apply(&policy("main", &spec).to_string()).await?;
    let found = report(cluster, "team", "the bloated image to be reported", |report| {
        report.status.as_ref().is_some_and(|status| status.verdict == Verdict::OverThreshold)
    })
    .await?;
    let status = found.status.clone().expect("it was waited for");
    let manifest: Value =
        serde_json::from_str(&cluster.crane(registry, &["manifest", &source]).await?).expect("a manifest");
    let bytes: i64 = manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|l| l["size"].as_i64().expect("a size"))
        .sum();
    assert_eq!((status.layers, status.platforms[0].compressed_bytes), (Some(60), bytes));
    assert_eq!(found.spec.reference, source);
    assert_eq!(status.used_by.count, 1);
    assert_eq!(
        (status.used_by.workloads[0].kind.as_str(), status.used_by.workloads[0].name.as_str()),
        ("Deployment", "app")
    );
    assert_eq!(status.policies[0].reason, "Reported");
    report(cluster, "team", "the small image to be fine", |report| {
        report
            .status
            .as_ref()
            .is_some_and(|status| status.verdict == Verdict::Fine && status.layers == Some(3))
    })
    .await?;
    assert!(jobs(&client).await?.is_empty(), "a policy that reports makes no job");
    let stored = cluster
        .kubectl(&["get", "imgr", "--namespace=team", "--output=json", "--show-managed-fields"])
        .await?;
    let stored: Value = serde_json::from_str(&stored).expect("a list");
    for report in stored["items"].as_array().expect("reports") {
        let size = report.to_string().len();
        println!("a report of {size} bytes");
        assert!(size <= MOST_BYTES, "{size} bytes: {report}");
    }
    let table = cluster.kubectl(&["get", "imgr", "--namespace=team"]).await?;
    assert!(table.contains("OverThreshold") && table.contains("60"), "{table}");
    let table = cluster.kubectl(&["get", "isp"]).await?;
    assert!(table.contains("Report") && table.contains("Following"), "{table}");

    // Plan: a suspended job, which a person lets go.
    patch_policy(&client, "main", &json!({"mode": "Plan"})).await?;
    let planned = cluster
        .wait_for(SYSTEM, "a planned job", LONG, async || {
            Ok(match jobs(&client).await?.pop() {
                Some(job) => Look::Done(job),
                None => Look::NotYet("no job yet".into()),
            })
        })
        .await?;
    assert!(planned.spec.suspend, "{:#?}", planned.spec);
    assert_eq!(planned.namespace().as_deref(), Some(SYSTEM));
    assert_eq!(
        planned.spec.target.image.as_deref(),
        Some(format!("{}/team/app:v1-unbloat", registry.host()).as_str())
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(jobs(&client).await?.len(), 1);
    let api: Api<ImageSquashJob> = Api::namespaced(client.clone(), SYSTEM);
    let approve = json!({"spec": {"suspend": false}});
    api.patch(&planned.name_any(), &PatchParams::default(), &Patch::Merge(&approve))
        .await
        .map_err(Error::kube("approve"))?;
    let done = cluster
        .wait_until(&api, &planned.name_any(), "at its end", LONG, |job| {
            job.status.as_ref().is_some_and(unbloat_api::ImageSquashJobStatus::is_finished)
        })
        .await?;
    assert_eq!(reason(&done), ("True".into(), "Squashed".into()), "{:#?}\n{}", done.status, operator.log());

    // The report tells the result; nothing is squashed twice, also after the operator was killed.
    let squashed = report(cluster, "team", "the result to be told", |report| {
        report.status.as_ref().is_some_and(|status| status.verdict == Verdict::Squashed)
    })
    .await?;
    let result = squashed.status.and_then(|status| status.result).expect("a result");
    let target = format!("{}/team/app:v1-unbloat", registry.host());
    let digest = cluster.crane(registry, &["digest", &target]).await?;
    assert_eq!(result.digest, digest.trim());
    patch_policy(&client, "main", &json!({"mode": "Squash"})).await?;
    operator.kill()?;
    let mut operator = ground.operator("operator-b", &config).await?;
    ground.wait_for_leader(&operator, Duration::from_secs(60)).await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(jobs(&client).await?.len(), 1, "{:#?}", jobs(&client).await?);
    assert_eq!(
        ground.metric(&operator, "unbloat_inspections_total").await?,
        0.0,
        "what is known is not asked again"
    );

    // Who opted out has no report that says anything but that, and its workload is as it was.
    let policies: Api<ImageSquashPolicy> = Api::all(client.clone());
    let main = policies.get("main").await.map_err(Error::kube("get the policy"))?.status.expect("a status");
    let ready = condition::find(&main.conditions, finding::READY).expect("Ready");
    assert_eq!((ready.status.as_str(), main.images.matched, main.images.squashed), ("True", 2, 1));

    // A policy that is deleted takes its jobs with it.
    cluster.kubectl(&["delete", "isp", "main", "--wait=true"]).await?;
    cluster
        .wait_for(SYSTEM, "the policy's jobs to go", LONG, async || {
            let left = jobs(&client).await?.len();
            Ok(if left == 0 { Look::Done(()) } else { Look::NotYet(format!("{left} jobs")) })
        })
        .await?;
    operator.terminate()?;
    cluster.check_parts()
}

#[tokio::test]
async fn a_policy_squashes_by_itself_and_says_what_is_wrong_with_it() -> Result<()> {
    let ground = Ground::start().await?;
    let Ground { cluster, registry, .. } = &ground;
    let client = cluster.client().await?;
    let config = json!({"registries": [{"host": registry.host(), "plainHTTP": true}]});
    let mut operator = ground.operator("operator-a", &config).await?;
    cluster.restricted_namespace("team").await?;
    let image =
        Layered { layers: 55, step: 500, seed: 9, programs: true }.write(&cluster.folder().join("app"));
    let source = cluster.push(registry, &image, "team/app:v1").await?;
    cluster.apply(&deployment("team", "app", &source, &json!({})).to_string()).await?;

    // A zone that there isn't is told, and nothing is squashed.
    let spec = json!({
        "mode": "Squash",
        "thresholds": {"layers": 50},
        "stability": {"minAgeSeconds": 0},
        "windows": [{"schedule": "* * * * *", "durationSeconds": 600, "timeZone": "Europe/Atlantis"}],
    });
    cluster.apply(&policy("main", &spec).to_string()).await?;
    let policies: Api<ImageSquashPolicy> = Api::all(client.clone());
    let refused = cluster
        .wait_until(&policies, "main", "told that it is wrong", LONG, |policy| {
            let status = policy.status.clone().unwrap_or_default();
            condition::find(&status.conditions, finding::READY).is_some_and(|ready| ready.status == "False")
        })
        .await?;
    let status = refused.status.expect("it was waited for");
    let ready = condition::find(&status.conditions, finding::READY).expect("it was waited for");
    assert_eq!(ready.reason, "InvalidTimeZone");
    assert!(ready.message.contains("windows[0].timeZone"), "{}", ready.message);

    // Corrected: the job comes by itself.
    patch_policy(
        &client,
        "main",
        &json!({"windows": [{"schedule": "* * * * *", "durationSeconds": 600, "timeZone": "Europe/Berlin"}]}),
    )
    .await?;
    let done = report(cluster, "team", "the image to be squashed", |report| {
        report.status.as_ref().is_some_and(|status| status.result.is_some())
    })
    .await?;
    println!("{:#?}", done.status);
    let spent = policies.get("main").await.map_err(Error::kube("get"))?.status.expect("a status").spent;
    assert_eq!((spent.jobs_this_hour, spent.starting.len()), (1, 0));
    operator.terminate()?;
    cluster.check_parts()
}

#[tokio::test]
async fn workloads_are_pointed_at_the_result_watched_and_given_back_and_managed_ones_are_left() -> Result<()>
{
    let ground = Ground::start().await?;
    let Ground { cluster, registry, .. } = &ground;
    let client = cluster.client().await?;
    let config = json!({
        "registries": [{"host": registry.host(), "plainHTTP": true}],
        "detection": {"rollouts": true},
    });
    let mut operator = ground.operator("operator-a", &config).await?;
    let image =
        Layered { layers: 55, step: 500, seed: 11, programs: true }.write(&cluster.folder().join("app"));
    let source = cluster.push(registry, &image, "team/app:v1").await?;
    // Nothing new ever becomes available: what it is pointed at is taken back.
    let mut never = deployment("fails", "never", &source, &json!({}));
    never["spec"]["minReadySeconds"] = json!(3600);
    never["spec"]["progressDeadlineSeconds"] = json!(7200);
    let managed = [
        ("argo", json!({"argocd.argoproj.io/instance": "team"})),
        ("flux", json!({"kustomize.toolkit.fluxcd.io/name": "team"})),
    ];
    for namespace in ["works", "fails", "argo", "flux"] {
        cluster.restricted_namespace(namespace).await?;
    }
    cluster.apply(&deployment("works", "app", &source, &json!({})).to_string()).await?;
    cluster.apply(&never.to_string()).await?;
    for (name, labels) in &managed {
        cluster.apply(&deployment(name, "app", &source, labels).to_string()).await?;
    }
    ready(cluster, "works", "app").await?;
    let spec = json!({
        "mode": "Squash",
        "selector": {"images": {"include": [format!("{}/*", registry.host())]}},
        "thresholds": {"layers": 50},
        "stability": {"minAgeSeconds": 0},
        "rollout": {"strategy": "Workload", "deadlineSeconds": 20},
    });
    cluster.apply(&policy("main", &spec).to_string()).await?;

    let rollout = |wanted: &'static str| {
        move |report: &ImageReport| {
            let result = report.status.as_ref().and_then(|status| status.result.as_ref());
            report.spec.reference.ends_with("team/app:v1")
                && result.and_then(|result| result.rollout.as_deref()) == Some(wanted)
        }
    };
    let done = report(cluster, "works", "the workload to run the result", rollout("RolledOut")).await?;
    let result = done.status.and_then(|status| status.result).expect("it was waited for").reference;
    assert!(result.contains("team/app:v1-unbloat@sha256:"), "{result}");
    let works: Api<Deployment> = Api::namespaced(client.clone(), "works");
    let app = works.get("app").await.map_err(Error::kube("get"))?;
    assert_eq!(image_of(&app), result);
    assert_eq!(app.status.as_ref().and_then(|status| status.available_replicas), Some(2));

    report(cluster, "fails", "the workload to have its original back", rollout("RolloutReverted")).await?;
    let fails: Api<Deployment> = Api::namespaced(client.clone(), "fails");
    assert_eq!(image_of(&fails.get("never").await.map_err(Error::kube("get"))?), source);

    for (namespace, _) in &managed {
        report(cluster, namespace, "the managed workload to be left", rollout("ManagedByGitOps")).await?;
        let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let left = api.get("app").await.map_err(Error::kube("get"))?;
        assert_eq!((image_of(&left), left.metadata.generation), (source.clone(), Some(1)));
        let events = cluster.kubectl(&["get", "events.events.k8s.io", "-n", namespace, "-o", "yaml"]).await?;
        assert!(events.contains("ManagedByGitOps") && events.contains(&result), "{events}");
    }

    // The account may do what was done here, and nothing more.
    let account = "--as=system:serviceaccount:unbloat-system:unbloat-operator";
    let container =
        app.spec.template.spec.as_ref().map(|pod| pod.containers[0].name.clone()).unwrap_or_default();
    for patch in [
        r#"{"spec": {"template": {"spec": {"containers": [{"name": "NAME", "image": "evil.example/x:1"}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"containers": [{"name": "more", "image": "evil.example/x:1"}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}}"#,
        r#"{"spec": {"template": {"spec": {"containers": [{"name": "NAME", "command": ["sh"]}]}}}}"#,
        r#"{"spec": {"template": {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}}}"#,
        r#"{"spec": {"replicas": 0}}"#,
    ] {
        let patch = patch.replace("NAME", &container);
        let words = ["patch", "deployment", "app", "-n", "works", "--type=strategic", "-p", &patch, account];
        let refused = cluster.kubectl(&words).await.expect_err("the admission policy refuses it").to_string();
        assert!(refused.contains("the operator"), "{patch}: {refused}");
    }
    operator.terminate()?;
    cluster.check_parts()
}
