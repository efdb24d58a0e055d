//! `WWW-Authenticate` (RFC 9110, 11.6.1): what a registry wants to see.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How to authenticate to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from another server.
    Bearer {
        /// The token server.
        realm: String,
        /// Name of this registry there.
        service: Option<String>,
        /// What the refused request would have needed.
        scope: Option<String>,
    },
}

/// The strongest challenge of an answer: Bearer before Basic.
pub(crate) fn parse(headers: &HeaderMap) -> Option<Challenge> {
    let mut found = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        for challenge in value.to_str().map(parse_value).unwrap_or_default() {
            if matches!(challenge, Challenge::Bearer { .. }) {
                return Some(challenge);
            }
            found = Some(challenge);
        }
    }
    found
}

fn parse_value(text: &str) -> Vec<Challenge> {
    let mut out = Vec::new();
    let mut current: Option<(String, Vec<(String, String)>)> = None;
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        let (word, after) = rest.split_at(end);
        let trimmed = after.trim_start();
        if let Some(value) = trimmed.strip_prefix('=') {
            let (value, after) = take_value(value.trim_start());
            if let Some((_, parameters)) = &mut current {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            out.extend(current.take().and_then(finish));
            current = Some((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    out.extend(current.and_then(finish));
    out
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn finish((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_has_realm_service_and_scope() {
        let text = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        assert_eq!(
            parse_value(text),
            [Challenge::Bearer {
                realm: "https://auth.example/token".to_owned(),
                service: Some("registry.example".to_owned()),
                scope: Some("repository:a/b:pull,push".to_owned()),
            }]
        );
    }

    #[test]
    fn bearer_wins_over_basic_in_one_header_or_two() {
        let text = r#"Basic realm="x, y=\"z\"", BEARER realm=https://auth.example/t"#;
        assert_eq!(parse_value(text).len(), 2);
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a\"".parse().unwrap());
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"b\"".parse().unwrap());
        assert!(matches!(parse(&headers), Some(Challenge::Bearer { .. })));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for text in ["", ",,,", "Negotiate abc==", "Bearer", "=", "\u{7f}", "Bearer service=\"x"] {
            assert_eq!(parse_value(text), [], "{text:?}");
        }
    }
}
