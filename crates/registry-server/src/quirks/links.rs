//! Quirks of lists: pages, and how the next one is told (RFC 8288 and what is sent instead).

use std::io;

use http_body_util::BodyExt;
use hyper::header::LINK;
use hyper::{Method, Response};
use serde_json::{Value, json};

use super::Quirk;
use crate::behaviour::Head;
use crate::reply::{self, Body};

/// How the next page is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkForm {
    /// `</v2/…>; rel="next"`
    Usual,
    /// Without the angle brackets.
    Bare,
    /// With `rel=next` unquoted, in capitals and with further parameters.
    Unquoted,
    /// Only the query, relative to the request.
    QueryOnly,
    /// Below another scheme and host.
    Elsewhere(String),
    /// Several values in one header, the next page's the second.
    SeveralValues,
    /// Several headers, the next page's the second.
    SeveralHeaders,
    /// Several relations in one `rel`.
    SeveralRelations,
    /// As usual, with an empty page between any two.
    EmptyPages,
    /// Always this same page.
    Loop,
    /// Something that cannot be a URL.
    Broken,
}

/// Splits a list by pages.
pub(super) async fn after(
    quirk: &Quirk,
    head: &Head,
    response: Response<Body>,
) -> io::Result<Response<Body>> {
    let (size, form, key) = match quirk {
        Quirk::Pages(size, form) if head.reads("/tags/list") => (*size, form.clone(), "tags"),
        Quirk::ReferrerPages(size) if head.reads("/referrers/") => (*size, LinkForm::Usual, "manifests"),
        _ => return Ok(response),
    };
    if head.method != Method::GET || !response.status().is_success() {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let mut list: Value = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    let all: Vec<Value> = list[key].as_array().cloned().unwrap_or_default();
    let page: usize = parameter(head, "page").and_then(|page| page.parse().ok()).unwrap_or(0);
    // With empty pages, each odd one has nothing.
    let step = if form == LinkForm::EmptyPages { 2 } else { 1 };
    let first = (page / step) * size;
    let empty = page % step == 1;
    let next = if empty { first + size } else { (first + size).min(all.len()) };
    let items: Vec<Value> =
        if empty { Vec::new() } else { all.iter().skip(first).take(size).cloned().collect() };
    let more = (if empty { next } else { first + size }) < all.len();
    list[key] = json!(items);
    parts.headers.remove(LINK);
    parts.headers.remove("content-length");
    if more || form == LinkForm::Loop {
        let number = if form == LinkForm::Loop { page } else { page + 1 };
        for value in values(&form, head.uri.path(), number) {
            if let Ok(value) = value.parse() {
                parts.headers.append(LINK, value);
            }
        }
    }
    Ok(Response::from_parts(parts, reply::full(list.to_string())))
}

fn values(form: &LinkForm, path: &str, page: usize) -> Vec<String> {
    let next = format!("{path}?page={page}");
    match form {
        LinkForm::Usual | LinkForm::EmptyPages | LinkForm::Loop => vec![format!("<{next}>; rel=\"next\"")],
        LinkForm::Bare => vec![format!("{next}; rel=\"next\"")],
        LinkForm::Unquoted => vec![format!("<{next}>;title=\"a, b; rel=prev\" ; REL=Next; type=x")],
        LinkForm::QueryOnly => vec![format!("<?page={page}>; rel=next")],
        LinkForm::Elsewhere(origin) => vec![format!("<{origin}{next}>; rel=\"next\"")],
        LinkForm::SeveralValues => vec![format!("<{path}?page=0>; rel=\"first\", <{next}>; rel=\"next\"")],
        LinkForm::SeveralHeaders => {
            vec![format!("<{path}?page=0>; rel=\"first\""), format!("<{next}>; rel=\"next\"")]
        }
        LinkForm::SeveralRelations => vec![format!("<{next}>; rel=\"last next\"")],
        LinkForm::Broken => vec!["<http://[>; rel=\"next\"".to_owned()],
    }
}

pub(super) fn parameter(head: &Head, name: &str) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
