//! Lists: tags, and what refers to an image. All pages of them, or an error.

use std::collections::HashSet;

use bytes::Bytes;
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use unbloat_oci::{Descriptor, Digest, Family, Index, Target, media_type};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::link::{self, Next};
use crate::operation::Operation;
use crate::remote::Repository;
use crate::transport::call::Call;

/// Pages of one list; a registry that pages for ever is an error.
const MAX_PAGES: usize = 100_000;
/// Largest page of tags.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// What a registry without the referrers API says of such a path, besides what one with it says.
const MISSING: &[StatusCode] = &[
    StatusCode::OK,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_IMPLEMENTED,
    StatusCode::NOT_ACCEPTABLE,
];

/// The pages of a list, one after the other.
struct Pages<'a> {
    repository: &'a Repository,
    operation: Operation,
    seen: HashSet<Url>,
    next: Option<Url>,
}

impl<'a> Pages<'a> {
    fn new(repository: &'a Repository, path: &str, operation: Operation) -> Self {
        Self { repository, operation, seen: HashSet::new(), next: Some(repository.url(path)) }
    }

    fn fault(&self, reason: String) -> Error {
        self.repository.fault(self.operation, &self.repository.name, ErrorKind::Protocol(reason))
    }

    /// Takes where the next page is from the headers of the one at `url`.
    fn follow(&mut self, url: &Url, headers: &HeaderMap) -> Result<(), Error> {
        self.next = match link::next(url, headers) {
            Next::None => None,
            Next::Unreadable(text) => {
                return Err(self.fault(format!("the Link to the next page cannot be read: {text}")));
            }
            Next::Page(next) if self.seen.contains(&next) || next == *url => {
                return Err(self.fault("its pages lead round in a circle".to_owned()));
            }
            Next::Page(_) if self.seen.len() >= MAX_PAGES => {
                return Err(self.fault(format!("it has more than {MAX_PAGES} pages")));
            }
            Next::Page(next) => Some(next),
        };
        Ok(())
    }

    /// The next page's bytes; `None` after the last one, or where the server has no such list.
    async fn page(
        &mut self,
        accept: Option<&str>,
        missing: &'static [StatusCode],
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(url) = self.next.take() else { return Ok(None) };
        self.seen.insert(url.clone());
        let mut call = Call::new(Method::GET, url.clone(), &self.repository.reading, self.operation)
            .subject(&self.repository.name);
        if let Some(accept) = accept {
            call = call.header(ACCEPT, accept);
        }
        if !missing.is_empty() {
            call = call.accept(missing);
        }
        let mut attempts = self.repository.transport.attempts();
        loop {
            let response = self.repository.send(call.clone()).await?;
            if response.status() != StatusCode::OK {
                return Ok(None);
            }
            let headers = response.headers().clone();
            let transport = &self.repository.transport;
            let (place, name) = (self.repository.registry(), &self.repository.name);
            match transport.body(place, self.operation, name, response, MAX_PAGE_BYTES).await {
                Ok(bytes) if breaks_off(&bytes) => {
                    if !attempts.again(None).await {
                        return Err(self.fault("the list breaks off".to_owned()));
                    }
                }
                Ok(bytes) => {
                    self.follow(&url, &headers)?;
                    return Ok(Some(bytes));
                }
                Err(error) if !attempts.again_after(&error).await => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Whether a page ends before it is complete. Where an answer has no length and ends with its connection, as
/// in HTTP/1.0, nothing else tells that.
fn breaks_off(page: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(page);
    !page.trim_ascii().is_empty() && parsed.is_err_and(|error| error.is_eof())
}

impl Repository {
    /// All tags, in the order of the registry.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut pages = Pages::new(self, "tags/list", Operation::ListingTags);
        while let Some(bytes) = pages.page(None, &[]).await? {
            let page: Page =
                serde_json::from_slice(&bytes).map_err(|error| pages.fault(error.to_string()))?;
            tags.extend(page.tags.unwrap_or_default());
        }
        // Pages may overlap where a tag is pushed meanwhile.
        let mut seen = HashSet::new();
        tags.retain(|tag| seen.insert(tag.clone()));
        Ok(tags)
    }

    /// Whether the registry lists referrers by itself.
    pub(crate) async fn lists_referrers(&self, digest: &Digest) -> Result<bool, Error> {
        let mut pages = Pages::new(self, &format!("referrers/{digest}"), Operation::ListingReferrers);
        let first = pages.page(Some(media_type::OCI_INDEX), MISSING).await?;
        Ok(first.is_some_and(|bytes| Index::parse(None, &bytes).is_ok()))
    }

    /// By the referrers API, and by the tag `ALGORITHM-HEX` of the specification's fallback where there is
    /// none.
    pub(crate) async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        const OPERATION: Operation = Operation::ListingReferrers;
        let mut found: Vec<Descriptor> = Vec::new();
        let mut add = |bytes: &[u8]| {
            let index = Index::parse(None, bytes).map_err(|error| self.fault(OPERATION, digest, error))?;
            for descriptor in index.manifests() {
                if !found.iter().any(|other| other.digest() == descriptor.digest()) {
                    found.push(descriptor.clone());
                }
            }
            Ok::<_, Error>(())
        };
        let mut pages = Pages::new(self, &format!("referrers/{digest}"), OPERATION);
        let mut has_api = false;
        while let Some(bytes) = pages.page(Some(media_type::OCI_INDEX), MISSING).await? {
            // A page of HTML from what stands before the registry is no list.
            if !has_api && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err() {
                break;
            }
            has_api = true;
            add(&bytes)?;
        }
        if !has_api {
            match self.manifest(&referrers_tag(digest)).await {
                Ok(fetched) => add(&fetched.bytes)?,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// The tag under which referrers are listed where there is no API.
pub(crate) fn referrers_tag(digest: &Digest) -> Target {
    Target::Tag(format!("{}-{}", digest.algorithm().name(), digest.hex()))
}

/// The fallback's index with these as well; `None` if it has them all.
pub(crate) fn merged(existing: Option<&Bytes>, listed: &[Descriptor]) -> Option<Vec<u8>> {
    let have = existing.and_then(|bytes| Index::parse(None, bytes).ok());
    let mut entries: Vec<Descriptor> = have.map(|index| index.manifests().to_vec()).unwrap_or_default();
    let before = entries.len();
    for descriptor in listed {
        if !entries.iter().any(|other| other.digest() == descriptor.digest()) {
            entries.push(descriptor.clone());
        }
    }
    (entries.len() > before).then(|| Index::new(Family::Oci, entries).to_bytes())
}
