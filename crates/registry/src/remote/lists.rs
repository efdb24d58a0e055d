//! Lists: tags, and what refers to an image.

use reqwest::header::{ACCEPT, LINK};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use unbloat_oci::{Descriptor, Digest, Index, MAX_MANIFEST_BYTES, Target, media_type};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::call::Call;
use crate::operation::Operation;
use crate::remote::Repository;

/// Tags of one repository that are listed; a registry that pages for ever is stopped.
const MAX_TAGS: usize = 1_000_000;

impl Repository {
    pub(crate) async fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut url = self.url("tags/list");
        loop {
            let call =
                Call::new(Method::GET, url.clone(), &self.scope, Operation::ListingTags).subject(&self.name);
            let response = self.send(call).await?;
            let next = next_page(&url, &response).filter(|next| self.host.owns(next));
            let body = self
                .transport
                .body(self.registry(), Operation::ListingTags, &self.name, response, 64 << 20)
                .await?;
            let page: Page = serde_json::from_slice(&body).map_err(|e| {
                self.fault(Operation::ListingTags, &self.name, ErrorKind::Protocol(e.to_string()))
            })?;
            let page = page.tags.unwrap_or_default();
            let empty = page.is_empty();
            tags.extend(page);
            match next {
                Some(next) if !empty && next != url && tags.len() < MAX_TAGS => url = next,
                _ => return Ok(tags),
            }
        }
    }

    /// By the referrers API, else by the tag `sha256-HEX` of the specification's fallback.
    pub(crate) async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        const OPERATION: Operation = Operation::ListingReferrers;
        let call = self
            .call(Method::GET, &format!("referrers/{digest}"), OPERATION)
            .header(ACCEPT, media_type::OCI_INDEX)
            .subject(digest)
            .accept(&[StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED]);
        let response = self.send(call).await?;
        let bytes = if response.status() == StatusCode::OK {
            let subject = digest.to_string();
            self.transport.body(self.registry(), OPERATION, &subject, response, MAX_MANIFEST_BYTES).await?
        } else {
            let tag = Target::Tag(format!("{}-{}", digest.algorithm().name(), digest.hex()));
            match self.manifest(&tag).await {
                Ok(fetched) => fetched.bytes.to_vec(),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        };
        let index = Index::parse(None, &bytes).map_err(|error| self.fault(OPERATION, digest, error))?;
        Ok(index.manifests().to_vec())
    }
}

/// The URL of `Link: <…>; rel="next"`.
fn next_page(base: &Url, response: &Response) -> Option<Url> {
    let text = response.headers().get(LINK)?.to_str().ok()?;
    let (target, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
    if rest.contains("rel=") && !rest.contains("next") {
        return None;
    }
    base.join(target).ok()
}
