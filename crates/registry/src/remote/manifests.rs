//! Manifests and indexes.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use unbloat_oci::{
    Algorithm, Descriptor, Digest, Hasher, MAX_MANIFEST_BYTES, MediaType, Target, VerifyError, media_type,
};

use crate::error::Error;
use crate::fetched::{Fetched, announced};
use crate::http::body::Body;
use crate::operation::Operation;
use crate::remote::Repository;

const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

impl Repository {
    pub(crate) async fn manifest(&self, target: &Target) -> Result<Fetched, Error> {
        const OPERATION: Operation = Operation::ReadingManifest;
        let subject = self.named(target);
        let call = self
            .call(Method::GET, &format!("manifests/{target}"), OPERATION)
            .header(ACCEPT, media_type::ACCEPT_MANIFESTS)
            .subject(&subject);
        // A body that breaks off is asked for again: it is small and has no other recovery.
        let mut attempts = self.transport.attempts();
        let (kind, told, bytes) = loop {
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
            match body.await {
                Ok(bytes) => break (kind, told, bytes),
                Err(error) if !attempts.again_after(&error).await => return Err(error),
                Err(_) => {}
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
            return Err(self.fault(Operation::ReadingManifest, descriptor.digest(), kind));
        }
        let Some(media_type) = announced(descriptor) else { return Ok(fetched) };
        let descriptor = Descriptor::new(media_type.clone(), fetched.descriptor.digest().clone(), size);
        Ok(Fetched { descriptor, ..fetched })
    }

    pub(crate) async fn head_manifest(&self, target: &Target) -> Result<Option<Digest>, Error> {
        let call = self
            .call(Method::HEAD, &format!("manifests/{target}"), Operation::Resolving)
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
