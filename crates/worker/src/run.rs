//! From the spec file to the exit code.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use unbloat_contract::worker::{Outcome, Task, WorkerSpec};
use unbloat_contract::{AnalyzeRequest, Failure, FailureKind, Limits, SquashRequest, exit};
use unbloat_registry::{Client, ClientOptions, Cloud, Guard, Registries, Troubles};
use unbloat_squash::{Progress, squash};

use crate::args::Args;
use crate::endpoint::Shown;
use crate::failure::of_engine;
use crate::{analysis, credentials, source, spec, termination};

/// After SIGTERM: time for a squash that is just publishing to end well. The whole second is what is
/// promised.
const LAST_CHANCE: Duration = Duration::from_millis(600);

/// Runs the squash and says how it ended.
///
/// # Errors
/// When signals can't be handled or the termination message can't be written; a failed squash is an exit
/// code.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { spec, address, termination, ca_dir, refused_networks, cloud_identity, allowed_hosts } = args;
    let words = refused_networks.iter().map(String::as_str).filter(|word| !word.is_empty());
    let guard = Guard::of_words(words)?.but_for(allowed_hosts);
    let troubles = Troubles::default();
    let ways = Ways {
        ca_dir,
        cloud_identity,
        guard: (!refused_networks.is_empty()).then(|| Arc::new(guard)),
        troubles: troubles.clone(),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shown = Shown {
        progress: Arc::default(),
        source_digest: Arc::default(),
        start: Instant::now(),
        troubles,
        percent: Arc::default(),
    };
    let asked = shown.clone();
    match unbloat_endpoint::serve(address, move |path| asked.answer(path)).await {
        Ok(serving) => drop(tokio::spawn(serving)),
        // Nobody will see the progress; the squash is worth more.
        Err(error) => tracing::warn!(%address, %error, "no progress endpoint"),
    }

    let work = AssertUnwindSafe(work(&spec, ways, &shown.progress, &shown.source_digest)).catch_unwind();
    let mut work = std::pin::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            tracing::warn!("asked to end");
            shown.progress.cancel();
            match tokio::time::timeout(LAST_CHANCE, work).await {
                Ok(ended) => ended,
                Err(_) => Ok(Err(Failure::new(FailureKind::Cancelled, "the worker was told to end"))),
            }
        }
    };
    let result = ended.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().map(ToString::to_string);
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Failure::new(FailureKind::Internal, format!("internal error: {words}; please report it")))
    });
    let (outcome, exit_code) = match result {
        Ok(outcome) => (outcome, 0),
        Err(failure) => {
            tracing::error!(reason = ?failure.reason, "{}", failure.message);
            let exit_code = match failure.reason {
                FailureKind::Cancelled => exit::TERMINATED,
                kind => kind.exit_code(),
            };
            let source_digest = shown.source_digest.get().cloned();
            (Outcome::Failed(Failure { source_digest, ..failure }), exit_code)
        }
    };
    termination::write(&termination, outcome)?;
    // Threads of a squash that was cut off are not waited for.
    Ok(ExitCode::from(exit_code))
}

/// How registries are reached.
struct Ways {
    ca_dir: Option<PathBuf>,
    cloud_identity: Option<Cloud>,
    guard: Option<Arc<Guard>>,
    troubles: Troubles,
}

async fn work(
    path: &Path,
    ways: Ways,
    progress: &Arc<Progress>,
    source_digest: &OnceLock<String>,
) -> Result<Outcome, Failure> {
    let WorkerSpec { version: _, task, plain_http_hosts, credentials } = spec::read(path)?;
    let (mut keyring, warnings) = credentials::keyring(&credentials)?;
    if let Some(cloud) = ways.cloud_identity {
        keyring.use_cloud(cloud, &[]);
    }
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let client = |limits: &Limits, allow_foreign: bool| {
        let mut options = ClientOptions {
            keyring,
            registries: Registries::default().with_plain_http(plain_http_hosts.iter().map(String::as_str)),
            ca_files: ways.ca_dir.map(|folder| pem_files(&folder)).unwrap_or_default(),
            guard: ways.guard,
            troubles: ways.troubles,
            allow_foreign,
            scratch: limits.scratch.clone(),
            ..ClientOptions::default()
        };
        options.upload.chunk_bytes = limits.chunk_bytes();
        Client::new(options)
    };
    match task {
        Task::Squash(request) => {
            let client = client(&request.limits, request.allow_foreign);
            squash_image(&client, *request, warnings, progress, source_digest).await
        }
        Task::Analyze(request) => {
            let client = client(&request.limits, request.allow_foreign);
            analyze_image(&client, &request, warnings, progress, source_digest).await
        }
    }
}

async fn squash_image(
    client: &Client,
    mut request: SquashRequest,
    warnings: Vec<String>,
    progress: &Arc<Progress>,
    source_digest: &OnceLock<String>,
) -> Result<Outcome, Failure> {
    let pinned = source::pin(client, &request.source, request.flat_up_to()).await?;
    // Set once, by this call.
    let _ = source_digest.set(pinned.digest.to_string());
    tracing::info!(source = %pinned.location, destination = %request.destination, "squashing");
    if let Some(mut summary) = pinned.flat {
        summary.warnings = warnings;
        if request.copy_flat {
            let copied = source::copy(client, &pinned.location, &request.destination).await?;
            summary.reference = copied.unwrap_or(summary.reference);
        }
        return Ok(Outcome::AlreadyFlat(summary));
    }
    request.source = pinned.location;
    let result = squash(client, &request, progress).await.map_err(|error| of_engine(&error))?;
    tracing::info!(digest = %result.figures.digest, reference = %result.reference, seconds = result.duration_seconds, "done");
    for warning in &result.warnings {
        tracing::warn!("{warning}");
    }
    let is_idle = result.nothing_to_do.is_some();
    let result = termination::summary(result, warnings);
    Ok(if is_idle { Outcome::AlreadyFlat(result) } else { Outcome::Squashed(result) })
}

async fn analyze_image(
    client: &Client,
    request: &AnalyzeRequest,
    warnings: Vec<String>,
    progress: &Arc<Progress>,
    source_digest: &OnceLock<String>,
) -> Result<Outcome, Failure> {
    tracing::info!(image = %request.image, "analysing");
    let mut figures = analysis::figures(client, request, progress).await?;
    let _ = source_digest.set(figures.source_digest.clone());
    figures.warnings.splice(0..0, warnings);
    Ok(Outcome::Analyzed(figures))
}

fn pem_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt" || extension == "pem"))
        .collect();
    files.sort();
    files
}
