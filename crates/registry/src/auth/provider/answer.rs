//! What a plugin is asked and what it answers: kubelet's `CredentialProviderRequest` and its response.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::go_duration;
use super::image_glob::ImageGlob;
use crate::auth::credential::{Credential, basic};

/// What an answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum CacheKeyType {
    /// The image that was asked for.
    Image,
    /// Every image of its registry.
    Registry,
    /// Every image.
    Global,
}

/// An answer that can be used.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) good_for: CacheKeyType,
    /// How long; zero means that it is kept for nobody else.
    pub(super) duration: Duration,
    /// The most specific key first.
    entries: Vec<(ImageGlob, Credential)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    kind: String,
    api_version: String,
    cache_key_type: CacheKeyType,
    cache_duration: Option<String>,
    auth: Option<HashMap<String, Entry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
}

/// The question for an image, `HOST[:PORT]/REPOSITORY`: kubelet leaves out tag and digest.
pub(super) fn request(api_version: &str, image: &str) -> Vec<u8> {
    json!({"kind": "CredentialProviderRequest", "apiVersion": api_version, "image": image})
        .to_string()
        .into_bytes()
}

impl Answer {
    /// Reads an answer. It holds secrets, so nothing of it is in an error.
    pub(super) fn parse(bytes: &[u8], api_version: &str, usual: Duration) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|_| "its answer is no CredentialProviderResponse with a cacheKeyType")?;
        let Document { kind, api_version: version, cache_key_type, cache_duration, auth } = document;
        if kind != "CredentialProviderResponse" {
            return Err("its answer is no CredentialProviderResponse");
        }
        if version != api_version {
            return Err("its answer has another apiVersion than it was asked with");
        }
        let duration = match cache_duration {
            None => usual,
            Some(text) => {
                go_duration::parse(&text).ok_or("the cacheDuration of its answer is no duration")?
            }
        };
        let mut entries: Vec<(ImageGlob, Credential)> = auth
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, entry)| !entry.password.is_empty())
            .filter_map(|(key, Entry { username, password })| {
                Some((ImageGlob::parse_key(&key)?, basic(&username, &password)))
            })
            .collect();
        // kubelet's order: of keys that match one image, the longer path comes first.
        entries.sort_by(|(one, _), (other, _)| other.cmp(one));
        Ok(Self { good_for: cache_key_type, duration, entries })
    }

    /// The credentials for an image, the most specific first.
    pub(super) fn credentials(&self, image: &str) -> Vec<Credential> {
        self.entries
            .iter()
            .filter(|(key, _)| key.matches(image))
            .map(|(_, credential)| credential.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const V1: &str = "credentialprovider.kubelet.k8s.io/v1";
    const USUAL: Duration = Duration::from_secs(60);

    fn answer(more: &str) -> Result<Answer, &'static str> {
        let text = format!(r#"{{"kind":"CredentialProviderResponse","apiVersion":"{V1}",{more}}}"#);
        Answer::parse(text.as_bytes(), V1, USUAL)
    }

    fn users(answer: &Answer, image: &str) -> Vec<String> {
        let user = |credential| match credential {
            Credential::Basic { username, .. } => username,
            other => panic!("{other:?}"),
        };
        answer.credentials(image).into_iter().map(user).collect()
    }

    #[test]
    fn the_most_specific_key_of_an_answer_comes_first() {
        let answer = answer(
            r#""cacheKeyType":"Registry","cacheDuration":"6h","auth":{
                "*.example":{"username":"glob","password":"x"},
                "reg.example":{"username":"host","password":"x"},
                "reg.example/team":{"username":"team","password":"x"},
                "https://reg.example/team/app":{"username":"app","password":"x"},
                "reg.example/empty":{"username":"empty","password":""},
                "other.example":{"username":"other","password":"x"},
                "/nothing":{"username":"nothing","password":"x"}}"#,
        )
        .expect("an answer");
        assert_eq!((answer.good_for, answer.duration.as_secs()), (CacheKeyType::Registry, 21_600));
        assert_eq!(users(&answer, "reg.example/team/app"), ["app", "team", "host", "glob"]);
        assert_eq!(users(&answer, "reg.example/empty"), ["host", "glob"]);
        assert_eq!(users(&answer, "else.where/a"), Vec::<String>::new());
    }

    #[test]
    fn what_an_answer_does_not_say_is_taken_from_the_configuration() {
        let silent = answer(r#""cacheKeyType":"Image""#).expect("an answer");
        assert_eq!((silent.duration, silent.credentials("a.example/b")), (USUAL, Vec::new()));
        let token = answer(
            r#""cacheKeyType":"Global","cacheDuration":"0s","auth":{"a":{"username":"<token>","password":"t"}}"#,
        )
        .expect("an answer");
        assert_eq!(token.duration, Duration::ZERO);
        assert_eq!(token.credentials("a/b"), [Credential::IdentityToken(Secret::new("t"))]);
    }

    #[test]
    fn an_answer_that_kubelet_refuses_is_refused() {
        for more in [
            r#""cacheKeyType":"Host""#,
            r#""cacheKeyType":"""#,
            r#""auth":{}"#,
            r#""cacheKeyType":"Image","cacheDuration":"soon""#,
            r#""cacheKeyType":"Image","cacheDuration":5"#,
            r#""cacheKeyType":"Image","auth":{"a":"hunter2"}"#,
        ] {
            let error = answer(more).expect_err(more);
            assert!(!error.contains("hunter2"), "{error}");
        }
        let good = r#"{"kind":"CredentialProviderResponse","apiVersion":"V","cacheKeyType":"Image"}"#;
        assert!(Answer::parse(good.as_bytes(), "V", USUAL).is_ok());
        assert!(Answer::parse(good.as_bytes(), "W", USUAL).is_err());
        let kind = good.replace("Response", "Request");
        assert!(Answer::parse(kind.as_bytes(), "V", USUAL).is_err());
        assert!(Answer::parse(b"", "V", USUAL).is_err());
    }
}
