//! Where an answer's `Location` leads, and where it may not.

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::error::ErrorKind;
use crate::secret::redact;

/// More hops than any registry needs.
const MAX_REDIRECTS: usize = 10;

/// Whether an answer to this method leads elsewhere. What writes is repeated with its method and body, so 303
/// (which asks for a GET) is no redirect for it.
pub(crate) fn follows(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        301 | 302 | 307 | 308 => true,
        303 => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    }
}

/// The next URL of a chain of `count` redirects.
pub(crate) fn next_hop(from: &Url, response: &Response, count: usize) -> Result<Url, ErrorKind> {
    if count > MAX_REDIRECTS {
        return Err(ErrorKind::Protocol(format!("more than {MAX_REDIRECTS} redirects")));
    }
    location(from, response)?
        .ok_or_else(|| ErrorKind::Protocol("a redirect without a usable Location".to_owned()))
}

/// The `Location` of an answer to a request to `from`; `None` where there is none that is a URL.
///
/// # Errors
/// [`ErrorKind::Protocol`] if it leads from an encrypted connection to one that is not.
pub(crate) fn location(from: &Url, response: &Response) -> Result<Option<Url>, ErrorKind> {
    let text = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(target) = text.and_then(|text| from.join(text.trim()).ok()) else { return Ok(None) };
    secured(from, target).map(Some)
}

/// A registry behind a proxy that ends TLS does not know of it, and names itself with `http://`: that stays
/// on https. Every other way out of an encrypted connection is refused.
pub(crate) fn secured(from: &Url, mut target: Url) -> Result<Url, ErrorKind> {
    let refused =
        |target: &Url| ErrorKind::Protocol(format!("it leads to {}, which is not encrypted", redact(target)));
    match (from.scheme(), target.scheme()) {
        (_, "https") | ("http", "http") => Ok(target),
        ("https", "http") => {
            let same_host = from.host() == target.host();
            let same_port = target.port().is_none() || target.port() == from.port_or_known_default();
            let moved = same_host
                && same_port
                && target.set_scheme("https").is_ok()
                && target.set_port(from.port()).is_ok();
            if moved { Ok(target) } else { Err(refused(&target)) }
        }
        _ => Err(refused(&target)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(from: &str, to: &str) -> Option<String> {
        let from = Url::parse(from).unwrap();
        let target = from.join(to).unwrap();
        secured(&from, target).ok().map(String::from)
    }

    #[test]
    fn the_same_host_stays_encrypted_whatever_a_location_says() {
        let on_443 = "https://registry.example/v2/a/blobs/uploads/";
        for to in ["http://registry.example/v2/x?s=1", "https://registry.example/v2/x?s=1", "/v2/x?s=1"] {
            assert_eq!(leads(on_443, to).as_deref(), Some("https://registry.example/v2/x?s=1"));
        }
        let on_8443 = "https://registry.example:8443/v2/a/blobs/uploads/";
        for to in ["http://registry.example:8443/v2/x", "http://registry.example/v2/x", "../../../x"] {
            assert_eq!(leads(on_8443, to).as_deref(), Some("https://registry.example:8443/v2/x"));
        }
    }

    #[test]
    fn every_other_way_out_of_tls_is_refused() {
        let from = "https://registry.example/v2/a/blobs/uploads/";
        for to in ["http://other.example/x", "http://registry.example:5000/x", "ftp://registry.example/x"] {
            assert_eq!(leads(from, to), None, "{to}");
        }
        assert!(leads("http://registry.example/", "http://other.example/x").is_some());
    }

    #[test]
    fn what_writes_is_not_turned_into_a_get() {
        assert!(follows(&Method::PATCH, StatusCode::TEMPORARY_REDIRECT));
        assert!(follows(&Method::PUT, StatusCode::PERMANENT_REDIRECT));
        assert!(!follows(&Method::PUT, StatusCode::SEE_OTHER));
        assert!(follows(&Method::GET, StatusCode::SEE_OTHER));
    }
}
