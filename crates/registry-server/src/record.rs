//! What was asked of the server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{HeaderMap, Method};

/// One request.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its method.
    pub method: Method,
    /// Its path, without query.
    pub path: String,
    /// Its query.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// What was posted to the token server.
    pub form: String,
    /// The status of the answer; 0 where the connection was closed instead.
    pub status: u16,
}

impl Recorded {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a secret came with it: in a header as it is or as Basic credentials, in the query, in a form.
    #[must_use]
    pub fn carries(&self, secret: &str) -> bool {
        let basic = |value: &str| {
            let encoded = value.strip_prefix("Basic ")?;
            String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
        };
        let in_form = |text: &str| {
            url::form_urlencoded::parse(text.as_bytes()).any(|(_, value)| value.contains(secret))
        };
        let mut headers = self.headers.values().filter_map(|value| value.to_str().ok());
        headers.any(|value| value.contains(secret) || basic(value).is_some_and(|text| text.contains(secret)))
            || in_form(&self.query)
            || in_form(&self.form)
    }
}
