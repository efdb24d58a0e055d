//! SIGINT and SIGTERM: every command ends within a second, publishes nothing more, leaves nothing temporary
//! behind, and says by its exit code which signal it was.
//!
//! # Expected flow
//! At the first signal the work that is going on is told to stop ([`Progress::cancel`]) and has a moment to
//! end by itself; what is just being published can end well. After that moment the process ends whatever its
//! threads do. A second signal does not wait.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use unbloat_contract::exit::{INTERRUPTED, TERMINATED};
use unbloat_squash::Progress;

/// What the work has to end by itself; the whole second is what is promised.
const MOMENT: Duration = Duration::from_millis(600);

static RUNNING: Mutex<Vec<Weak<Progress>>> = Mutex::new(Vec::new());
static TOLD: AtomicU8 = AtomicU8::new(0);
static IS_SAID: AtomicBool = AtomicBool::new(false);

/// Work that is told to stop at a signal.
pub(crate) fn stops(progress: &Arc<Progress>) {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.retain(|known| known.strong_count() > 0);
    running.push(Arc::downgrade(progress));
    if told().is_some() {
        progress.cancel();
    }
}

/// The exit code of the signal that came, if one did.
pub(crate) fn told() -> Option<u8> {
    Some(TOLD.load(Ordering::Relaxed)).filter(|code| *code != 0)
}

/// Says once that the command was ended.
pub(crate) fn say() {
    if !IS_SAID.swap(true, Ordering::Relaxed) {
        eprintln!("error: interrupted; nothing was published");
    }
}

/// Waits for signals in a task of its own.
///
/// # Errors
/// Signals cannot be handled.
pub(crate) fn start() -> std::io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupts.recv() => INTERRUPTED,
                _ = terminations.recv() => TERMINATED,
            }
        };
        let code = next().await;
        TOLD.store(code, Ordering::Relaxed);
        for progress in
            RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade)
        {
            progress.cancel();
        }
        let _ = tokio::time::timeout(MOMENT, next()).await;
        unbloat_registry::scratch::discard_all();
        say();
        std::process::exit(i32::from(code));
    });
    Ok(())
}

/// The exit code of a command that has ended, where a signal has told it to.
pub(crate) fn code(ended: &anyhow::Result<()>) -> Option<ExitCode> {
    let code = told()?;
    // What was published before the signal took effect was published.
    if ended.is_ok() {
        return None;
    }
    say();
    Some(ExitCode::from(code))
}
