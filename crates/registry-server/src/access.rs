//! Who may do what.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;

use crate::reply::{self, Body};

/// What the server asks of its clients.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Nothing.
    #[default]
    Open,
    /// User and password with each request.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A bearer token of the server's own `/token`, for the same user and password or the refresh token.
    Token {
        /// The user.
        username: String,
        /// The password; also taken as a refresh token.
        password: String,
        /// How long a token is valid.
        lifetime: Duration,
        /// Whether somebody without credentials may pull.
        anonymous_pull: bool,
    },
}

#[derive(Debug)]
struct Grant {
    scopes: Vec<String>,
    until: Instant,
}

/// The tokens that were issued.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    grants: Mutex<HashMap<String, Grant>>,
    count: std::sync::atomic::AtomicU64,
}

impl Tokens {
    pub(crate) fn expire_all(&self) {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn is_basic(headers: &HeaderMap, username: &str, password: &str) -> bool {
    let expected = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    headers.get("authorization").is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

impl Access {
    /// `None` if the request may go on; else the challenge.
    pub(crate) fn check(
        &self,
        tokens: &Tokens,
        origin: &str,
        method: &Method,
        repository: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let refused = |challenge: &str| {
            let body = reply::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
            Some(reply::with(body, &[("www-authenticate", challenge)], StatusCode::UNAUTHORIZED))
        };
        match self {
            Self::Open => None,
            Self::Basic { username, password } if is_basic(headers, username, password) => None,
            Self::Basic { .. } => refused("Basic realm=\"unbloat\""),
            Self::Token { .. } => {
                // As the distribution project's registry has it.
                let action = match *method {
                    Method::GET | Method::HEAD => "pull",
                    Method::DELETE => "delete",
                    _ => "push",
                };
                let token = headers
                    .get("authorization")
                    .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
                let grants = tokens.grants.lock().unwrap_or_else(PoisonError::into_inner);
                let grant =
                    token.and_then(|token| grants.get(token)).filter(|grant| Instant::now() < grant.until);
                let enough = grant.is_some_and(|grant| match repository {
                    None => true,
                    Some(repository) => grant.scopes.iter().any(|scope| allows(scope, repository, action)),
                });
                if enough {
                    return None;
                }
                let scope = repository.map(|name| {
                    let actions = if action == "push" { "pull,push" } else { action };
                    format!(",scope=\"repository:{name}:{actions}\"")
                });
                let scope = scope.unwrap_or_default();
                refused(&format!("Bearer realm=\"{origin}/token\",service=\"unbloat\"{scope}"))
            }
        }
    }

    /// The token endpoint.
    pub(crate) fn issue(
        &self,
        tokens: &Tokens,
        headers: &HeaderMap,
        parameters: &[(String, String)],
    ) -> Response<Body> {
        let Self::Token { username, password, lifetime, anonymous_pull } = self else {
            return reply::status(StatusCode::NOT_FOUND);
        };
        let refresh = parameters.iter().any(|(key, value)| key == "refresh_token" && value == password);
        let says =
            |name: &str, value: &str| parameters.iter().any(|(key, said)| key == name && said == value);
        let posted =
            says("grant_type", "password") && says("username", username) && says("password", password);
        let known = refresh || posted || is_basic(headers, username, password);
        let wrong = !known && (headers.contains_key("authorization") || says("grant_type", "password"));
        if wrong || !(known || *anonymous_pull) {
            return reply::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "wrong user or password");
        }
        let scopes: Vec<String> = parameters
            .iter()
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, value)| value.split(' '))
            .map(|scope| if known { scope.to_owned() } else { scope.replace(",push", "") })
            .collect();
        let number = tokens.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let token = format!("token-{number}");
        let grant = Grant { scopes, until: Instant::now() + *lifetime };
        tokens.grants.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), grant);
        let body = json!({"token": token, "expires_in": lifetime.as_secs().max(1)}).to_string();
        reply::with(Response::new(reply::full(body)), &[("content-type", "application/json")], StatusCode::OK)
    }
}

fn allows(scope: &str, repository: &str, action: &str) -> bool {
    let mut parts = scope.splitn(3, ':');
    parts.next() == Some("repository")
        && parts.next() == Some(repository)
        && parts.next().is_some_and(|actions| actions.split(',').any(|have| have == action))
}
