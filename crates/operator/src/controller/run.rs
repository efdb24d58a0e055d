//! Starting, running and ending the controller.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{FutureExt, Stream, StreamExt, stream};
use kube::Client;
use kube::runtime::controller::{self, Error as ControllerError, applier};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;
use unbloat_api::ImageSquashJob;

use super::context::{Context, Settings};
use super::memory::Memory;
use super::progress::ProgressClient;
use super::reconcile::{after_error, reconcile};
use super::resolve::Resolver;
use super::watch;
use crate::config::Config;
use crate::health::Health;
use crate::lease::Leadership;
use crate::metrics::Metrics;

/// How often gauges are set and memory is swept; the liveness tick is the same loop.
const SWEEP: Duration = Duration::from_secs(5);
/// Changes of one job within this time are one turn: a pod's start alone is three of them.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Runs until `stop`; then takes no new work and waits for the turns that run.
///
/// # Errors
/// When the progress client can't be made.
pub async fn run(
    client: Client,
    config: Config,
    settings: Settings,
    leadership: Leadership,
    metrics: Metrics,
    health: Arc<Health>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (queue, received) = unbounded_channel::<ObjectRef<ImageSquashJob>>();
    let caches = watch::start(&client, settings.namespace.as_deref(), &queue);
    let concurrency = settings.concurrency;
    let resolver = Resolver::new(&config);
    let context = Arc::new(Context {
        client,
        config,
        settings,
        leadership,
        metrics,
        squash_jobs: caches.squash_jobs.clone(),
        jobs: caches.jobs.clone(),
        pods: caches.pods.clone(),
        progress: ProgressClient::new().context("cannot make the client for workers' progress")?,
        resolver,
        queue,
        departed: caches.departed.clone(),
        memory: std::sync::Mutex::new(Memory::default()),
    });

    let ready = async {
        caches.squash_jobs.wait_until_ready().await?;
        caches.jobs.wait_until_ready().await?;
        caches.pods.wait_until_ready().await
    };
    tokio::select! {
        synced = ready => synced.context("a watch ended before its first list")?,
        () = stop.cancelled() => return Ok(()),
    }
    health.set_ready(true);
    tracing::info!(jobs = context.squash_jobs.len(), "caches are synced");

    let sweeper = tokio::spawn(sweep(Arc::clone(&context), health));
    let requests = requests(received).take_until(stop.cancelled_owned());
    let turns = applier(
        |job, context| reconcile(job, context).boxed(),
        |job, error, _| after_error(&job, error),
        Arc::clone(&context),
        caches.squash_jobs.clone(),
        requests,
        controller::Config::default().concurrency(concurrency).debounce(DEBOUNCE),
    );
    turns
        .for_each(|result| {
            if let Err(ControllerError::ObjectNotFound(_)) = result {
                // A job is gone, and with it perhaps a place that it held.
                context.wake_waiting();
            }
            std::future::ready(())
        })
        .await;
    sweeper.abort();
    for task in caches.tasks {
        task.abort();
    }
    Ok(())
}

fn requests(
    received: tokio::sync::mpsc::UnboundedReceiver<ObjectRef<ImageSquashJob>>,
) -> impl Stream<Item = Result<ObjectRef<ImageSquashJob>, std::convert::Infallible>> {
    stream::unfold(
        received,
        |mut received| async move { received.recv().await.map(|item| (Ok(item), received)) },
    )
}

async fn sweep(context: Arc<Context>, health: Arc<Health>) {
    loop {
        context.sweep();
        health.tick();
        tokio::time::sleep(SWEEP).await;
    }
}
