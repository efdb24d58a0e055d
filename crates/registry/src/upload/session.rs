//! An upload's session: opened, named by the server, committed, closed.

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use reqwest::{Method, Response, StatusCode};
use unbloat_oci::Digest;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::body::Body;
use crate::http::redirect::location;
use crate::operation::Operation;
use crate::remote::Repository;
use crate::transport::call::Call;

const MIN_CHUNK: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const OPERATION: Operation = Operation::UploadingBlob;
/// What servers answer that took something.
const TAKEN: &[StatusCode] =
    &[StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::CREATED];

/// An upload session as the server named it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) repository: Repository,
    pub(crate) url: Url,
    /// Smallest chunk that the server takes, but for the last.
    pub(crate) min_chunk: usize,
}

impl Session {
    /// POST: a new session. Finds a missing permission before any work.
    pub(crate) async fn begin(repository: &Repository) -> Result<Self, Error> {
        let call = repository.call(Method::POST, "blobs/uploads/", OPERATION).accept(TAKEN);
        let response = repository.send(call.subject(repository.repository())).await?;
        let fault = |kind| Error::new(repository.registry(), OPERATION, repository.repository(), kind);
        let id = response.headers().get(UPLOAD_ID).and_then(|value| value.to_str().ok());
        let named = id.and_then(|id| repository.url("blobs/uploads/").join(id).ok());
        let url = location(response.url(), &response).map_err(fault)?.or(named).ok_or_else(|| {
            fault(ErrorKind::Protocol("an upload was opened without a usable Location".to_owned()))
        })?;
        let mut session =
            Self { repository: repository.clone(), url, min_chunk: repository.host.uploads.least_chunk() };
        session.learn(&response);
        Ok(session)
    }

    fn call(&self, method: Method, url: Url) -> Call<'_> {
        Call::new(method, url, &self.repository.scope, OPERATION)
            .subject(self.repository.repository())
            .header(CONTENT_TYPE, "application/octet-stream")
    }

    fn learn(&mut self, response: &Response) {
        let least =
            response.headers().get(MIN_CHUNK).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        self.min_chunk = least.unwrap_or(self.min_chunk);
    }

    /// Goes on where the server says; without a `Location` where it was.
    fn follow(&mut self, response: &Response) -> Result<(), Error> {
        let next = location(response.url(), response).map_err(|kind| {
            Error::new(self.repository.registry(), OPERATION, self.repository.repository(), kind)
        })?;
        self.url = next.unwrap_or_else(|| self.url.clone());
        self.learn(response);
        Ok(())
    }

    /// PATCH with bytes that begin at `first`, or with all of the blob.
    ///
    /// A 2xx means that the server took the body, whatever `Range` it says: servers were seen that say the
    /// first chunk for ever, the last one alone, `0-0`, one byte too many, nothing. The digest at the commit
    /// decides.
    pub(crate) async fn patch(&mut self, body: Body, first: Option<u64>) -> Result<(), Error> {
        let mut call = self.call(Method::PATCH, self.url.clone()).accept(TAKEN).once();
        if let (Some(first), Some(length)) = (first, body.len()) {
            call = call.header(CONTENT_RANGE, &format!("{first}-{}", first + length.saturating_sub(1)));
        }
        let response = self.repository.send(call.body(body)).await?;
        self.follow(&response)
    }

    /// GET: how many bytes it has; `None` where it does not say.
    pub(crate) async fn ask(&mut self) -> Result<Option<u64>, Error> {
        let call = self.call(Method::GET, self.url.clone()).accept(TAKEN);
        let response = self.repository.send(call).await?;
        let kept = kept(&response);
        self.follow(&response)?;
        Ok(kept)
    }

    /// PUT: the blob is complete. Once; what to do about a failure depends on what was sent before.
    pub(crate) async fn put(&self, digest: &Digest, body: Body) -> Result<(), Error> {
        let call = self.call(Method::PUT, with_digest(&self.url, digest)).accept(TAKEN).subject(digest);
        self.repository.send(call.body(body).once()).await.map(|_| ())
    }

    /// DELETE: closes it; what the server says to that changes nothing.
    pub(crate) async fn cancel(self) {
        close(&self.repository, self.url).await;
    }
}

/// Closes a session by its URL.
pub(crate) async fn close(repository: &Repository, url: Url) {
    if !repository.host.owns(&url) {
        return;
    }
    let call = Call::new(Method::DELETE, url, &repository.scope, Operation::CancellingUpload)
        .accept(&[StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NOT_FOUND])
        .once();
    if let Err(error) = repository.send(call).await {
        tracing::debug!(%error, "an upload session stays until the registry forgets it");
    }
}

/// A session's URL with the digest added to whatever query it has.
fn with_digest(session: &Url, digest: &Digest) -> Url {
    let mut url = session.clone();
    // Appended by hand: `query_pairs_mut` would write the server's own query anew.
    let query = match session.query() {
        Some(query) if !query.is_empty() => format!("{query}&digest={}", digest.as_str().replace(':', "%3A")),
        _ => format!("digest={}", digest.as_str().replace(':', "%3A")),
    };
    url.set_query(Some(&query));
    url
}

/// `Range: 0-LAST`; `0-0` is how registries say that they have nothing.
fn kept(response: &Response) -> Option<u64> {
    let text = response.headers().get(RANGE)?.to_str().ok()?.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let (_, last) = text.split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}

/// Bytes of all pieces.
pub(crate) fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}
