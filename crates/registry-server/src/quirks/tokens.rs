//! Quirks of token servers.

use std::io;

use http_body_util::BodyExt;
use hyper::header::WWW_AUTHENTICATE;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::Quirk;
use crate::behaviour::{Head, redirect};
use crate::reply::{self, Body};

pub(super) fn before(quirk: &Quirk, head: &Head) -> Option<Response<Body>> {
    if let Quirk::Exchange(refresh) = quirk
        && head.uri.path() == "/oauth2/exchange"
    {
        let body = json!({"refresh_token": refresh}).to_string();
        return Some(Response::new(reply::full(body)));
    }
    if head.uri.path() != "/token" {
        return None;
    }
    let query = head.uri.query().unwrap_or_default();
    let scopes: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "scope")
        .flat_map(|(_, value)| value.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    match quirk {
        Quirk::PostedTokens(status) if head.method == Method::GET => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::METHOD_NOT_ALLOWED);
            Some(reply::error(status, "UNSUPPORTED", "tokens are posted for"))
        }
        Quirk::MovedTokens(status) if !query.contains("moved=1") => {
            let joint = if query.is_empty() { "" } else { "&" };
            let location = format!("/token?{query}{joint}moved=1");
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
            Some(reply::with(reply::status(status), &[("location", &location)], status))
        }
        Quirk::RedirectTokens(origin) => Some(redirect(head, origin, "")),
        Quirk::OneScope if scopes.len() > 1 => {
            Some(reply::error(StatusCode::BAD_REQUEST, "INVALID_SCOPE", "one scope only"))
        }
        Quirk::RefuseScope(text) if scopes.iter().any(|scope| scope.contains(text)) => {
            Some(reply::error(StatusCode::FORBIDDEN, "DENIED", "this scope is not for you"))
        }
        _ => None,
    }
}

pub(super) async fn after(
    quirk: &Quirk,
    head: &Head,
    mut response: Response<Body>,
) -> io::Result<Response<Body>> {
    if *quirk == Quirk::RefusedIs403
        && response.status() == StatusCode::UNAUTHORIZED
        && head.headers.contains_key("authorization")
    {
        return Ok(reply::error(StatusCode::FORBIDDEN, "DENIED", "your authorization has expired"));
    }
    if let Quirk::Unchallenged(status) = quirk
        && response.status() == StatusCode::UNAUTHORIZED
        && head.uri.path().starts_with("/v2/")
        && head.uri.path() != "/v2/"
    {
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::UNAUTHORIZED);
        return Ok(reply::error(status, "DENIED", "who are you?"));
    }
    if *quirk == Quirk::RelativeRealm {
        let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let relative = challenge.and_then(|text| {
            let (start, rest) = text.split_once("realm=\"http")?;
            let (_, path) = rest.split_once("/token")?;
            Some(format!("{start}realm=\"/token{path}"))
        });
        if let Some(value) = relative.and_then(|text| text.parse().ok()) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        return Ok(response);
    }
    if *quirk == Quirk::NoScopeInChallenge {
        let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let shorter =
            challenge.and_then(|text| text.split_once(",scope=")).map(|(start, _)| start.to_owned());
        if let Some(value) = shorter.and_then(|text| text.parse().ok()) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        return Ok(response);
    }
    if head.uri.path() != "/token" || !matches!(quirk, Quirk::ExpiresIn(_) | Quirk::AccessToken) {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let Ok(Value::Object(mut answer)) = serde_json::from_slice::<Value>(&bytes) else {
        return Ok(Response::from_parts(parts, reply::full(bytes)));
    };
    match quirk {
        Quirk::AccessToken => {
            if let Some(token) = answer.insert("token".to_owned(), json!("")) {
                answer.insert("access_token".to_owned(), token);
            }
        }
        Quirk::ExpiresIn(text) if text.is_empty() => {
            answer.remove("expires_in");
        }
        Quirk::ExpiresIn(text) => {
            answer.insert("expires_in".to_owned(), serde_json::from_str(text).map_err(io::Error::other)?);
        }
        _ => {}
    }
    Ok(Response::from_parts(parts, reply::full(Value::Object(answer).to_string())))
}
