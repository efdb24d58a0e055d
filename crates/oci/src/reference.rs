//! Image references: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`, with Docker's short names.
//!
//! The grammar is that of the `distribution/reference` package, which every client follows.

use std::fmt;
use std::str::FromStr;

use crate::Digest;
use crate::digest::DigestError;

const DOCKER_HUB: &str = "docker.io";
/// Longest repository path, without the host.
const MAX_REPOSITORY: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;

/// A valid reference, normalised as Docker does: `ubuntu` is `docker.io/library/ubuntu`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What of a repository a reference names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A tag.
    Tag(String),
    /// A digest, which wins over a tag beside it.
    Digest(Digest),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Why a string is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference {input:?} at byte {position}: {reason}")]
pub struct ReferenceError {
    /// What was given (shortened when very long).
    pub input: String,
    /// Byte offset of the first offending character.
    pub position: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl Reference {
    /// A reference from its parts, each of which is checked.
    ///
    /// # Errors
    /// As parsing the printed form.
    pub fn new(registry: &str, repository: &str, target: &Target) -> Result<Self, ReferenceError> {
        match target {
            Target::Tag(tag) => format!("{registry}/{repository}:{tag}").parse(),
            Target::Digest(digest) => format!("{registry}/{repository}@{digest}").parse(),
        }
    }

    /// Host and port, for example `docker.io` or `127.0.0.1:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository, for example `library/ubuntu`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry for: the digest, else the tag, else `latest`.
    #[must_use]
    pub fn target(&self) -> Target {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Some(tag)) => Target::Tag(tag.clone()),
            (None, None) => Target::Tag("latest".to_owned()),
        }
    }

    /// `HOST/REPOSITORY`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository, with this digest and the tag as it was.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// If it is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag).map_err(|(position, reason)| ReferenceError {
            input: shorten(tag),
            position,
            reason,
        })?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Whether the registry is this machine: `localhost`, `127.0.0.0/8` or `[::1]`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.registry)
    }
}

/// Whether `HOST[:PORT]` is this machine.
#[must_use]
pub(crate) fn is_loopback_host(authority: &str) -> bool {
    let host = if let Some(rest) = authority.strip_prefix('[') {
        rest.split(']').next().unwrap_or_default()
    } else {
        authority.split(':').next().unwrap_or_default()
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(input: &str) -> Result<Self, ReferenceError> {
        parse(input).map_err(|(position, reason)| ReferenceError { input: shorten(input), position, reason })
    }
}

type Fault = (usize, &'static str);

fn parse(input: &str) -> Result<Reference, Fault> {
    if input.is_empty() {
        return Err((0, "it is empty"));
    }
    if let Some(position) = input.bytes().position(|b| !b.is_ascii_graphic()) {
        return Err((position, "only printable ASCII without spaces may stand here"));
    }
    if let Some(offset) = input.find("://") {
        return Err((offset, "a reference has no scheme; leave out what ends in '://'"));
    }
    let (rest, digest) = match input.split_once('@') {
        None => (input, None),
        Some((rest, text)) => {
            let start = rest.len() + 1;
            let digest = text.parse().map_err(|e: DigestError| (start + e.position, e.reason))?;
            (rest, Some(digest))
        }
    };
    // The tag's colon comes after the last slash; a colon before it belongs to a port.
    let last_slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[last_slash..].find(':') {
        None => (rest, None),
        Some(offset) => {
            let colon = last_slash + offset;
            let tag = &rest[colon + 1..];
            check_tag(tag).map_err(|(position, reason)| (colon + 1 + position, reason))?;
            (&rest[..colon], Some(tag.to_owned()))
        }
    };
    let (registry, repository) = split_registry(name)?;
    let offset = name.len() - repository.len();
    check_repository(repository, offset)?;
    if registry == DOCKER_HUB && !repository.contains('/') {
        if digest.is_none() && tag.is_none() && is_hex64(repository) {
            return Err((
                offset,
                "64 hexadecimal digits are an image id, not a repository; write NAME@sha256:…",
            ));
        }
        let repository = format!("library/{repository}");
        return Ok(Reference { registry: registry.to_owned(), repository, tag, digest });
    }
    Ok(Reference { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
}

/// Docker's rule: the first component is a host if it could not be a repository's component.
fn split_registry(name: &str) -> Result<(&str, &str), Fault> {
    let Some((first, rest)) = name.split_once('/') else {
        return Ok((DOCKER_HUB, name));
    };
    let is_host = first.contains(['.', ':', '['])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase());
    if !is_host {
        return Ok((DOCKER_HUB, name));
    }
    check_host(first)?;
    Ok((if first == "index.docker.io" { DOCKER_HUB } else { first }, rest))
}

fn check_host(authority: &str) -> Result<(), Fault> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or((authority.len(), "the ']' of the IPv6 address is missing"))?;
        if authority[1..end].parse::<std::net::Ipv6Addr>().is_err() {
            return Err((1, "not an IPv6 address"));
        }
        match &authority[end + 1..] {
            "" => return Ok(()),
            rest if rest.starts_with(':') => (None, Some(end + 2)),
            _ => return Err((end + 1, "only ':PORT' may follow the IPv6 address")),
        }
    } else {
        match authority.split_once(':') {
            None => (Some(authority), None),
            Some((host, _)) => (Some(host), Some(host.len() + 1)),
        }
    };
    if let Some(host) = host {
        let mut at = 0;
        for label in host.split('.') {
            if label.is_empty() {
                return Err((at, "a host name has an empty part"));
            }
            if let Some(bad) = label.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'-')) {
                return Err((at + bad, "this character cannot be in a host name"));
            }
            if label.starts_with('-') {
                return Err((at, "a part of a host name cannot begin with '-'"));
            }
            if label.ends_with('-') {
                return Err((at + label.len() - 1, "a part of a host name cannot end with '-'"));
            }
            at += label.len() + 1;
        }
    }
    if let Some(start) = port {
        let digits = &authority[start..];
        if let Some(bad) = digits.bytes().position(|b| !b.is_ascii_digit()) {
            return Err((start + bad, "a port has only digits"));
        }
        if digits.parse::<u16>().is_err() {
            return Err((start, "not a port number"));
        }
    }
    Ok(())
}

fn check_repository(path: &str, offset: usize) -> Result<(), Fault> {
    if path.is_empty() {
        return Err((offset, "the repository is missing"));
    }
    if path.len() > MAX_REPOSITORY {
        return Err((offset + MAX_REPOSITORY, "a repository has at most 255 characters"));
    }
    let mut at = offset;
    for component in path.split('/') {
        check_component(component, at)?;
        at += component.len() + 1;
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn check_component(component: &str, offset: usize) -> Result<(), Fault> {
    let bytes = component.as_bytes();
    if bytes.is_empty() {
        return Err((offset, "a part of the repository is empty"));
    }
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut at = 0;
    while at < bytes.len() {
        if word(bytes[at]) {
            at += 1;
            continue;
        }
        let run = bytes[at..].iter().take_while(|b| !word(**b)).count();
        let separator = &component[at..at + run];
        if bytes[at].is_ascii_uppercase() {
            return Err((offset + at, "a repository is lowercase"));
        }
        if let Some(bad) = separator.find(|c| !matches!(c, '.' | '_' | '-')) {
            return Err((offset + at + bad, "this character cannot be in a repository"));
        }
        let known = matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !known {
            return Err((offset + at, "separators of a repository are '.', '_', '__' or dashes"));
        }
        if at == 0 {
            return Err((offset, "a part of the repository begins with a separator"));
        }
        if at + run == bytes.len() {
            return Err((offset + at, "a part of the repository ends with a separator"));
        }
        at += run;
    }
    Ok(())
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`
fn check_tag(tag: &str) -> Result<(), Fault> {
    if tag.is_empty() {
        return Err((0, "the tag is empty"));
    }
    if let Some(bad) =
        tag.bytes().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')))
    {
        return Err((bad, "this character cannot be in a tag"));
    }
    if tag.starts_with(['.', '-']) {
        return Err((0, "a tag cannot begin with '.' or '-'"));
    }
    if tag.len() > MAX_TAG {
        return Err((MAX_TAG, "a tag has at most 128 characters"));
    }
    Ok(())
}

fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn shorten(input: &str) -> String {
    if input.len() <= 300 {
        return input.to_owned();
    }
    input.chars().take(297).chain("...".chars()).collect()
}
