//! What was asked of the server.

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
    /// The status of the answer; 0 where the connection was closed instead.
    pub status: u16,
}

impl Recorded {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
