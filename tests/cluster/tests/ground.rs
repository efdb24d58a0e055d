//! What the proving ground promises to every test, on one shared cluster.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use unbloat_cluster::fixture::{container, job, pod};
use unbloat_cluster::{
    Attached, Cluster, Entrance, Error, ImageBuilder, KWOK_LABEL, Look, RegistryOptions, Result, TOOLBOX,
    run, termination,
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_restricted_job_runs_to_its_end_and_its_termination_message_is_read() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("jobs").await?;
    let good = container("id -u; echo -n '{\"answer\": 42}' > /dev/termination-log");
    cluster.apply(&job("jobs", "good", good).to_string()).await?;
    let bad = container("echo it went wrong >&2; exit 6");
    cluster.apply(&job("jobs", "bad", bad).to_string()).await?;

    let end = cluster.wait_for_job_end("jobs", "good", SOON).await?;
    assert!(end.succeeded);
    assert_eq!(end.termination_message.as_deref(), Some("{\"answer\": 42}"));
    let end = cluster.wait_for_job_end("jobs", "bad", SOON).await?;
    assert!(!end.succeeded);
    assert_eq!((end.exit_code, end.reason.as_str()), (Some(6), "BackoffLimitExceeded"));
    Ok(())
}

#[tokio::test]
async fn a_pod_with_more_rights_than_restricted_is_refused() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("refusing").await?;
    let mut privileged = container("true");
    privileged["securityContext"] = json!({ "privileged": true });
    let refused = cluster.apply(&pod("refusing", "privileged", privileged).to_string()).await;
    let message = refused.expect_err("the namespace is restricted").to_string();
    assert!(message.contains("violates PodSecurity"), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_guaranteed_pod_runs_and_one_past_its_memory_limit_is_killed_and_says_so() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("memory").await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "memory");
    for (name, script) in [("modest", "true"), ("greedy", "dd if=/dev/zero of=/dev/null bs=200M count=1")] {
        let mut guaranteed = container(script);
        let amounts = json!({ "cpu": "100m", "memory": "32Mi" });
        guaranteed["resources"] = json!({ "requests": amounts, "limits": amounts });
        cluster.apply(&pod("memory", name, guaranteed).to_string()).await?;
    }
    let ended = |pod: &Pod| termination(pod).is_some();
    let modest = cluster.wait_until(&pods, "modest", "at its end", SOON, ended).await?;
    assert_eq!(termination(&modest).map(|state| state.exit_code), Some(0));
    assert_eq!(modest.status.and_then(|status| status.qos_class).as_deref(), Some("Guaranteed"));
    let greedy = cluster.wait_until(&pods, "greedy", "at its end", SOON, ended).await?;
    assert_eq!(termination(&greedy).and_then(|state| state.reason).as_deref(), Some("OOMKilled"));
    Ok(())
}

#[tokio::test]
async fn a_service_answers_pods_the_node_and_the_test() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("services").await?;
    let mut server = container("echo hello > /www/index.html; exec httpd -f -p 8080 -h /www");
    server["volumeMounts"] = json!([{ "name": "www", "mountPath": "/www" }]);
    let mut server = pod("services", "server", server);
    server["spec"]["volumes"] = json!([{ "name": "www", "emptyDir": {} }]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "services", "name": "server" },
        "spec": { "clusterIP": "10.202.7.7", "selector": { "app": "server" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    cluster.apply(&format!("{server}\n---\n{service}")).await?;
    cluster.wait_for_pod_ready("services", "server", SOON).await?;

    let script = "for i in $(seq 50); do wget -q -O /dev/termination-log http://10.202.7.7 && exit 0; sleep 0.2; done; exit 1";
    cluster.apply(&job("services", "client", container(script)).to_string()).await?;
    let end = cluster.wait_for_job_end("services", "client", SOON).await?;
    assert_eq!(end.termination_message.as_deref(), Some("hello\n"));

    let mut wget = cluster.command("busybox");
    wget.args(["wget", "-q", "-O", "-", "http://10.202.7.7"]);
    assert_eq!(run(wget).await?, "hello\n");

    let tunnel = cluster.tunnel(Entrance::Machine, ([10, 202, 7, 7], 80).into())?;
    let mut wget = std::process::Command::new("busybox");
    wget.args(["wget", "-q", "-O", "-"]).arg(format!("http://{}", tunnel.address()));
    assert_eq!(run(wget).await?, "hello\n");
    Ok(())
}

#[tokio::test]
async fn an_image_pushed_to_a_private_registry_is_pulled_with_its_secret_and_run() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("private").await?;
    let login = Some(("alice".to_owned(), "open sesame".to_owned()));
    let registry =
        cluster.start_registry("private", RegistryOptions { tls: true, login, ..Default::default() }).await?;
    let reference = cluster.push(&registry, &greeter(cluster, "private")?, "team/greeter:1").await?;

    let mut greeter = container("cat /greeting > /dev/termination-log");
    greeter["image"] = json!(reference);
    let mut without = pod("private", "without", greeter);
    cluster.apply(&without.to_string()).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "private");
    cluster
        .wait_until(&pods, "without", "unable to pull", SOON, |pod| waiting(pod).contains("ImagePull"))
        .await?;

    cluster.apply(&registry.pull_secret("private", "pull")).await?;
    without["metadata"]["name"] = json!("with");
    without["spec"]["imagePullSecrets"] = json!([{ "name": "pull" }]);
    cluster.apply(&without.to_string()).await?;
    assert_eq!(message_of(cluster, &pods, "with").await?, "greetings from private");
    Ok(())
}

#[tokio::test]
async fn an_image_pushed_to_an_open_registry_of_version_2_is_pulled_and_run() -> Result<()> {
    pulled_from(RegistryOptions::default(), "open").await
}

#[tokio::test]
async fn an_image_pushed_to_an_open_registry_of_version_3_is_pulled_and_run() -> Result<()> {
    pulled_from(RegistryOptions { version_3: true, ..Default::default() }, "open-3").await
}

async fn pulled_from(options: RegistryOptions, name: &str) -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace(name).await?;
    let registry = cluster.start_registry(name, options).await?;
    let reference = cluster.push(&registry, &greeter(cluster, name)?, "greeter:1").await?;
    let listed = cluster.crane(&registry, &["ls", &format!("{}/greeter", registry.host())]).await?;
    assert_eq!(listed, "1\n");
    let mut greeter = container("cat /greeting > /dev/termination-log");
    greeter["image"] = json!(reference);
    cluster.apply(&pod(name, "greeter", greeter).to_string()).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, name);
    assert_eq!(message_of(cluster, &pods, "greeter").await?, format!("greetings from {name}"));
    Ok(())
}

#[tokio::test]
async fn an_image_loaded_into_the_node_runs_without_a_registry() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("loaded").await?;
    cluster.load_image(&greeter(cluster, "loaded")?, "unbloat.local/greeter:1").await?;
    let mut greeter = container("cat /greeting > /dev/termination-log");
    greeter["image"] = json!("unbloat.local/greeter:1");
    greeter["imagePullPolicy"] = json!("Never");
    cluster.apply(&pod("loaded", "greeter", greeter).to_string()).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "loaded");
    assert_eq!(message_of(cluster, &pods, "greeter").await?, "greetings from loaded");
    Ok(())
}

#[tokio::test]
async fn a_service_account_can_do_what_its_role_says_and_nothing_else() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("rights").await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client_as("rights", "default").await?, "rights");
    let denied = maps.list(&ListParams::default()).await.expect_err("no role yet");
    assert!(matches!(&denied, kube::Error::Api(status) if status.code == 403), "{denied}");

    cluster
        .kubectl(&["create", "role", "reader", "-n", "rights", "--verb=list", "--resource=configmaps"])
        .await?;
    let account = "--serviceaccount=rights:default";
    cluster.kubectl(&["create", "rolebinding", "reader", "-n", "rights", "--role=reader", account]).await?;
    let listed = cluster.wait_for("rights", "the role to count", SOON, async || {
        maps.list(&ListParams::default()).await.map(|_| Look::Done(())).map_err(Error::kube("list"))
    });
    listed.await?;
    let map = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("new".into()), ..Default::default() },
        ..Default::default()
    };
    let denied = maps.create(&PostParams::default(), &map).await.expect_err("only `list` is granted");
    assert!(matches!(&denied, kube::Error::Api(status) if status.code == 403), "{denied}");

    let tried = cluster.writes(|write| write.user == "system:serviceaccount:rights:default")?;
    assert_eq!(tried.len(), 1, "{tried:?}");
    assert_eq!(
        (tried[0].verb.as_str(), tried[0].resource.as_str(), tried[0].code),
        ("create", "configmaps", 403)
    );
    Ok(())
}

#[tokio::test]
async fn simulated_nodes_run_pods_that_ask_for_them() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("simulated").await?;
    cluster.add_kwok_nodes(3).await?;
    let nodes: Api<Node> = Api::all(cluster.client().await?);
    let simulated = nodes.list(&ListParams::default().labels(&format!("{KWOK_LABEL}=fake"))).await;
    assert_eq!(simulated.map_err(Error::kube("list nodes"))?.items.len(), 3);

    let mut pod = pod("simulated", "ghost", container("true"));
    pod["spec"]["nodeSelector"] = json!({ KWOK_LABEL: "fake" });
    pod["spec"]["tolerations"] = json!([{ "key": KWOK_LABEL, "operator": "Exists" }]);
    cluster.apply(&pod.to_string()).await?;
    cluster.wait_for_pod_ready("simulated", "ghost", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_wait_in_vain_says_what_there_was_instead() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("vain").await?;
    let stuck = container("echo the log of the pod; sleep 600");
    cluster.apply(&job("vain", "stuck", stuck).to_string()).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "vain");
    let running = cluster.wait_for("vain", "a running pod", SOON, async || {
        let pods = pods.list(&ListParams::default()).await.map_err(Error::kube("list pods"))?;
        let phases = pods.items.iter().filter_map(|pod| pod.status.as_ref()?.phase.clone());
        let phases: Vec<String> = phases.collect();
        Ok(if phases == ["Running"] { Look::Done(()) } else { Look::NotYet(format!("{phases:?}")) })
    });
    running.await?;
    let error =
        cluster.wait_for_job_end("vain", "stuck", Duration::from_secs(1)).await.expect_err("it sleeps");
    let message = error.to_string();
    for part in
        ["Job stuck: at its end", "\"active\":1", "pod vain/stuck-", "the log of the pod", "SuccessfulCreate"]
    {
        assert!(message.contains(part), "no `{part}` in:\n{message}");
    }
    // This wait was meant to be in vain: nobody needs its logs.
    std::fs::remove_file(cluster.folder().join("keep-logs")).map_err(Error::io("remove a mark"))?;
    Ok(())
}

#[tokio::test]
async fn a_pod_finds_a_served_name_and_is_told_that_another_does_not_exist() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.restricted_namespace("names").await?;
    let served = cluster.serve_names(&[("somewhere.test", [10, 9, 8, 7].into())])?;
    let script = "busybox nslookup somewhere.test 2>&1; busybox nslookup nowhere.test 2>&1; true";
    cluster
        .apply(&job("names", "asker", container(&format!("({script}) > /dev/termination-log"))).to_string())
        .await?;
    let end = cluster.wait_for_job_end("names", "asker", SOON).await?;
    let message = end.termination_message.unwrap_or_default();
    assert!(message.contains("10.9.8.7") && message.contains("NXDOMAIN"), "{message}");
    drop(served);
    Ok(())
}

fn greeter(cluster: &Cluster, name: &str) -> Result<unbloat_cluster::Image> {
    let busybox = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox"));
    let busybox = busybox.map_err(Error::io("read busybox"))?;
    ImageBuilder::new()
        .file("bin/busybox", busybox, 0o755)
        .link("bin/sh", "busybox")
        .link("bin/cat", "busybox")
        .file("greeting", format!("greetings from {name}"), 0o644)
        .user(65532)
        .write(&cluster.folder().join(format!("greeter-{name}")))
}

fn waiting(pod: &Pod) -> String {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let waiting = statuses.and_then(|statuses| statuses.first()?.state.as_ref()?.waiting.as_ref());
    waiting.and_then(|waiting| waiting.reason.clone()).unwrap_or_default()
}

async fn message_of(cluster: &Cluster, pods: &Api<Pod>, name: &str) -> Result<String> {
    let ended = |pod: &Pod| termination(pod).is_some();
    let pod = cluster.wait_until(pods, name, "at its end", SOON, ended).await?;
    Ok(termination(&pod).and_then(|state| state.message).unwrap_or_default())
}

#[tokio::test]
async fn every_node_has_the_toolbox() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let mut images = cluster.ctr(0);
    images.args(["images", "ls", "--quiet"]);
    let images = run(images).await?;
    assert!(images.lines().any(|line| line == TOOLBOX), "{images}");
    Ok(())
}

#[tokio::test]
async fn a_persons_shell_is_where_they_are_with_all_tools_at_hand() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let mut shell = Attached::find(cluster.name())?.shell("sh")?;
    let tools = "pwd && kubectl get nodes --output name && helm version --short && command -v crane ctr";
    let output = shell.args(["-c", tools]).output().expect("sh starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let here = std::env::current_dir().expect("a folder");
    assert!(said.starts_with(&format!("{}\nnode/", here.display())), "{said}");
    Ok(())
}
