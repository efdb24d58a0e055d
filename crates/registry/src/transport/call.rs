//! One request to a registry: what it is made of.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::auth::token::Scope;
use crate::http::body::Body;
use crate::operation::Operation;

/// One request, repeatable.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) scope: &'a Scope,
    /// For errors: what is done, and to what.
    pub(crate) operation: Operation,
    pub(crate) subject: String,
    /// Statuses that are not errors.
    pub(crate) accept: &'static [StatusCode],
    /// Whether to try again here after network failures, 429 and 5xx.
    pub(crate) retry: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, url: Url, scope: &'a Scope, operation: Operation) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            scope,
            operation,
            subject: String::new(),
            accept: &[StatusCode::OK],
            retry: true,
        }
    }

    pub(crate) fn subject(mut self, subject: impl std::fmt::Display) -> Self {
        self.subject = subject.to_string();
        self
    }

    pub(crate) fn accept(mut self, accept: &'static [StatusCode]) -> Self {
        self.accept = accept;
        self
    }

    pub(crate) fn once(mut self) -> Self {
        self.retry = false;
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}
