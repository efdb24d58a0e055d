//! Starting, running and ending the controller of ImageSquashJobs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::unbounded_channel;

use super::caches::Caches;
use super::context::Context;
use super::idle::Idle;
use super::metrics::JobMetrics;
use super::progress::ProgressClient;
use super::reconcile::reconcile;
use super::resolve::Resolver;
use crate::runtime::health::Health;
use crate::runtime::metrics::RuntimeMetrics;
use crate::runtime::reconciler;
use crate::runtime::written::Written;
use crate::shared::Shared;

/// How often gauges are set and memory is swept; the liveness tick is the same loop.
const SWEEP: Duration = Duration::from_secs(5);

/// Runs until the process is asked to stop; then takes no new work and waits for the reconciles that run.
///
/// # Errors
/// When the progress client can't be made.
pub(crate) async fn run(shared: Shared) -> anyhow::Result<()> {
    let Shared {
        calls,
        config,
        namespace,
        own_namespace: _,
        instance,
        concurrency,
        metrics,
        registry,
        health,
        stop,
    } = shared;
    let (queue, queued) = unbounded_channel();
    let caches = Caches::start(&calls, &config.class, namespace.as_deref(), &queue);
    let context = Arc::new(Context {
        progress: ProgressClient::new().context("cannot make the client for workers' progress")?,
        resolver: Resolver::new(&config),
        metrics: JobMetrics::new(&mut registry.write().unwrap_or_else(PoisonError::into_inner)),
        calls,
        config,
        instance,
        squash_jobs: caches.squash_jobs.store.clone(),
        worker_jobs: caches.worker_jobs.store.clone(),
        pods: caches.pods.store.clone(),
        departed: caches.departed.clone(),
        queue,
        written: Written::default(),
        reserved: Mutex::default(),
        own: Mutex::default(),
        idle: Idle::default(),
    });

    tokio::select! {
        synced = caches.wait_until_ready() => synced.context("a watch ended before its first list")?,
        // A first list may take longer than liveness allows for.
        () = tick(&health) => {}
        () = stop.cancelled() => return Ok(()),
    }
    health.set_ready(true);
    tracing::info!(jobs = context.squash_jobs.len(), "caches are synced");

    let sweeper = tokio::spawn(sweep(Arc::clone(&context), metrics.clone(), health));
    let shared = Arc::clone(&context);
    reconciler::run(
        caches.squash_jobs.store.clone(),
        queued,
        (concurrency, metrics),
        stop,
        move |job| reconcile(job, Arc::clone(&shared)),
        // A job is gone, and with it perhaps a place that it held.
        || context.wake_waiting(),
    )
    .await;
    sweeper.abort();
    caches.stop();
    Ok(())
}

async fn tick(health: &Health) {
    loop {
        health.tick();
        tokio::time::sleep(SWEEP).await;
    }
}

async fn sweep(context: Arc<Context>, metrics: RuntimeMetrics, health: Arc<Health>) {
    loop {
        context.sweep();
        metrics.sample_memory();
        health.tick();
        tokio::time::sleep(SWEEP).await;
    }
}
