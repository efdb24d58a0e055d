//! `Link` (RFC 8288): where the next page of a list is.
//!
//! Registries write it in many forms: several values or headers, relations in any case, targets without angle
//! brackets, with the scheme or host that they have behind a proxy. What counts of a target is its path and
//! query; it is asked of the host that the list came from, so that a list never leads credentials elsewhere.

use reqwest::header::{HeaderMap, LINK};
use url::Url;

/// What the headers of a page say of the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is none.
    None,
    /// It is there.
    Page(Url),
    /// There is one, and where cannot be read.
    Unreadable(String),
}

/// The next page of the one at `base`.
pub(crate) fn next(base: &Url, headers: &HeaderMap) -> Next {
    for value in headers.get_all(LINK) {
        let Ok(text) = value.to_str() else { return Next::Unreadable("it is not text".to_owned()) };
        for link in split(text) {
            if !link.is_next {
                continue;
            }
            return match resolve(base, link.target) {
                Some(url) => Next::Page(url),
                None => Next::Unreadable(crate::error::sanitize(link.target)),
            };
        }
    }
    Next::None
}

/// A target on the host of `base`.
fn resolve(base: &Url, target: &str) -> Option<Url> {
    let joined = base.join(target.trim()).ok()?;
    if !matches!(joined.scheme(), "http" | "https") {
        return None;
    }
    let mut url = base.clone();
    url.set_path(joined.path());
    url.set_query(joined.query());
    Some(url)
}

struct Link<'a> {
    target: &'a str,
    is_next: bool,
}

/// The values of one header. A comma inside `<…>` or a quoted string separates nothing.
fn split(text: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    let mut rest = text.trim_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (target, after) = match rest.strip_prefix('<') {
            Some(inner) => match inner.split_once('>') {
                Some((target, after)) => (target, after),
                None => (inner, ""),
            },
            // Without brackets a target ends where the parameters begin.
            None => rest.split_at(rest.find([';', ',']).unwrap_or(rest.len())),
        };
        let end = end_of_value(after);
        let parameters = &after[..end];
        links.push(Link { target, is_next: is_next(parameters) });
        rest = after[end..].trim_start_matches([' ', '\t', ',']);
    }
    links
}

/// Where the parameters of a value end: at the first comma outside quotes.
fn end_of_value(text: &str) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Whether the parameters name the relation `next`, or none at all: then a page has nothing else to point to.
fn is_next(parameters: &str) -> bool {
    let mut rel = None;
    let mut rest = parameters;
    while let Some(at) = rest.find(';') {
        rest = rest[at + 1..].trim_start();
        let end = end_of_parameter(rest);
        let (name, value) = rest[..end].split_once('=').unwrap_or((&rest[..end], ""));
        if name.trim().eq_ignore_ascii_case("rel") && rel.is_none() {
            rel = Some(value.trim().trim_matches('"').to_owned());
        }
        rest = &rest[end..];
    }
    match rel {
        None => true,
        Some(rel) => rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next")),
    }
}

fn end_of_parameter(text: &str) -> usize {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Next {
        let base = Url::parse("https://reg.example:8443/v2/a/tags/list?n=2").unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        next(&base, &headers)
    }

    fn page(path: &str) -> Next {
        Next::Page(Url::parse(&format!("https://reg.example:8443{path}")).unwrap())
    }

    #[test]
    fn every_form_of_the_next_page_is_read() {
        let expected = page("/v2/a/tags/list?n=2&last=b");
        for values in [
            &["</v2/a/tags/list?n=2&last=b>; rel=\"next\""][..],
            &["</v2/a/tags/list?n=2&last=b>;rel=next"],
            &["</v2/a/tags/list?n=2&last=b>; REL=\"Next\""],
            &["</v2/a/tags/list?n=2&last=b>; rel=\"last next\""],
            &["</v2/a/tags/list?n=2&last=b>"],
            &["/v2/a/tags/list?n=2&last=b; rel=\"next\""],
            &["http://inside.example/v2/a/tags/list?n=2&last=b; rel=next"],
            &["<http://inside.example:5000/v2/a/tags/list?n=2&last=b>; rel=\"next\""],
            &["<?n=2&last=b>; rel=\"next\""],
            &["<list?n=2&last=b>; rel=\"next\""],
            &["</v2/a/tags/list?n=1>; rel=\"first\", </v2/a/tags/list?n=2&last=b>; rel=\"next\""],
            &["</v2/a/tags/list?n=1>; rel=\"first\"", "</v2/a/tags/list?n=2&last=b>; rel=\"next\""],
            &["</v2/a/tags/list?n=2&last=b>; title=\"x, <y>; rel=prev\"; rel=\"next\""],
            &[", </v2/a/tags/list?n=2&last=b>; rel=\"next\", "],
        ] {
            assert_eq!(of(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_page_that_names_no_next_one_is_the_last() {
        for values in
            [&[][..], &[""], &["</v2/a/tags/list>; rel=\"first\""], &["</x>; rel=prev, </y>; rel=\"last\""]]
        {
            assert_eq!(of(values), Next::None, "{values:?}");
        }
    }

    #[test]
    fn a_next_page_that_cannot_be_read_is_not_the_end() {
        for values in [&["<http://[>; rel=\"next\""][..], &["<ftp://x/y>; rel=next"]] {
            assert!(matches!(of(values), Next::Unreadable(_)), "{values:?}");
        }
    }
}
