//! From the spec file to the exit code.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use unbloat_api::Reason;
use unbloat_api::worker::Outcome;
use unbloat_registry::{Client, ClientOptions};
use unbloat_squash::{Progress, squash};

use crate::args::Args;
use crate::endpoint::Shown;
use crate::failure::Failure;
use crate::{credentials, source, spec, termination};

/// After SIGTERM: time for a squash that is just publishing to end well. The whole second is what is promised.
const LAST_CHANCE: Duration = Duration::from_millis(600);
/// Exit code after SIGTERM, as a shell would give it.
const TERMINATED: u8 = 143;

/// Runs the squash and says how it ended.
///
/// # Errors
/// When signals can't be handled or the termination message can't be written; a failed squash is an exit code.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { spec, address, termination, ca_dir } = args;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shown = Shown { progress: Arc::default(), source_digest: Arc::default(), start: Instant::now() };
    let asked = shown.clone();
    match unbloat_endpoint::serve(address, move |path| asked.answer(path)).await {
        Ok(serving) => drop(tokio::spawn(serving)),
        // Nobody will see the progress; the squash is worth more.
        Err(error) => tracing::warn!(%address, %error, "no progress endpoint"),
    }

    let work = AssertUnwindSafe(work(&spec, ca_dir, &shown.progress, &shown.source_digest)).catch_unwind();
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
                Err(_) => Ok(Err(Failure::new(Reason::WorkerLost, TERMINATED, "the worker was told to end"))),
            }
        }
    };
    let result = ended.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().map(ToString::to_string);
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Failure::new(Reason::WorkerFailed, 70, format!("internal error: {words}; please report it")))
    });
    let (outcome, exit_code) = match result {
        Ok(outcome) => (outcome, 0),
        Err(failure) => {
            tracing::error!(reason = %failure.reason, "{}", failure.message);
            let exit_code = if failure.reason == Reason::WorkerLost { TERMINATED } else { failure.exit_code };
            (Outcome::Failed(failure.into_failed(shown.source_digest.get().cloned())), exit_code)
        }
    };
    termination::write(&termination, outcome)?;
    // Threads of a squash that was cut off are not waited for.
    Ok(ExitCode::from(exit_code))
}

async fn work(
    path: &Path,
    ca_dir: Option<PathBuf>,
    progress: &Arc<Progress>,
    source_digest: &OnceLock<String>,
) -> Result<Outcome, Failure> {
    let spec = spec::read(path)?;
    let (keyring, warnings) = credentials::keyring(&spec.credentials)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let mut request = spec.request;
    let mut options = ClientOptions {
        keyring,
        plain_http: request.plain_http,
        ca_files: ca_dir.map(|folder| pem_files(&folder)).unwrap_or_default(),
        allow_foreign: request.allow_foreign,
        scratch: request.limits.scratch.clone(),
        ..ClientOptions::default()
    };
    // Two chunks are held for an upload; registries on object stores want 5 MiB at least.
    let chunk = (request.limits.memory_bytes / 8).clamp(5 << 20, 32 << 20);
    options.upload.chunk_bytes = usize::try_from(chunk).unwrap_or(options.upload.chunk_bytes);
    let client = Client::new(options);
    let pinned = source::pin(&client, &request.source, spec.flat_up_to).await?;
    // Set once, by this call.
    let _ = source_digest.set(pinned.digest.to_string());
    tracing::info!(source = %pinned.location, destination = %request.destination, "squashing");
    if let Some(mut summary) = pinned.flat {
        summary.warnings = warnings;
        return Ok(Outcome::AlreadyFlat(summary));
    }
    request.source = pinned.location;
    let result = squash(&client, &request, progress).await?;
    tracing::info!(digest = %result.digest, reference = %result.reference, seconds = result.duration_seconds, "done");
    for warning in &result.warnings {
        tracing::warn!("{warning}");
    }
    Ok(Outcome::Squashed(termination::summary(&result, warnings)))
}

fn pem_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt" || extension == "pem"))
        .collect();
    files.sort();
    files
}
