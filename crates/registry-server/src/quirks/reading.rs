//! Quirks of reading: HEAD, redirects, wrong bytes, limits of rate.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::{Quirk, Quirks};
use crate::behaviour::{Head, redirect};
use crate::deviation::Deviation;
use crate::reply::{self, Body, Harm};

/// What an URL signed for GET holds.
const SIGNATURE: &str = "X-Signature=signed-for-get";

/// How a server says when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryForm {
    /// In so many seconds.
    Seconds(u64),
    /// At a date (RFC 9110), so many seconds from now.
    Date(u64),
    /// At a Unix time in seconds, so many from now.
    UnixTime(u64),
    /// Something that is none of them.
    Nonsense,
}

impl RetryForm {
    fn text(self) -> String {
        let at = |seconds| SystemTime::now() + Duration::from_secs(seconds);
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Date(seconds) => httpdate::fmt_http_date(at(seconds)),
            Self::UnixTime(seconds) => {
                let since = at(seconds).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                since.as_secs().to_string()
            }
            Self::Nonsense => "soon".to_owned(),
        }
    }
}

pub(super) fn before(quirks: &Quirks, quirk: &Quirk, head: &Head) -> Option<Response<Body>> {
    let answer = |status: u16, code: &str| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Some(reply::error(status, code, "this is how some registries answer"))
    };
    let path = head.uri.path();
    let is_head = head.method == Method::HEAD;
    match quirk {
        Quirk::HeadOfManifests(status) if is_head && head.reads("/manifests/") => {
            answer(*status, "UNSUPPORTED")
        }
        Quirk::HeadOfBlobs(status) if is_head && head.reads("/blobs/") => answer(*status, "UNSUPPORTED"),
        Quirk::SignedBlobs(origin) if head.reads("/blobs/sha") => Some(redirect(head, origin, SIGNATURE)),
        Quirk::SignedManifests(origin) if head.reads("/manifests/") => {
            Some(redirect(head, origin, SIGNATURE))
        }
        Quirk::RedirectBlobs(origin) if head.reads("/blobs/sha") => Some(redirect(head, origin, "")),
        Quirk::RedirectManifests(origin) if head.reads("/manifests/") => Some(redirect(head, origin, "")),
        Quirk::SignedForGet if head.uri.query().unwrap_or_default().contains(SIGNATURE) => {
            if head.headers.contains_key("authorization") {
                return answer(400, "INVALID_ARGUMENT");
            }
            if is_head { answer(403, "SIGNATURE_DOES_NOT_MATCH") } else { None }
        }
        Quirk::NoReferrers if head.reads("/referrers/") => answer(404, "NOT_FOUND"),
        Quirk::TooMany(times, form) if quirks.count("rate", path) < *times => {
            let response = reply::error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slow down");
            Some(reply::with(response, &[("retry-after", &form.text())], StatusCode::TOO_MANY_REQUESTS))
        }
        _ => None,
    }
}

pub(super) fn deviate(quirks: &Quirks, quirk: &Quirk, head: &Head, deviation: &mut Deviation) {
    let path = head.uri.path();
    let blob = head.method == Method::GET && path.contains("/blobs/sha");
    match quirk {
        Quirk::NoRanges => deviation.ignore_range = true,
        Quirk::LaterRanges(bytes) => deviation.later_range = *bytes,
        Quirk::CorruptBlobs(times) if blob && quirks.count("corrupt", path) < *times => {
            deviation.harm = Harm::Corrupt(quirks.draw(1, path, 0) % 4096);
        }
        Quirk::CorruptOneIn(one_in, seed) if blob => {
            let count = quirks.count("draw", path);
            let hit = |count: usize| quirks.draw(*seed, path, count).is_multiple_of(*one_in);
            let third = count >= 2 && hit(count - 1) && hit(count - 2);
            if hit(count) && !third {
                deviation.harm = Harm::Corrupt(quirks.draw(*seed, path, count) >> 3 & 0xffff);
            }
        }
        _ => {}
    }
}

pub(super) async fn after(
    quirks: &Quirks,
    quirk: &Quirk,
    head: &Head,
    mut response: Response<Body>,
) -> io::Result<Response<Body>> {
    let path = head.uri.path();
    let is_get = head.method == Method::GET;
    let document =
        is_get && (head.reads("/manifests/") || head.reads("/tags/list") || head.reads("/referrers/"));
    match quirk {
        Quirk::CorruptManifests(times)
            if is_get && head.reads("/manifests/") && quirks.count("corrupt", path) < *times =>
        {
            let (parts, body) = response.into_parts();
            let mut bytes = body.collect().await?.to_bytes().to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            Ok(Response::from_parts(parts, reply::full(bytes)))
        }
        Quirk::BreakManifests(times) if document && quirks.count("break", path) < *times => {
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok(Response::from_parts(parts, reply::broken(bytes.slice(..bytes.len() / 2))))
        }
        Quirk::Compresses if is_get && (document || head.reads("/blobs/sha") || path == "/token") => {
            let (mut parts, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&bytes)?;
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Ok(Response::from_parts(parts, reply::unsized_body(&gzip.finish()?)))
        }
        Quirk::LabelsBlobs if is_get && head.reads("/blobs/sha") => {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Ok(response)
        }
        Quirk::UnsaidRanges => {
            response.headers_mut().remove(CONTENT_RANGE);
            Ok(response)
        }
        Quirk::NoDigestHeader => {
            response.headers_mut().remove("docker-content-digest");
            Ok(response)
        }
        Quirk::StaleDigestOnHead if head.method == Method::HEAD && head.reads("/manifests/") => {
            let stale = unbloat_oci::Digest::sha256_of(b"what was here before");
            let status = response.status();
            Ok(reply::with(response, &[("docker-content-digest", stale.as_str())], status))
        }
        _ => Ok(response),
    }
}
