//! Answers and their bodies.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::store::{Blob, PIECE};

/// A body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that does not tell how long it is.
#[cfg(feature = "faults")]
pub(crate) fn unsized_body(bytes: &[u8]) -> Body {
    let pieces: Vec<io::Result<Frame<Bytes>>> =
        bytes.chunks(PIECE).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    StreamBody::new(stream::iter(pieces)).boxed_unsync()
}

pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// An error as the distribution spec writes it.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
    with(Response::new(full(body)), &[("content-type", "application/json")], status)
}

pub(crate) fn with(
    mut response: Response<Body>,
    headers: &[(&'static str, &str)],
    status: StatusCode,
) -> Response<Body> {
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
    *response.status_mut() = status;
    response
}

/// What a fault does to the body of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "faults"), expect(dead_code, reason = "only faults do harm"))]
pub(crate) enum Harm {
    #[default]
    None,
    /// Breaks off after so many bytes.
    Cut(u64),
    /// Stops after so many bytes without closing.
    Stop(u64),
    /// Changes the byte of this number, or the last one.
    Corrupt(u64),
}

/// `length` bytes of a blob from `start` on.
pub(crate) fn blob(blob: &Blob, start: u64, length: u64, harm: Harm) -> Body {
    let pieces = pieces(blob, start, length);
    let pieces = match harm {
        Harm::None => pieces.boxed(),
        Harm::Corrupt(at) => changed(pieces, at.min(length.saturating_sub(1))),
        Harm::Cut(after) => limited(pieces, after)
            .chain(stream::once(async {
                // hyper drops what it has not yet written when a body fails: the pause lets it write.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut off on demand"))
            }))
            .boxed(),
        Harm::Stop(after) => limited(pieces, after)
            .chain(stream::once(async {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(Bytes::new())
            }))
            .boxed(),
    };
    BodyExt::boxed_unsync(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

/// The same bytes but one.
fn changed(
    pieces: stream::BoxStream<'static, io::Result<Bytes>>,
    at: u64,
) -> stream::BoxStream<'static, io::Result<Bytes>> {
    let mut left = Some(at);
    let change = move |bytes: Bytes| match left {
        Some(at) if at < bytes.len() as u64 => {
            left = None;
            let mut copy = bytes.to_vec();
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| copy.get_mut(at)) {
                *byte ^= 1;
            }
            copy.into()
        }
        Some(at) => {
            left = Some(at - bytes.len() as u64);
            bytes
        }
        None => bytes,
    };
    let mut change = change;
    pieces.map(move |piece| piece.map(&mut change)).boxed()
}

/// A body that breaks off after these bytes.
#[cfg(feature = "faults")]
pub(crate) fn broken(bytes: Bytes) -> Body {
    let pieces = stream::once(async { Ok(bytes) }).chain(stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut off on demand"))
    }));
    BodyExt::boxed_unsync(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

fn limited(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    after: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let mut left = after;
    pieces
        .map(move |piece| {
            piece.map(|bytes| {
                let keep = left.min(bytes.len() as u64);
                left -= keep;
                bytes.slice(..usize::try_from(keep).unwrap_or(0))
            })
        })
        .take_while(|piece| std::future::ready(piece.as_ref().map_or(true, |bytes| !bytes.is_empty())))
}

fn pieces(blob: &Blob, start: u64, length: u64) -> stream::BoxStream<'static, io::Result<Bytes>> {
    match blob {
        Blob::Memory { pieces, .. } => {
            let mut skip = start;
            let mut left = length;
            let mut out = Vec::new();
            for piece in pieces {
                let size = piece.len() as u64;
                if skip >= size {
                    skip -= size;
                    continue;
                }
                let take = left.min(size - skip);
                if take == 0 {
                    break;
                }
                let from = usize::try_from(skip).unwrap_or(0);
                out.push(Ok(piece.slice(from..from + usize::try_from(take).unwrap_or(0))));
                left -= take;
                skip = 0;
            }
            stream::iter(out).boxed()
        }
        Blob::File { path, .. } => {
            let path = path.clone();
            stream::try_unfold((None, start, length), move |(file, at, left)| {
                let path = path.clone();
                async move {
                    if left == 0 {
                        return Ok(None);
                    }
                    let read = tokio::task::spawn_blocking(move || {
                        let file = match file {
                            Some(file) => file,
                            None => std::fs::File::open(path)?,
                        };
                        let mut buffer = vec![0; usize::try_from(left.min(PIECE as u64)).unwrap_or(PIECE)];
                        std::os::unix::fs::FileExt::read_exact_at(&file, &mut buffer, at)?;
                        Ok::<_, io::Error>((file, Bytes::from(buffer)))
                    });
                    let (file, bytes) = read.await.map_err(io::Error::other)??;
                    let size = bytes.len() as u64;
                    Ok(Some((bytes, (Some(file), at + size, left - size))))
                }
            })
            .boxed()
        }
    }
}

/// A JSON text.
pub(crate) fn full_json(text: &'static str) -> Response<Body> {
    with(Response::new(full(text)), &[("content-type", "application/json")], StatusCode::OK)
}
