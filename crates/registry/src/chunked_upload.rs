//! A chunked upload (distribution spec, "Pushing a blob in chunks") whose chunks survive a failing server.
//!
//! Each chunk is kept in memory until the server says that it has it. After a failure the server is asked how far it got
//! (GET of the session), and the rest of the chunk is sent again. What was acknowledged is gone from memory: a server that
//! loses *that* ends the upload with [`ErrorKind::UploadLost`], and whoever made the bytes has to make them again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::task::JoinHandle;
use unbloat_oci::Digest;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::remote::Repository;
use crate::request::{Body, Call};
use crate::single_upload::put_whole;
use crate::upload::session_location;

const MIN_CHUNK: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// Most that a server's minimum can make a chunk: memory is bounded whatever it asks for.
const LARGEST_CHUNK: usize = 64 << 20;
/// Pieces below this are copied together: a request of a million tiny pieces would cost more than the copy.
const SMALL_PIECE: usize = 32 << 10;
const OPERATION: &str = "uploading blob";

/// What became of written bytes.
#[derive(Debug)]
pub(crate) enum Written {
    /// They are on their way or there.
    Taken,
    /// The server takes no chunks; here is everything that was written so far.
    Refused(Vec<Bytes>),
}

/// An upload session as the server named it.
#[derive(Debug)]
pub(crate) struct Session {
    repository: Repository,
    pub(crate) url: Url,
    acknowledged: u64,
    min_chunk: usize,
}

#[derive(Debug)]
enum Failure {
    /// The first chunk was refused for being a chunk.
    Refused,
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

type Sending = JoinHandle<(Session, Vec<Bytes>, Result<(), Failure>)>;

/// A chunked upload: one chunk under way, one that fills.
#[derive(Debug)]
pub(crate) struct Chunked {
    repository: Repository,
    /// Here while nothing is under way.
    session: Option<Session>,
    sending: Option<Sending>,
    started: bool,
    chunk_bytes: usize,
    filling: Vec<Bytes>,
    small: BytesMut,
    filled: usize,
}

impl Chunked {
    /// Opens a session, so that a missing permission is found before any work.
    pub(crate) async fn begin(repository: Repository) -> Result<Self, Error> {
        let session = begin_session(&repository).await?;
        let wanted = repository.transport.options().upload.chunk_bytes;
        let chunk_bytes = wanted.max(session.min_chunk).clamp(1, LARGEST_CHUNK);
        Ok(Self {
            repository,
            session: Some(session),
            sending: None,
            started: false,
            chunk_bytes,
            filling: Vec::new(),
            small: BytesMut::new(),
            filled: 0,
        })
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<Written, Error> {
        while !bytes.is_empty() {
            let room = self.chunk_bytes - self.filled;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.filled += piece.len();
            if piece.len() < SMALL_PIECE {
                self.small.extend_from_slice(&piece);
            } else {
                self.seal_small();
                self.filling.push(piece);
            }
            if self.filled == self.chunk_bytes
                && let Written::Refused(mut all) = self.send_filled().await?
            {
                all.push(bytes);
                return Ok(Written::Refused(all));
            }
        }
        Ok(Written::Taken)
    }

    fn seal_small(&mut self) {
        if !self.small.is_empty() {
            self.filling.push(self.small.split().freeze());
        }
    }

    fn take_filled(&mut self) -> Vec<Bytes> {
        self.seal_small();
        self.filled = 0;
        std::mem::take(&mut self.filling)
    }

    /// Waits for the chunk under way, then sends the one that is full.
    async fn send_filled(&mut self) -> Result<Written, Error> {
        if let Written::Refused(mut all) = self.settle().await? {
            all.extend(self.take_filled());
            return Ok(Written::Refused(all));
        }
        let pieces = self.take_filled();
        let mut session = self.session.take().expect("nothing is under way after settling");
        self.started = true;
        self.sending = Some(tokio::spawn(async move {
            let outcome = session.send(&pieces).await;
            (session, pieces, outcome)
        }));
        Ok(Written::Taken)
    }

    /// Waits until nothing is under way.
    async fn settle(&mut self) -> Result<Written, Error> {
        let Some(sending) = &mut self.sending else { return Ok(Written::Taken) };
        let done = sending.await;
        self.sending = None;
        let (session, pieces, outcome) = done.map_err(|panic| {
            Error::new(self.repository.registry(), OPERATION, "", ErrorKind::Invalid(panic.to_string()))
        })?;
        self.session = Some(session);
        match outcome {
            Ok(()) => Ok(Written::Taken),
            Err(Failure::Refused) => Ok(Written::Refused(pieces)),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    pub(crate) async fn finish(&mut self, digest: &Digest) -> Result<Written, Error> {
        if self.started {
            if self.filled > 0
                && let Written::Refused(all) = self.send_filled().await?
            {
                return Ok(Written::Refused(all));
            }
            if let Written::Refused(all) = self.settle().await? {
                return Ok(Written::Refused(all));
            }
            self.session.as_mut().expect("nothing is under way after settling").commit(digest).await?;
        } else {
            // It all fits into one request, which every server takes.
            let pieces = self.take_filled();
            let session = self.session.take().map(|session| session.url);
            put_whole(&self.repository, session, digest, Body::Pieces(pieces)).await?;
        }
        self.session = None;
        Ok(Written::Taken)
    }

    /// Waits for what is under way (its answer has the session's next address) and closes the session.
    pub(crate) async fn cancel(mut self) {
        close(self.session.take(), self.sending.take()).await;
    }
}

impl Drop for Chunked {
    fn drop(&mut self) {
        let (session, sending) = (self.session.take(), self.sending.take());
        if (session.is_some() || sending.is_some())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(close(session, sending));
        }
    }
}

async fn close(mut session: Option<Session>, sending: Option<Sending>) {
    if let Some(sending) = sending {
        session = sending.await.ok().map(|(session, _, _)| session);
    }
    if let Some(session) = session {
        session.repository.cancel(session.url).await;
    }
}

/// POST: a new session.
pub(crate) async fn begin_session(repository: &Repository) -> Result<Session, Error> {
    let call = repository
        .call(Method::POST, "blobs/uploads/", OPERATION)
        .accept(&[StatusCode::ACCEPTED, StatusCode::OK]);
    let call = call.subject(repository.repository());
    let response = repository.send(call).await?;
    let url = session_location(&repository.host.base(), &response).ok_or_else(|| {
        let kind = ErrorKind::Protocol("an upload was opened without a usable Location".to_owned());
        Error::new(repository.registry(), OPERATION, repository.repository(), kind)
    })?;
    let min_chunk = response
        .headers()
        .get(MIN_CHUNK)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .unwrap_or(0);
    Ok(Session { repository: repository.clone(), url, acknowledged: 0, min_chunk })
}

/// A session's URL with the digest added to whatever query it has.
pub(crate) fn with_digest(session: &Url, digest: &Digest) -> Url {
    let mut url = session.clone();
    // Appended by hand: `query_pairs_mut` would write the server's own query anew.
    let query = match session.query() {
        Some(query) if !query.is_empty() => format!("{query}&digest={}", digest.as_str().replace(':', "%3A")),
        _ => format!("digest={}", digest.as_str().replace(':', "%3A")),
    };
    url.set_query(Some(&query));
    url
}

impl Session {
    fn call(&self, method: Method, url: Url) -> Call<'_> {
        Call::new(method, url, &self.repository.scope, OPERATION).subject(self.repository.repository())
    }

    fn lost(&self, reason: impl Into<String>) -> Failure {
        let kind = ErrorKind::UploadLost { sent: self.acknowledged, reason: reason.into() };
        Failure::Other(Error::new(self.repository.registry(), OPERATION, self.repository.repository(), kind))
    }

    /// Sends one chunk until the server has all of it.
    async fn send(&mut self, pieces: &[Bytes]) -> Result<(), Failure> {
        let start = self.acknowledged;
        let end = start + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let mut failures = 0;
        while self.acknowledged < end {
            let before = self.acknowledged;
            let rest = skip(pieces, before - start);
            let outcome = self.patch(rest, end).await;
            let Err(error) = outcome else {
                if self.acknowledged < start || self.acknowledged > end {
                    return Err(self.lost("the server has another number of bytes than it was sent"));
                }
                failures = if self.acknowledged > before { 0 } else { failures + 1 };
                if failures >= self.repository.transport.options().retry.attempts {
                    return Err(self.lost("the server takes no more bytes"));
                }
                continue;
            };
            failures += 1;
            self.recover(&error, start, failures).await.map_err(|failure| match failure {
                Some(failure) => failure,
                None => Failure::Other(error),
            })?;
            if self.acknowledged < start || self.acknowledged > end {
                return Err(self.lost("the server has another number of bytes than it was sent"));
            }
        }
        Ok(())
    }

    /// After a failed PATCH: decides whether and from where to go on. `Err(None)` means that the error stands.
    async fn recover(&mut self, error: &Error, start: u64, failures: u32) -> Result<(), Option<Failure>> {
        let attempts = self.repository.transport.options().retry.attempts;
        let status = match error.kind() {
            ErrorKind::NotFound { .. } => 404,
            ErrorKind::Status { status, .. } => *status,
            _ => 0,
        };
        match status {
            404 => return self.reopen(start, failures, error).await,
            400 | 405 | 411 | 413 | 415 | 501 => return Err(self.refused(start, error)),
            416 => {}
            _ if error.is_retryable() => {}
            _ => return Err(None),
        }
        if failures >= attempts {
            return Err((status == 416).then(|| self.refused(start, error)).flatten());
        }
        if !self.repository.transport.back_off(failures, error).await {
            return Err(None);
        }
        match self.ask().await {
            Ok(()) if status == 416 && self.acknowledged == 0 && failures > 1 => {
                Err(self.refused(start, error))
            }
            Ok(()) => Ok(()),
            Err(asked) if matches!(asked.kind(), ErrorKind::NotFound { .. }) => {
                self.reopen(start, failures, error).await
            }
            // A server without a status of uploads: what it has not acknowledged is sent again, and the digest decides.
            Err(asked) if matches!(asked.kind(), ErrorKind::Status { .. }) && status != 416 => Ok(()),
            Err(asked) => Err(Some(Failure::Other(asked))),
        }
    }

    /// Refused for being a chunk: at the first one there is another way, later the bytes are gone.
    fn refused(&self, start: u64, error: &Error) -> Option<Failure> {
        if start == 0 {
            return Some(Failure::Refused);
        }
        self.repository.host.refuses_chunks.store(true, std::sync::atomic::Ordering::Relaxed);
        Some(self.lost(format!("a further chunk was refused ({})", error.kind())))
    }

    /// The session is gone: a new one, if every byte is still here.
    async fn reopen(&mut self, start: u64, failures: u32, error: &Error) -> Result<(), Option<Failure>> {
        if start > 0 {
            return Err(Some(self.lost(format!("the server forgot the upload ({})", error.kind()))));
        }
        if failures >= self.repository.transport.options().retry.attempts {
            return Err(None);
        }
        *self = begin_session(&self.repository).await.map_err(|error| Some(Failure::Other(error)))?;
        Ok(())
    }

    async fn patch(&mut self, pieces: Vec<Bytes>, end: u64) -> Result<(), Error> {
        let body = Body::Pieces(pieces);
        let first = self.acknowledged;
        let call = self
            .call(Method::PATCH, self.url.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_RANGE, &format!("{first}-{}", end - 1))
            .body(body)
            .accept(&[StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::CREATED])
            .once();
        let response = self.repository.send(call).await?;
        self.follow(&response);
        self.acknowledged = acknowledged(&response).unwrap_or(end);
        Ok(())
    }

    /// GET: how far did it get?
    async fn ask(&mut self) -> Result<(), Error> {
        let call = self.call(Method::GET, self.url.clone()).accept(&[
            StatusCode::NO_CONTENT,
            StatusCode::OK,
            StatusCode::ACCEPTED,
        ]);
        let response = self.repository.send(call).await?;
        self.follow(&response);
        if let Some(acknowledged) = acknowledged(&response) {
            self.acknowledged = acknowledged;
        }
        Ok(())
    }

    fn follow(&mut self, response: &Response) {
        if let Some(url) = session_location(&self.url, response) {
            self.url = url;
        }
    }

    /// PUT without a body: the blob is complete.
    async fn commit(&mut self, digest: &Digest) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            let call = self
                .call(Method::PUT, with_digest(&self.url, digest))
                .header(CONTENT_TYPE, "application/octet-stream")
                .accept(&[StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT])
                .subject(digest)
                .once();
            let Err(error) = self.repository.send(call).await else { return Ok(()) };
            attempt += 1;
            let gone = matches!(error.kind(), ErrorKind::NotFound { .. });
            if !(error.is_retryable() || gone)
                || attempt >= self.repository.transport.options().retry.attempts
            {
                return Err(error);
            }
            if !gone && !self.repository.transport.back_off(attempt, &error).await {
                return Err(error);
            }
            // The answer may have been lost, not the blob.
            let there = self.repository.has_blob(digest).await.ok().flatten();
            if there == Some(self.acknowledged) {
                return Ok(());
            }
            if gone {
                let kind = ErrorKind::UploadLost {
                    sent: self.acknowledged,
                    reason: format!("the server forgot the upload ({})", error.kind()),
                };
                return Err(Error::new(self.repository.registry(), OPERATION, digest, kind));
            }
        }
    }
}

/// `Range: 0-LAST`; `0-0` is how registries say that they have nothing.
fn acknowledged(response: &Response) -> Option<u64> {
    let text = response.headers().get(RANGE)?.to_str().ok()?.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let (_, last) = text.split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

/// The pieces without their first `skip` bytes.
fn skip(pieces: &[Bytes], mut skip: u64) -> Vec<Bytes> {
    let mut rest: VecDeque<Bytes> = pieces.iter().cloned().collect();
    while let Some(first) = rest.front_mut() {
        let length = first.len() as u64;
        if skip < length {
            let _ = first.split_to(usize::try_from(skip).unwrap_or(0));
            break;
        }
        skip -= length;
        rest.pop_front();
    }
    rest.into()
}
