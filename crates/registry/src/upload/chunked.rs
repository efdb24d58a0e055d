//! Chunks (distribution spec, "Pushing a blob in chunks") that survive a failing server.
//!
//! Each chunk is kept in memory until the server has taken it. We count our own bytes: a 2xx means that a
//! chunk was taken. Only after a failure the server is asked how far it got, and what it says counts where it
//! can be true.

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind};
use crate::http::attempts::Attempts;
use crate::http::body::Body;
use crate::remote::Repository;
use crate::transport::way::Way;
use crate::upload::failure::{Cause, Failure, cause};
use crate::upload::filling::range;
use crate::upload::session::{OPERATION, Session, length};

/// How often a server that is elsewhere in the blob is sent the same chunk again.
const OFFSET_REPEATS: u32 = 2;

type Sending = JoinHandle<(Session, Vec<Bytes>, Result<(), Failure>)>;

/// An upload in chunks, one of them under way.
#[derive(Debug)]
pub(crate) struct Chunked {
    repository: Repository,
    /// Here while nothing is under way.
    session: Option<Session>,
    sending: Option<Sending>,
    /// Bytes that were taken.
    taken: u64,
}

/// What ended an upload in chunks, and everything that was written, if that is all still here.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) failure: Failure,
    pub(crate) held: Option<Vec<Bytes>>,
}

impl Chunked {
    pub(crate) fn new(session: Session) -> Self {
        Self { repository: session.repository.clone(), session: Some(session), sending: None, taken: 0 }
    }

    /// Waits for the chunk under way and then sends this one, in the background.
    pub(crate) async fn send(&mut self, pieces: Vec<Bytes>) -> Result<(), Stopped> {
        let settled = self.settle().await;
        let session = match (settled, self.session.take()) {
            (Ok(()), Some(session)) => session,
            (Err(Stopped { failure, held }), session) => {
                self.session = session;
                let held = held.map(|mut held| {
                    held.extend(pieces);
                    held
                });
                return Err(Stopped { failure, held });
            }
            (Ok(()), None) => return Err(Stopped { failure: self.gone(), held: None }),
        };
        let start = self.taken;
        self.sending = Some(tokio::spawn(async move {
            let mut sending = ChunkInFlight::new(session, start, &pieces);
            let outcome = sending.run().await;
            (sending.session, pieces, outcome)
        }));
        Ok(())
    }

    /// Waits until nothing is under way.
    pub(crate) async fn settle(&mut self) -> Result<(), Stopped> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let done = sending.await;
        self.sending = None;
        let (session, pieces, outcome) = done.map_err(|panic| {
            let kind = ErrorKind::Internal(panic.to_string());
            let error = Error::new(self.repository.registry(), OPERATION, "", kind);
            Stopped { failure: Failure::Final(error), held: None }
        })?;
        self.session = Some(session);
        match outcome {
            Ok(()) => {
                self.taken += length(&pieces);
                Ok(())
            }
            Err(failure) => Err(Stopped { failure, held: (self.taken == 0).then_some(pieces) }),
        }
    }

    fn gone(&self) -> Failure {
        let kind = ErrorKind::Invalid("the upload has ended".to_owned());
        Failure::Final(Error::new(self.repository.registry(), OPERATION, "", kind))
    }

    /// The session, once everything was taken.
    pub(crate) async fn into_session(mut self) -> Result<Session, Stopped> {
        self.settle().await?;
        self.session.take().ok_or_else(|| Stopped { failure: self.gone(), held: None })
    }

    /// Waits for what is under way (its answer has the session's next address) and closes the session.
    pub(crate) async fn cancel(mut self) {
        cancel(self.session.take(), self.sending.take()).await;
    }
}

impl Drop for Chunked {
    fn drop(&mut self) {
        let (session, sending) = (self.session.take(), self.sending.take());
        if (session.is_some() || sending.is_some())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(cancel(session, sending));
        }
    }
}

async fn cancel(mut session: Option<Session>, sending: Option<Sending>) {
    if let Some(sending) = sending {
        session = sending.await.ok().map(|(session, _, _)| session);
    }
    if let Some(session) = session {
        session.cancel().await;
    }
}

/// One chunk on its way.
pub(crate) struct ChunkInFlight<'a> {
    pub(crate) session: Session,
    pieces: &'a [Bytes],
    start: u64,
    end: u64,
    /// Next byte to send.
    at: u64,
    attempts: Attempts,
    /// A request failed so that it may have been taken all the same.
    uncertain: bool,
    reopened: bool,
    repeats: u32,
}

impl<'a> ChunkInFlight<'a> {
    pub(crate) fn new(session: Session, start: u64, pieces: &'a [Bytes]) -> Self {
        let attempts = session.repository.transport.attempts();
        let end = start + length(pieces);
        Self {
            session,
            pieces,
            start,
            end,
            at: start,
            attempts,
            uncertain: false,
            reopened: false,
            repeats: 0,
        }
    }

    /// Sends it, in several requests where the server takes no large ones, until the server has all of it.
    pub(crate) async fn run(&mut self) -> Result<(), Failure> {
        while self.at < self.end {
            let facts = &self.session.repository.host.uploads;
            let most = facts.largest_chunk().max(self.session.min_chunk) as u64;
            let to = self.end.min(self.at.saturating_add(most));
            let body = Body::Pieces(range(self.pieces, self.at - self.start, to - self.at));
            match self.session.patch(body, Some(self.at)).await {
                Ok(()) => {
                    self.at = to;
                    self.attempts.progressed();
                    (self.uncertain, self.repeats) = (false, 0);
                }
                Err(error) => self.recover(error, to).await?,
            }
        }
        Ok(())
    }

    /// After a failed PATCH of the bytes up to `to`: from where to go on, or why not.
    async fn recover(&mut self, error: Error, to: u64) -> Result<(), Failure> {
        let facts = &self.session.repository.host.uploads;
        let size = usize::try_from(to - self.at).unwrap_or(usize::MAX);
        match cause(&error) {
            Cause::TooLarge => {
                let smaller = facts.shrink(size, self.session.min_chunk);
                if smaller { Ok(()) } else { Err(Failure::Refused(error)) }
            }
            // Nothing can be wrong with the first chunk's offset: it is the size, in other words than a 413.
            Cause::Offset | Cause::Refusal
                if self.at == 0
                    && matches!(error.kind(), ErrorKind::Status { status: 400 | 416, .. })
                    && facts.shrink_to_four(size, self.session.min_chunk) =>
            {
                Ok(())
            }
            Cause::Gone => self.reopen(error).await,
            Cause::Offset => self.find_offset(error, to).await,
            Cause::Passing => {
                self.uncertain = true;
                if !self.attempts.again_after(&error).await {
                    // A server that answers every PATCH with a failure may take another request.
                    let answered = matches!(error.kind(), ErrorKind::Status { .. } | ErrorKind::Network(_));
                    return Err(if answered { Failure::Refused(error) } else { Failure::Lost(error) });
                }
                if let Some(kept) = self.ask().await.filter(|kept| (self.at..=to).contains(kept)) {
                    self.at = kept;
                }
                Ok(())
            }
            Cause::Refusal => Err(Failure::Refused(error)),
            Cause::Other => Err(Failure::Final(error)),
        }
    }

    /// How far the server says it is. Not to know is no failure: the chunk is sent again, and the digest
    /// decides.
    async fn ask(&mut self) -> Option<u64> {
        match self.session.ask().await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::debug!(%error, "the server does not say how much it has");
                None
            }
        }
    }

    /// The server does not know the session. Before its first byte a new one is as good; later what it took
    /// is gone.
    async fn reopen(&mut self, error: Error) -> Result<(), Failure> {
        if self.at > 0 {
            let again = self.session.repository.host.uploads.lost_again(Way::Chunked);
            return Err(if again { Failure::Refused(error) } else { Failure::Lost(error) });
        }
        if self.reopened {
            return Err(Failure::Refused(error));
        }
        self.reopened = true;
        let session = Session::begin(&self.session.repository).await.map_err(Failure::Final)?;
        // It may only have said so.
        std::mem::replace(&mut self.session, session).cancel().await;
        Ok(())
    }

    /// On status 416. After a request whose outcome is not known it tells that this was taken, wholly or in
    /// part. Else our own count stands: the chunk is sent again, and a server that insists is one that takes
    /// no chunks.
    async fn find_offset(&mut self, error: Error, to: u64) -> Result<(), Failure> {
        if self.uncertain {
            self.at = self.ask().await.filter(|kept| (self.at..=to).contains(kept)).unwrap_or(to);
            self.uncertain = false;
            return Ok(());
        }
        self.repeats += 1;
        if self.repeats > OFFSET_REPEATS || !self.attempts.again_for(&error).await {
            return Err(Failure::Refused(error));
        }
        Ok(())
    }
}
