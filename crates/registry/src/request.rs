//! One request to a registry: what it is made of, and what its failures are called.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use unbloat_oci::Reference;
use url::Url;

use crate::error::{Error, ErrorKind, sanitize};
use crate::token::{Authentication, Scope};

/// Most bytes of an error's body that are read.
const MAX_ERROR_BODY: usize = 64 << 10;

/// One registry: its name, its address, and what was learned of it.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    https: AtomicBool,
    pub(crate) authentication: Authentication,
    /// Set once it refused a chunk after the first: later uploads go in one piece.
    pub(crate) refuses_chunks: AtomicBool,
}

impl Host {
    pub(crate) fn new(reference: &Reference, plain_http: bool) -> Self {
        Self {
            name: reference.registry().to_owned(),
            https: AtomicBool::new(!(plain_http || reference.is_loopback())),
            authentication: Authentication::default(),
            refuses_chunks: AtomicBool::new(false),
        }
    }

    /// As in references.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https.load(Ordering::Relaxed)
    }

    pub(crate) fn use_https(&self) {
        self.https.store(true, Ordering::Relaxed);
    }

    /// `SCHEME://HOST/`
    pub(crate) fn base(&self) -> Url {
        let scheme = if self.is_https() { "https" } else { "http" };
        let host = if self.name == "docker.io" { "registry-1.docker.io" } else { &self.name };
        Url::parse(&format!("{scheme}://{host}/")).expect("a reference's host makes a URL")
    }

    /// Whether credentials for this registry may go to that URL.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base().origin()
    }
}

/// Whether a URL is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// One request, repeatable.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) scope: &'a Scope,
    /// For errors: what is done, and to what.
    pub(crate) operation: &'static str,
    pub(crate) subject: String,
    /// Statuses that are not errors.
    pub(crate) accept: &'static [StatusCode],
    /// Whether to try again here after network failures, 429 and 5xx.
    pub(crate) retry: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, url: Url, scope: &'a Scope, operation: &'static str) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            scope,
            operation,
            subject: String::new(),
            accept: &[StatusCode::OK],
            retry: true,
        }
    }

    pub(crate) fn subject(mut self, subject: impl std::fmt::Display) -> Self {
        self.subject = subject.to_string();
        self
    }

    pub(crate) fn accept(mut self, accept: &'static [StatusCode]) -> Self {
        self.accept = accept;
        self
    }

    pub(crate) fn once(mut self) -> Self {
        self.retry = false;
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// A body that can be sent again.
#[derive(Clone, Debug, Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    /// Pieces in memory, sent without joining them.
    Pieces(Vec<Bytes>),
    /// A whole file of this many bytes.
    File(std::path::PathBuf, u64),
}

impl Body {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Pieces(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            Self::File(_, length) => *length,
        }
    }

    pub(crate) async fn to_reqwest(&self) -> std::io::Result<reqwest::Body> {
        Ok(match self {
            Self::Empty => reqwest::Body::from(Bytes::new()),
            Self::Pieces(pieces) => {
                reqwest::Body::wrap(Pieces { left: self.len(), pieces: pieces.clone().into_iter() })
            }
            Self::File(path, _) => reqwest::Body::from(tokio::fs::File::open(path).await?),
        })
    }
}

/// A body of known length: `Content-Length` instead of chunked coding, which some registries refuse.
struct Pieces {
    left: u64,
    pieces: std::vec::IntoIter<Bytes>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.pieces.next();
        self.left -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error of an answer with a status that the operation does not allow. Reads a little of the body.
pub(crate) async fn status_error(
    place: &str,
    operation: &'static str,
    subject: &str,
    response: Response,
) -> Error {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let body = read_bounded(response, MAX_ERROR_BODY, Duration::from_secs(5)).await.unwrap_or_default();
    let message = message_of(&body);
    let kind = match status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound { message },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ErrorKind::Unauthorized { status: status.as_u16(), message }
        }
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited { message, retry_after },
        _ => ErrorKind::Status { status: status.as_u16(), message },
    };
    Error::new(place, operation, subject, kind)
}

/// The server's own words: the `errors` of the distribution spec, else the beginning of a text.
fn message_of(body: &[u8]) -> String {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(body) {
        let texts: Vec<String> = body
            .errors
            .iter()
            .take(3)
            .map(|ErrorItem { code, message }| match (code.is_empty(), message.is_empty()) {
                (false, false) => format!("{code}: {message}"),
                (false, true) => code.clone(),
                _ => message.clone(),
            })
            .collect();
        return sanitize(&texts.join("; "));
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(1024)]);
    if text.trim_start().starts_with('<') { String::new() } else { sanitize(&text) }
}

/// `Retry-After` in seconds. The form with a date is rare and needs a clock that agrees with the server's.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A body of at most `limit` bytes.
pub(crate) async fn read_bounded(
    mut response: Response,
    limit: usize,
    stall: Duration,
) -> Result<Vec<u8>, ErrorKind> {
    let mut out = Vec::new();
    loop {
        let next =
            tokio::time::timeout(stall, response.chunk()).await.map_err(|_| ErrorKind::Timeout(stall))?;
        let Some(bytes) = next.map_err(|error| ErrorKind::Network(describe(&error)))? else {
            return Ok(out);
        };
        if out.len() + bytes.len() > limit {
            return Err(ErrorKind::LimitExceeded { what: "the answer", limit: limit as u64 });
        }
        out.extend_from_slice(&bytes);
    }
}

/// A network error in words: the innermost cause says most, and reqwest's own text may hold a URL with a token.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        cause = inner.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { sanitize(&text) }
}
