//! One repository of a registry: manifests, blobs, mounts, tags, referrers (OCI distribution spec 1.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LINK, RANGE};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use unbloat_oci::{
    Algorithm, Descriptor, Digest, Hasher, Index, MAX_MANIFEST_BYTES, MediaType, Reference, Target, Verifier,
    VerifyError, media_type,
};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::request::{Body, Call, Host};
use crate::source::{Fetched, announced};
use crate::stream::BlobStream;
use crate::token::Scope;
use crate::transport::Transport;

const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");
/// Tags of one repository that are listed; a registry that pages for ever is stopped.
const MAX_TAGS: usize = 1_000_000;

/// A repository, for reading or for writing. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) transport: Arc<Transport>,
    pub(crate) host: Arc<Host>,
    name: Arc<str>,
    pub(crate) scope: Arc<Scope>,
}

impl Repository {
    pub(crate) fn new(transport: Arc<Transport>, reference: &Reference, push: bool) -> Self {
        let host = transport.host(reference);
        let scope = Scope { repository: reference.repository().to_owned(), push, from: None };
        Self { transport, host, name: reference.repository().into(), scope: Arc::new(scope) }
    }

    pub(crate) fn registry(&self) -> &str {
        self.host.name()
    }

    pub(crate) fn repository(&self) -> &str {
        &self.name
    }

    pub(crate) fn same_registry(&self, other: &Self) -> bool {
        self.registry() == other.registry()
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.host.base();
        url.set_path(&format!("/v2/{}/{path}", self.name));
        url
    }

    pub(crate) fn call(&self, method: Method, path: &str, operation: &'static str) -> Call<'_> {
        Call::new(method, self.url(path), &self.scope, operation)
    }

    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Response, Error> {
        self.transport.send(&self.host, call).await
    }

    fn fault(
        &self,
        operation: &'static str,
        subject: impl std::fmt::Display,
        kind: impl Into<ErrorKind>,
    ) -> Error {
        Error::new(self.registry(), operation, subject, kind)
    }

    fn named(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => format!("{}:{tag}", self.name),
            Target::Digest(digest) => format!("{}@{digest}", self.name),
        }
    }

    pub(crate) async fn manifest(&self, target: &Target) -> Result<Fetched, Error> {
        const OPERATION: &str = "reading manifest";
        let subject = self.named(target);
        let call = self
            .call(Method::GET, &format!("manifests/{target}"), OPERATION)
            .header(ACCEPT, media_type::ACCEPT_MANIFESTS)
            .subject(&subject);
        // A body that breaks off is asked for again: it is small and has no other recovery.
        let mut attempt = 0;
        let (kind, told, bytes) = loop {
            let response = self.send(call.clone()).await?;
            let kind = response
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .map(MediaType::new)
                .unwrap_or_else(|| MediaType::from_static(""));
            let told = header_digest(&response);
            match self
                .transport
                .body(self.registry(), OPERATION, &subject, response, MAX_MANIFEST_BYTES)
                .await
            {
                Ok(bytes) => break (kind, told, bytes),
                Err(error) => {
                    attempt += 1;
                    if !error.is_retryable()
                        || attempt >= self.transport.options().retry.attempts
                        || !self.transport.back_off(attempt, &error).await
                    {
                        return Err(error);
                    }
                }
            }
        };
        let algorithm = match target {
            Target::Digest(digest) => digest.algorithm(),
            Target::Tag(_) => Algorithm::Sha256,
        };
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        let found = hasher.finish();
        // Of a tag we know only what the server says beside it; a difference means a broken cache or proxy.
        let expected = match target {
            Target::Digest(digest) => Some(digest.clone()),
            Target::Tag(_) => told.filter(|digest| digest.algorithm() == algorithm),
        };
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(self.fault(OPERATION, subject, VerifyError::DigestMismatch { expected, found }));
        }
        let kind = if kind.is_manifest() || kind.is_index() || kind.is_schema1() {
            kind
        } else {
            sniff(&bytes, kind)
        };
        let descriptor = Descriptor::new(kind, found, bytes.len() as u64);
        Ok(Fetched { descriptor, bytes: bytes.into() })
    }

    pub(crate) async fn manifest_by_descriptor(&self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        let fetched = self.manifest(&Target::Digest(descriptor.digest().clone())).await?;
        let size = fetched.bytes.len() as u64;
        if size != descriptor.size() {
            let digest = descriptor.digest().clone();
            let kind = VerifyError::Truncated { digest, size: descriptor.size(), found: size };
            return Err(self.fault("reading manifest", descriptor.digest(), kind));
        }
        let Some(media_type) = announced(descriptor) else { return Ok(fetched) };
        let descriptor = Descriptor::new(media_type.clone(), fetched.descriptor.digest().clone(), size);
        Ok(Fetched { descriptor, ..fetched })
    }

    pub(crate) async fn head_manifest(&self, target: &Target) -> Result<Option<Digest>, Error> {
        let call = self
            .call(Method::HEAD, &format!("manifests/{target}"), "resolving")
            .header(ACCEPT, media_type::ACCEPT_MANIFESTS)
            .subject(self.named(target))
            .accept(&[StatusCode::OK, StatusCode::NOT_FOUND]);
        let response = self.send(call).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        match header_digest(&response) {
            Some(digest) => Ok(Some(digest)),
            // The header is optional; then only the bytes tell.
            None => Ok(Some(self.manifest(target).await?.descriptor.digest().clone())),
        }
    }

    pub(crate) async fn put_manifest(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), Error> {
        const OPERATION: &str = "writing manifest";
        if let Target::Digest(expected) = target
            && expected != descriptor.digest()
        {
            let found = descriptor.digest().clone();
            let expected = expected.clone();
            return Err(self.fault(
                OPERATION,
                self.named(target),
                VerifyError::DigestMismatch { expected, found },
            ));
        }
        let call = self
            .call(Method::PUT, &format!("manifests/{target}"), OPERATION)
            .header(CONTENT_TYPE, descriptor.media_type().as_str())
            .body(Body::Pieces(vec![bytes]))
            .subject(self.named(target))
            .accept(&[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED]);
        let response = self.send(call).await?;
        match header_digest(&response) {
            Some(found) if found != *descriptor.digest() => {
                let expected = descriptor.digest().clone();
                Err(self.fault(
                    OPERATION,
                    self.named(target),
                    VerifyError::DigestMismatch { expected, found },
                ))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let call = self
            .call(Method::HEAD, &format!("blobs/{digest}"), "looking for blob")
            .subject(digest)
            .accept(&[StatusCode::OK, StatusCode::NOT_FOUND]);
        let response = self.send(call).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let length =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // A registry that does not say how large it is does not say enough to skip the blob.
        Ok(length)
    }

    /// Whether the registry took the blob from another repository. A session that it opened instead is closed.
    pub(crate) async fn mount(&self, from: &str, digest: &Digest) -> Result<bool, Error> {
        let scope = Scope { from: Some(from.to_owned()), ..(*self.scope).clone() };
        let mut url = self.url("blobs/uploads/");
        url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        let call = Call::new(Method::POST, url, &scope, "mounting blob")
            .subject(digest)
            .accept(&[StatusCode::CREATED, StatusCode::ACCEPTED]);
        let response = match self.send(call).await {
            Ok(response) => response,
            // Not allowed to read there, or it does not know mounts: the blob is copied instead.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unauthorized { .. }
                        | ErrorKind::NotFound { .. }
                        | ErrorKind::Status { status: 400 | 405 | 501, .. }
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        if let Some(session) = crate::upload::session_location(&self.host.base(), &response) {
            self.cancel(session).await;
        }
        Ok(false)
    }

    /// Closes an upload session; what the server says to it changes nothing.
    pub(crate) async fn cancel(&self, session: Url) {
        let scope = if self.host.owns(&session) { Some(&*self.scope) } else { None };
        let Some(scope) = scope else { return };
        let call = Call::new(Method::DELETE, session, scope, "cancelling upload")
            .accept(&[StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NOT_FOUND])
            .once();
        if let Err(error) = self.send(call).await {
            tracing::debug!(%error, "an upload session stays until the registry forgets it");
        }
    }

    pub(crate) async fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut url = self.url("tags/list");
        loop {
            let call = Call::new(Method::GET, url.clone(), &self.scope, "listing tags").subject(&self.name);
            let response = self.send(call).await?;
            let next = next_page(&url, &response).filter(|next| self.host.owns(next));
            let body =
                self.transport.body(self.registry(), "listing tags", &self.name, response, 64 << 20).await?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|e| self.fault("listing tags", &self.name, ErrorKind::Protocol(e.to_string())))?;
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
        const OPERATION: &str = "listing referrers";
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

    pub(crate) fn blob(&self, descriptor: &Descriptor, read: Arc<AtomicU64>) -> BlobStream {
        let state = Reading {
            repository: self.clone(),
            descriptor: descriptor.clone(),
            verifier: Some(Verifier::new(descriptor.digest().clone(), descriptor.size())),
            response: None,
            skip: 0,
            failures: 0,
            read,
        };
        let chunks = stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|bytes| (bytes, state)))
        });
        BlobStream::new(descriptor.clone(), chunks)
    }
}

/// A blob that is being read. One hash runs over all requests that it takes.
struct Reading {
    repository: Repository,
    descriptor: Descriptor,
    verifier: Option<Verifier>,
    response: Option<Response>,
    /// Bytes to drop of an answer that began at 0 although a range was asked for.
    skip: u64,
    /// Since the last byte that came.
    failures: u32,
    read: Arc<AtomicU64>,
}

const READING: &str = "reading blob";

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(verifier) = &self.verifier else { return Ok(None) };
            // An empty blob needs a request too: whether it exists is part of the answer.
            if verifier.remaining() == 0 && self.response.is_none() && self.descriptor.size() > 0 {
                return self.finish();
            }
            if self.response.is_none() {
                let seen = self.seen();
                self.open(seen).await?;
            }
            let stall = self.repository.transport.options().timeouts.stall;
            let response = self.response.as_mut().expect("it was just opened");
            let failure = match tokio::time::timeout(stall, response.chunk()).await {
                Ok(Ok(Some(bytes))) => match self.take(bytes)? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => continue,
                },
                Ok(Ok(None)) => {
                    if self.verifier.as_ref().is_none_or(|verifier| verifier.remaining() == 0) {
                        return self.finish();
                    }
                    let (digest, size) = (self.descriptor.digest().clone(), self.descriptor.size());
                    ErrorKind::from(VerifyError::Truncated { digest, size, found: self.seen() })
                }
                Ok(Err(error)) => ErrorKind::Network(crate::request::describe(&error)),
                Err(_) => ErrorKind::Timeout(stall),
            };
            self.response = None;
            self.retry(failure).await?;
        }
    }

    fn seen(&self) -> u64 {
        self.verifier.as_ref().map_or(0, Verifier::seen)
    }

    fn fault(&self, kind: impl Into<ErrorKind>) -> Error {
        self.repository.fault(READING, self.descriptor.digest(), kind)
    }

    fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(verifier) = self.verifier.take() {
            verifier.finish().map_err(|error| self.fault(error))?;
        }
        Ok(None)
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, Error> {
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.skip > 0 {
            let dropped = self.skip.min(bytes.len() as u64);
            self.skip -= dropped;
            bytes = bytes.slice(usize::try_from(dropped).unwrap_or(bytes.len())..);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        self.failures = 0;
        if let Some(verifier) = &mut self.verifier {
            verifier
                .update(&bytes)
                .map_err(|error| self.repository.fault(READING, self.descriptor.digest(), error))?;
        }
        Ok(Some(bytes))
    }

    async fn retry(&mut self, failure: ErrorKind) -> Result<(), Error> {
        self.failures += 1;
        let error = self.fault(failure);
        if self.failures >= self.repository.transport.options().retry.attempts {
            return Err(error);
        }
        tracing::debug!(%error, seen = self.seen(), "resuming");
        if self.repository.transport.back_off(self.failures, &error).await { Ok(()) } else { Err(error) }
    }

    /// Requests the blob from `offset` on.
    async fn open(&mut self, offset: u64) -> Result<(), Error> {
        let digest = self.descriptor.digest();
        let mut call = self
            .repository
            .call(Method::GET, &format!("blobs/{digest}"), READING)
            .subject(digest)
            .accept(&[StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE]);
        if offset > 0 {
            call = call.header(RANGE, &format!("bytes={offset}-"));
        }
        let mut answer = self.repository.send(call).await;
        if matches!(&answer, Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }))
            && self.repository.transport.options().allow_foreign
            && let Some(foreign) = self.open_foreign(offset).await
        {
            answer = foreign;
        }
        let mut response = answer?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            let call = self.repository.call(Method::GET, &format!("blobs/{digest}"), READING).subject(digest);
            response = self.repository.send(call).await?;
        }
        self.skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let first = range_start(&response).unwrap_or(offset);
                offset.checked_sub(first).ok_or_else(|| {
                    self.fault(ErrorKind::Protocol(format!(
                        "asked from byte {offset}, answered from {first}"
                    )))
                })?
            }
            _ => offset,
        };
        self.response = Some(response);
        Ok(())
    }

    /// A foreign layer from its `urls`, without credentials.
    async fn open_foreign(&self, offset: u64) -> Option<Result<Response, Error>> {
        let transport = &self.repository.transport;
        let mut last = None;
        for text in self.descriptor.urls() {
            let Ok(url) = Url::parse(&text) else { continue };
            let mut request = match transport.http(&url) {
                Ok(http) if matches!(url.scheme(), "http" | "https") => http.get(url.clone()),
                _ => continue,
            };
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let place = url.host_str().unwrap_or_default().to_owned();
            let fault = |kind| Error::new(place.clone(), READING, self.descriptor.digest(), kind);
            match transport.send_with_retries(request, &fault).await {
                Ok(response) if response.status().is_success() => return Some(Ok(response)),
                Ok(response) => {
                    let subject = self.descriptor.digest().to_string();
                    last = Some(Err(crate::request::status_error(&place, READING, &subject, response).await));
                }
                Err(error) => last = Some(Err(error)),
            }
        }
        last
    }
}

/// First byte of a `Content-Range: bytes FIRST-LAST/SIZE`.
fn range_start(response: &Response) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

fn header_digest(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
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

/// What a document calls itself, where the server had no better idea than `application/json`.
fn sniff(bytes: &[u8], told: MediaType) -> MediaType {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "mediaType")]
        media_type: Option<MediaType>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Head>(bytes) {
        Ok(Head { media_type: Some(media_type), .. }) => media_type,
        Ok(Head { manifests: Some(_), .. }) => MediaType::from_static(media_type::OCI_INDEX),
        Ok(Head { config: Some(_), .. }) => MediaType::from_static(media_type::OCI_MANIFEST),
        _ => told,
    }
}
