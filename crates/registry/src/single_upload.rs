//! An upload in one piece, from scratch space: for servers that take no chunks. Never more than the blob is on disk.

use std::io::Write;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use tempfile::NamedTempFile;
use unbloat_oci::Digest;

use crate::chunked_upload::{begin_session, with_digest};
use crate::error::{Error, ErrorKind};
use crate::remote::Repository;
use crate::request::{Body, Call};

/// The scratch file of one upload.
#[derive(Debug)]
pub(crate) struct Single {
    repository: Repository,
    file: NamedTempFile,
    size: u64,
}

impl Single {
    pub(crate) fn new(repository: Repository) -> Result<Self, Error> {
        let folder = repository.transport.options().scratch.clone().unwrap_or_else(std::env::temp_dir);
        let file = tempfile::Builder::new()
            .prefix("unbloat-upload-")
            .tempfile_in(&folder)
            .map_err(|error| Error::new(folder.display().to_string(), "making scratch file", "", error))?;
        Ok(Self { repository, file, size: 0 })
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let length = bytes.len() as u64;
        let place = self.file.path().display().to_string();
        let fault = |kind: ErrorKind| Error::new(place.clone(), "writing scratch file", "", kind);
        if !self.repository.transport.take_scratch(length) {
            let limit = self.repository.transport.options().scratch_limit;
            return Err(fault(ErrorKind::LimitExceeded { what: "the upload's scratch space", limit }));
        }
        self.size += length;
        let mut file = self.file.as_file().try_clone().map_err(|error| fault(error.into()))?;
        match tokio::task::spawn_blocking(move || file.write_all(&bytes)).await {
            Ok(outcome) => outcome.map_err(|error| fault(error.into())),
            Err(panic) => Err(fault(ErrorKind::Io(std::io::Error::other(panic)))),
        }
    }

    pub(crate) async fn finish(&mut self, digest: &Digest) -> Result<(), Error> {
        let body = Body::File(self.file.path().to_owned(), self.size);
        put_whole(&self.repository, None, digest, body).await
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        self.repository.transport.give_scratch(self.size);
    }
}

/// POST and PUT of a whole blob; a failed attempt begins a new session, because the old one may hold a part.
pub(crate) async fn put_whole(
    repository: &Repository,
    mut session: Option<url::Url>,
    digest: &Digest,
    body: Body,
) -> Result<(), Error> {
    let mut attempt = 0;
    loop {
        let url = match session.take() {
            Some(url) => url,
            None => begin_session(repository).await?.url,
        };
        let call = Call::new(Method::PUT, with_digest(&url, digest), &repository.scope, "uploading blob")
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body.clone())
            .subject(digest)
            .accept(&[StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT])
            .once();
        let Err(error) = repository.send(call).await else { return Ok(()) };
        attempt += 1;
        let lost = matches!(error.kind(), ErrorKind::NotFound { .. } | ErrorKind::Status { status: 416, .. });
        let again = attempt < repository.transport.options().retry.attempts && (error.is_retryable() || lost);
        if !again || !repository.transport.back_off(attempt, &error).await {
            repository.cancel(url).await;
            return Err(error);
        }
        // The answer may have been lost, not the blob.
        if repository.has_blob(digest).await.ok().flatten() == Some(body.len()) {
            return Ok(());
        }
        repository.cancel(url).await;
    }
}
