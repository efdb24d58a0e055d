//! AWS Signature Version 4 of one POST ("Create a signed AWS API request", AWS General Reference).

use ring::{digest, hmac};

use super::clock::civil;
use crate::secret::Secret;

/// Keys of an identity.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session: Option<Secret>,
}

/// A POST to sign.
pub(super) struct Post<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// Lower-case names with their values, without `host` and `x-amz-date`.
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The headers that sign it at this time (seconds since 1970).
pub(super) fn sign(post: &Post<'_>, keys: &Keys, now: u64) -> Vec<(&'static str, String)> {
    let (year, month, day) = civil(now / 86_400);
    let date = format!("{year:04}{month:02}{day:02}");
    let seconds = now % 86_400;
    let time = format!("{date}T{:02}{:02}{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut headers: Vec<(&'static str, String)> =
        vec![("host", post.host.to_owned()), ("x-amz-date", time.clone())];
    headers.extend(post.headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    if let Some(session) = &keys.session {
        headers.push(("x-amz-security-token", session.expose().to_owned()));
    }
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let request = format!("POST\n{}\n\n{lines}\n{names}\n{}", post.path, hash(post.body));
    let scope = format!("{date}/{}/{}/aws4_request", post.region, post.service);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(request.as_bytes()));
    let mut key = mac(format!("AWS4{}", keys.secret.expose()).as_bytes(), &date);
    for part in [post.region, post.service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &text).as_ref());
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.id
    );
    headers.retain(|(name, _)| *name != "host");
    headers.push(("authorization", authorization));
    headers
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The case `post-x-www-form-urlencoded` of AWS's own test suite for signers.
    #[test]
    fn a_post_of_the_published_test_suite_is_signed_as_there() {
        let keys = Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session: None,
        };
        let post = Post {
            host: "example.amazonaws.com",
            path: "/",
            region: "us-east-1",
            service: "service",
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            body: b"Param1=value1",
        };
        // 20150830T123600Z
        let headers = sign(&post, &keys, 1_440_938_160);
        let authorization = &headers.iter().find(|(name, _)| *name == "authorization").unwrap().1;
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }
}
