//! The end of an upload: the commit, and whether the registry has what it says.
//!
//! A commit that failed may have been a success: large blobs are assembled after the answer's time is up, and
//! appear late. A commit that succeeded may have been a failure: a server that keeps the last chunk alone
//! answers 201. So both are followed by a look at what is there.

use std::time::Duration;

use tokio::time::Instant;
use unbloat_oci::Digest;

use crate::error::{Error, ErrorKind};
use crate::http::body::Body;
use crate::remote::{Presence, Repository};
use crate::upload::failure::{Cause, Failure, cause, is_too_soon};
use crate::upload::session::{OPERATION, Session};

/// First wait for a blob to appear; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest of these waits.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A session that is not known any more is most often lost: the blob gets this part of the time to appear,
/// and is then sent again, which begins with the same look.
const SHARE_OF_LOST: u32 = 6;
/// The same where the server may not know such a request at all.
const SHARE_OF_REFUSED: u32 = 24;
/// How long a blob that was confirmed may be invisible. Then the manifest decides.
const CONFIRMED_WAIT: Duration = Duration::from_secs(20);

/// PUT of an upload whose bytes were all sent before.
pub(crate) async fn commit(session: &Session, digest: &Digest, size: u64) -> Result<(), Failure> {
    let repository = &session.repository;
    let limit = repository.transport.options().timeouts.commit;
    let mut attempts = repository.transport.attempts();
    let mut waits = Waits::new(limit);
    let mut gone = false;
    loop {
        let Err(error) = session.put(digest, Body::Empty).await else {
            return confirm(repository, digest, size).await;
        };
        match cause(&error) {
            Cause::Gone if !gone => {
                gone = true;
                waits = waits.at_most(limit / SHARE_OF_LOST);
            }
            Cause::Gone | Cause::Passing => {}
            Cause::Other => return Err(Failure::Final(error)),
            // It may be a second answer to a commit that was done.
            Cause::TooLarge | Cause::Offset | Cause::Refusal => {
                let there = is_there(repository, digest, size).await;
                return if there { Ok(()) } else { Err(Failure::Refused(error)) };
            }
        }
        // The answer may have been lost, not the blob.
        loop {
            if is_there(repository, digest, size).await {
                return Ok(());
            }
            if !waits.wait(error.retry_after()).await {
                return Err(Failure::Lost(error));
            }
            // A session that is still known can be committed again.
            if !gone && attempts.count() {
                break;
            }
        }
    }
}

/// PUT of the whole blob; a failed attempt begins a new session, because the old one may hold a part.
pub(crate) async fn put_whole(
    repository: &Repository,
    mut session: Option<Session>,
    digest: &Digest,
    body: &Body,
) -> Result<(), Failure> {
    let size = body.len().unwrap_or(0);
    let limit = repository.transport.options().timeouts.commit;
    let mut attempts = repository.transport.attempts();
    let mut gone = 0;
    loop {
        let current = match session.take() {
            Some(session) => session,
            None => Session::begin(repository).await.map_err(Failure::Final)?,
        };
        let Err(error) = current.put(digest, body.clone()).await else {
            return confirm(repository, digest, size).await;
        };
        if is_too_soon(&error) && attempts.again_for(&error).await {
            session = Some(current);
            continue;
        }
        current.cancel().await;
        if is_there(repository, digest, size).await {
            return Ok(());
        }
        let patience = match cause(&error) {
            Cause::Gone => {
                gone += 1;
                limit / SHARE_OF_REFUSED
            }
            Cause::Passing => limit,
            Cause::Other => return Err(Failure::Final(error)),
            _ => return Err(Failure::Refused(error)),
        };
        if gone > 1 || !attempts.again_for(&error).await {
            let mut waits = Waits::new(patience);
            while waits.wait(None).await {
                if is_there(repository, digest, size).await {
                    return Ok(());
                }
            }
            return Err(Failure::Refused(error));
        }
    }
}

/// Whether a commit that failed was done all the same.
async fn is_there(repository: &Repository, digest: &Digest, size: u64) -> bool {
    match repository.presence(digest).await {
        Presence::There(found) => found.is_none_or(|found| found == size),
        Presence::Absent | Presence::Unknown => false,
    }
}

/// One look at what was committed: its size has to be that of what was sent.
async fn confirm(repository: &Repository, digest: &Digest, size: u64) -> Result<(), Failure> {
    let mut waits = Waits::new(CONFIRMED_WAIT.min(repository.transport.options().timeouts.commit));
    loop {
        let found = match repository.presence(digest).await {
            Presence::There(Some(found)) if found == size => return Ok(()),
            // Some answer HEAD with nothing, without the blob's length, or with that of what a proxy makes of
            // it.
            Presence::There(told) => repository.size_by_range(digest).await.or(told),
            Presence::Unknown | Presence::Absent if size == 0 => return Ok(()),
            Presence::Unknown => repository.size_by_range(digest).await,
            // Some say 404 to HEAD of what they give.
            Presence::Absent => match repository.size_by_range(digest).await {
                None if waits.wait(None).await => continue,
                found => found,
            },
        };
        // Where nothing is said, the commit's answer stands.
        let Some(found) = found.filter(|found| *found != size) else { return Ok(()) };
        let reason = format!("it confirmed {size} bytes and has {found} of them");
        let kind = ErrorKind::Protocol(reason);
        return Err(Failure::Refused(Error::new(repository.registry(), OPERATION, digest, kind)));
    }
}

/// Growing waits up to a time.
struct Waits {
    next: Duration,
    until: Instant,
}

impl Waits {
    fn new(longest: Duration) -> Self {
        Self { next: FIRST_WAIT.min(longest / 8), until: Instant::now() + longest }
    }

    fn at_most(self, longest: Duration) -> Self {
        Self { until: self.until.min(Instant::now() + longest), ..self }
    }

    /// Waits; `false`, without a wait, when the time is up.
    async fn wait(&mut self, asked: Option<Duration>) -> bool {
        let wait = asked.unwrap_or(self.next).max(self.next);
        if Instant::now() + wait > self.until {
            return false;
        }
        tokio::time::sleep(wait).await;
        self.next = (self.next * 2).min(LONGEST_WAIT);
        true
    }
}
