//! Processes: who they are beyond a reused number, whose children, how they end, what they wrote.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::enclosure::Enclosure;
use crate::error::{Error, Result};

/// A process, told apart from a later one of the same number by when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) number: u32,
    /// Clock ticks after boot, as in field 22 of proc(5)'s `stat`.
    began: u64,
}

impl ProcessId {
    /// The process that has `number` now; `None` where there is none, or only its zombie.
    pub(crate) fn of(number: u32) -> Option<Self> {
        let fields = stat(number)?;
        if fields.first().is_some_and(|state| state == "Z") {
            return None;
        }
        Some(Self { number, began: fields.get(19)?.parse().ok()? })
    }

    /// Whether it is still that process.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.number) == Some(self)
    }

    /// Sends a signal, unless the process is gone.
    pub(crate) fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.number).ok().and_then(Pid::from_raw)
        {
            // It may end between the two lines, which is as good.
            let _ = kill_process(pid, signal);
        }
    }
}

/// The fields of `/proc/N/stat` after the command's name, which may hold anything: state, parent, …
fn stat(number: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// The processes whose parent is `parent`.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |number: &u32| {
        stat(*number).is_some_and(|fields| fields.get(1).is_some_and(|field| *field == parent.to_string()))
    };
    numbers.filter(is_child).collect()
}

/// The last `lines` lines of a file, or why there are none.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let skipped = text.lines().count().saturating_sub(lines);
            text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("(no log at {}: {error})", path.display()),
    }
}

/// One long-running program inside the cluster's namespaces: etcd, kubelet, a registry, or one that a test
/// starts.
///
/// It ends with the cluster at the latest. Its outputs go to one log.
pub struct Program {
    name: String,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    /// Describes a program; nothing runs yet. `words` is the program and its arguments.
    pub(crate) fn new(name: impl Into<String>, logs: &Path, words: Vec<String>) -> Self {
        let name = name.into();
        let log = logs.join(format!("{name}.log"));
        Self { name, words, environment: Vec::new(), log, child: None }
    }

    /// Adds a variable to the program's environment.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// What it is called in messages and log files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file with all that it wrote.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts the program inside; what it writes is added to its log.
    pub(crate) fn start(&mut self, enclosure: &Enclosure) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(Error::io(format!("open {}", self.log.display())))?;
        let errors = log.try_clone().map_err(Error::io("share a log"))?;
        let mut command: Command = enclosure.command(&self.words[0]);
        command.args(&self.words[1..]).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(command.spawn().map_err(Error::io(format!("start {}", self.name)))?);
        Ok(())
    }

    /// Whether it was started, and not killed since.
    pub(crate) fn was_started(&self) -> bool {
        self.child.is_some()
    }

    /// Waits for the end of a program whose namespaces are gone.
    pub(crate) fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error here means that somebody else reaped it.
            let _ = child.wait();
        }
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Fails, with the end of its log, when the program is not running.
    pub fn check(&mut self) -> Result<()> {
        let what = match (self.child.is_some(), self.ended()) {
            (false, _) => "is not running".to_owned(),
            (true, Some(status)) => format!("ended by itself ({status})"),
            (true, None) => return Ok(()),
        };
        Err(self.failure(what))
    }

    /// An error that quotes the end of its log.
    pub fn failure(&self, what: impl Into<String>) -> Error {
        Error::Component {
            component: self.name.clone(),
            what: what.into(),
            log: self.log.clone(),
            tail: tail(&self.log, 30),
        }
    }

    /// Sends `signal` to the program, if it runs.
    pub fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        // The child is nsenter, which ends with its own child: the program.
        for program in children_of(child.id()).into_iter().filter_map(ProcessId::of) {
            program.signal(signal);
        }
        // It stopped itself when its child was stopped.
        if signal == Signal::CONT
            && let Some(nsenter) = ProcessId::of(child.id())
        {
            nsenter.signal(signal);
        }
    }

    /// Sends `signal` to the program and waits, at most 30 s, for its end.
    pub fn kill(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal);
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().map_err(Error::io("wait for a program"))?.is_none() {
            if Instant::now() > deadline {
                self.child = Some(child);
                return Err(self.failure(format!("did not end within 30 s of {signal:?}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
