//! What a request carries, and how far it is on its way.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Most bytes of a frame. The HTTP library asks for the next frame when it has room again: small ones show
/// that bytes move, large ones would look like a stall on a slow line.
const FRAME: usize = 64 << 10;

/// A body of a request.
#[derive(Clone, Debug, Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    /// Pieces in memory, sent without joining them.
    Pieces(Vec<Bytes>),
    /// A whole file of this many bytes.
    File(PathBuf, u64),
    /// What comes out of a queue, once. Its length is not known before its end.
    Queue(Queue),
}

/// A queue that the first request takes.
#[derive(Clone, Debug)]
pub(crate) struct Queue(Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>);

impl Queue {
    pub(crate) fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Some(receiver))))
    }
}

impl Body {
    /// Its length, where it is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Pieces(pieces) => Some(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Self::File(_, length) => Some(*length),
            Self::Queue(_) => None,
        }
    }

    /// Whether it can be sent again.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Queue(_))
    }

    /// The HTTP library's form of it. With a length there is a `Content-Length`; some registries refuse
    /// chunked coding.
    pub(crate) async fn to_reqwest(&self, watch: &Arc<Watch>) -> io::Result<reqwest::Body> {
        let source = match self {
            Self::Empty => return Ok(reqwest::Body::from(Bytes::new())),
            Self::Pieces(pieces) => stream::iter(pieces.clone().into_iter().map(Ok)).boxed(),
            Self::File(path, _) => read_file(tokio::fs::File::open(path).await?),
            Self::Queue(Queue(queue)) => {
                let receiver = queue.lock().unwrap_or_else(PoisonError::into_inner).take();
                let receiver = receiver.ok_or_else(|| io::Error::other("the body was sent already"))?;
                stream::unfold(receiver, |mut receiver| async move {
                    let bytes = receiver.recv().await?;
                    Some((Ok(bytes), receiver))
                })
                .boxed()
            }
        };
        let watched = Watched {
            source: Mutex::new(source),
            current: Bytes::new(),
            left: self.len(),
            watch: Arc::clone(watch),
        };
        Ok(reqwest::Body::wrap(watched))
    }
}

fn read_file(file: tokio::fs::File) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut buffer = BytesMut::with_capacity(4 * FRAME);
        let read = file.read_buf(&mut buffer).await?;
        Ok((read > 0).then(|| (buffer.freeze(), file)))
    })
    .boxed()
}

/// A body that tells its [`Watch`] of every frame.
struct Watched {
    /// In a mutex that is never locked: it makes the body `Sync`, as the HTTP library wants it.
    source: Mutex<BoxStream<'static, io::Result<Bytes>>>,
    current: Bytes,
    left: Option<u64>,
    watch: Arc<Watch>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        while self.current.is_empty() {
            let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
            match source.poll_next_unpin(context) {
                Poll::Pending => {
                    self.watch.enter(Phase::Waiting);
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    self.watch.enter(Phase::Sent);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(bytes))) => self.current = bytes,
            }
        }
        let length = self.current.len().min(FRAME);
        let frame = self.current.split_to(length);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(length as u64);
        }
        self.watch.enter(if self.left == Some(0) { Phase::Sent } else { Phase::Sending });
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Where a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of it has been asked for: the connection is made.
    Connecting,
    /// A frame was taken; the next is due when the network has taken that.
    Sending,
    /// The network waits for us.
    Waiting,
    /// The last byte was taken; the answer is due.
    Sent,
}

/// How far a body is, and since when.
#[derive(Debug)]
pub(crate) struct Watch(Mutex<(Phase, Instant)>);

impl Watch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Phase::Connecting, Instant::now()))))
    }

    fn enter(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (phase, Instant::now());
    }

    /// Until when something has to happen: `stall` for the next bytes of a body, `answer` for the answer once
    /// the last byte has gone. However long a body takes, it has the time as long as it moves.
    pub(crate) fn deadline(&self, stall: Duration, answer: Duration) -> Deadline {
        let (phase, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::Connecting | Phase::Sent => Deadline { at: since + answer, limit: Some(answer) },
            Phase::Sending => Deadline { at: since + stall, limit: Some(stall) },
            Phase::Waiting => Deadline { at: Instant::now() + stall, limit: None },
        }
    }
}

/// A time by which something has to have happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    /// The limit that has passed then; none where it is us who keep the network waiting.
    pub(crate) limit: Option<Duration>,
}
