//! Faults on demand: parts killed and started again, ways cut, a node lost. A cluster of its own, with two
//! nodes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::Api;
use serde_json::json;
use unbloat_cluster::fixture::{container, job, pod};
use unbloat_cluster::{Cluster, Entrance, Error, Flow, Look, Options, Part, RegistryOptions, Result, Signal};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn parts_are_killed_and_come_back_and_ways_are_cut_and_mended() -> Result<()> {
    let cluster = Cluster::start(Options::default().nodes(2)).await?;
    cluster.restricted_namespace("faults").await?;

    pods_of_two_nodes_reach_each_other(&cluster).await?;
    a_job_runs_on_while_the_api_server_is_killed(&cluster).await?;
    a_killed_registry_keeps_its_images(&cluster).await?;
    a_frozen_way_says_nothing_and_a_refused_one_says_no(&cluster).await?;
    a_program_is_cut_off_alone(&cluster).await?;
    a_pod_is_cut_off_alone(&cluster).await?;
    a_pod_outlives_its_kubelet_and_the_node_is_missed(&cluster).await?;
    cluster.end()
}

async fn pods_of_two_nodes_reach_each_other(cluster: &Cluster) -> Result<()> {
    let mut server = pod("faults", "server", container("while :; do echo hello | nc -l -p 8080; done"));
    server["spec"]["nodeName"] = json!("node-0");
    cluster.apply(&server.to_string()).await?;
    let server = cluster.wait_for_pod_ready("faults", "server", SOON).await?;
    let address = server.status.and_then(|status| status.pod_ip).unwrap_or_default();
    let script = format!(
        "for i in $(seq 50); do nc {address} 8080 > /dev/termination-log && exit 0; sleep 0.2; done; exit 1"
    );
    let mut client = job("faults", "client", container(&script));
    client["spec"]["template"]["spec"]["nodeName"] = json!("node-1");
    cluster.apply(&client.to_string()).await?;
    let end = cluster.wait_for_job_end("faults", "client", SOON).await?;
    assert_eq!(end.termination_message.as_deref(), Some("hello\n"));
    Ok(())
}

async fn a_job_runs_on_while_the_api_server_is_killed(cluster: &Cluster) -> Result<()> {
    let script = "sleep 4; echo -n survived > /dev/termination-log";
    cluster.apply(&job("faults", "survivor", container(script)).to_string()).await?;
    wait_for_phase(cluster, "batch.kubernetes.io/job-name=survivor", "Running").await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);

    cluster.kill(&Part::ApiServer)?;
    let asked = tokio::time::timeout(Duration::from_secs(5), namespaces.get("faults")).await;
    assert!(!matches!(asked, Ok(Ok(_))), "a dead API server answered");
    cluster.start_part(&Part::ApiServer)?;

    let end = cluster.wait_for_job_end("faults", "survivor", SOON).await?;
    assert_eq!((end.succeeded, end.termination_message.as_deref()), (true, Some("survived")));
    cluster.check_parts()
}

async fn a_killed_registry_keeps_its_images(cluster: &Cluster) -> Result<()> {
    let registry = cluster.start_registry("faulty", RegistryOptions::default()).await?;
    let busybox = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox"));
    let image = unbloat_cluster::ImageBuilder::new().file(
        "bin/busybox",
        busybox.map_err(Error::io("read busybox"))?,
        0o755,
    );
    let image = image.write(&cluster.folder().join("kept"))?;
    cluster.push(&registry, &image, "kept:1").await?;
    cluster.kill(&registry.part())?;
    let listing = ["ls", &format!("{}/kept", registry.host())];
    cluster.crane(&registry, &listing).await.expect_err("nobody listens");
    cluster.start_part(&registry.part())?;
    cluster.wait_for_listener(&registry.part(), ([10, 200, 0, 10], 5000).into()).await?;
    assert_eq!(cluster.crane(&registry, &listing).await?, "1\n");
    Ok(())
}

async fn a_frozen_way_says_nothing_and_a_refused_one_says_no(cluster: &Cluster) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    let ask = || tokio::time::timeout(Duration::from_secs(2), namespaces.get("faults"));
    assert!(matches!(ask().await, Ok(Ok(_))));
    cluster.api_tunnel().set(Flow::Frozen);
    assert!(ask().await.is_err(), "a frozen way let an answer through");
    cluster.api_tunnel().set(Flow::Open);
    assert!(matches!(ask().await, Ok(Ok(_))), "a way that was mended must work again");
    cluster.api_tunnel().set(Flow::Refused);
    assert!(!matches!(ask().await, Ok(Ok(_))), "a refused way let an answer through");
    cluster.api_tunnel().set(Flow::Open);
    cluster
        .wait_for("faults", "an answer", SOON, async || {
            let answer = namespaces.get("faults").await;
            answer.map(|_| Look::Done(())).map_err(Error::kube("get a namespace"))
        })
        .await
}

async fn a_program_is_cut_off_alone(cluster: &Cluster) -> Result<()> {
    let tunnel = cluster.tunnel(Entrance::Node, cluster.api_address())?;
    cluster
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "viewer",
            "--clusterrole=view",
            "--serviceaccount=faults:default",
        ])
        .await?;
    let config = cluster.kubeconfig_as("faults", "default", tunnel.address()).await?;
    let kubectl = cluster.kubectl_command(&[]).get_program().to_string_lossy().into_owned();
    let words = [kubectl.as_str(), "get", "pods", "--namespace=faults", "--watch", "--output=name"];
    let config = config.display().to_string();
    let mut program =
        cluster.spawn("watcher", &words, &[("KUBECONFIG", config.as_str()), ("HOME", "/var/lib")])?;
    let has_seen = |name: &str| std::fs::read_to_string(program.log()).is_ok_and(|log| log.contains(name));
    let seen = async |name: &str| {
        cluster
            .wait_for("faults", &format!("{name} to be seen"), SOON, async || {
                Ok(if has_seen(name) { Look::Done(()) } else { Look::NotYet("not in its log".into()) })
            })
            .await
    };
    seen("pod/server").await?;

    tunnel.set(Flow::Frozen);
    cluster.apply(&pod("faults", "unseen", container("true")).to_string()).await?;
    wait_for_phase(cluster, "app=unseen", "Succeeded").await?;
    assert!(!has_seen("pod/unseen"), "what is cut off saw a new pod");
    tunnel.set(Flow::Open);
    seen("pod/unseen").await?;
    program.kill(Signal::TERM)
}

async fn a_pod_is_cut_off_alone(cluster: &Cluster) -> Result<()> {
    let script =
        "while :; do nc -w 1 10.202.0.1 443 < /dev/null && echo open || echo closed; sleep 0.2; done";
    cluster.apply(&pod("faults", "caller", container(script)).to_string()).await?;
    let caller = cluster.wait_for_pod_ready("faults", "caller", SOON).await?;
    let address = caller.status.and_then(|status| status.pod_ip).unwrap_or_default();
    let address = address.parse().expect("a pod that is ready has an address");
    let says = async |word: &str| {
        cluster
            .wait_for("faults", &format!("the pod to say {word}"), SOON, async || {
                let last = cluster.kubectl(&["logs", "--namespace=faults", "caller", "--tail=1"]).await?;
                Ok(if last.trim() == word { Look::Done(()) } else { Look::NotYet(last) })
            })
            .await
    };
    says("open").await?;
    cluster.cut_off(address).await?;
    says("closed").await?;
    cluster.mend(address).await?;
    says("open").await
}

async fn a_pod_outlives_its_kubelet_and_the_node_is_missed(cluster: &Cluster) -> Result<()> {
    let nodes: Api<Node> = Api::all(cluster.client().await?);
    let ready = |node: &Node| {
        let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let mut sleeper = pod("faults", "sleeper", container("sleep 600"));
    sleeper["spec"]["nodeName"] = json!("node-1");
    cluster.apply(&sleeper.to_string()).await?;
    cluster.wait_for_pod_ready("faults", "sleeper", SOON).await?;

    cluster.kill(&Part::Kubelet(1))?;
    cluster.wait_until(&nodes, "node-1", "missed", Duration::from_secs(90), |node| !ready(node)).await?;
    let mut tasks = cluster.ctr(1);
    tasks.args(["tasks", "ls"]);
    let tasks = unbloat_cluster::run(tasks).await?;
    assert!(tasks.contains("RUNNING"), "{tasks}");
    cluster.start_part(&Part::Kubelet(1))?;
    cluster.wait_until(&nodes, "node-1", "ready again", SOON, ready).await?;
    cluster.wait_for_pod_ready("faults", "sleeper", SOON).await?;
    Ok(())
}

async fn wait_for_phase(cluster: &Cluster, label: &str, phase: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "faults");
    let labelled = kube::api::ListParams::default().labels(label);
    cluster
        .wait_for("faults", &format!("a pod {label} that is {phase}"), SOON, async || {
            let pods = pods.list(&labelled).await.map_err(Error::kube("list pods"))?;
            let phases = pods.items.into_iter().filter_map(|pod| pod.status?.phase);
            let phases: Vec<String> = phases.collect();
            Ok(if phases.iter().any(|found| found == phase) {
                Look::Done(())
            } else {
                Look::NotYet(format!("{phases:?}"))
            })
        })
        .await
}
