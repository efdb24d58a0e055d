//! Quirks of uploads: which ways are refused, what an answer to a chunk says, where a session goes on, what a
//! commit is worth.

use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use hyper::{Method, Response, StatusCode, Version};

use super::{Naming, Quirk, Quirks};
use crate::behaviour::Head;
use crate::deviation::Deviation;
use crate::reply::{self, Body};

/// What `Range` says in an answer to a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeForm {
    /// The end of the first chunk, for ever (ECR).
    Stuck,
    /// The last chunk alone (zot, Aliyun).
    LastChunk,
    /// `0-0`.
    Zero,
    /// One byte too many.
    OneTooMany,
    /// Nothing.
    Absent,
    /// `bytes=`.
    Empty,
}

/// What `Location` says in answers about uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocationForm {
    /// Absolute.
    Absolute,
    /// Absolute, and with `http://` although the server speaks TLS.
    Plain,
    /// Absolute with `http://`, without the port.
    PlainWithoutPort,
    /// Relative to the request's own URL.
    Relative,
    /// At this other origin.
    Elsewhere(String),
    /// Not there in answers to chunks.
    AbsentAfterPatch,
}

fn is_session(head: &Head) -> bool {
    let path = head.uri.path();
    path.contains("/blobs/uploads/") && !path.ends_with("/blobs/uploads/")
}

/// The length of the body; a coded one has the largest.
fn length(head: &Head) -> u64 {
    match head.headers.get(CONTENT_LENGTH) {
        Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()).unwrap_or(0),
        None if head.headers.contains_key("transfer-encoding") => u64::MAX,
        None => 0,
    }
}

pub(super) fn before(quirks: &Quirks, quirk: &Quirk, head: &Head) -> Option<Response<Body>> {
    let answer = |status: u16, code: &str| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Some(reply::error(status, code, "this is how some registries answer"))
    };
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    let ranged = head.headers.contains_key(CONTENT_RANGE);
    let (patch, put) = (head.method == Method::PATCH, head.method == Method::PUT);
    match quirk {
        Quirk::RefuseChunks(after, status) if patch && ranged && quirks.count("chunk", path) >= *after => {
            answer(*status, "UNSUPPORTED")
        }
        Quirk::RefuseStreams(status) if patch && !ranged => answer(*status, "UNSUPPORTED"),
        Quirk::RefuseCoded(status) if head.headers.contains_key("transfer-encoding") => {
            answer(*status, "UNSUPPORTED")
        }
        Quirk::RefuseWhole(status) if put && is_session(head) && length(head) > 0 => {
            answer(*status, "UNSUPPORTED")
        }
        Quirk::BodyLimit(bytes, status) if (patch || put) && length(head) > *bytes => {
            answer(*status, "SIZE_INVALID")
        }
        Quirk::NoUploadStatus(status) if head.method == Method::GET && is_session(head) => {
            answer(*status, "UNSUPPORTED")
        }
        Quirk::MountAnswers(status) if query.contains("mount=") => answer(*status, "UNSUPPORTED"),
        Quirk::MountLies if query.contains("mount=") => Some(reply::status(StatusCode::CREATED)),
        Quirk::LateBlobs(_) if put && is_session(head) => {
            // From here on it is one that was sent; what was there before is not late.
            let parameters = url::form_urlencoded::parse(query.as_bytes());
            for (_, digest) in parameters.filter(|(key, _)| key == "digest") {
                quirks.count("sent", &digest);
            }
            None
        }
        Quirk::LateBlobs(times) if head.reads("/blobs/sha") => {
            let digest = path.rsplit_once('/').map_or(path, |(_, digest)| digest);
            let late = quirks.counted("sent", digest) > 0 && quirks.count("late", path) < *times;
            if late { answer(404, "BLOB_UNKNOWN") } else { None }
        }
        Quirk::LeastChunk(bytes, status) if patch && ranged => {
            // The count of what was too small: anything after it is refused.
            let refused = quirks.counted("small", path) > 0;
            if length(head) < *bytes {
                quirks.count("small", path);
            }
            if refused { answer(*status, "BLOB_UPLOAD_INVALID") } else { None }
        }
        Quirk::MissesSent(..) if put && is_session(head) => {
            let parameters = url::form_urlencoded::parse(query.as_bytes());
            for (_, digest) in parameters.filter(|(key, _)| key == "digest") {
                quirks.count("missed", &digest);
            }
            None
        }
        Quirk::MissesSent(times, _) if query.contains("mount=") => {
            // What it has from elsewhere it does not miss, however often it is sent.
            let parameters = url::form_urlencoded::parse(query.as_bytes());
            for (_, digest) in parameters.filter(|(key, _)| key == "mount") {
                for _ in 0..=*times {
                    quirks.count("missed", &digest);
                }
            }
            None
        }
        Quirk::MissesSent(times, naming) if put && path.contains("/manifests/") => {
            let missed = quirks.counted_at_most("missed", *times)?;
            let words = match naming {
                Naming::Named => format!("blob unknown to registry: {missed}"),
                Naming::Unnamed => "blob unknown to registry".to_owned(),
            };
            Some(reply::error(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", &words))
        }
        Quirk::MovedUploads(status) if path.contains("/blobs/uploads/") && !query.contains("moved=1") => {
            if head.method == Method::GET || head.method == Method::DELETE {
                return None;
            }
            let joint = if query.is_empty() { "" } else { "&" };
            let location = format!("{path}?{query}{joint}moved=1");
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
            Some(reply::with(reply::status(status), &[("location", &location)], status))
        }
        _ => None,
    }
}

pub(super) fn deviate(quirks: &Quirks, quirk: &Quirk, head: &Head, deviation: &mut Deviation) {
    let (patch, put) = (head.method == Method::PATCH, head.method == Method::PUT);
    match quirk {
        Quirk::KeepLastChunk => {
            deviation.keep_last_chunk = patch;
            deviation.believe = put;
        }
        Quirk::ForgetSessions(after) if patch && quirks.count("forget", head.uri.path()) == *after => {
            deviation.lose_session = true;
        }
        _ => {}
    }
}

pub(super) fn after(
    quirks: &Quirks,
    quirk: &Quirk,
    head: &Head,
    mut response: Response<Body>,
) -> Response<Body> {
    let path = head.uri.path();
    let status = response.status();
    let patched = head.method == Method::PATCH && status.is_success();
    let uploads = path.contains("/blobs/uploads/");
    let published = head.method == Method::PUT && path.contains("/manifests/") && status.is_success();
    match quirk {
        Quirk::RangeSays(form) if patched => {
            let sent = length(head);
            let said = response.headers().get(RANGE).and_then(|value| value.to_str().ok());
            let last: u64 = said.and_then(|text| text.split_once('-')?.1.parse().ok()).unwrap_or(0);
            let text = match form {
                RangeForm::Stuck => format!("0-{}", quirks.first("range", path, last)),
                RangeForm::LastChunk => format!("0-{}", sent.saturating_sub(1)),
                RangeForm::Zero => "0-0".to_owned(),
                RangeForm::OneTooMany => format!("0-{}", last + 1),
                RangeForm::Absent => {
                    response.headers_mut().remove(RANGE);
                    return response;
                }
                RangeForm::Empty => "bytes=".to_owned(),
            };
            reply::with(response, &[("range", &text)], status)
        }
        Quirk::PatchAnswers(status) if patched => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::ACCEPTED);
            reply::with(response, &[], status)
        }
        Quirk::CommitAnswers(times, answer)
            if head.method == Method::PUT
                && uploads
                && status.is_success()
                && quirks.count("commit", path) < *times =>
        {
            let status = StatusCode::from_u16(*answer).unwrap_or(StatusCode::GATEWAY_TIMEOUT);
            reply::error(status, "UNKNOWN", "the answer was lost, not the work")
        }
        Quirk::ManifestAnswers(answer) if published => {
            let status = StatusCode::from_u16(*answer).unwrap_or(StatusCode::CREATED);
            reply::with(response, &[], status)
        }
        Quirk::ManifestSays(digest) if published => {
            reply::with(response, &[("docker-content-digest", digest)], status)
        }
        Quirk::OldProtocol => {
            *response.version_mut() = Version::HTTP_10;
            response
        }
        Quirk::CloseConnections => reply::with(response, &[("connection", "close")], status),
        Quirk::LocationSays(form) if uploads && response.headers().contains_key(LOCATION) => {
            locate(form, head, response)
        }
        _ => response,
    }
}

fn locate(form: &LocationForm, head: &Head, mut response: Response<Body>) -> Response<Body> {
    let status = response.status();
    let text = |response: &Response<Body>| {
        response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let path = text(&response);
    let host = head.headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let location = match form {
        LocationForm::Absolute | LocationForm::Plain => format!("http://{host}{path}"),
        LocationForm::PlainWithoutPort => {
            format!("http://{}{path}", host.rsplit_once(':').map_or(host, |(name, _)| name))
        }
        // Below `…/blobs/uploads/` for a new session, beside the session for an old one: in both cases its
        // name.
        LocationForm::Relative if path.contains("/blobs/uploads/") => {
            path.rsplit_once('/').map_or(path.clone(), |(_, name)| name.to_owned())
        }
        LocationForm::Elsewhere(origin) if head.method == Method::POST => format!("{origin}{path}"),
        LocationForm::AbsentAfterPatch if head.method == Method::PATCH => {
            response.headers_mut().remove(LOCATION);
            return response;
        }
        LocationForm::Relative | LocationForm::Elsewhere(_) | LocationForm::AbsentAfterPatch => {
            return response;
        }
    };
    reply::with(response, &[("location", &location)], status)
}
