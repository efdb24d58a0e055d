//! A token server: what is asked of it, and what its answers mean.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::auth::credential::Credential;
use crate::auth::credential::basic_header;
use crate::auth::registry::Registry;
use crate::error::{Error, ErrorKind};
use crate::http::answer::{read_bounded, status_error};
use crate::http::attempts::Attempts;
use crate::http::clients::{Clients, is_loopback};
use crate::http::redirect::secured;
use crate::operation::Operation;
use crate::secret::{Secret, redact};

/// What the token specification says when `expires_in` is missing; what is zero, negative or no number means
/// no more.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is got anew after this time, however long it says it is good.
const LONGEST_LIFETIME: f64 = 86_400.0;
/// Largest answer of a token server.
const MAX_ANSWER: usize = 1 << 20;

/// Where a token is asked for, and for what.
pub(crate) struct Realm<'a> {
    pub(crate) url: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: Vec<String>,
    pub(crate) push: bool,
    /// For errors.
    pub(crate) repository: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Value>,
    access_token: Option<Value>,
    expires_in: Option<Value>,
}

impl Answer {
    fn token(&self) -> Option<&str> {
        [&self.token, &self.access_token]
            .into_iter()
            .filter_map(|value| value.as_ref()?.as_str())
            .find(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()))
    }

    /// Servers write it as a number of any kind, as text, or not at all.
    fn lifetime(&self) -> Duration {
        let seconds = match &self.expires_in {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        match seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0) {
            Some(seconds) => Duration::from_secs_f64(seconds.min(LONGEST_LIFETIME)),
            None => DEFAULT_LIFETIME,
        }
    }
}

/// Where a realm is. One without a host is the registry's own; a registry behind a proxy that ends TLS does
/// not know of it and names itself with `http://`.
fn address(registry: &Registry<'_>, realm: &str) -> Option<Url> {
    let base = registry.base();
    let url = base.join(realm.trim()).ok()?;
    Some(secured(&base, url.clone()).unwrap_or(url))
}

/// Asks for a token: GET with basic credentials or none, POST with an identity token, and with a password
/// where GET is not taken. Gives it with its lifetime.
pub(crate) async fn fetch(
    clients: &Clients,
    registry: &Registry<'_>,
    realm: &Realm<'_>,
    credential: Option<&Credential>,
) -> Result<(Secret, Duration), Error> {
    let by_get = match credential {
        Some(Credential::IdentityToken(_)) => return ask(clients, registry, realm, credential, true).await,
        _ => ask(clients, registry, realm, credential, false).await,
    };
    match by_get {
        // Docker's second way of asking (OAuth 2), which some servers have alone.
        Err(error) if matches!(credential, Some(Credential::Basic { .. })) && is_no_way(error.kind()) => {
            ask(clients, registry, realm, credential, true).await.map_err(|_| error)
        }
        answer => answer,
    }
}

/// Whether a server knows no GET of tokens.
fn is_no_way(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound { .. } | ErrorKind::Status { status: 405 | 501, .. })
}

async fn ask(
    clients: &Clients,
    registry: &Registry<'_>,
    realm: &Realm<'_>,
    credential: Option<&Credential>,
    by_post: bool,
) -> Result<(Secret, Duration), Error> {
    let operation = Operation::AskingForToken { push: realm.push };
    let fault = |kind: ErrorKind| Error::new(registry.name, operation, realm.repository, kind);
    let mut url = address(registry, realm.url)
        .ok_or_else(|| fault(ErrorKind::Protocol("the token server's address is not a URL".to_owned())))?;
    let secure = url.scheme() == "https" || is_loopback(&url) || !registry.https;
    if !matches!(url.scheme(), "https" | "http") || (!secure && credential.is_some()) {
        let reason = format!("it sends credentials to {} in the clear", redact(&url));
        return Err(fault(ErrorKind::Protocol(reason)));
    }
    let method = if by_post { Method::POST } else { Method::GET };
    if method == Method::GET {
        let mut query = url.query_pairs_mut();
        if let Some(service) = realm.service {
            query.append_pair("service", service);
        }
        for text in &realm.scopes {
            query.append_pair("scope", text);
        }
        if let Some(Credential::Basic { username, .. }) = credential {
            query.append_pair("account", username);
        }
    }
    let origin = url.origin();
    let request = |http: &reqwest::Client, url: &Url| {
        let own = url.origin() == origin;
        Ok(match credential {
            Some(credential) if by_post && own => http
                .post(url.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form(realm, credential)),
            Some(_) if by_post => {
                let reason = format!("it leads to {} with what is for itself alone", redact(url));
                return Err(ErrorKind::Protocol(reason));
            }
            Some(Credential::Basic { username, password }) if own => {
                http.get(url.clone()).header("authorization", basic_header(username, password).expose())
            }
            _ => http.get(url.clone()),
        })
    };
    let mut attempts = Attempts::new(clients.options().retry);
    let body = loop {
        let response = clients.send_following(&method, url.clone(), &fault, request).await?;
        if !response.status().is_success() {
            return Err(status_error(registry.name, operation, realm.repository, response).await);
        }
        match read_bounded(response, MAX_ANSWER, clients.options().timeouts.stall).await.map_err(&fault) {
            Ok(body) => break body,
            Err(error) if !attempts.again_after(&error).await => return Err(error),
            Err(_) => {}
        }
    };
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| fault(ErrorKind::Protocol("the token server's answer is not JSON".to_owned())))?;
    let token = answer
        .token()
        .ok_or_else(|| fault(ErrorKind::Protocol("the token server gave no token".to_owned())))?;
    Ok((Secret::new(token), answer.lifetime()))
}

fn form(realm: &Realm<'_>, credential: &Credential) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("client_id", "unbloat").append_pair("service", realm.service.unwrap_or_default());
    form.append_pair("scope", &realm.scopes.join(" "));
    match credential {
        Credential::IdentityToken(token) => {
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose())
        }
        Credential::Basic { username, password } => form
            .append_pair("grant_type", "password")
            .append_pair("username", username)
            .append_pair("password", password.expose()),
        Credential::RegistryToken(_) => &mut form,
    };
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> (Option<String>, Duration) {
        let answer: Answer = serde_json::from_str(json).unwrap();
        (answer.token().map(str::to_owned), answer.lifetime())
    }

    #[test]
    fn odd_lifetimes_are_read_and_none_is_for_ever_or_never() {
        for (text, seconds) in [
            ("300", 300.0),
            ("299.5", 299.5),
            ("\"300\"", 300.0),
            ("\" 12.5 \"", 12.5),
            ("0", 60.0),
            ("-1", 60.0),
            ("null", 60.0),
            ("\"soon\"", 60.0),
            ("true", 60.0),
            ("{}", 60.0),
            ("1e300", 86_400.0),
            ("18446744073709551615", 86_400.0),
        ] {
            let (_, lifetime) = of(&format!("{{\"token\":\"t\",\"expires_in\":{text}}}"));
            assert_eq!(lifetime, Duration::from_secs_f64(seconds), "{text}");
        }
        assert_eq!(of("{\"token\":\"t\"}").1, Duration::from_secs(60));
    }

    #[test]
    fn a_realm_without_a_host_is_the_registrys_and_stays_encrypted() {
        let at = |https: bool, realm: &str| {
            let registry = Registry { name: "reg.example:5000", https, anonymous: false };
            address(&registry, realm).map(String::from)
        };
        assert_eq!(at(true, "/token").as_deref(), Some("https://reg.example:5000/token"));
        assert_eq!(at(false, "/token").as_deref(), Some("http://reg.example:5000/token"));
        assert_eq!(at(true, "https://auth.example/t?a=b").as_deref(), Some("https://auth.example/t?a=b"));
        assert_eq!(at(true, "http://reg.example:5000/t").as_deref(), Some("https://reg.example:5000/t"));
        // Another host's is not ours to change; it gets no credentials in the clear.
        assert_eq!(at(true, "http://auth.example/t").as_deref(), Some("http://auth.example/t"));
        assert_eq!(at(true, "https://["), None);
    }

    #[test]
    fn either_name_of_the_token_will_do() {
        assert_eq!(of(r#"{"access_token":"a"}"#).0.as_deref(), Some("a"));
        assert_eq!(of(r#"{"token":"","access_token":"a"}"#).0.as_deref(), Some("a"));
        assert_eq!(of(r#"{"token":null,"access_token":"a"}"#).0.as_deref(), Some("a"));
        assert_eq!(of(r#"{"token":"t","access_token":"a"}"#).0.as_deref(), Some("t"));
        assert_eq!(of(r#"{"token":"with space"}"#).0, None);
    }
}
