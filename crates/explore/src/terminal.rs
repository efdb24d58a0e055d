//! The browser on the process's own terminal.

use std::io::{IsTerminal, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use unbloat_layers::{BoxError, ChunkSource};

use crate::app::{App, Effect};
use crate::extract::{ExtractError, Extraction, to_file};
use unbloat_text::printable;

/// How long a key may go unnoticed; a signal to end and the progress of an extraction wait as long.
const TICK: Duration = Duration::from_millis(100);

/// Standard input or output is not a terminal, or one that cannot be drawn on.
#[derive(Debug, thiserror::Error)]
#[error("{what}; explore draws on a terminal: `unbloat analyze` writes the same as text, JSON or a page")]
pub struct NotATerminal {
    what: &'static str,
}

/// How the browser was left.
#[derive(Debug)]
pub struct Ended {
    /// The squash command for what was marked, if anything was and it was asked for.
    pub command: Option<String>,
}

/// Checks that the browser can be shown, before anything is read.
///
/// # Errors
/// [`NotATerminal`].
pub fn require_terminal() -> Result<(), NotATerminal> {
    let wrong = |what| Err(NotATerminal { what });
    if !std::io::stdout().is_terminal() {
        return wrong("standard output is not a terminal");
    }
    if !std::io::stdin().is_terminal() {
        return wrong("standard input is not a terminal");
    }
    if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return wrong("the terminal cannot move its cursor (TERM is empty or dumb)");
    }
    Ok(())
}

/// Held by whoever writes to the terminal: the browser while it draws, and a panic of another thread until
/// its report is printed, which takes longer than a tick when it has a backtrace.
static TERMINAL: Mutex<()> = Mutex::new(());
/// A panic gave the terminal back: nothing is drawn over its report.
static GIVEN_BACK: AtomicBool = AtomicBool::new(false);

fn lock_terminal() -> MutexGuard<'static, ()> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The alternate screen; leaving this scope, by a panic too, gives the terminal back as it was.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn enter() -> std::io::Result<Self> {
        let screen = ratatui::try_init().map(Self)?;
        // What try_init put there: it restores the terminal and lets the report follow.
        let restore_and_report = panic::take_hook();
        let drawing = thread::current().id();
        panic::set_hook(Box::new(move |panic| {
            GIVEN_BACK.store(true, Ordering::Relaxed);
            // The thread that draws may hold it itself.
            let _terminal = (thread::current().id() != drawing).then(lock_terminal);
            restore_and_report(panic);
        }));
        Ok(screen)
    }

    /// Draws the browser; `false` when a panic gave the terminal back.
    fn draw(&mut self, app: &mut App) -> std::io::Result<bool> {
        let _terminal = lock_terminal();
        if GIVEN_BACK.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.0.draw(|frame| app.draw(frame)).map(|_| true)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if GIVEN_BACK.load(Ordering::Relaxed) {
            return;
        }
        let _ = self.0.show_cursor();
        ratatui::restore();
    }
}

/// A file on its way out of a layer.
struct Work {
    state: Arc<Extraction>,
    name: String,
    ended: Receiver<Result<(), ExtractError>>,
}

/// Shows the browser until it is left, or until `stop`. `open` opens a layer again, for extracting a file.
///
/// # Errors
/// Those of the terminal.
pub fn run<S, F>(mut app: App, open: F, stop: &AtomicBool) -> std::io::Result<Ended>
where
    S: ChunkSource,
    F: Fn(usize) -> Result<S, BoxError> + Send + Sync,
{
    let mut screen = Screen::enter()?;
    let command = std::thread::scope(|scope| {
        let mut work: Option<Work> = None;
        let ended = loop {
            match screen.draw(&mut app) {
                Ok(true) => {}
                Ok(false) => break Ok(None),
                Err(error) => break Err(error),
            }
            if stop.load(Ordering::Relaxed) {
                break Ok(None);
            }
            if !follow(&mut app, &mut work) {
                break Ok(None);
            }
            let key = match next_event() {
                Ok(Some(Event::Key(key))) => key,
                // A new size is taken up by the next drawing.
                Ok(_) => continue,
                Err(error) => break Err(error),
            };
            match app.key(key) {
                None => {}
                Some(Effect::Abandon) => break Ok(None),
                Some(Effect::Leave) => break Ok(app.command()),
                Some(Effect::StopExtracting) => {
                    if let Some(work) = &work {
                        work.state.stop();
                    }
                }
                Some(Effect::Extract { content, to }) => {
                    let state = Arc::new(Extraction::default());
                    let (sender, ended) = channel();
                    let name = printable(to.as_os_str().as_encoded_bytes());
                    work = Some(Work { state: Arc::clone(&state), name, ended });
                    let open = &open;
                    scope.spawn(move || {
                        let _ = sender.send(to_file(open, content, &to, &state));
                    });
                }
            }
        };
        if let Some(work) = &work {
            work.state.stop();
        }
        ended
    });
    drop(screen);
    command.map(|command| Ended { command })
}

/// The next key or change of size, or nothing for a while. Keys that wait are answered one by one, so that
/// each is drawn.
fn next_event() -> std::io::Result<Option<Event>> {
    if event::poll(TICK)? { event::read().map(Some) } else { Ok(None) }
}

/// Tells the browser how far the file is. `false` when the thread that wrote it is gone without a word.
fn follow(app: &mut App, work: &mut Option<Work>) -> bool {
    let Some(at) = work else { return true };
    match at.ended.try_recv() {
        Err(TryRecvError::Empty) => {
            let read = unbloat_text::bytes(at.state.position());
            app.set_extracting(Some(format!("writing {}: {read} of the layer read; Esc stops", at.name)));
            return true;
        }
        Ok(Ok(())) => app.say(format!("{} is written", at.name)),
        Ok(Err(error)) => app.say(printable(with_causes(&error).as_bytes())),
        // It panicked, and the panic's report has given the terminal back already.
        Err(TryRecvError::Disconnected) => return false,
    }
    app.set_extracting(None);
    *work = None;
    true
}

/// An error with what caused it, each once.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl Ended {
    /// Prints the command, where there is one, for the shell that is there again.
    ///
    /// # Errors
    /// Those of standard output.
    pub fn print(&self) -> std::io::Result<()> {
        match &self.command {
            Some(command) => writeln!(std::io::stdout(), "{command}"),
            None => Ok(()),
        }
    }
}
