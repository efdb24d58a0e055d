//! The process: configuration, election, controllers, shutdown.
//!
//! Expected flow: health answers at once; the lease is waited for; the controllers run until SIGTERM or until
//! the lease is lost. After SIGTERM reconciles that run are finished and the lease is given back, so that the
//! standby takes over at once. After a lost lease the process ends without finishing anything: another one
//! may be at work already.

use std::process::ExitCode;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use kube::{Api, Client, Config as ClientConfig};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::config::Config;
use crate::runtime::calls::Calls;
use crate::runtime::health::{self, Health};
use crate::runtime::lease::{Elector, Leadership, Times};
use crate::runtime::metrics::RuntimeMetrics;
use crate::shared::Shared;
use crate::{detector, squash_job};

/// Reconciles that run get this long to end; the pod's grace period is 30 s.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// Limit of one call to the API server.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the operator.
///
/// # Errors
/// What keeps it from starting, and a lost lease.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        namespace,
        address,
        probe_address,
        instance,
        lease_namespace,
        lease_name,
        no_leader_election,
        concurrency,
        log_json: _,
    } = args;
    let config = Arc::new(Config::load(&config)?);
    let stop = stop_signal()?;
    let client = client().await?;

    let mut registry = Registry::default();
    let metrics = RuntimeMetrics::new(&mut registry);
    let registry = Arc::new(RwLock::new(registry));
    let health = Arc::new(Health::default());
    // Two listeners: whoever hangs on the one with the metrics doesn't make a probe wait.
    for address in [Some(address), probe_address].into_iter().flatten() {
        let (asked, exported) = (Arc::clone(&health), Arc::clone(&registry));
        let answer = move |path: &str| health::answer(path, &asked, &exported);
        let endpoint = unbloat_endpoint::serve(address, answer).await;
        tokio::spawn(endpoint.with_context(|| format!("cannot serve health and metrics on {address}"))?);
    }
    let standby_tick = tokio::spawn(tick(Arc::clone(&health)));
    // A standby is ready: it does what it should.
    health.set_ready(true);

    // A name that is unique even when a pod is restarted in place: the old process may still believe in its
    // lease.
    let identity = format!("{instance}_{:08x}", std::process::id() ^ start_nonce());
    let mut elector = (!no_leader_election).then(|| {
        Elector::new(
            Api::namespaced(client.clone(), &lease_namespace),
            &lease_name,
            &identity,
            Times::default(),
        )
    });
    if let Some(elector) = &mut elector {
        tokio::select! {
            () = elector.acquire() => {}
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
        }
        tracing::info!(%identity, "leading");
    }
    let leadership = elector.as_ref().map_or_else(Leadership::unconditional, Elector::leadership);
    metrics.leader.set(1);
    health.set_ready(false);
    standby_tick.abort();

    let shared = Shared {
        calls: Calls::new(client, leadership, metrics.clone(), API_TIMEOUT),
        config,
        namespace,
        own_namespace: lease_namespace,
        instance,
        concurrency,
        metrics,
        registry,
        health,
        stop: stop.clone(),
    };
    let bounded = async {
        tokio::select! {
            result = async {
                let (result, ()) = tokio::join!(squash_job::run(shared.clone()), detector::run(shared.clone()));
                result
            } => result,
            () = async { stop.cancelled().await; tokio::time::sleep(SHUTDOWN).await } => {
                tracing::warn!("reconciles did not end in time; they start over in the next process");
                Ok(())
            }
        }
    };
    let lost = async {
        match &mut elector {
            Some(elector) => elector.hold().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = bounded => result?,
        lost = lost => return Err(lost.into()),
    }
    if let Some(elector) = &mut elector {
        elector.release().await;
    }
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

async fn client() -> anyhow::Result<Client> {
    let mut config = ClientConfig::infer().await.context("no kubeconfig and not in a pod")?;
    // The client would repeat 429, 503 and 504 up to 15 times, past the end of a lease; reconciles are
    // repeated as a whole.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).context("cannot make the API client")
}

async fn tick(health: Arc<Health>) {
    loop {
        health.tick();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Differs between two starts of a pod in place, where the process id is 1 both times.
fn start_nonce() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.subsec_nanos() ^ u32::try_from(now.as_secs() & 0xffff_ffff).unwrap_or(0)
}

fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("asked to end; finishing the reconciles that run");
        told.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The page is what an operator's user has: each metric stands there, and nothing that isn't exported.
    #[test]
    fn the_documented_metrics_are_those_that_are_exported() {
        let registry = Arc::new(RwLock::new(Registry::default()));
        {
            let mut registry = registry.write().unwrap();
            RuntimeMetrics::new(&mut registry).touch();
            squash_job::metrics::JobMetrics::new(&mut registry).touch();
        }
        detector::metrics::DetectorMetrics::new(&registry).touch();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry.read().unwrap()).unwrap();
        let exported: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| match line.split_once(' ') {
                Some((name, "counter")) => format!("{name}_total"),
                Some((name, _)) => name.to_owned(),
                None => line.to_owned(),
            })
            .collect();
        let page = include_str!("../../../docs/operator/operations.md");
        let (_, table) = page.split_once("| metric | meaning |").expect("a table of metrics");
        let documented: BTreeSet<String> = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .filter_map(|line| line.split('|').nth(1))
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .map(|name| name.split('{').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(exported, documented);
    }
}
