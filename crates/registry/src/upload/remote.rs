//! A blob on its way to a registry, by whichever way the registry takes.
//!
//! Nothing is sent before a chunk is full, so a small blob is one request. What is under way and what fills
//! are in memory. When a way is refused, the next one begins with the bytes that are still here; where some
//! are gone, the upload ends with [`ErrorKind::UploadLost`], the registry's next way is remembered, and
//! whoever makes the bytes makes them again ([`crate::Remakes`]).

use bytes::Bytes;
use unbloat_oci::Digest;

use crate::error::{Error, ErrorKind};
use crate::http::body::Body;
use crate::remote::Repository;
use crate::transport::way::{Class, Way};
use crate::upload::chunked::{ChunkInFlight, Chunked, Stopped};
use crate::upload::commit::{commit, put_whole};
use crate::upload::failure::{Cause, Failure, cause, is_too_soon};
use crate::upload::filling::Filling;
use crate::upload::session::{OPERATION, Session, length};
use crate::upload::spool::Spool;
use crate::upload::streaming::Streaming;
use crate::upload_policy::UploadMode;

/// Most that a server's minimum can make a chunk: memory is bounded whatever it asks for.
const LARGEST_CHUNK: usize = 64 << 20;

/// An upload.
#[derive(Debug)]
pub(crate) struct RemoteUpload {
    repository: Repository,
    mode: UploadMode,
    chunk_bytes: usize,
    filling: Filling,
    /// Bytes that left `filling`.
    sent: u64,
    state: State,
    /// New beginnings that this upload may still make.
    beginnings: u32,
}

#[derive(Debug)]
enum State {
    /// Nothing was sent. The session was opened to see whether one may write.
    Fresh(Option<Session>),
    Chunked(Chunked),
    Streaming(Streaming),
    Spooled(Spool),
}

impl RemoteUpload {
    /// Opens a session, so that a missing permission is found before any work.
    pub(crate) async fn begin(repository: Repository) -> Result<Self, Error> {
        let policy = repository.transport.options().upload;
        let session = Session::begin(&repository).await?;
        let facts = &repository.host.uploads;
        let wanted = policy.chunk_bytes.min(facts.largest_chunk());
        // A minimum that does not fit into memory is a refusal of chunks; then it is none for what is
        // gathered before a stream.
        let fits = session.min_chunk <= LARGEST_CHUNK;
        if !fits {
            facts.refuse(Way::Chunked, Class::Large);
        }
        let least = if fits || policy.mode == UploadMode::Chunked { session.min_chunk } else { 0 };
        let chunk_bytes = wanted.max(least).clamp(1, LARGEST_CHUNK);
        let beginnings = repository.transport.options().retry.attempts;
        Ok(Self {
            mode: policy.mode,
            chunk_bytes,
            filling: Filling::default(),
            sent: 0,
            state: State::Fresh(Some(session)),
            beginnings,
            repository,
        })
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            bytes = self.filling.add(bytes, self.chunk_bytes);
            if self.filling.len() >= self.chunk_bytes {
                let pieces = self.filling.take();
                self.send(pieces).await?;
            }
        }
        Ok(())
    }

    /// Sends pieces by the way that is under way, or by the next one that the registry takes.
    async fn send(&mut self, mut pieces: Vec<Bytes>) -> Result<(), Error> {
        self.sent += length(&pieces);
        loop {
            let (way, failure, held) = match &mut self.state {
                State::Fresh(session) => {
                    let session = session.take();
                    self.state = self.enter(session).await?;
                    continue;
                }
                State::Chunked(chunked) => match chunked.send(pieces.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(Stopped { failure, held }) => (Way::Chunked, failure, held),
                },
                State::Streaming(streaming) => match streaming.send(pieces.clone()).await {
                    Ok(()) => return Ok(()),
                    Err((failure, held)) => (Way::Stream, failure, held),
                },
                State::Spooled(spool) => return spool.write(pieces).await,
            };
            pieces = self.begin_anew(way, Class::Large, failure, held).await?;
        }
    }

    /// The way of a blob that is larger than a chunk.
    async fn enter(&self, session: Option<Session>) -> Result<State, Error> {
        let way = self.way(Class::Large)?;
        if way == Way::Whole {
            if let Some(session) = session {
                session.cancel().await;
            }
            return Ok(State::Spooled(Spool::new(self.repository.clone())?));
        }
        let session = match session {
            Some(session) => session,
            None => Session::begin(&self.repository).await?,
        };
        Ok(match way {
            Way::Stream => State::Streaming(Streaming::new(session, 2 * self.chunk_bytes as u64)),
            Way::Chunked | Way::Whole => State::Chunked(Chunked::new(session)),
        })
    }

    fn way(&self, class: Class) -> Result<Way, Error> {
        self.repository.host.uploads.way(self.mode, class).ok_or_else(|| {
            let kind = ErrorKind::Unsupported("it takes no way of uploading".to_owned());
            Error::new(self.repository.registry(), OPERATION, self.repository.repository(), kind)
        })
    }

    /// After a failure: the bytes to begin with once more, if that can help and they are all here.
    async fn begin_anew(
        &mut self,
        way: Way,
        class: Class,
        failure: Failure,
        held: Option<Vec<Bytes>>,
    ) -> Result<Vec<Bytes>, Error> {
        self.drop_state().await;
        let error = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Lost(error) => error,
            Failure::Refused(error) => {
                let facts = &self.repository.host.uploads;
                facts.refuse(way, class);
                if self.mode != UploadMode::Auto || facts.way(self.mode, class).is_none() {
                    facts.forget_refusals(class);
                    return Err(error);
                }
                tracing::info!(%error, ?way, "the registry refuses this way of uploading; the next is tried");
                error
            }
        };
        self.beginnings = self.beginnings.saturating_sub(1);
        match held {
            Some(held) if self.beginnings > 0 => Ok(held),
            // All of it was here, and would be again.
            _ if class == Class::Small => Err(error),
            _ => Err(self.lost(&error)),
        }
    }

    /// The bytes have to be made again.
    fn lost(&self, error: &Error) -> Error {
        let kind = ErrorKind::UploadLost { sent: self.sent, reason: error.kind().to_string() };
        Error::new(self.repository.registry(), OPERATION, self.repository.repository(), kind)
            .with_wait(error.retry_after())
    }

    /// Everything was written: makes it a blob.
    pub(crate) async fn finish(&mut self, digest: &Digest) -> Result<(), Error> {
        let mut pieces = self.filling.take();
        let size = self.sent + length(&pieces);
        loop {
            if matches!(self.state, State::Fresh(_)) && self.sent == 0 {
                return self.finish_small(pieces, digest).await;
            }
            if !pieces.is_empty() {
                self.send(std::mem::take(&mut pieces)).await?;
            }
            let (way, failure, held) = match std::mem::replace(&mut self.state, State::Fresh(None)) {
                State::Chunked(chunked) => match chunked.into_session().await {
                    Ok(session) => (Way::Chunked, end(session, digest, size).await, None),
                    Err(Stopped { failure, held }) => (Way::Chunked, Err(failure), held),
                },
                State::Streaming(streaming) => match streaming.into_session().await {
                    Ok(session) => (Way::Stream, end(session, digest, size).await, None),
                    Err((failure, held)) => (Way::Stream, Err(failure), held),
                },
                State::Spooled(spool) => {
                    let body = spool.body();
                    (Way::Whole, put_whole(&self.repository, None, digest, &body).await, None)
                }
                State::Fresh(_) => (Way::Chunked, Ok(()), None),
            };
            let Err(failure) = failure else { return Ok(()) };
            let held = self.begin_anew(way, Class::Large, failure, held).await?;
            // As it was before: all that was written is still to be sent.
            self.sent = 0;
            pieces = held;
            if pieces.is_empty() {
                return self.finish_small(pieces, digest).await;
            }
            self.send(std::mem::take(&mut pieces)).await?;
        }
    }

    /// A blob that is in memory as a whole.
    async fn finish_small(&mut self, pieces: Vec<Bytes>, digest: &Digest) -> Result<(), Error> {
        let size = length(&pieces);
        loop {
            let way = self.way(Class::Small)?;
            let session = match &mut self.state {
                State::Fresh(session) => session.take(),
                _ => None,
            };
            let body = Body::Pieces(pieces.clone());
            let outcome = match way {
                Way::Whole => put_whole(&self.repository, session, digest, &body).await,
                Way::Stream | Way::Chunked => {
                    let session = match session {
                        Some(session) => session,
                        None => Session::begin(&self.repository).await?,
                    };
                    send_small(session, way, &pieces, digest, size).await
                }
            };
            let Err(failure) = outcome else { return Ok(()) };
            self.begin_anew(way, Class::Small, failure, Some(Vec::new())).await?;
        }
    }

    /// Waits for what is under way and closes the session.
    pub(crate) async fn cancel(mut self) {
        self.drop_state().await;
    }

    async fn drop_state(&mut self) {
        match std::mem::replace(&mut self.state, State::Fresh(None)) {
            State::Fresh(Some(session)) => session.cancel().await,
            State::Fresh(None) | State::Spooled(_) => {}
            State::Chunked(chunked) => chunked.cancel().await,
            State::Streaming(streaming) => streaming.cancel().await,
        }
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        if let State::Fresh(session) = &mut self.state
            && let Some(session) = session.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(session.cancel());
        }
    }
}

/// Commits what was sent; a session whose commit failed is closed.
async fn end(session: Session, digest: &Digest, size: u64) -> Result<(), Failure> {
    let outcome = commit(&session, digest, size).await;
    if outcome.is_err() {
        session.cancel().await;
    }
    outcome
}

/// A small blob by PATCH and PUT.
async fn send_small(
    session: Session,
    way: Way,
    pieces: &[Bytes],
    digest: &Digest,
    size: u64,
) -> Result<(), Failure> {
    let session = match way {
        Way::Chunked => {
            let mut chunk = ChunkInFlight::new(session, 0, pieces);
            let outcome = chunk.run().await;
            if let Err(failure) = outcome {
                chunk.session.cancel().await;
                return Err(failure);
            }
            chunk.session
        }
        Way::Stream | Way::Whole => patch_small(session, pieces).await?,
    };
    end(session, digest, size).await
}

/// One PATCH with all of a small blob; after a failure that may pass in a new session, because the old one
/// may hold a part.
async fn patch_small(mut session: Session, pieces: &[Bytes]) -> Result<Session, Failure> {
    let repository = session.repository.clone();
    let mut attempts = repository.transport.attempts();
    while !pieces.is_empty() {
        let Err(error) = session.patch(Body::Pieces(pieces.to_vec()), None).await else { break };
        if is_too_soon(&error) && attempts.again_after(&error).await {
            continue;
        }
        session.cancel().await;
        match cause(&error) {
            Cause::Passing if attempts.again_after(&error).await => {}
            Cause::Other => return Err(Failure::Final(error)),
            _ => return Err(Failure::Refused(error)),
        }
        session = Session::begin(&repository).await.map_err(Failure::Final)?;
    }
    Ok(session)
}
