//! What each command does.

use std::io::Write;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use unbloat_api::{ImageSquashJob, labels};

use super::Shared;
use super::connect::Connection;
use super::error::Error;
use super::follow::{follow, not_found};
use super::{job, policies, policy_test, reports, table};
use crate::args::{ClusterCommand, GetArgs, JobArgs, LogsArgs, PolicyCommand, RunArgs};

/// Runs a command; results go to standard output.
///
/// # Errors
/// [`Error`], whose [`exit_code`](Error::exit_code) the process should end with.
pub(crate) async fn run(command: ClusterCommand, shared: Shared) -> Result<(), Error> {
    match command {
        ClusterCommand::Run(args) => create(&args, shared).await,
        ClusterCommand::Get(args) => get(&args, shared).await,
        ClusterCommand::Watch(args) => watch(&args, shared).await,
        ClusterCommand::Logs(args) => logs(&args).await,
        ClusterCommand::Cancel(args) => cancel(&args, shared).await,
        ClusterCommand::Report(args) => reports::report(&args, shared).await,
        ClusterCommand::Policies(args) => policies::policies(&args, shared).await,
        ClusterCommand::Approve(args) => policies::approve(&args, shared).await,
        ClusterCommand::Policy(PolicyCommand::Test(args)) => policy_test::test(&args, shared).await,
    }
}

async fn create(args: &RunArgs, shared: Shared) -> Result<(), Error> {
    let job = job::job(args)?;
    if args.print {
        return print(&job);
    }
    let connection = Connection::open(&args.cluster).await?;
    let created = connection.jobs().create(&PostParams::default(), &job).await;
    let created = created.map_err(Error::kube("cannot create the ImageSquashJob"))?;
    let name = created.name_any();
    if args.detach {
        return match shared.json {
            true => print(&plain(&created)),
            false => Ok(writeln!(std::io::stdout(), "{name}")?),
        };
    }
    if !shared.json {
        writeln!(std::io::stderr(), "imagesquashjob.unbloat.dev/{name} created")?;
    }
    report(&follow(&connection, &name, shared.progress).await?, shared)
}

async fn watch(args: &JobArgs, shared: Shared) -> Result<(), Error> {
    let connection = Connection::open(&args.cluster).await?;
    report(&follow(&connection, &args.name, shared.progress).await?, shared)
}

async fn get(args: &GetArgs, shared: Shared) -> Result<(), Error> {
    let connection = Connection::open(&args.cluster).await?;
    let jobs = match &args.name {
        Some(name) => {
            let found = connection.jobs().get_opt(name).await;
            vec![
                found
                    .map_err(Error::kube("cannot read the ImageSquashJob"))?
                    .ok_or_else(|| not_found(name))?,
            ]
        }
        None => {
            let api = match args.all_namespaces {
                true => Api::all(connection.client.clone()),
                false => connection.jobs(),
            };
            let list = api.list(&ListParams::default()).await;
            list.map_err(Error::kube("cannot list ImageSquashJobs"))?.items
        }
    };
    match (shared.json, &args.name) {
        (true, Some(_)) => print(&plain(&jobs[0])),
        (true, None) => print(&json!({"items": jobs.iter().map(plain).collect::<Vec<_>>()})),
        (false, _) => {
            let text = table::table(&jobs, args.all_namespaces, Timestamp::now());
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
    }
}

async fn logs(args: &LogsArgs) -> Result<(), Error> {
    let connection = Connection::open(&args.cluster).await?;
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let of_job = ListParams::default().labels(&format!("{}={}", labels::SQUASH_JOB, args.name));
    let mut found = pods.list(&of_job).await.map_err(Error::kube("cannot list the worker's pods"))?.items;
    found.sort_by_key(ResourceExt::creation_timestamp);
    let Some(pod) = found.pop() else {
        let missing =
            connection.jobs().get_opt(&args.name).await.map_err(Error::kube("cannot read the job"))?;
        return match missing {
            Some(_) => Err(Error::Usage(format!(
                "{} has no worker: it waits, was flat, or its pod is gone",
                args.name
            ))),
            None => Err(not_found(&args.name)),
        };
    };
    let parameters = LogParams { follow: args.follow, ..LogParams::default() };
    let stream = pods.log_stream(&pod.name_any(), &parameters).await;
    let stream = stream.map_err(Error::kube("cannot read the worker's log"))?;
    let mut lines = std::pin::pin!(stream.lines());
    let mut output = std::io::stdout().lock();
    while let Some(line) = lines.try_next().await? {
        writeln!(output, "{line}")?;
    }
    Ok(())
}

async fn cancel(args: &JobArgs, shared: Shared) -> Result<(), Error> {
    let connection = Connection::open(&args.cluster).await?;
    let deleted = connection.jobs().delete(&args.name, &DeleteParams::background()).await;
    deleted.map_err(Error::kube(format!("cannot delete the ImageSquashJob {}", args.name)))?;
    match shared.json {
        true => print(&json!({"name": args.name, "cancelled": true})),
        false => Ok(writeln!(std::io::stdout(), "imagesquashjob.unbloat.dev/{} cancelled", args.name)?),
    }
}

fn report(job: &ImageSquashJob, shared: Shared) -> Result<(), Error> {
    if shared.json {
        return print(&plain(job));
    }
    let status = job.status.clone().unwrap_or_default();
    let mut output = std::io::stdout().lock();
    if let Some(condition) = status.succeeded() {
        writeln!(output, "{}: {}", condition.reason, condition.message)?;
    }
    if let Some(reference) = status.target.and_then(|target| target.reference) {
        writeln!(output, "{reference}")?;
    }
    for warning in status.warnings {
        writeln!(std::io::stderr(), "warning: {warning}")?;
    }
    Ok(())
}

/// A job without what the server keeps for itself.
fn plain(job: &ImageSquashJob) -> ImageSquashJob {
    let mut job = job.clone();
    job.metadata.managed_fields = None;
    job
}

pub(super) fn print(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
