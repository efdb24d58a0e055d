//! A name server on the node, where all that runs inside asks: for programs that find registries by name, as
//! they do in production. Without one, whoever asks is refused at once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;

use crate::cluster::Cluster;
use crate::enclosure::Enclosure;
use crate::error::{Error, Result};
use crate::net;

/// Question and answer have this before anything else (RFC 1035, 4.1.1).
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const NO_SUCH_NAME: u8 = 3;

/// A running name server; ends when dropped.
pub struct NameServer {
    task: tokio::task::JoinHandle<()>,
}

impl Cluster {
    /// Answers for these names, and says of all others that they don't exist.
    ///
    /// # Errors
    /// When its port can't be had: there is one already.
    pub fn serve_names(&self, names: &[(&str, Ipv4Addr)]) -> Result<NameServer> {
        let names = names.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        NameServer::start(&self.enclosure, names)
    }
}

impl NameServer {
    fn start(enclosure: &Arc<Enclosure>, names: BTreeMap<String, Ipv4Addr>) -> Result<Self> {
        let address = SocketAddr::from((net::node_ip(0), 53));
        let socket = enclosure.datagrams(address).map_err(Error::io("listen on the port of names"))?;
        Ok(Self { task: tokio::spawn(serve(socket, names)) })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, names: BTreeMap<String, Ipv4Addr>) {
    let mut buffer = [0; 512];
    loop {
        // An error is that of an earlier answer, whose asker has gone.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(answer) = answer(&buffer[..length], &names) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to a query with one question; nothing for what is none.
fn answer(query: &[u8], names: &BTreeMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let (name, end) = question(query)?;
    let kind = query.get(end..end + 2)?;
    let address = names.get(&name);
    let is_answered = address.is_some() && kind == TYPE_A;
    let code = if address.is_some() { 0 } else { NO_SUCH_NAME };
    let mut answer = query[..2].to_vec();
    // A response, authoritative, recursion wanted and available; then the counts of questions and answers.
    answer.extend([0x85, 0x80 | code, 0, 1, 0, u8::from(is_answered), 0, 0, 0, 0]);
    answer.extend(query.get(HEADER..end + 4)?);
    if let Some(address) = address.filter(|_| is_answered) {
        // The name of the question, class IN, for 5 s, four bytes.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name that is asked for, and where it ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(label).to_lowercase());
    }
}
