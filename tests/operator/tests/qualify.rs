//! The measurement of squash nodes (`deploy/squash-node/qualify`) on a real cluster: real fio in a Job under
//! `restricted` pod security, on a tainted node, and what is written to the node.

use std::process::{Command, Output};

use serde_json::Value;
use unbloat_cluster::{Cluster, Error, ImageBuilder, Options, Result, run};

const FIO: &str = "unbloat.local/fio:1";

#[tokio::test]
async fn a_node_is_measured_and_only_one_that_is_fast_enough_is_labelled() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    cluster.load_image(&fio().await?.write(&cluster.folder().join("fio"))?, FIO).await?;
    cluster.kubectl(&["taint", "node", "node-0", "unbloat.dev/squash-node=true:NoSchedule"]).await?;

    let ended = qualify(&cluster, &[]).await?;
    assert_eq!(ended.status.code(), Some(1), "no node is a squash node yet: {ended:?}");

    cluster.kubectl(&["label", "node", "node-0", "unbloat.dev/squash-node=true"]).await?;
    let ended = qualify(&cluster, &[("WANTED_IOPS", "1")]).await?;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let node = node(&cluster).await?;
    let measured = &node["metadata"]["annotations"]["unbloat.dev/squash-node-iops"];
    let iops: u64 = measured.as_str().and_then(|text| text.parse().ok()).expect("a number");
    assert!(iops > 10, "{iops}");
    assert!(node["metadata"]["annotations"]["unbloat.dev/squash-node-measured-at"].is_string());
    assert_eq!(node["metadata"]["labels"]["unbloat.dev/squash-node-qualified"], "true");

    // The same node, of which more is wanted.
    let ended = qualify(&cluster, &[("WANTED_IOPS", "900000000")]).await?;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stdout).contains("less than the 900000000"), "{ended:?}");
    let labels = &self::node(&cluster).await?["metadata"]["labels"];
    assert_eq!(labels["unbloat.dev/squash-node-qualified"], Value::Null);

    // One that was fast enough and cannot be measured any more is no longer taken for it.
    cluster.kubectl(&["label", "node", "node-0", "unbloat.dev/squash-node-qualified=true"]).await?;
    let broken = [("IMAGE", "unbloat.local/toolbox:1"), ("PULL_POLICY", "Never")];
    let ended = qualify(&cluster, &broken).await?;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("was not measured"), "{ended:?}");
    let labels = &self::node(&cluster).await?["metadata"]["labels"];
    assert_eq!(labels["unbloat.dev/squash-node-qualified"], Value::Null);
    cluster.check_parts()
}

async fn node(cluster: &Cluster) -> Result<Value> {
    let text = cluster.kubectl(&["get", "node", "node-0", "--output=json"]).await?;
    Ok(serde_json::from_str(&text).expect("kubectl prints JSON"))
}

/// Runs it for a second on a small file.
async fn qualify(cluster: &Cluster, changes: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new("sh");
    command.arg(format!("{}/../../deploy/squash-node/qualify", env!("CARGO_MANIFEST_DIR")));
    let kubectl = cluster.kubectl_command(&[]);
    let words = std::iter::once(kubectl.get_program()).chain(kubectl.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().expect("a path of the test's own")).collect();
    command.env("KUBECTL", words.join(" ")).env("KUBECONFIG", cluster.kubeconfig());
    command.env("IMAGE", FIO).env("SIZE", "32Mi").env("SECONDS_MEASURED", "1");
    command.envs(changes.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    output.expect("it doesn't panic").map_err(Error::io("start qualify"))
}

/// fio with the libraries that it needs, as this machine has them.
async fn fio() -> Result<ImageBuilder> {
    let mut ldd = Command::new("ldd");
    ldd.arg("/usr/bin/fio");
    let mut image = ImageBuilder::new();
    let libraries = run(ldd).await?;
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for path in paths.chain(["/usr/bin/fio"]) {
        let content = std::fs::read(path).map_err(Error::io(format!("read {path}")))?;
        image = image.file(path.trim_start_matches('/'), content, 0o755);
    }
    Ok(image)
}
