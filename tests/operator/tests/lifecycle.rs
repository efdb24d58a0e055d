//! Suspended, cancelled, killed and cut off at each stage: the same end, one result, never two workers at once.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::{Value, json};
use unbloat_cluster::{Entrance, Flow, Look, Part, Result};
use unbloat_operator_tests::{Ground, Jobs, Layered, reason};

const LONG: Duration = Duration::from_secs(180);

/// A source that takes a while: uncompressible and larger than a small worker squashes in a moment.
async fn slow_source(ground: &Ground, name: &str, seed: u64) -> Result<Value> {
    let image = Layered { layers: 60, step: 100_000, seed }.write(&ground.cluster.folder().join(name));
    let source = ground.cluster.push(&ground.registry, &image, &format!("slow/{name}:v1")).await?;
    Ok(json!({"source": {"image": source, "plainHTTP": true}, "compression": "Gzip", "level": 9,
        "target": {"image": format!("{}/slow/{name}:flat", ground.registry.host())}}))
}

async fn tags(ground: &Ground, name: &str) -> Result<String> {
    let repository = format!("{}/slow/{name}", ground.registry.host());
    ground.cluster.crane(&ground.registry, &["ls", &repository]).await
}

#[tokio::test]
async fn a_job_ends_the_same_whoever_is_killed_on_the_way() -> Result<()> {
    let ground = Ground::start().await?;
    ground.cluster.restricted_namespace("team").await?;
    let mut operator = ground.operator("operator-a", &json!({})).await?;
    ground.wait_for_leader(&operator, LONG).await?;

    suspending_and_resuming(&ground).await?;
    cancelling(&ground).await?;
    time_to_live(&ground).await?;
    a_tag_that_moved_meanwhile_is_left_alone(&ground).await?;

    // The operator is killed: before it saw the job, while the worker runs, and when the worker has ended meanwhile.
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    operator.kill()?;
    jobs.apply("unseen", &slow_source(&ground, "unseen", 21).await?).await?;
    operator = ground.operator("operator-b", &json!({})).await?;
    jobs.wait_for_reason("unseen", "Running", LONG).await?;
    operator.kill()?;
    one_worker_ends(&ground, "unseen").await?;
    operator = ground.operator("operator-c", &json!({})).await?;
    once_squashed(&ground, "unseen").await?;

    // The worker is killed.
    jobs.apply("worker", &slow_source(&ground, "worker", 22).await?).await?;
    jobs.wait_for_reason("worker", "Running", LONG).await?;
    let pod = jobs.pods("worker").await?.remove(0).name_any();
    ground.cluster.kubectl(&["delete", "pod", &pod, "--namespace=team", "--grace-period=1"]).await?;
    let failed = jobs.wait_for_reason("worker", "Retrying", LONG).await?;
    assert_eq!(failed.status.unwrap_or_default().last_failure.expect("it failed").reason, "WorkerLost");
    let done = jobs.wait_for_end("worker", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed");
    assert_eq!(done.status.unwrap_or_default().attempts, 2);

    // The node's kubelet is killed and comes back.
    jobs.apply("kubelet", &slow_source(&ground, "kubelet", 23).await?).await?;
    jobs.wait_for_reason("kubelet", "Running", LONG).await?;
    ground.cluster.restart(&Part::Kubelet(0))?;
    once_squashed(&ground, "kubelet").await?;

    // The registry is killed while the worker reads or writes, and comes back.
    jobs.apply("registry", &slow_source(&ground, "registry", 24).await?).await?;
    jobs.wait_for_reason("registry", "Running", LONG).await?;
    ground.cluster.kill(&ground.registry.part())?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ground.cluster.start_part(&ground.registry.part())?;
    let done = jobs.wait_for_end("registry", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{:#?}", done.status);

    // The API server is away for 30 s: the operator gives up its lease and ends; the next one goes on.
    jobs.apply("api", &slow_source(&ground, "api", 25).await?).await?;
    jobs.wait_for_reason("api", "Running", LONG).await?;
    ground.cluster.kill(&Part::ApiServer)?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(operator.program.ended().is_some(), "a leader without a lease went on:\n{}", operator.log());
    ground.cluster.start_part(&Part::ApiServer)?;
    let mut operator = ground.operator("operator-d", &json!({})).await?;
    once_squashed(&ground, "api").await?;

    // Asked to end, it gives the lease back, and the next one leads at once.
    operator.terminate()?;
    let start = Instant::now();
    let operator = ground.operator("operator-e", &json!({})).await?;
    ground.wait_for_leader(&operator, LONG).await?;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    ground.cluster.check_parts()
}

async fn once_squashed(ground: &Ground, name: &str) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let done = jobs.wait_for_end(name, LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{name}: {:#?}", done.status);
    assert_eq!(done.status.unwrap_or_default().attempts, 1, "{name}");
    assert_eq!(jobs.pods(name).await?.len(), 1, "{name}");
    assert_eq!(tags(ground, name).await?, "flat\nv1\n");
    Ok(())
}

async fn one_worker_ends(ground: &Ground, name: &str) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    ground
        .cluster
        .wait_for("team", &format!("the worker of {name} to end"), LONG, async || {
            let pods = jobs.pods(name).await?;
            let phases: Vec<_> =
                pods.iter().map(|pod| pod.status.clone().unwrap_or_default().phase).collect();
            let ended = phases.iter().all(|phase| phase.as_deref() == Some("Succeeded"));
            Ok(if ended { Look::Done(()) } else { Look::NotYet(format!("{phases:?}")) })
        })
        .await
}

async fn suspending_and_resuming(ground: &Ground) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply("suspended", &slow_source(ground, "suspended", 26).await?).await?;
    jobs.wait_for_reason("suspended", "Running", LONG).await?;
    jobs.patch("suspended", &json!({"spec": {"suspend": true}})).await?;
    jobs.wait_for_reason("suspended", "Suspended", LONG).await?;
    no_pods(ground, "suspended").await?;
    assert_eq!(tags(ground, "suspended").await?, "v1\n");
    jobs.patch("suspended", &json!({"spec": {"suspend": false}})).await?;
    let done = jobs.wait_for_end("suspended", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed");
    let status = done.status.unwrap_or_default();
    assert_eq!((status.attempts, status.failures), (2, 0));
    Ok(())
}

async fn cancelling(ground: &Ground) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply("cancelled", &slow_source(ground, "cancelled", 27).await?).await?;
    jobs.wait_for_reason("cancelled", "Running", LONG).await?;
    ground.cluster.kubectl(&["delete", "isj", "cancelled", "--namespace=team"]).await?;
    no_pods(ground, "cancelled").await?;
    assert_eq!(tags(ground, "cancelled").await?, "v1\n");
    Ok(())
}

async fn a_tag_that_moved_meanwhile_is_left_alone(ground: &Ground) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let mut spec = slow_source(ground, "moved", 28).await?;
    spec["target"] = json!({"moveTag": true});
    jobs.apply("moved", &spec).await?;
    jobs.wait_for_reason("moved", "Running", LONG).await?;
    let newer = Layered { layers: 2, step: 10, seed: 29 }.write(&ground.cluster.folder().join("newer"));
    let tag = ground.cluster.push(&ground.registry, &newer, "slow/moved:v1").await?;
    let digest = ground.cluster.crane(&ground.registry, &["digest", &tag]).await?;
    let ended = jobs.wait_for_end("moved", LONG).await?;
    assert_eq!(reason(&ended).1, "SourceChanged", "{:#?}", ended.status);
    assert_eq!(ground.cluster.crane(&ground.registry, &["digest", &tag]).await?, digest);

    // Left in peace, the tag is moved.
    spec["source"]["image"] = json!(tag);
    jobs.apply("moved-again", &spec).await?;
    let ended = jobs.wait_for_end("moved-again", LONG).await?;
    assert_eq!(reason(&ended).1, "Squashed", "{:#?}", ended.status);
    let now = ground.cluster.crane(&ground.registry, &["digest", &tag]).await?;
    assert_eq!(Some(now.trim()), ended.status.unwrap_or_default().target.expect("written").digest.as_deref());
    Ok(())
}

async fn no_pods(ground: &Ground, name: &str) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    ground
        .cluster
        .wait_for("team", &format!("the pods of {name} to be gone"), LONG, async || {
            let pods = jobs.pods(name).await?;
            Ok(if pods.is_empty() { Look::Done(()) } else { Look::NotYet(format!("{} pods", pods.len())) })
        })
        .await
}

async fn time_to_live(ground: &Ground) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let spec = json!({"source": {"image": "reg.example/Upper:v1"}, "target": {"image": "reg.example/b:c"},
        "ttlSecondsAfterFinished": 2});
    jobs.apply("short", &spec).await?;
    ground
        .cluster
        .wait_for("team", "the job to be deleted", LONG, async || {
            let left = jobs.list().await?.iter().any(|job| job.name_any() == "short");
            Ok(if left { Look::NotYet("it is there".into()) } else { Look::Done(()) })
        })
        .await
}

#[tokio::test]
async fn a_leader_that_is_cut_off_ends_before_the_standby_takes_over() -> Result<()> {
    let ground = Ground::start().await?;
    ground.cluster.restricted_namespace("team").await?;
    let tunnel = ground.cluster.tunnel(Entrance::Node, ground.cluster.api_address())?;
    let mut first = ground.operator_through("operator-a", &json!({}), tunnel.address()).await?;
    ground.wait_for_leader(&first, LONG).await?;
    let second = ground.operator("operator-b", &json!({})).await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply("cut", &slow_source(&ground, "cut", 31).await?).await?;
    jobs.wait_for_reason("cut", "Running", LONG).await?;

    tunnel.set(Flow::Frozen);
    let cut = Instant::now();
    let mut first_ended = None;
    while first_ended.is_none() {
        if first.program.ended().is_some() {
            first_ended = Some(cut.elapsed());
        }
        let leads = ground.metric(&second, "unbloat_leader").await.unwrap_or(0.0) > 0.0;
        assert!(!leads || first_ended.is_some(), "two leaders {:?} after the cut", cut.elapsed());
        assert!(cut.elapsed() < LONG, "the leader that is cut off goes on:\n{}", first.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ground.wait_for_leader(&second, LONG).await?;
    once_squashed(&ground, "cut").await?;
    Ok(())
}
