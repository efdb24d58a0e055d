//! `/v2/NAME/blobs/DIGEST`

use hyper::{HeaderMap, Method, Response, StatusCode};
use unbloat_oci::Digest;

use crate::deviation::Deviation;
use crate::reply::{self, Body};
use crate::store::Store;

/// HEAD and GET, with ranges, and DELETE.
pub(crate) fn handle(
    store: &mut Store,
    method: &Method,
    repository: &str,
    digest: &str,
    headers: &HeaderMap,
    deviation: &Deviation,
) -> Response<Body> {
    let Ok(digest) = digest.parse::<Digest>() else {
        return reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not a digest");
    };
    let Some(blob) = store.blob(repository, &digest).cloned() else {
        return reply::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    if *method == Method::DELETE {
        store.repository(repository).blobs.remove(&digest);
        return reply::status(StatusCode::ACCEPTED);
    }
    let size = blob.size();
    let range = headers.get("range").and_then(|value| parse_range(value.to_str().ok()?, size));
    let (start, length, status) = match range.filter(|_| !deviation.ignore_range) {
        None => (0, size, StatusCode::OK),
        Some(Some((first, last))) => {
            let first = (first + deviation.later_range).min(last);
            (first, last - first + 1, StatusCode::PARTIAL_CONTENT)
        }
        Some(None) => return reply::status(StatusCode::RANGE_NOT_SATISFIABLE),
    };
    let body = if *method == Method::HEAD {
        reply::full("")
    } else {
        reply::blob(&blob, start, length, deviation.harm)
    };
    let content_range = format!("bytes {start}-{}/{size}", (start + length).saturating_sub(1));
    let mut response = reply::with(
        Response::new(body),
        &[
            ("content-type", "application/octet-stream"),
            ("content-length", &length.to_string()),
            ("docker-content-digest", digest.as_str()),
            ("accept-ranges", "bytes"),
        ],
        status,
    );
    if status == StatusCode::PARTIAL_CONTENT {
        response = reply::with(response, &[("content-range", &content_range)], status);
    }
    response
}

/// `bytes=FIRST-[LAST]`: `Some(None)` if it cannot be satisfied, `None` if it is no such range.
fn parse_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { size.checked_sub(1)? } else { last.parse().ok()? };
    Some((first < size && first <= last).then(|| (first, last.min(size.saturating_sub(1)))))
}
