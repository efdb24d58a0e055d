//! One `PATCH` whose body is the blob, sent while it is made: how skopeo and Docker upload. It needs no disk
//! and no memory, and nothing of it can be sent again: after a failure the blob has to be made again.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::body::{Body, Queue};
use crate::remote::Repository;
use crate::transport::way::Way;
use crate::upload::failure::{Cause, Failure, cause};
use crate::upload::session::{OPERATION, Session, close, length};

/// Pieces that wait for the network; each is as large as what was written at once.
const WAITING: usize = 2;

type Request = JoinHandle<(Session, Result<(), Error>)>;

/// A streaming upload.
#[derive(Debug)]
pub(crate) struct Streaming {
    repository: Repository,
    sender: Option<mpsc::Sender<Bytes>>,
    request: Option<Request>,
    /// Where the session was when the request began: what is given up is closed there.
    url: Url,
    /// Everything so far, while it is little: a server that refuses at once costs nothing.
    held: Option<Vec<Bytes>>,
    most_held: u64,
}

impl Streaming {
    /// Begins the request; at most `most_held` bytes are kept.
    pub(crate) fn new(mut session: Session, most_held: u64) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (repository, url) = (session.repository.clone(), session.url.clone());
        let request = tokio::spawn(async move {
            let outcome = session.patch(Body::Queue(Queue::new(receiver)), None).await;
            (session, outcome)
        });
        Self {
            repository,
            sender: Some(sender),
            request: Some(request),
            url,
            held: Some(Vec::new()),
            most_held,
        }
    }

    /// Sends pieces; `Err` with everything that was written, where that is still here.
    pub(crate) async fn send(&mut self, pieces: Vec<Bytes>) -> Result<(), (Failure, Option<Vec<Bytes>>)> {
        if let Some(held) = &mut self.held {
            held.extend(pieces.iter().cloned());
            if length(held) > self.most_held {
                self.held = None;
            }
        }
        for piece in pieces {
            let (Some(sender), Some(request)) = (&self.sender, &mut self.request) else {
                return Err((self.ended_before(), None));
            };
            // An answer before the end is a refusal; a server that then reads nothing must not keep us
            // waiting.
            tokio::select! {
                sent = sender.send(piece) => {
                    if sent.is_err() {
                        return Err(self.stopped().await);
                    }
                }
                done = request => {
                    self.request = None;
                    let outcome = done.map(|(_, outcome)| outcome);
                    let failure = self.failure(outcome);
                    return Err((failure, self.held.take()));
                }
            }
        }
        Ok(())
    }

    async fn stopped(&mut self) -> (Failure, Option<Vec<Bytes>>) {
        let failure = match self.request.take() {
            Some(request) => {
                let outcome = request.await.map(|(_, outcome)| outcome);
                self.failure(outcome)
            }
            None => self.ended_before(),
        };
        (failure, self.held.take())
    }

    /// Why the request ended before its body did.
    fn failure(&self, outcome: Result<Result<(), Error>, tokio::task::JoinError>) -> Failure {
        match outcome {
            Ok(Err(error)) => self.classify(error),
            Ok(Ok(())) => self.ended_before(),
            Err(panic) => {
                let kind = ErrorKind::Internal(panic.to_string());
                Failure::Final(Error::new(self.repository.registry(), OPERATION, "", kind))
            }
        }
    }

    fn ended_before(&self) -> Failure {
        let kind = ErrorKind::Protocol("it answered before it had the whole body".to_owned());
        Failure::Refused(Error::new(self.repository.registry(), OPERATION, "", kind))
    }

    /// A token that ran out and a connection that broke may pass, but not for ever. A redirect cannot be
    /// followed by a body that is gone.
    fn classify(&self, error: Error) -> Failure {
        let expired = matches!(error.kind(), ErrorKind::Unauthorized { status: 401, .. });
        match cause(&error) {
            Cause::Other if !expired => Failure::Final(error),
            Cause::TooLarge | Cause::Offset | Cause::Refusal => Failure::Refused(error),
            _ if self.repository.host.uploads.lost_again(Way::Stream) => Failure::Refused(error),
            _ => Failure::Lost(error),
        }
    }

    /// Ends the body and waits for the answer.
    pub(crate) async fn into_session(mut self) -> Result<Session, (Failure, Option<Vec<Bytes>>)> {
        self.sender = None;
        let Some(request) = self.request.take() else { return Err((self.ended_before(), None)) };
        match request.await {
            Ok((session, Ok(()))) => Ok(session),
            Ok((session, Err(error))) => {
                session.cancel().await;
                Err((self.classify(error), self.held.take()))
            }
            Err(panic) => {
                let failure = self.failure(Err(panic));
                Err((failure, None))
            }
        }
    }

    /// Breaks the request off and closes the session.
    pub(crate) async fn cancel(mut self) {
        cancel(self.repository.clone(), self.request.take(), self.url.clone()).await;
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            // First of all the request: without its sender the body would end well, and look whole.
            request.abort();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(cancel(self.repository.clone(), Some(request), self.url.clone()));
            }
        }
    }
}

async fn cancel(repository: Repository, request: Option<Request>, url: Url) {
    if let Some(request) = request {
        request.abort();
        let _ = request.await;
    }
    close(&repository, url).await;
}
