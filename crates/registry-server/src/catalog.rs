//! `/v2/_catalog` and `/v2/NAME/tags/list`, in pages.

use hyper::{Response, StatusCode};
use serde_json::json;

use crate::reply::{self, Body};
use crate::store::Store;

type Parameters = [(String, String)];

fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// One page of sorted names, and whether there are more.
fn page<'a>(names: impl Iterator<Item = &'a String>, parameters: &Parameters) -> (Vec<&'a String>, bool) {
    let count: usize = parameter(parameters, "n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let last = parameter(parameters, "last").unwrap_or_default();
    let mut rest = names.filter(|name| name.as_str() > last);
    let page: Vec<&String> = rest.by_ref().take(count).collect();
    let more = rest.next().is_some() && !page.is_empty();
    (page, more)
}

fn answer(
    path: &str,
    body: &serde_json::Value,
    page: &[&String],
    more: bool,
    parameters: &Parameters,
) -> Response<Body> {
    let response = Response::new(reply::full(body.to_string()));
    let response = reply::with(response, &[("content-type", "application/json")], StatusCode::OK);
    match page.last().filter(|_| more) {
        None => response,
        Some(last) => {
            let count = parameter(parameters, "n").unwrap_or_default();
            let last: String = url::form_urlencoded::byte_serialize(last.as_bytes()).collect();
            let link = format!("<{path}?n={count}&last={last}>; rel=\"next\"");
            reply::with(response, &[("link", &link)], StatusCode::OK)
        }
    }
}

pub(crate) fn repositories(store: &Store, parameters: &Parameters) -> Response<Body> {
    let (page, more) = page(store.repositories.keys(), parameters);
    answer("/v2/_catalog", &json!({"repositories": page}), &page, more, parameters)
}

pub(crate) fn tags(store: &Store, repository: &str, parameters: &Parameters) -> Response<Body> {
    let Some(found) = store.repositories.get(repository) else {
        return reply::error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let (page, more) = page(found.tags.keys(), parameters);
    let path = format!("/v2/{repository}/tags/list");
    answer(&path, &json!({"name": repository, "tags": page}), &page, more, parameters)
}
