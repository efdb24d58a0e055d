//! `/v2/NAME/blobs/uploads/[ID]`: sessions, chunks, mounts.

use std::io;
use std::sync::PoisonError;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming as Request;
use hyper::{HeaderMap, Method, Response, StatusCode};
use unbloat_oci::Digest;

use crate::deviation::Deviation;
use crate::reply::{self, Body};
use crate::server::State;
use crate::store::Incoming;

type Parameters = [(String, String)];

fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn unknown() -> Response<Body> {
    reply::error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

fn progress(state: &State, repository: &str, id: &str, size: u64, status: StatusCode) -> Response<Body> {
    // The query stands for servers that keep state there: a client has to give it back as it is.
    let location = format!("/v2/{repository}/blobs/uploads/{id}?_state=a%2Bb%3D{size}");
    let range = format!("0-{}", size.saturating_sub(1));
    let headers = [("location", location.as_str()), ("range", &range), ("docker-upload-uuid", id)];
    let response = reply::with(reply::status(status), &headers, status);
    match state.options.min_chunk {
        Some(bytes) => reply::with(response, &[("oci-chunk-min-length", &bytes.to_string())], status),
        None => response,
    }
}

fn created(repository: &str, digest: &Digest) -> Response<Body> {
    let location = format!("/v2/{repository}/blobs/{digest}");
    let headers = [("location", location.as_str()), ("docker-content-digest", digest.as_str())];
    reply::with(reply::status(StatusCode::CREATED), &headers, StatusCode::CREATED)
}

/// POST: a mount, a whole blob, or a new session.
pub(crate) async fn begin(
    state: &State,
    repository: &str,
    parameters: &Parameters,
    body: Request,
) -> io::Result<Response<Body>> {
    if let (Some(mount), Some(from)) = (parameter(parameters, "mount"), parameter(parameters, "from"))
        && let Ok(digest) = mount.parse::<Digest>()
    {
        let mut store = state.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.blob(from, &digest).is_some() {
            store.repository(repository).blobs.insert(digest.clone());
            return Ok(created(repository, &digest));
        }
    }
    let id = state.next_id();
    let storage = state.store.lock().unwrap_or_else(PoisonError::into_inner).storage.clone();
    let mut incoming = Incoming::new(&storage, repository, &id)?;
    if let Some(digest) = parameter(parameters, "digest") {
        receive(&mut incoming, body, u64::MAX).await?;
        return commit(state, repository, incoming, digest, false);
    }
    state.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), incoming);
    Ok(progress(state, repository, &id, 0, StatusCode::ACCEPTED))
}

/// Reads at most `limit` bytes of a body.
async fn receive(incoming: &mut Incoming, mut body: Request, mut limit: u64) -> io::Result<()> {
    while limit > 0
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        let keep = limit.min(data.len() as u64);
        limit -= keep;
        incoming.write(data.slice(..usize::try_from(keep).unwrap_or(data.len())))?;
    }
    // What is beyond is read and dropped, so that the client gets the answer and not a closed connection.
    while let Some(frame) = body.frame().await {
        frame.map_err(io::Error::other)?;
    }
    Ok(())
}

fn commit(
    state: &State,
    repository: &str,
    incoming: Incoming,
    digest: &str,
    believe: bool,
) -> io::Result<Response<Body>> {
    let found = incoming.digest();
    let Ok(digest) = digest.parse::<Digest>() else {
        incoming.discard();
        return Ok(reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not a digest"));
    };
    if found != digest && !believe {
        incoming.discard();
        let message = "provided digest did not match uploaded content";
        return Ok(reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message));
    }
    state.store.lock().unwrap_or_else(PoisonError::into_inner).commit(incoming, &digest)?;
    Ok(created(repository, &digest))
}

/// Everything with a session's id.
pub(crate) async fn handle(
    state: &State,
    method: &Method,
    (repository, id): (&str, &str),
    (headers, parameters): (&HeaderMap, &Parameters),
    body: Request,
    deviation: &Deviation,
) -> io::Result<Response<Body>> {
    // The session is taken out while it is worked on: two requests to one session are a client's mistake.
    let taken = state.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    let Some(mut incoming) = taken else { return Ok(unknown()) };
    let put_back = |incoming: Incoming| {
        state.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), incoming);
    };
    if deviation.lose_session {
        incoming.discard();
        return Ok(unknown());
    }
    let size = incoming.claimed;
    match *method {
        Method::GET => {
            put_back(incoming);
            Ok(progress(state, repository, id, size, StatusCode::NO_CONTENT))
        }
        Method::DELETE => {
            incoming.discard();
            Ok(reply::status(StatusCode::NO_CONTENT))
        }
        Method::PATCH => {
            let first = headers
                .get("content-range")
                .and_then(|value| value.to_str().ok()?.split('-').next()?.parse().ok());
            if first.is_some_and(|first: u64| first != size) {
                put_back(incoming);
                let response = progress(state, repository, id, size, StatusCode::RANGE_NOT_SATISFIABLE);
                return Ok(response);
            }
            let limit = deviation.keep.unwrap_or(u64::MAX);
            if deviation.keep_last_chunk {
                let storage = state.store.lock().unwrap_or_else(PoisonError::into_inner).storage.clone();
                incoming.discard();
                incoming = Incoming::new(&storage, repository, id)?;
            }
            // A connection that breaks leaves what came, as in any registry.
            let outcome = receive(&mut incoming, body, limit).await;
            let kept = incoming.size;
            let size = if deviation.keep_last_chunk { size + kept } else { kept };
            incoming.claimed = size;
            put_back(incoming);
            outcome?;
            if deviation.reset_after_chunk {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset on demand"));
            }
            Ok(progress(state, repository, id, size, StatusCode::ACCEPTED))
        }
        Method::PUT => {
            let Some(digest) = parameter(parameters, "digest") else {
                put_back(incoming);
                return Ok(reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "no digest"));
            };
            if let Err(error) = receive(&mut incoming, body, u64::MAX).await {
                put_back(incoming);
                return Err(error);
            }
            commit(state, repository, incoming, digest, deviation.believe)
        }
        _ => {
            put_back(incoming);
            Ok(reply::status(StatusCode::METHOD_NOT_ALLOWED))
        }
    }
}

/// A whole body in memory, bounded.
pub(crate) async fn collect(body: Request, limit: usize) -> io::Result<Option<Bytes>> {
    let limited = http_body_util::Limited::new(body, limit);
    match limited.collect().await {
        Ok(collected) => Ok(Some(collected.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}
