//! The chart, installed and upgraded by real helm while a job runs, and the command that speaks to the cluster.

use std::process::Command;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use unbloat_cluster::{Cluster, Error, Extra, Look, Options, RegistryOptions, Result, extra, run};
use unbloat_cluster_cli::{ClusterCommand, ProgressStyle, Shared};
use unbloat_operator_tests::{Jobs, Layered, WORKER_IMAGE, binary, program_image, reason};

const LONG: Duration = Duration::from_secs(180);

#[tokio::test]
async fn the_chart_is_installed_and_upgraded_with_a_running_job() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    for (package, name) in
        [("unbloat-operator", "unbloat.local/operator:test"), ("unbloat-worker", WORKER_IMAGE)]
    {
        let image = program_image(&binary(package), &cluster.folder().join(package));
        cluster.load_image(&image, name).await?;
    }
    let registry = cluster.start_registry("main", RegistryOptions::default()).await?;
    cluster.restricted_namespace("unbloat-system").await?;
    cluster.restricted_namespace("team").await?;

    helm(&cluster, "install", &[]).await?;
    let rollout = ["rollout", "status", "deployment/unbloat", "--namespace=unbloat-system", "--timeout=90s"];
    cluster.kubectl(&rollout).await?;

    let image = Layered { layers: 60, step: 100_000, seed: 41 }.write(&cluster.folder().join("image"));
    let source = cluster.push(&registry, &image, "team/app:v1").await?;
    let target = format!("{}/team/app:flat", registry.host());
    let jobs = Jobs::of(&cluster, "team").await?;
    let spec = json!({"source": {"image": source, "plainHTTP": true}, "target": {"image": target},
        "compression": "Gzip", "level": 9});
    jobs.apply("upgraded", &spec).await?;
    jobs.wait_for_reason("upgraded", "Running", LONG).await?;
    helm(&cluster, "upgrade", &["--set", "config.concurrency.global=3"]).await?;
    cluster.kubectl(&rollout).await?;
    let done = jobs.wait_for_end("upgraded", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{:#?}", done.status);
    assert_eq!(done.status.unwrap_or_default().attempts, 1);

    the_command(&cluster, &source, &target).await?;

    // Uninstalled, the resource and its objects stay.
    let mut uninstall = helm_command(&cluster)?;
    uninstall.args(["uninstall", "unbloat", "--namespace=unbloat-system", "--wait"]);
    run(uninstall).await?;
    assert!(jobs.list().await?.iter().any(|job| job.metadata.name.as_deref() == Some("upgraded")));
    cluster.check_parts()
}

fn helm_command(cluster: &Cluster) -> Result<Command> {
    let mut command = Command::new(extra(Extra::Helm)?);
    command.env("KUBECONFIG", cluster.kubeconfig()).env("HELM_CACHE_HOME", cluster.folder().join("helm"));
    Ok(command)
}

async fn helm(cluster: &Cluster, verb: &str, more: &[&str]) -> Result<()> {
    let mut command = helm_command(cluster)?;
    let chart = format!("{}/../../charts/unbloat", env!("CARGO_MANIFEST_DIR"));
    let image = |name: &str, repository: &str| {
        format!(
            "{name}.registry=,{name}.repository=unbloat.local/{repository},{name}.tag=test,{name}.pullPolicy=Never"
        )
    };
    command.args([verb, "unbloat", &chart, "--namespace=unbloat-system"]);
    command.args(["--set", &image("image", "operator"), "--set", &image("workerImage", "worker")]);
    command.args(["--set", "config.worker.cpu=200m", "--set", "config.worker.memory=128Mi"]);
    command.args(["--set", "resources.requests.cpu=10m"]).args(more);
    run(command).await.map(drop)
}

#[derive(Parser)]
struct Unbloat {
    #[command(subcommand)]
    command: ClusterCommand,
}

async fn unbloat(cluster: &Cluster, words: &[&str]) -> std::result::Result<(), unbloat_cluster_cli::Error> {
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let options = ["--namespace=team", "--kubeconfig", kubeconfig.as_str()];
    let words = ["unbloat"].iter().chain(words).chain(&options);
    let Unbloat { command } = Unbloat::try_parse_from(words).expect("the flags are right");
    let shared = Shared { json: false, progress: ProgressStyle::Plain, plain_http: true };
    unbloat_cluster_cli::run(command, shared).await
}

async fn the_command(cluster: &Cluster, source: &str, target: &str) -> Result<()> {
    let failed = |error: unbloat_cluster_cli::Error| Error::Misuse(error.to_string());
    unbloat(cluster, &["run", source, target, "--name=by-command", "--no-verify"]).await.map_err(failed)?;
    unbloat(cluster, &["get"]).await.map_err(failed)?;
    unbloat(cluster, &["logs", "by-command"]).await.map_err(failed)?;
    unbloat(cluster, &["watch", "by-command"]).await.map_err(failed)?;
    let unknown = source.replace(":v1", ":nope");
    let ended =
        unbloat(cluster, &["run", &unknown, target, "--name=unknown"]).await.expect_err("no such image");
    assert_eq!(ended.exit_code(), 3, "{ended}");
    let ended = unbloat(cluster, &["watch", "nobody"]).await.expect_err("no such job");
    assert_eq!(ended.exit_code(), 3, "{ended}");
    unbloat(cluster, &["cancel", "by-command"]).await.map_err(failed)?;
    cluster
        .wait_for("team", "the cancelled job to be gone", LONG, async || {
            let text = cluster.kubectl(&["get", "isj", "--namespace=team", "--output=json"]).await?;
            let list: Value = serde_json::from_str(&text).unwrap_or_default();
            let names: Vec<_> = list["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|job| job["metadata"]["name"].clone())
                .collect();
            Ok(if names.contains(&json!("by-command")) {
                Look::NotYet(format!("{names:?}"))
            } else {
                Look::Done(())
            })
        })
        .await
}
