//! A small HTTP endpoint for probes, metrics and progress, shared by the operator and its workers.
//!
//! What happens here: GET requests are answered from memory by one function. What does not: routing, TLS,
//! bodies, anything that waits.
//!
//! Invariants: a bounded number of connections at once, in all and for each address, each with a time limit;
//! whatever a client sends, nothing of it is kept or shown. A new connection is always taken: where there are
//! too many, the oldest one goes, of the same address if that has its share. An answer takes a moment, so
//! that clients that hang keep nobody out.
//!
//! # Example
//! ```
//! use std::net::{Ipv4Addr, SocketAddr};
//! use unbloat_endpoint::{Answer, serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
//! let endpoint = serve(anywhere, |path| match path {
//!     "/healthz" => Answer::probe(true),
//!     _ => Answer::not_found("try /healthz"),
//! })
//! .await?;
//! let serving = tokio::spawn(endpoint);
//! // It serves until it is dropped.
//! serving.abort();
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Connections at once: probes, scrapes and the operator's polls are few, and memory stays bounded.
const CONNECTIONS: usize = 32;
/// Connections of one address at once.
const PER_PEER: usize = 8;
/// A client that sends or reads slower than this loses its place.
const LIMIT: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A document.
    pub fn ok(content_type: &'static str, body: String) -> Self {
        Self { status: 200, content_type, body }
    }

    /// What a probe asks: 200, or 503.
    pub fn probe(good: bool) -> Self {
        let (status, body) = if good { (200, "ok\n") } else { (503, "not ok\n") };
        Self { status, content_type: "text/plain", body: body.to_owned() }
    }

    /// Nothing here; the hint says what there is.
    pub fn not_found(hint: &str) -> Self {
        Self { status: 404, content_type: "text/plain", body: format!("{hint}\n") }
    }
}

/// Binds the address, then serves until the returned future is dropped. `answer` gets the path of a GET
/// request.
///
/// # Errors
/// When the address can't be bound.
pub async fn serve<F>(address: SocketAddr, answer: F) -> std::io::Result<impl Future<Output = ()> + Send>
where
    F: Fn(&str) -> Answer + Send + Sync + 'static,
{
    let listener = match TcpListener::bind(address).await {
        // `[::]` takes IPv4 as well; on a machine without IPv6 that is all there is.
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            let ipv4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
            ipv4.map_err(|_| error)?
        }
        bound => bound?,
    };
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(accept(listener, Arc::new(answer)))
}

async fn accept<F>(listener: TcpListener, answer: Arc<F>)
where
    F: Fn(&str) -> Answer + Send + Sync + 'static,
{
    let mut open = Open::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly; the next moment may have one.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        open.make_room(peer.ip());
        let answer = Arc::clone(&answer);
        let connection = tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = respond(&request, &*answer);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(LIMIT)
                .serve_connection(TokioIo::new(stream), service);
            // The client sees the end of the connection; there is nobody else to tell.
            let _ = tokio::time::timeout(LIMIT, connection).await;
        });
        open.0.push_back((peer.ip(), connection.abort_handle()));
    }
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Open(VecDeque<(IpAddr, AbortHandle)>);

impl Open {
    /// Closes what has to give way to one more connection of this address.
    fn make_room(&mut self, peer: IpAddr) {
        self.0.retain(|(_, connection)| !connection.is_finished());
        let of_peer = self.0.iter().filter(|(address, _)| *address == peer).count();
        let oldest = if of_peer >= PER_PEER {
            self.0.iter().position(|(address, _)| *address == peer)
        } else {
            (self.0.len() >= CONNECTIONS).then_some(0)
        };
        if let Some((_, connection)) = oldest.and_then(|at| self.0.remove(at)) {
            connection.abort();
        }
    }
}

fn respond(
    request: &Request<Incoming>,
    answer: &(impl Fn(&str) -> Answer + ?Sized),
) -> Response<Full<Bytes>> {
    let answer = match *request.method() {
        Method::GET => answer(request.uri().path()),
        _ => Answer { status: 405, content_type: "text/plain", body: "GET only\n".to_owned() },
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |path: &str| match path {
            "/x" => Answer::ok("text/plain", "answer".to_owned()),
            _ => Answer::not_found("try /x"),
        };
        tokio::spawn(accept(listener, Arc::new(answer)));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn get_is_answered_and_everything_else_refused() {
        let address = start().await;
        let answer = ask(address, "GET /x").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("answer"), "{answer}");
        assert!(ask(address, "GET /y").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /x").await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn two_hundred_clients_that_hang_keep_nobody_out() {
        let address = start().await;
        let mut hanging = Vec::new();
        for number in 0..200 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Half of them have begun a request, half say nothing.
            if number % 2 == 0 {
                stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n").await.unwrap();
            }
            hanging.push(stream);
        }
        let answer = tokio::time::timeout(LIMIT / 2, ask(address, "GET /x")).await;
        assert!(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")));
    }

    #[tokio::test]
    async fn one_address_gives_way_to_itself_and_many_to_the_newest() {
        let connection = || tokio::spawn(std::future::pending::<()>()).abort_handle();
        let peer = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut open = Open::default();
        for last in 0..(CONNECTIONS - PER_PEER) {
            open.0.push_back((peer(u8::try_from(last).unwrap() + 10), connection()));
        }
        for _ in 0..20 {
            open.make_room(peer(1));
            open.0.push_back((peer(1), connection()));
        }
        assert_eq!(open.0.iter().filter(|(address, _)| *address == peer(1)).count(), PER_PEER);
        assert_eq!(open.0.len(), CONNECTIONS);
        open.make_room(peer(2));
        open.0.push_back((peer(2), connection()));
        assert_eq!(open.0.len(), CONNECTIONS);
        assert_eq!(open.0[0].0, peer(11), "the oldest of all gave way");
    }
}
