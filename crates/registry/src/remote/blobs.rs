//! Whether a blob is there, and how large it is.

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use unbloat_oci::Digest;

use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::remote::Repository;

/// What a registry says of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It has it; its size, where it says so.
    There(Option<u64>),
    /// It does not.
    Absent,
    /// Neither: it does not answer this question.
    Unknown,
}

impl Repository {
    /// The size of a blob that is there. A registry that does not say how large it is does not say enough to
    /// skip the blob, and one that answers with something else than yes or no is sent it.
    ///
    /// # Errors
    /// Network failures. A denial is no answer either: object stores say 403 of what they do not have.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.head_blob(digest).await {
            Ok(Presence::There(size)) => Ok(size),
            Ok(Presence::Absent | Presence::Unknown) => Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Status { .. } | ErrorKind::RateLimited { .. } | ErrorKind::Unauthorized { .. }
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What the registry says of a blob; failures are no answer.
    pub(crate) async fn presence(&self, digest: &Digest) -> Presence {
        self.head_blob(digest).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the registry does not say whether it has the blob");
            Presence::Unknown
        })
    }

    async fn head_blob(&self, digest: &Digest) -> Result<Presence, Error> {
        let call = self
            .call(Method::HEAD, &format!("blobs/{digest}"), Operation::LookingForBlob)
            .subject(digest)
            .accept(&[StatusCode::OK, StatusCode::NOT_FOUND]);
        let response = self.send(call).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(Presence::Absent);
        }
        let length = response.headers().get(CONTENT_LENGTH);
        Ok(Presence::There(length.and_then(|value| value.to_str().ok()?.trim().parse().ok())))
    }

    /// A blob's size by a GET of its first byte, for servers whose HEAD says another.
    pub(crate) async fn size_by_range(&self, digest: &Digest) -> Option<u64> {
        let call = self
            .call(Method::GET, &format!("blobs/{digest}"), Operation::LookingForBlob)
            .subject(digest)
            .header(RANGE, "bytes=0-0")
            .accept(&[StatusCode::OK, StatusCode::PARTIAL_CONTENT]);
        let response = self.send(call).await.ok()?;
        if response.status() == StatusCode::OK {
            return response.content_length();
        }
        let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
        range.rsplit_once('/')?.1.trim().parse().ok()
    }
}
