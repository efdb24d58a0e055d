//! Suspended, cancelled, killed and cut off at each stage: the same end, one result, never two workers at
//! once.
//!
//! Each scenario is a test of its own on one ground, one at a time: `--test lifecycle a_cancelled_job` runs
//! one.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::json;
use tokio::sync::{MutexGuard, OnceCell};
use unbloat_cluster::{Entrance, Flow, Look, Part, Result};
use unbloat_operator_tests::{Gates, Ground, Jobs, Layered, Operator, Stage, fresh, reason};

const LONG: Duration = Duration::from_secs(180);

/// What each test has: the shared ground for itself, ways that hold jobs in their stages, and a leader.
struct Scene {
    ground: MutexGuard<'static, Ground>,
    operator: Operator,
}

impl Scene {
    async fn begin() -> Result<Self> {
        let ground = Ground::shared().await?;
        let operator = ground.operator(&fresh("operator"), &json!({})).await?;
        ground.wait_for_leader(&operator, LONG).await?;
        Ok(Self { ground, operator })
    }

    /// Ends the operator, so that the next one leads at once.
    async fn end(mut self) -> Result<()> {
        self.operator.terminate()?;
        self.ground.cluster.check_parts()
    }
}

/// The digest of the slow image's result when nobody disturbs its job; every disturbed one has to have the
/// same.
async fn undisturbed(ground: &Ground, gates: &Gates<'_>) -> Result<&'static str> {
    static DIGEST: OnceCell<String> = OnceCell::const_new();
    let digest = DIGEST.get_or_try_init(async || {
        // What is left of an attempt of this that failed is no spec of the next one.
        let case = fresh("undisturbed");
        gates.start(&case).await?;
        all_end_the_same(ground, gates, &case, 1, None).await
    });
    Ok(digest.await?)
}

#[tokio::test]
async fn nobody_is_disturbed_and_both_jobs_give_one_digest() -> Result<()> {
    let scene = Scene::begin().await?;
    let gates = Gates::open(&scene.ground).await?;
    undisturbed(&scene.ground, &gates).await?;
    drop(gates);
    scene.end().await
}

#[tokio::test]
async fn an_operator_killed_before_it_saw_a_job_and_while_its_worker_works_changes_nothing() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = Gates::open(ground).await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let digest = undisturbed(ground, &gates).await?;
    let case = "operator";
    scene.operator.kill()?;
    for stage in Stage::ALL {
        gates.hold(stage);
        jobs.apply(&Gates::name(case, stage), &gates.spec(case, stage)).await?;
    }
    scene.operator = ground.operator(&fresh("operator"), &json!({})).await?;
    for stage in Stage::ALL {
        gates.wait_for(case, stage).await?;
    }
    // The worker ends meanwhile.
    scene.operator.kill()?;
    for stage in Stage::ALL {
        gates.let_go(stage);
        one_worker_ends_well(ground, &Gates::name(case, stage)).await?;
    }
    scene.operator = ground.operator(&fresh("operator"), &json!({})).await?;
    all_end_the_same(ground, &gates, case, 1, Some(digest)).await?;
    drop(gates);
    scene.end().await
}

#[tokio::test]
async fn a_worker_whose_pod_is_deleted_is_lost_and_replaced() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = Gates::open(ground).await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let digest = undisturbed(ground, &gates).await?;
    let case = "worker";
    gates.start(case).await?;
    for stage in Stage::ALL {
        let name = Gates::name(case, stage);
        let pod = jobs.pods(&name).await?.remove(0).name_any();
        ground.cluster.kubectl(&["delete", "pod", &pod, "--namespace=team", "--wait=false"]).await?;
        let failed = jobs.wait_for_reason(&name, "Retrying", LONG).await?;
        let failure = failed.status.unwrap_or_default().last_failure.expect("it failed");
        assert_eq!(failure.reason, "WorkerLost", "{failure:?}");
        assert_eq!(gates.tags(case, stage).await?, "", "{name}");
    }
    all_end_the_same(ground, &gates, case, 2, Some(digest)).await?;
    drop(gates);
    scene.end().await
}

#[tokio::test]
async fn a_kubelet_that_starts_again_disturbs_no_worker() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = Gates::open(ground).await?;
    let digest = undisturbed(ground, &gates).await?;
    let case = "kubelet";
    gates.start(case).await?;
    ground.cluster.restart(&Part::Kubelet(0))?;
    all_end_the_same(ground, &gates, case, 1, Some(digest)).await?;
    drop(gates);
    scene.end().await
}

#[tokio::test]
async fn a_registry_that_is_away_for_two_seconds_costs_no_attempt() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = Gates::open(ground).await?;
    let digest = undisturbed(ground, &gates).await?;
    let case = "registry";
    gates.start(case).await?;
    ground.cluster.kill(&ground.registry.part())?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ground.cluster.start_part(&ground.registry.part())?;
    all_end_the_same(ground, &gates, case, 1, Some(digest)).await?;
    drop(gates);
    scene.end().await
}

#[tokio::test]
async fn without_an_api_server_for_30_s_the_leader_ends_and_the_next_one_goes_on() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = Gates::open(ground).await?;
    let digest = undisturbed(ground, &gates).await?;
    let case = "api-server";
    gates.start(case).await?;
    ground.cluster.kill(&Part::ApiServer)?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let ended = scene.operator.program.ended();
    ground.cluster.start_part(&Part::ApiServer)?;
    ground.cluster.wait_for_api().await?;
    assert!(ended.is_some(), "a leader without a lease went on:\n{}", scene.operator.log());
    scene.operator = ground.operator(&fresh("operator"), &json!({})).await?;
    all_end_the_same(ground, &gates, case, 1, Some(digest)).await?;
    drop(gates);
    scene.end().await
}

#[tokio::test]
async fn asked_to_end_a_leader_gives_its_lease_back_and_the_next_one_leads_at_once() -> Result<()> {
    let mut scene = Scene::begin().await?;
    scene.operator.terminate()?;
    let start = Instant::now();
    scene.operator = scene.ground.operator(&fresh("operator"), &json!({})).await?;
    scene.ground.wait_for_leader(&scene.operator, LONG).await?;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    scene.end().await
}

/// Lets the jobs of a case go on and checks that each ends with one result, after this many attempts; gives
/// its digest.
async fn all_end_the_same(
    ground: &Ground,
    gates: &Gates<'_>,
    case: &str,
    attempts: i32,
    digest: Option<&str>,
) -> Result<String> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let mut digests = Vec::new();
    for stage in Stage::ALL {
        gates.let_go(stage);
        let name = Gates::name(case, stage);
        let done = jobs.wait_for_end(&name, LONG).await?;
        assert_eq!(reason(&done).1, "Squashed", "{name}: {:#?}", done.status);
        let status = done.status.unwrap_or_default();
        assert_eq!(status.attempts, attempts, "{name}: {status:#?}");
        one_worker_ends_well(ground, &name).await?;
        assert_eq!(gates.tags(case, stage).await?, "flat\n", "{name}");
        let target = format!("{}/slow/{name}:flat", ground.registry.host());
        let pushed = ground.cluster.crane(&ground.registry, &["digest", &target]).await?.trim().to_owned();
        assert_eq!(status.target.unwrap_or_default().digest.as_deref(), Some(pushed.as_str()), "{name}");
        digests.push(pushed);
    }
    assert!(
        digests.iter().all(|found| Some(found.as_str()) == digest.or(Some(&digests[0]))),
        "{case}: {digests:?}"
    );
    Ok(digests.remove(0))
}

/// Waits until no worker of a job runs; one of them, and no more, has done its work.
async fn one_worker_ends_well(ground: &Ground, name: &str) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let what = format!("one worker of {name} to end well");
    ground
        .cluster
        .wait_for("team", &what, LONG, async || {
            let pods = jobs.pods(name).await?;
            let phases: Vec<_> = pods.iter().filter_map(|pod| pod.status.as_ref()?.phase.clone()).collect();
            let well = phases.iter().filter(|phase| *phase == "Succeeded").count();
            let badly = phases.iter().filter(|phase| *phase == "Failed").count();
            Ok(if well == 1 && well + badly == pods.len() {
                Look::Done(())
            } else {
                Look::NotYet(format!("{phases:?}"))
            })
        })
        .await
}

#[tokio::test]
async fn a_suspended_worker_goes_and_a_resumed_job_starts_another() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = &Gates::open(ground).await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let case = "suspended";
    gates.start(case).await?;
    for stage in Stage::ALL {
        let name = Gates::name(case, stage);
        jobs.patch(&name, &json!({"spec": {"suspend": true}})).await?;
        jobs.wait_for_reason(&name, "Suspended", LONG).await?;
        no_pods(ground, &name).await?;
        assert_eq!(gates.tags(case, stage).await?, "", "{name}");
        gates.let_go(stage);
        jobs.patch(&name, &json!({"spec": {"suspend": false}})).await?;
        let done = jobs.wait_for_end(&name, LONG).await?;
        assert_eq!(reason(&done).1, "Squashed");
        let status = done.status.unwrap_or_default();
        assert_eq!((status.attempts, status.failures), (2, 0));
    }
    scene.end().await
}

#[tokio::test]
async fn a_cancelled_job_leaves_no_pod_and_no_tag() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = &Gates::open(ground).await?;
    let case = "cancelled";
    gates.start(case).await?;
    for stage in Stage::ALL {
        let name = Gates::name(case, stage);
        ground.cluster.kubectl(&["delete", "isj", &name, "--namespace=team"]).await?;
        no_pods(ground, &name).await?;
        assert_eq!(gates.tags(case, stage).await?, "", "{name}");
    }
    scene.end().await
}

#[tokio::test]
async fn a_tag_that_moved_meanwhile_is_left_alone() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let gates = &Gates::open(ground).await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let (case, stage) = ("moved", Stage::Reading);
    let mut spec = gates.spec(case, stage);
    let image = spec["source"]["image"].as_str().unwrap_or_default().replace("slow/app:v1", "slow/app:moved");
    ground
        .cluster
        .crane(&ground.registry, &["tag", &format!("{}/slow/app:v1", ground.registry.host()), "moved"])
        .await?;
    spec["source"]["image"] = json!(image);
    spec["target"] = json!({"moveTag": true});
    gates.hold(stage);
    jobs.apply(&Gates::name(case, stage), &spec).await?;
    gates.wait_for(case, stage).await?;
    let newer = Layered { layers: 2, step: 10, seed: 29, programs: true }
        .write(&ground.cluster.folder().join("newer"));
    let tag = ground.cluster.push(&ground.registry, &newer, "slow/app:moved").await?;
    let digest = ground.cluster.crane(&ground.registry, &["digest", &tag]).await?;
    gates.let_go(stage);
    let ended = jobs.wait_for_end(&Gates::name(case, stage), LONG).await?;
    assert_eq!(reason(&ended).1, "SourceChanged", "{:#?}", ended.status);
    assert_eq!(ground.cluster.crane(&ground.registry, &["digest", &tag]).await?, digest);

    // Left in peace, the tag is moved.
    jobs.apply("moved-again", &spec).await?;
    let ended = jobs.wait_for_end("moved-again", LONG).await?;
    assert_eq!(reason(&ended).1, "Squashed", "{:#?}", ended.status);
    let now = ground.cluster.crane(&ground.registry, &["digest", &tag]).await?;
    assert_eq!(Some(now.trim()), ended.status.unwrap_or_default().target.expect("written").digest.as_deref());
    scene.end().await
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

#[tokio::test]
async fn a_job_goes_when_its_time_to_live_is_over() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
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
        .await?;
    scene.end().await
}

#[tokio::test]
async fn a_leader_that_is_cut_off_ends_before_the_standby_takes_over() -> Result<()> {
    let ground = Ground::shared().await?;
    let tunnel = ground.cluster.tunnel(Entrance::Node, ground.cluster.api_address())?;
    let mut first = ground.operator_through(&fresh("operator"), &json!({}), tunnel.address()).await?;
    ground.wait_for_leader(&first, LONG).await?;
    let mut second = ground.operator(&fresh("operator"), &json!({})).await?;
    let gates = Gates::open(&ground).await?;
    gates.start("cut").await?;

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
    all_end_the_same(&ground, &gates, "cut", 1, None).await?;
    second.terminate()?;
    ground.cluster.check_parts()
}
