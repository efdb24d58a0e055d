//! The bytes of a blob as they come from a registry, resumed with ranges where a connection breaks. Whether
//! they are right is the matter of `reading`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use unbloat_oci::{Descriptor, VerifyError};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::answer::{failure, status_error};
use crate::http::attempts::Attempts;
use crate::http::coding::Coding;
use crate::operation::Operation;
use crate::remote::Repository;

pub(super) const READING: Operation = Operation::ReadingBlob;

/// A blob on its way.
pub(super) struct Fetching {
    pub(super) repository: Repository,
    pub(super) descriptor: Descriptor,
    /// The next byte to give.
    position: u64,
    response: Option<Response>,
    coding: Coding,
    /// Came, and is not decoded.
    came: Bytes,
    /// The server compresses what it answers: from the middle is nothing to be had.
    only_whole: bool,
    /// Bytes to drop of an answer that began before the position.
    skip: u64,
    /// Given back.
    pending: Option<Bytes>,
    /// Since the last byte that came.
    attempts: Attempts,
    read: Arc<AtomicU64>,
    ended: bool,
}

impl Fetching {
    pub(super) fn new(repository: &Repository, descriptor: &Descriptor, read: &Arc<AtomicU64>) -> Self {
        Self {
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            position: 0,
            response: None,
            coding: Coding::Identity,
            came: Bytes::new(),
            only_whole: false,
            skip: 0,
            pending: None,
            attempts: repository.transport.attempts(),
            read: Arc::clone(read),
            ended: false,
        }
    }

    /// The next bytes; `None` at the end, when there were at least as many as the descriptor says.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(bytes) = self.pending.take() {
            self.position += bytes.len() as u64;
            return Ok(Some(bytes));
        }
        loop {
            // An empty blob needs a request too: whether it exists is part of the answer.
            if self.ended
                || (self.position >= self.descriptor.size() && self.response.is_none() && self.position > 0)
            {
                return Ok(None);
            }
            if self.response.is_none() {
                self.open().await?;
            }
            let stall = self.repository.transport.options().timeouts.stall;
            let response = self.response.as_mut().expect("it was just opened");
            let next = match self.came.is_empty() {
                true => tokio::time::timeout(stall, response.chunk()).await,
                false => Ok(Ok(Some(std::mem::take(&mut self.came)))),
            };
            let failed = match next {
                Ok(Ok(Some(bytes))) => match self.decode(bytes) {
                    Ok(Some(bytes)) => return Ok(Some(bytes)),
                    Ok(None) => continue,
                    Err(failed) => failed,
                },
                Ok(Ok(None)) if !self.coding.is_identity() => match self.decode_end() {
                    Ok(Some(bytes)) => return Ok(Some(bytes)),
                    Ok(None) => continue,
                    Err(failed) => failed,
                },
                Ok(Ok(None)) if self.position >= self.descriptor.size() => {
                    self.response = None;
                    self.ended = true;
                    return Ok(None);
                }
                Ok(Ok(None)) => {
                    let (digest, size) = (self.descriptor.digest().clone(), self.descriptor.size());
                    ErrorKind::from(VerifyError::Truncated { digest, size, found: self.position })
                }
                Ok(Err(error)) => failure(&error),
                Err(_) => ErrorKind::Timeout(stall),
            };
            self.response = None;
            let error = self.fault(failed);
            tracing::debug!(%error, seen = self.position, "resuming");
            if !self.attempts.again_after(&error).await {
                return Err(error);
            }
        }
    }

    /// Gives bytes back that were just taken from the front: they come again.
    pub(super) fn give_back(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.position -= bytes.len() as u64;
            self.pending = Some(bytes);
        }
    }

    /// Goes on from this byte, with a new request.
    pub(super) fn restart(&mut self, position: u64) {
        (self.position, self.response, self.pending, self.ended) = (position, None, None, false);
        self.came = Bytes::new();
    }

    pub(super) fn fault(&self, kind: impl Into<ErrorKind>) -> Error {
        self.repository.fault(READING, self.descriptor.digest(), kind)
    }

    /// What came of the body, as the blob's bytes; `None` for nothing yet.
    fn decode(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, ErrorKind> {
        let decoded = self.coding.decode(&mut bytes)?;
        self.came = bytes;
        Ok(self.take(decoded))
    }

    fn decode_end(&mut self) -> Result<Option<Bytes>, ErrorKind> {
        let decoded = self.coding.finish()?;
        self.coding = Coding::Identity;
        Ok(self.take(decoded))
    }

    fn take(&mut self, mut bytes: Bytes) -> Option<Bytes> {
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.skip > 0 {
            let dropped = self.skip.min(bytes.len() as u64);
            self.skip -= dropped;
            bytes = bytes.slice(usize::try_from(dropped).unwrap_or(bytes.len())..);
        }
        if bytes.is_empty() {
            return None;
        }
        self.attempts.progressed();
        self.position += bytes.len() as u64;
        Some(bytes)
    }

    /// Requests the blob from the position on.
    async fn open(&mut self) -> Result<(), Error> {
        let offset = self.position;
        let digest = self.descriptor.digest().clone();
        let mut call = self
            .repository
            .call(Method::GET, &format!("blobs/{digest}"), READING)
            .subject(&digest)
            .accept(&[StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE]);
        if offset > 0 && !self.only_whole {
            call = call.header(RANGE, &format!("bytes={offset}-"));
        }
        let mut answer = match self.ask_mirrors(offset).await {
            Some(response) => Ok(response),
            None => self.repository.send(call).await,
        };
        if matches!(&answer, Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }))
            && self.repository.transport.options().allow_foreign
            && let Some(foreign) = self.open_foreign(offset).await
        {
            answer = foreign;
        }
        let mut response = answer?;
        // No range, or one that begins behind the next byte: then all of it, and the beginning is dropped.
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE || starts_behind(&response, offset) {
            let call =
                self.repository.call(Method::GET, &format!("blobs/{digest}"), READING).subject(&digest);
            response = self.repository.send(call).await?;
        }
        self.skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let first = range_start(&response).unwrap_or(offset);
                offset.checked_sub(first).ok_or_else(|| {
                    self.fault(ErrorKind::Protocol(format!(
                        "asked from byte {offset}, answered from {first}"
                    )))
                })?
            }
            _ => offset,
        };
        let size = self.descriptor.size();
        self.coding =
            Coding::of(&response, Some(size - self.skip.min(size))).map_err(|kind| self.fault(kind))?;
        self.only_whole |= !self.coding.is_identity();
        self.came = Bytes::new();
        self.response = Some(response);
        Ok(())
    }

    /// The first mirror that has it. One that breaks off leaves the rest to the next request.
    async fn ask_mirrors(&self, offset: u64) -> Option<Response> {
        let digest = self.descriptor.digest();
        for mirror in self.repository.mirrors.iter() {
            let mut call = mirror
                .call(Method::GET, &format!("blobs/{digest}"), READING)
                .subject(digest)
                .accept(&[StatusCode::OK, StatusCode::PARTIAL_CONTENT])
                .once();
            if offset > 0 {
                call = call.header(RANGE, &format!("bytes={offset}-"));
            }
            match mirror.send(call).await {
                Ok(response) => return Some(response),
                Err(error) => tracing::debug!(%error, "a mirror does not have it"),
            }
        }
        None
    }

    /// A foreign layer from its `urls`, without credentials.
    async fn open_foreign(&self, offset: u64) -> Option<Result<Response, Error>> {
        let transport = &self.repository.transport;
        let mut last = None;
        for text in self.descriptor.urls() {
            let Ok(url) = Url::parse(&text) else { continue };
            if !matches!(url.scheme(), "http" | "https") {
                continue;
            }
            let request = |http: &reqwest::Client, url: &Url| {
                let request = http.get(url.clone());
                Ok(if offset > 0 { request.header(RANGE, format!("bytes={offset}-")) } else { request })
            };
            let place = url.host_str().unwrap_or_default().to_owned();
            let fault = |kind| Error::new(place.clone(), READING, self.descriptor.digest(), kind);
            match transport.clients().send_following(&Method::GET, url, &fault, request).await {
                // An address that must not be connected to is no place for it.
                Err(error) if matches!(error.kind(), ErrorKind::RefusedAddress) => {}
                Ok(response) if response.status().is_success() => return Some(Ok(response)),
                Ok(response) => {
                    let subject = self.descriptor.digest().to_string();
                    last = Some(Err(status_error(&place, READING, &subject, response).await));
                }
                Err(error) => last = Some(Err(error)),
            }
        }
        last
    }
}

/// Whether an answer leaves out the byte at `offset`.
fn starts_behind(response: &Response, offset: u64) -> bool {
    response.status() == StatusCode::PARTIAL_CONTENT
        && range_start(response).is_some_and(|first| first > offset)
}

/// First byte of a `Content-Range: bytes FIRST-LAST/SIZE`.
fn range_start(response: &Response) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}
