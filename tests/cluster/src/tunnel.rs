//! Ways for bytes between this machine and the cluster's network, each of which can be cut.
//!
//! Whoever is given a tunnel's address instead of the API server's can be cut off from it alone, in either of
//! the two ways networks fail: frozen (nothing arrives, nothing is said) or refused (connections are reset).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::enclosure::Enclosure;
use crate::error::{Error, Result};
use crate::net;

/// Where a tunnel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// On this machine's loopback: for the test's own clients.
    Machine,
    /// On the node's loopback: for programs that run inside the cluster's namespaces.
    Node,
    /// On the node's own address: for pods.
    Pods,
}

/// What a tunnel does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Open,
    /// They pass at this many bytes a second, each way of each connection: what takes a moment lasts as long
    /// as a test needs.
    Slow(u32),
    /// They stay where they are, and connections stay open: a cable pulled, a firewall that drops.
    Frozen,
    /// Connections are closed, old and new: nobody listens.
    Refused,
}

/// Parts of a second that a slow tunnel passes bytes in.
const STEPS: usize = 20;

/// A listening address and what is behind it; ends when dropped.
pub struct Tunnel {
    address: SocketAddr,
    flow: Arc<watch::Sender<Flow>>,
    acceptor: tokio::task::JoinHandle<()>,
}

impl Tunnel {
    /// Opens a tunnel to `target`, as seen from the node.
    pub(crate) fn open(
        runtime: &Handle,
        enclosure: Arc<Enclosure>,
        entrance: Entrance,
        target: SocketAddr,
    ) -> Result<Self> {
        let _entered = runtime.enter();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = match entrance {
            Entrance::Node => enclosure.listen(loopback),
            Entrance::Pods => enclosure.listen(SocketAddr::from((net::node_ip(0), 0))),
            Entrance::Machine => std::net::TcpListener::bind(loopback).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            }),
        };
        let listener = listener.map_err(Error::io("listen on a loopback port"))?;
        let address = listener.local_addr().map_err(Error::io("read a port's number"))?;
        let flow = Arc::new(watch::Sender::new(Flow::Open));
        let acceptor = runtime.spawn(accept(listener, enclosure, target, Arc::clone(&flow)));
        Ok(Self { address, flow, acceptor })
    }

    /// What to connect to, from the tunnel's own side.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the tunnel, or mends it; takes effect on open connections too.
    pub fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.flow.send_replace(Flow::Refused);
    }
}

async fn accept(
    listener: TcpListener,
    enclosure: Arc<Enclosure>,
    target: SocketAddr,
    flow: Arc<watch::Sender<Flow>>,
) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: that passes, and a tight loop would not help.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut gate = flow.subscribe();
        let enclosure = Arc::clone(&enclosure);
        tokio::spawn(async move {
            // A failed end of a connection closes the other: that is all its peer can be told.
            let _ = async {
                pass(&mut gate).await?;
                let far = enclosure.connect(target).await?;
                join(near, far, &gate).await
            }
            .await;
        });
    }
}

async fn join(near: TcpStream, far: TcpStream, gate: &watch::Receiver<Flow>) -> io::Result<()> {
    // Small requests and answers: without this each waits for the other side's delayed acknowledgement.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let (mut out_gate, mut back_gate) = (gate.clone(), gate.clone());
    tokio::try_join!(
        pump(&mut near_read, &mut far_write, &mut out_gate),
        pump(&mut far_read, &mut near_write, &mut back_gate),
    )?;
    Ok(())
}

/// Waits while the tunnel is frozen; fails when it refuses.
async fn pass(gate: &mut watch::Receiver<Flow>) -> io::Result<()> {
    let refused = || io::Error::from(io::ErrorKind::ConnectionReset);
    match gate.wait_for(|flow| *flow != Flow::Frozen).await {
        Ok(flow) if *flow != Flow::Refused => Ok(()),
        _ => Err(refused()),
    }
}

async fn pump(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    gate: &mut watch::Receiver<Flow>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        pass(gate).await?;
        let most = match *gate.borrow() {
            Flow::Slow(rate) => (rate as usize / STEPS).clamp(1, buffer.len()),
            _ => buffer.len(),
        };
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read?,
            _ = gate.changed() => continue,
        };
        pass(gate).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        if matches!(*gate.borrow_and_update(), Flow::Slow(_)) {
            let pause = Duration::from_secs(1) / u32::try_from(STEPS).unwrap_or(1);
            // Whatever comes next, it counts at once.
            let _ = tokio::time::timeout(pause, gate.changed()).await;
        }
    }
}
