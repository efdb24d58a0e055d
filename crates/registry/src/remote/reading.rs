//! Reading a blob: one hash over all requests that it takes, resumed with ranges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use unbloat_oci::{Descriptor, Verifier, VerifyError};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::answer::{failure, status_error};
use crate::http::attempts::Attempts;
use crate::operation::Operation;
use crate::remote::Repository;
use crate::stream::BlobStream;

impl Repository {
    pub(crate) fn blob(&self, descriptor: &Descriptor, read: Arc<AtomicU64>) -> BlobStream {
        let state = Reading {
            repository: self.clone(),
            descriptor: descriptor.clone(),
            verifier: Some(Verifier::new(descriptor.digest().clone(), descriptor.size())),
            response: None,
            skip: 0,
            attempts: self.transport.attempts(),
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
    attempts: Attempts,
    read: Arc<AtomicU64>,
}

const READING: Operation = Operation::ReadingBlob;

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
            let failed = match tokio::time::timeout(stall, response.chunk()).await {
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
                Ok(Err(error)) => failure(&error),
                Err(_) => ErrorKind::Timeout(stall),
            };
            self.response = None;
            self.retry(failed).await?;
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
        self.attempts.progressed();
        if let Some(verifier) = &mut self.verifier {
            verifier
                .update(&bytes)
                .map_err(|error| self.repository.fault(READING, self.descriptor.digest(), error))?;
        }
        Ok(Some(bytes))
    }

    async fn retry(&mut self, kind: ErrorKind) -> Result<(), Error> {
        let error = self.fault(kind);
        if self.attempts.again_after(&error).await { Ok(()) } else { Err(error) }
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
            let mut request = match transport.clients().http(&url) {
                Ok(http) if matches!(url.scheme(), "http" | "https") => http.get(url.clone()),
                _ => continue,
            };
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let place = url.host_str().unwrap_or_default().to_owned();
            let fault = |kind| Error::new(place.clone(), READING, self.descriptor.digest(), kind);
            match transport.clients().send_with_retries(request, &fault).await {
                Ok(response) if response.status().is_success() => return Some(Ok(response)),
                Ok(response) => {
                    let subject = self.descriptor.digest().to_string();
                    last = Some(Err(status_error(&place, READING, &subject, response).await));
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
