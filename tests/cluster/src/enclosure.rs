//! The namespaces (processes, mounts, network) that a cluster lives in.
//!
//! One process is the first of the PID namespace; when it ends, the kernel ends all others, and mounts and
//! links go with the last of them. It ends when its owner does: it reads a pipe that only the owner holds.
//! `keeper.sh` waits for that outside, and removes what namespaces do not: control groups and the folder.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::error::{Error, Result};
use crate::net;
use crate::process::{ProcessId, children_of, tail};

/// Laying mounts and links takes milliseconds; a machine that is busy building needs more.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// The kernel ends a few hundred processes within a second; removing the images' files is the long part.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// Whose end is the cluster's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Of the process that started it, however that ends.
    Owner,
    /// Nobody's: it stays until it is taken down by name.
    Detached,
}

/// The two processes that everything else hangs from; kept in the cluster's folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Anchor {
    /// `keeper.sh`, outside.
    pub(crate) keeper: ProcessId,
    /// The first process inside, by its number outside.
    pub(crate) first: ProcessId,
}

/// A running set of namespaces.
pub(crate) struct Enclosure {
    folder: PathBuf,
    anchor: Anchor,
    keeper: Mutex<Option<Child>>,
    lifeline: Mutex<Option<ChildStdin>>,
}

impl Enclosure {
    /// Makes the namespaces for `nodes` nodes; `folder` must exist, and goes with them.
    pub(crate) fn start(folder: &Path, group: &str, nodes: usize, lifetime: Lifetime) -> Result<Self> {
        for (name, text) in
            [("keeper.sh", include_str!("keeper.sh")), ("inside.sh", include_str!("inside.sh"))]
        {
            std::fs::write(folder.join(name), text).map_err(Error::io(format!("write {name}")))?;
        }
        let log = folder.join("logs/keeper.log");
        let output = File::create(&log).map_err(Error::io(format!("make {}", log.display())))?;
        let errors = output.try_clone().map_err(Error::io("share a log"))?;
        let mut command = Command::new("sh");
        command.arg(folder.join("keeper.sh")).arg(folder).arg(group).arg(nodes.to_string());
        command.arg(if lifetime == Lifetime::Owner { "owner" } else { "nobody" });
        command.args((0..nodes).map(|index| net::node_ip(index).to_string()));
        command.env("UPLINK", net::UPLINK).env("GATEWAY", net::GATEWAY.to_string());
        // A group of its own: Ctrl-C in the terminal is for the test, and must leave its keeper alive.
        command.process_group(0).current_dir("/").stdout(output).stderr(errors);
        command.stdin(if lifetime == Lifetime::Owner { Stdio::piped() } else { Stdio::null() });
        let mut keeper = command.spawn().map_err(Error::io("start sh"))?;
        let lifeline = keeper.stdin.take();

        let deadline = Instant::now() + READY_WITHIN;
        while !folder.join("ready").exists() {
            let ended = keeper.try_wait().map_err(Error::io("ask after the keeper"))?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(Error::Component {
                    component: "the enclosure".into(),
                    what: "could not be made".into(),
                    tail: tail(&log, 40),
                    log,
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let first = children_of(keeper.id())
            .into_iter()
            .flat_map(children_of)
            .find_map(ProcessId::of)
            .ok_or_else(|| Error::Misuse("the enclosure ended as it was made".into()))?;
        let keeper_id = ProcessId::of(keeper.id())
            .ok_or_else(|| Error::Misuse("the keeper ended as it was started".into()))?;
        let anchor = Anchor { keeper: keeper_id, first };
        Ok(Self {
            folder: folder.to_path_buf(),
            anchor,
            keeper: Mutex::new(Some(keeper)),
            lifeline: Mutex::new(lifeline),
        })
    }

    /// Takes hold of an enclosure that another process started.
    pub(crate) fn attach(folder: &Path, anchor: Anchor) -> Self {
        Self { folder: folder.to_path_buf(), anchor, keeper: Mutex::default(), lifeline: Mutex::default() }
    }

    /// What has to be written down so that another process can attach, or end it.
    pub(crate) fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// A command that runs inside. Its own process is a child of the `nsenter` that is started here.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.foreground_command(program);
        // Ctrl-C in the terminal is for the test, which then ends its cluster in order.
        command.process_group(0);
        command
    }

    /// The same, in the terminal's own process group: for a shell.
    pub(crate) fn foreground_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.anchor.first.number))
            .args(["--pid", "--mount", "--net", "--"]);
        command.arg(program);
        command
    }

    /// Runs `work` on a thread inside the network namespace: sockets stay in the one where they were made.
    fn in_network<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.anchor.first.number))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        })
    }

    /// Connects to `address` as a process on the node would.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.in_network(TcpSocket::new_v4)?.connect(address).await
    }

    /// Listens at `address` on the node; needs a tokio runtime.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = self.in_network(|| std::net::TcpListener::bind(address))?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// Takes datagrams at `address` on the node; needs a tokio runtime.
    pub(crate) fn datagrams(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.in_network(|| std::net::UdpSocket::bind(address))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    /// Ends everything inside and waits until the keeper has removed the rest.
    ///
    /// # Errors
    /// When the folder is still there after a minute: something in it could not be ended.
    pub(crate) fn end(&self) -> Result<()> {
        drop(self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        self.anchor.first.signal(Signal::KILL);
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let keeper_ended = match keeper.as_mut() {
                Some(child) => child.try_wait().map_err(Error::io("ask after the keeper"))?.is_some(),
                None => !self.anchor.keeper.is_alive(),
            };
            if keeper_ended {
                *keeper = None;
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Misuse(format!(
                    "the cluster in {} did not end; see the processes below {}",
                    self.folder.display(),
                    self.anchor.keeper.number
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
