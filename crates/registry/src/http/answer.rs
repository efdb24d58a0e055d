//! Answers: statuses that are errors, the server's own words, bounded bodies.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use rustls::{CertificateError, Error as TlsError};
use serde::Deserialize;
use unbloat_oci::Digest;

use crate::error::{Answer, CertificateFault, Error, ErrorKind, sanitize};
use crate::http::coding::Coding;
use crate::operation::Operation;

/// Most bytes of an error's body that are read.
const MAX_ERROR_BODY: usize = 64 << 10;

/// The `errors` of the distribution spec.
#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    /// Anything; servers put the digests there that they miss.
    #[serde(default)]
    detail: serde_json::Value,
}

impl ErrorItem {
    fn text(&self) -> String {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => format!("{}: {}", self.code, self.message),
            (false, true) => self.code.clone(),
            _ => self.message.clone(),
        }
    }
}

impl Answer {
    fn of(body: &[u8], retry_after: Option<Duration>) -> Self {
        let errors =
            serde_json::from_slice::<ErrorBody>(body).map_or_else(|_| Vec::new(), |body| body.errors);
        let mut answer = Self { retry_after, ..Self::default() };
        for item in errors {
            digests(&item.detail, &mut answer.digests);
            digests(&serde_json::Value::String(item.message), &mut answer.digests);
            answer.codes.push(item.code);
        }
        answer
    }
}

/// The digests that a value names, whatever its form is: distribution writes `{"digest": …}`, others a list
/// or a sentence.
fn digests(value: &serde_json::Value, found: &mut Vec<Digest>) {
    match value {
        serde_json::Value::String(text) => {
            let words = text
                .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '+' | '.' | '_' | '-')));
            for digest in words.filter_map(|word| word.trim_matches(['.', ':']).parse::<Digest>().ok()) {
                if !found.contains(&digest) {
                    found.push(digest);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| digests(item, found)),
        serde_json::Value::Object(members) => members.values().for_each(|member| digests(member, found)),
        _ => {}
    }
}

/// The error of an answer with a status that the operation does not allow. Reads a little of the body.
pub(crate) async fn status_error(
    place: &str,
    operation: Operation,
    subject: &str,
    response: Response,
) -> Error {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let body = read_bounded(response, MAX_ERROR_BODY, Duration::from_secs(5)).await.unwrap_or_default();
    let message = message_of(&body);
    let kind = match status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound { message },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ErrorKind::Unauthorized { status: status.as_u16(), message }
        }
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited { message, retry_after },
        _ => ErrorKind::Status { status: status.as_u16(), message },
    };
    Error::new(place, operation, subject, kind).with_answer(Answer::of(&body, retry_after))
}

/// The server's own words: the `errors` of the distribution spec, else the beginning of a text.
fn message_of(body: &[u8]) -> String {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(body) {
        let texts: Vec<String> = body.errors.iter().take(3).map(ErrorItem::text).collect();
        return sanitize(&texts.join("; "));
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(1024)]);
    if text.trim_start().starts_with('<') { String::new() } else { sanitize(&text) }
}

/// `Retry-After`: seconds, also with a fraction; a date (RFC 9110); or, as some write it, a Unix time in
/// seconds or milliseconds.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    wait_of(headers.get(RETRY_AFTER)?.to_str().ok()?.trim(), now)
}

/// The wait that a `Retry-After` asks for at this time. One that is over by now is none: our own waits grow.
fn wait_of(text: &str, now: Duration) -> Option<Duration> {
    // 2001 in seconds and in milliseconds: nobody asks to wait for thirty years.
    const SECONDS: f64 = 1e9;
    const MILLISECONDS: f64 = 1e12;
    let until = match text.parse::<f64>() {
        Ok(number) if !number.is_finite() || number < 0.0 => return None,
        Ok(number) if number >= MILLISECONDS => Duration::try_from_secs_f64(number / 1000.0).ok()?,
        Ok(number) if number >= SECONDS => Duration::from_secs_f64(number),
        Ok(number) => return Some(Duration::from_secs_f64(number)).filter(|wait| !wait.is_zero()),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?,
    };
    until.checked_sub(now).filter(|wait| !wait.is_zero())
}

/// A body of at most `limit` bytes.
pub(crate) async fn read_bounded(
    mut response: Response,
    limit: usize,
    stall: Duration,
) -> Result<Vec<u8>, ErrorKind> {
    let mut coding = Coding::of(&response, None)?;
    let mut out = Vec::new();
    let mut take = |bytes: Bytes| {
        if out.len() + bytes.len() > limit {
            return Err(ErrorKind::LimitExceeded { what: "the answer", limit: limit as u64 });
        }
        out.extend_from_slice(&bytes);
        Ok(())
    };
    loop {
        let next =
            tokio::time::timeout(stall, response.chunk()).await.map_err(|_| ErrorKind::Timeout(stall))?;
        let Some(mut bytes) = next.map_err(|error| failure(&error))? else {
            take(coding.finish()?)?;
            return Ok(out);
        };
        while !bytes.is_empty() {
            take(coding.decode(&mut bytes)?)?;
        }
    }
}

/// A network error in words: the innermost cause says most, and reqwest's own text may hold a URL with a
/// token.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        cause = inner.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { sanitize(&text) }
}

/// A failed request by type: a certificate that is not trusted stays so however often it is asked.
pub(crate) fn failure(error: &reqwest::Error) -> ErrorKind {
    match tls_error(error) {
        Some(TlsError::InvalidCertificate(wrong)) => {
            ErrorKind::Certificate { fault: fault(wrong), message: describe(error) }
        }
        Some(TlsError::NoCertificatesPresented) => {
            ErrorKind::Certificate { fault: CertificateFault::Other, message: describe(error) }
        }
        // What came was no record of TLS.
        Some(TlsError::InvalidMessage(_)) => ErrorKind::NotTls,
        _ => ErrorKind::Network(describe(error)),
    }
}

fn fault(wrong: &CertificateError) -> CertificateFault {
    match wrong {
        CertificateError::UnknownIssuer => CertificateFault::UnknownAuthority,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::WrongHost
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        _ => CertificateFault::Other,
    }
}

/// The TLS library's own error among the causes.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a TlsError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<TlsError>() {
            return Some(found);
        }
        // An I/O error gives as its source what is below the error that it holds.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_retry_after_is_read() {
        // Sun, 06 Nov 1994 08:49:37 GMT is 784111777.
        let at =
            |text: &str, now: u64| wait_of(text, Duration::from_secs(now)).map(|wait| wait.as_secs_f64());
        assert_eq!(at("7", 0), Some(7.0));
        assert_eq!(at("1.5", 0), Some(1.5));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770), Some(7.0));
        assert_eq!(at("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_770), Some(7.0));
        assert_eq!(at("1800000007", 1_800_000_000), Some(7.0));
        assert_eq!(at("1800000007000", 1_800_000_000), Some(7.0));
        for text in ["0", "-5", "soon", "", "NaN", "inf", "1700000000", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(at(text, 1_800_000_000), None, "{text}");
        }
    }
}
