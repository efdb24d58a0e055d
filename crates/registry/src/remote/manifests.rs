//! Manifests and indexes.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use unbloat_oci::{
    Algorithm, Descriptor, Digest, Hasher, MAX_MANIFEST_BYTES, MediaType, Target, VerifyError, media_type,
};

use crate::error::{Error, ErrorKind};
use crate::fetched::{Fetched, announced};
use crate::http::body::Body;
use crate::operation::Operation;
use crate::remote::Repository;
use crate::remote::reading::READINGS;

const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

impl Repository {
    /// A manifest or index: from the first mirror that has it, else from the registry.
    pub(crate) async fn manifest(&self, target: &Target) -> Result<Fetched, Error> {
        for mirror in self.mirrors.iter() {
            match mirror.manifest_here(target, false).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => tracing::debug!(%error, "a mirror does not have it"),
            }
        }
        self.manifest_here(target, true).await
    }

    /// Bytes that break off, or that are not those of the digest, are asked for again.
    async fn manifest_here(&self, target: &Target, retry: bool) -> Result<Fetched, Error> {
        const OPERATION: Operation = Operation::ReadingManifest;
        let subject = self.named(target);
        let mut call = self
            .call(Method::GET, &format!("manifests/{target}"), OPERATION)
            .header(ACCEPT, media_type::ACCEPT_MANIFESTS)
            .subject(&subject);
        if !retry {
            call = call.once();
        }
        let mut attempts = self.transport.attempts();
        let mut readings = self.transport.attempts().at_most(READINGS);
        loop {
            let response = self.send(call.clone()).await?;
            let kind = response
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .map(MediaType::new)
                .unwrap_or_else(|| MediaType::from_static(""));
            let told = header_digest(&response);
            let body =
                self.transport.body(self.registry(), OPERATION, &subject, response, MAX_MANIFEST_BYTES);
            let bytes = match body.await {
                Ok(bytes) => bytes,
                Err(error) if !attempts.again_after(&error).await => return Err(error),
                Err(_) => continue,
            };
            let algorithm = match target {
                Target::Digest(digest) => digest.algorithm(),
                Target::Tag(_) => Algorithm::Sha256,
            };
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&bytes);
            let found = hasher.finish();
            // Of a tag we know only what the server says beside it; a difference means a broken cache or
            // proxy.
            let expected = match target {
                Target::Digest(digest) => Some(digest.clone()),
                Target::Tag(_) => told.filter(|digest| digest.algorithm() == algorithm),
            };
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                if readings.again(None).await {
                    continue;
                }
                return Err(self.fault(OPERATION, subject, VerifyError::DigestMismatch { expected, found }));
            }
            let kind = if kind.is_manifest() || kind.is_index() || kind.is_schema1() {
                kind
            } else {
                sniff(&bytes, kind)
            };
            let descriptor = Descriptor::new(kind, found, bytes.len() as u64);
            return Ok(Fetched { descriptor, bytes: bytes.into() });
        }
    }

    pub(crate) async fn manifest_by_descriptor(&self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        let fetched = self.manifest(&Target::Digest(descriptor.digest().clone())).await?;
        let size = fetched.bytes.len() as u64;
        if size != descriptor.size() {
            let digest = descriptor.digest().clone();
            let kind = VerifyError::Truncated { digest, size: descriptor.size(), found: size };
            return Err(self.fault(Operation::ReadingManifest, descriptor.digest(), kind));
        }
        let Some(media_type) = announced(descriptor) else { return Ok(fetched) };
        let descriptor = Descriptor::new(media_type.clone(), fetched.descriptor.digest().clone(), size);
        Ok(Fetched { descriptor, ..fetched })
    }

    /// The digest that a name stands for now; `None` when it is gone.
    ///
    /// HEAD is a shortcut: registries and what stands before them answer it with 404, 405 or 501, or redirect
    /// it to URLs that are signed for GET. Whatever it says but 200 with the digest that is `expected`, GET
    /// decides.
    pub(crate) async fn current(
        &self,
        target: &Target,
        expected: Option<&Digest>,
    ) -> Result<Option<Digest>, Error> {
        let call = self
            .call(Method::HEAD, &format!("manifests/{target}"), Operation::Resolving)
            .header(ACCEPT, media_type::ACCEPT_MANIFESTS)
            .subject(self.named(target))
            .once();
        match self.send(call).await {
            Ok(response) => {
                let told = header_digest(&response);
                if let Some(told) = told.filter(|told| expected.is_none_or(|expected| told == expected)) {
                    return Ok(Some(told));
                }
            }
            Err(error) => tracing::debug!(%error, "HEAD says nothing; GET decides"),
        }
        match self.manifest(target).await {
            Ok(fetched) => Ok(Some(fetched.descriptor.digest().clone())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn put_manifest(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), Error> {
        const OPERATION: Operation = Operation::WritingManifest;
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
            .accept(&[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT]);
        let response = self.send(call).await?;
        let Some(told) = header_digest(&response).filter(|told| told != descriptor.digest()) else {
            return Ok(());
        };
        // By another algorithm, or wrong: what is there now decides.
        let expected = descriptor.digest().clone();
        match self.current(target, Some(&expected)).await? {
            Some(found) if found == expected => Ok(()),
            found => {
                let found = found.unwrap_or(told);
                let wrong = VerifyError::DigestMismatch { expected, found };
                Err(self.fault(OPERATION, self.named(target), wrong))
            }
        }
    }
}

fn header_digest(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
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
