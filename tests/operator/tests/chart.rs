//! The chart, installed and upgraded by real helm while a job runs, and the command that speaks to the
//! cluster.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use unbloat_cluster::{
    Cluster, Entrance, Error, Extra, Flow, Look, Options, RegistryOptions, Result, extra, run,
};
use unbloat_operator_tests::{Jobs, Layered, WORKER_IMAGE, command, product_image, reason};

const LONG: Duration = Duration::from_secs(180);

#[tokio::test]
async fn the_chart_is_installed_and_upgraded_with_a_running_job() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    for (name, reference) in [("operator", "unbloat.local/operator:test"), ("worker", WORKER_IMAGE)] {
        let image = product_image(name, &cluster.folder().join(name)).await?;
        cluster.load_image(&image, reference).await?;
    }
    let registry = cluster.start_registry("main", RegistryOptions::default()).await?;
    cluster.restricted_namespace("unbloat-system").await?;
    cluster.restricted_namespace("team").await?;

    helm(&cluster, "install", &[]).await?;
    rolled_out(&cluster, "unbloat").await?;
    tested(&cluster).await?;

    let image = Layered { layers: 60, step: 100_000, seed: 41, programs: true }
        .write(&cluster.folder().join("image"));
    let source = cluster.push(&registry, &image, "team/app:v1").await?;
    let target = format!("{}/team/app:flat", registry.host());
    let jobs = Jobs::of(&cluster, "team").await?;
    // Slow enough that the job still runs when the upgrade is done.
    let way = cluster.tunnel(Entrance::Pods, registry.host().parse().expect("an address"))?;
    way.set(Flow::Slow(50_000));
    let slow_source = source.replace(&registry.host(), &way.address().to_string());
    let spec = json!({"source": {"image": slow_source, "plainHTTP": true},
        "target": {"image": target, "plainHTTP": true}});
    jobs.apply("upgraded", &spec).await?;
    jobs.wait_for_reason("upgraded", "Running", LONG).await?;
    let more = "config.concurrency.global=3,networkPolicy.enabled=true,networkPolicy.workerNamespaces={team},priorityClasses.create=true";
    helm(&cluster, "upgrade", &["--set", more]).await?;
    rolled_out(&cluster, "unbloat").await?;
    way.set(Flow::Open);
    let done = jobs.wait_for_end("upgraded", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{:#?}", done.status);
    assert_eq!(done.status.unwrap_or_default().attempts, 1);

    the_command(&cluster, &source, &target).await?;
    beside_it(&cluster, &source).await?;

    // Uninstalled, the resource and its objects stay.
    let mut uninstall = helm_command(&cluster)?;
    uninstall.args(["uninstall", "unbloat", "--namespace=unbloat-system", "--wait"]);
    run(uninstall).await?;
    assert!(jobs.list().await?.iter().any(|job| job.metadata.name.as_deref() == Some("upgraded")));
    without_helm(&cluster, &source, &target).await?;
    cluster.check_parts()
}

/// Another release is refused unless it has a class of its own, and then serves that and nothing else.
async fn beside_it(cluster: &Cluster, source: &str) -> Result<()> {
    cluster.restricted_namespace("unbloat-fast").await?;
    let own = ["--namespace=unbloat-fast", "--set", "crds.enabled=false"];
    let refused = helm_as(cluster, "fast", "install", &own).await.expect_err("the same class").to_string();
    assert!(refused.contains("unbloat in namespace unbloat-system already serves"), "{refused}");
    // For one namespace it is looked at there alone: whoever installs it may see no other.
    let narrow = ["--set", "namespace=team,crds.enabled=false"];
    let beside = [&["--namespace=unbloat-system"], &narrow[..]].concat();
    let refused = helm_as(cluster, "narrow", "install", &beside).await.expect_err("beside it").to_string();
    assert!(refused.contains("already serves"), "{refused}");
    cluster.kubectl(&["create", "serviceaccount", "owner", "--namespace=team"]).await?;
    let admin = ["create", "rolebinding", "owner", "--clusterrole=admin", "--serviceaccount=team:owner"];
    cluster.kubectl(&[&admin[..], &["--namespace=team"]].concat()).await?;
    let owner = "--kube-as-user=system:serviceaccount:team:owner";
    let dry = [&["--namespace=team", "--dry-run=server", owner], &narrow[..]].concat();
    helm_as(cluster, "narrow", "install", &dry).await?;
    let with_class = [&own[..], &["--set", "config.class=fast,replicas=1"]].concat();
    helm_as(cluster, "fast", "install", &with_class).await?;
    helm_as(cluster, "fast", "upgrade", &with_class).await?;
    let wait = ["rollout", "status", "deployment/fast-unbloat", "--namespace=unbloat-fast", "--timeout=120s"];
    cluster.kubectl(&wait).await?;

    let jobs = Jobs::of(cluster, "team").await?;
    let spec = |tag: &str| {
        json!({"source": {"image": source, "plainHTTP": true},
            "target": {"image": source.replace(":v1", tag), "plainHTTP": true},
            "worker": {"resources": {"cpu": "200m", "memory": "128Mi"}}})
    };
    for (name, class) in [("of-fast", "fast"), ("of-nobody", "nobody")] {
        let object = json!({"apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob",
            "metadata": {"name": name, "namespace": "team", "labels": {"unbloat.dev/class": class}},
            "spec": spec(&format!(":{name}"))});
        cluster.apply(&object.to_string()).await?;
    }
    let done = jobs.wait_for_end("of-fast", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{:#?}", done.status);
    let events = cluster.kubectl(&["get", "events", "--namespace=team", "--output=json"]).await?;
    let events: Value = serde_json::from_str(&events).expect("JSON");
    let tellers: Vec<&Value> = events["items"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["involvedObject"]["name"] == "of-fast")
        .map(|event| &event["reportingInstance"])
        .collect();
    assert!(!tellers.is_empty(), "{events}");
    let is_of_fast = |teller: &&Value| teller.as_str().is_some_and(|name| name.starts_with("fast-unbloat-"));
    assert!(tellers.iter().all(is_of_fast), "{tellers:?}");
    let all = jobs.list().await?;
    let nobodys = all.iter().find(|job| job.metadata.name.as_deref() == Some("of-nobody"));
    assert_eq!(nobodys.expect("it was applied").status, None, "a class that nobody serves");

    let mut uninstall = helm_command(cluster)?;
    uninstall.args(["uninstall", "fast", "--namespace=unbloat-fast", "--wait"]);
    run(uninstall).await.map(drop)
}

/// `helm test`, with what its pod says when it fails.
async fn tested(cluster: &Cluster) -> Result<()> {
    let mut test = helm_command(cluster)?;
    test.args(["test", "unbloat", "--namespace=unbloat-system", "--timeout=2m"]);
    if let Err(error) = run(test).await {
        let logs = cluster.kubectl(&["logs", "unbloat-test", "--namespace=unbloat-system"]).await?;
        panic!("{error}: {logs}");
    }
    Ok(())
}

/// Waits until all replicas of a deployment are its newest ones and available; as `kubectl rollout status`,
/// with what the pods say when it takes too long.
async fn rolled_out(cluster: &Cluster, name: &str) -> Result<()> {
    let get = ["get", "deployment", name, "--namespace=unbloat-system", "--output=json"];
    cluster
        .wait_for("unbloat-system", &format!("{name} to be rolled out"), LONG, async || {
            let deployment: Value = serde_json::from_str(&cluster.kubectl(&get).await?).expect("JSON");
            let status = &deployment["status"];
            let wanted = &deployment["spec"]["replicas"];
            let is_there = status["observedGeneration"] == deployment["metadata"]["generation"]
                && ["replicas", "updatedReplicas", "availableReplicas"]
                    .iter()
                    .all(|count| &status[count] == wanted);
            Ok(if is_there { Look::Done(()) } else { Look::NotYet(status.to_string()) })
        })
        .await
}

/// The same from `config/`, as kustomize makes it.
async fn without_helm(cluster: &Cluster, source: &str, target: &str) -> Result<()> {
    let folder = format!("{}/../../config/default", env!("CARGO_MANIFEST_DIR"));
    let manifests = cluster.kubectl(&["kustomize", &folder]).await?;
    let version = env!("CARGO_PKG_VERSION");
    let local = |text: &str, name: &str| {
        let shipped = format!("ghcr.io/unbloat/{name}:{version}");
        assert!(text.contains(&shipped), "no {shipped} in {text}");
        text.replace(&shipped, &format!("unbloat.local/{name}:test"))
    };
    cluster.apply(&local(&local(&manifests, "operator"), "worker")).await?;
    cluster
        .kubectl(&["apply", "--server-side", "--kustomize", &folder.replace("default", "network")])
        .await?;
    rolled_out(cluster, "unbloat-operator").await?;
    let jobs = Jobs::of(cluster, "team").await?;
    let spec = json!({"source": {"image": source, "plainHTTP": true}, "target": {"image": target},
        "worker": {"resources": {"cpu": "200m", "memory": "128Mi"}}});
    jobs.apply("without-helm", &spec).await?;
    let done = jobs.wait_for_end("without-helm", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{:#?}", done.status);
    Ok(())
}

#[tokio::test]
async fn what_is_off_by_default_is_made_when_it_is_asked_for() -> Result<()> {
    let template = async |more: &[&str]| {
        let mut command = Command::new(extra(Extra::Helm)?);
        let chart = format!("{}/../../charts/unbloat", env!("CARGO_MANIFEST_DIR"));
        command.args(["template", "unbloat", &chart, "--kube-version=1.34.0"]).args(more);
        run(command).await
    };
    let wanted = [
        ("kind: ServiceMonitor", "serviceMonitor.enabled=true"),
        ("alert: UnbloatNoLeader", "prometheusRule.enabled=true"),
        ("Pull bytes given back", "dashboards.enabled=true"),
        ("verbs: [get, patch]", "config.detection.rollouts=true"),
    ];
    let plain = template(&[]).await?;
    for (words, value) in wanted {
        assert!(!plain.contains(words), "{words}");
        let asked = template(&["--set", value]).await?;
        assert!(asked.contains(words), "{value}: {words}");
    }
    Ok(())
}

fn helm_command(cluster: &Cluster) -> Result<Command> {
    let mut command = Command::new(extra(Extra::Helm)?);
    command.env("KUBECONFIG", cluster.kubeconfig()).env("HELM_CACHE_HOME", cluster.folder().join("helm"));
    Ok(command)
}

async fn helm(cluster: &Cluster, verb: &str, more: &[&str]) -> Result<()> {
    helm_as(cluster, "unbloat", verb, &[&["--namespace=unbloat-system"], more].concat()).await
}

async fn helm_as(cluster: &Cluster, release: &str, verb: &str, more: &[&str]) -> Result<()> {
    let mut command = helm_command(cluster)?;
    let chart = format!("{}/../../charts/unbloat", env!("CARGO_MANIFEST_DIR"));
    let image = |name: &str, repository: &str| {
        format!(
            "{name}.registry=,{name}.repository=unbloat.local/{repository},{name}.tag=test,{name}.pullPolicy=Never"
        )
    };
    command.args([verb, release, &chart]);
    command.args(["--set", &image("image", "operator"), "--set", &image("workerImage", "worker")]);
    let toolbox = "testImage.registry=,testImage.repository=unbloat.local/toolbox,testImage.pullPolicy=Never";
    command.args(["--set", toolbox, "--set-string", "testImage.tag=1"]);
    command.args(["--set", "config.worker.cpu=200m", "--set", "config.worker.memory=128Mi"]);
    command.args(["--set", "resources.requests.cpu=10m"]).args(more);
    run(command).await.map(drop)
}

/// How a run of `unbloat` ended: its exit code, standard output and standard error.
struct Ended {
    code: Option<i32>,
    output: String,
    errors: String,
}

/// Runs `unbloat`, or `kubectl unbloat`, as a user does.
async fn unbloat(cluster: &Cluster, through_kubectl: bool, words: &[&str]) -> Result<Ended> {
    let program = command(if through_kubectl { "kubectl-unbloat" } else { "unbloat" });
    let mut command = if through_kubectl {
        let mut kubectl = Command::new(cluster.kubectl_command(&[]).get_program());
        // kubectl finds its plugins on the path.
        kubectl.env("PATH", program.parent().expect("it lies in a folder")).arg("unbloat");
        kubectl
    } else {
        Command::new(program)
    };
    command.env("KUBECONFIG", cluster.kubeconfig()).args(words).arg("--namespace=team");
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("it doesn't panic").map_err(Error::io("start unbloat"))?;
    Ok(Ended {
        code: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn the_command(cluster: &Cluster, source: &str, target: &str) -> Result<()> {
    let host = source.split('/').next().unwrap_or_default();
    let plain = format!("--plain-http={host}");
    let run = ["run", source, target, "--name=by-command", "--no-verify", &plain, "--progress=plain"];
    let ended = unbloat(cluster, false, &run).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(
        ended.errors.contains("by-command created") && ended.errors.contains("Running"),
        "{}",
        ended.errors
    );
    assert!(ended.output.contains("Squashed: ") && ended.output.contains("@sha256:"), "{}", ended.output);

    let ended = unbloat(cluster, true, &["get"]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.output.contains("60→1") && ended.output.contains("by-command"), "{}", ended.output);
    let ended = unbloat(cluster, false, &["logs", "by-command"]).await?;
    assert!(ended.code == Some(0) && ended.output.contains("squashing"), "{}{}", ended.output, ended.errors);
    let ended = unbloat(cluster, false, &["watch", "by-command", "--output=json"]).await?;
    let job: Value = serde_json::from_str(&ended.output).expect("one JSON object");
    assert_eq!(job["status"]["layers"], "60→1");

    let unknown = source.replace(":v1", ":nope");
    let run = ["run", &unknown, target, "--name=unknown", &plain];
    let ended = unbloat(cluster, true, &run).await?;
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    assert!(ended.errors.contains("unknown failed: ImageNotFound: "), "{}", ended.errors);
    let ended = unbloat(cluster, false, &["watch", "nobody"]).await?;
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    let ended = unbloat(cluster, false, &["run", source, source, "--name=onto-itself"]).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    assert!(ended.errors.contains("set target.moveTag instead"), "{}", ended.errors);

    let ended = unbloat(cluster, false, &["cancel", "by-command"]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    cluster
        .wait_for("team", "the cancelled job to be gone", LONG, async || {
            let names = cluster.kubectl(&["get", "isj", "--namespace=team", "--output=name"]).await?;
            Ok(if names.contains("by-command") { Look::NotYet(names) } else { Look::Done(()) })
        })
        .await
}
