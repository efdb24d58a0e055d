//! Quirks: how real registries depart from the specification, one behaviour a variant, to be combined.
//!
//! `docs/registries.md` says which registry shows which, and what the client does about it.

mod links;
mod reading;
mod tokens;
mod upload;

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use hyper::Response;

use crate::behaviour::Head;
use crate::deviation::Deviation;
use crate::reply::Body;

pub use links::LinkForm;
pub use reading::RetryForm;
pub use upload::{LocationForm, RangeForm};

/// One behaviour.
#[derive(Clone, Debug, PartialEq)]
pub enum Quirk {
    /// HEAD of a manifest answers with this status, GET as usual.
    HeadOfManifests(u16),
    /// HEAD of a blob answers with this status, GET as usual.
    HeadOfBlobs(u16),
    /// GET and HEAD of blobs are redirected to this origin, to URLs that are signed for GET.
    SignedBlobs(String),
    /// GET and HEAD of manifests are redirected to this origin, to URLs that are signed for GET.
    SignedManifests(String),
    /// GET and HEAD of blobs are redirected to the same path of this origin.
    RedirectBlobs(String),
    /// GET and HEAD of manifests are redirected to the same path of this origin.
    RedirectManifests(String),
    /// An object store: what is signed for GET refuses HEAD (403), and what carries a signature and an
    /// `Authorization` is refused as well (400).
    SignedForGet,
    /// The first so many GETs of each blob have a changed byte.
    CorruptBlobs(usize),
    /// One in so many GETs has a changed byte, drawn from this seed; never more than twice in a row for one
    /// path.
    CorruptOneIn(u64, u64),
    /// The first so many GETs of each manifest have a changed byte.
    CorruptManifests(usize),
    /// The first so many GETs of each manifest and list break off in the middle.
    BreakManifests(usize),
    /// `Range` is not looked at.
    NoRanges,
    /// A range is answered from so many bytes behind where it was asked from.
    LaterRanges(u64),
    /// A range is answered without saying which one.
    UnsaidRanges,
    /// Documents and blobs come compressed with gzip, said by `Content-Encoding`, whatever was asked for.
    Compresses,
    /// Blobs come as they are, and `Content-Encoding` says that they are compressed with gzip.
    LabelsBlobs,
    /// No `Docker-Content-Digest`.
    NoDigestHeader,
    /// HEAD tells a stale `Docker-Content-Digest`.
    StaleDigestOnHead,
    /// The first so many requests of each path are refused with 429 and this form of `Retry-After`.
    TooMany(usize, RetryForm),
    /// Lists of tags come in pages of so many, the next one told in this form, however many were asked for.
    Pages(usize, LinkForm),
    /// The referrers API is not there (404).
    NoReferrers,
    /// The referrers come in pages of so many.
    ReferrerPages(usize),
    /// The token server refuses (400) a request with more than one scope.
    OneScope,
    /// The token server answers GET with this status: it takes POST (OAuth 2) alone.
    PostedTokens(u16),
    /// The token server refuses (403) scopes that hold this text.
    RefuseScope(String),
    /// Credentials that are not (or no longer) good are refused with 403 instead of 401.
    RefusedIs403,
    /// `/oauth2/exchange` gives this refresh token, as Azure's registries do.
    Exchange(String),
    /// `/v2/` alone has a challenge: elsewhere who is not known is refused with this status and without one.
    Unchallenged(u16),
    /// The challenge's realm has no host: it is a path of the registry.
    RelativeRealm,
    /// Requests for tokens are redirected with this status within the token server.
    MovedTokens(u16),
    /// Requests for tokens are redirected to this other origin.
    RedirectTokens(String),
    /// The challenge names no scope.
    NoScopeInChallenge,
    /// `expires_in` of a token is this JSON text; empty leaves it out.
    ExpiresIn(String),
    /// The token is called `access_token`, and `token` is an empty string.
    AccessToken,
    /// Each PATCH with `Content-Range` from this one of a session on is refused with this status.
    RefuseChunks(usize, u16),
    /// A PATCH without `Content-Range` is refused with this status.
    RefuseStreams(u16),
    /// A body without `Content-Length` is refused with this status.
    RefuseCoded(u16),
    /// A PUT with a body is refused with this status.
    RefuseWhole(u16),
    /// A body of more bytes than these is refused with this status.
    BodyLimit(u64, u16),
    /// GET of an upload answers with this status.
    NoUploadStatus(u16),
    /// `Range` in answers to chunks is said like this.
    RangeSays(RangeForm),
    /// A chunk that was taken is answered with this status.
    PatchAnswers(u16),
    /// Only the last chunk of an upload is kept, and the commit is answered with 201.
    KeepLastChunk,
    /// A session is forgotten at this PATCH.
    ForgetSessions(usize),
    /// The first so many commits of each upload are done and answered with this status.
    CommitAnswers(usize, u16),
    /// A blob that was sent is there only after so many questions.
    LateBlobs(usize),
    /// Where uploads go on is said like this.
    LocationSays(LocationForm),
    /// A manifest that was taken is answered with this status.
    ManifestAnswers(u16),
    /// A manifest that was taken is said to have this digest.
    ManifestSays(String),
    /// POST, PATCH and PUT of uploads are redirected with this status before they are taken.
    MovedUploads(u16),
    /// A mount is answered with this status.
    MountAnswers(u16),
    /// A mount is answered with 201, and nothing is mounted.
    MountLies,
    /// Each connection is closed after one answer.
    CloseConnections,
    /// Answers are HTTP/1.0, each ended by the end of its connection.
    OldProtocol,
    /// A chunk of fewer bytes than these is taken, and what follows it, another chunk, is refused with this
    /// status: only the last one may be so small, and the server says so nowhere.
    LeastChunk(u64, u16),
    /// The first so many commits of each blob are answered with 201, HEAD shows the blob, and a manifest that
    /// needs it is refused: by its digest, or without a name.
    MissesSent(usize, Naming),
}

/// Whether a refusal of a manifest names the blobs that are missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// In its words.
    Named,
    /// Only that there are some.
    Unnamed,
}

/// The quirks of one server, and what they have counted.
#[derive(Debug)]
pub(crate) struct Quirks {
    list: Vec<Quirk>,
    counts: Mutex<HashMap<String, usize>>,
}

impl Quirks {
    pub(crate) fn new(list: Vec<Quirk>) -> Self {
        Self { list, counts: Mutex::default() }
    }

    /// How often this was asked before now.
    fn count(&self, what: &str, path: &str) -> usize {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(format!("{what} {path}")).or_default();
        *count += 1;
        *count - 1
    }

    /// How often this was asked so far.
    fn counted(&self, what: &str, path: &str) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&format!("{what} {path}")).copied().unwrap_or(0)
    }

    /// What was counted of this kind, at least once and at most so often.
    fn counted_at_most(&self, what: &str, most: usize) -> Option<String> {
        let counts = self.counts.lock().expect("no panic while held");
        let of_kind = |key: &str| key.strip_prefix(what)?.strip_prefix(' ').map(str::to_owned);
        counts.iter().filter(|(_, count)| **count <= most).find_map(|(key, _)| of_kind(key))
    }

    /// The first value that was given for this.
    fn first(&self, what: &str, path: &str, value: u64) -> u64 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let value = usize::try_from(value).unwrap_or(usize::MAX);
        *counts.entry(format!("{what} {path}")).or_insert(value) as u64
    }

    /// An answer instead of doing what was asked.
    pub(crate) fn before(&self, head: &Head) -> Option<Response<Body>> {
        self.list.iter().find_map(|quirk| {
            let other = || tokens::before(quirk, head).or_else(|| upload::before(self, quirk, head));
            reading::before(self, quirk, head).or_else(other)
        })
    }

    /// What is done differently.
    pub(crate) fn deviation(&self, head: &Head) -> Deviation {
        let mut deviation = Deviation::default();
        for quirk in &self.list {
            reading::deviate(self, quirk, head, &mut deviation);
            upload::deviate(self, quirk, head, &mut deviation);
        }
        deviation
    }

    /// What becomes of the answer.
    pub(crate) async fn after(
        &self,
        head: &Head,
        mut response: Response<Body>,
    ) -> io::Result<Response<Body>> {
        for quirk in &self.list {
            response = reading::after(self, quirk, head, response).await?;
            response = links::after(quirk, head, response).await?;
            response = tokens::after(quirk, head, response).await?;
            response = upload::after(self, quirk, head, response);
        }
        Ok(response)
    }

    /// A number for this request that only seed, path and count determine.
    fn draw(&self, seed: u64, path: &str, count: usize) -> u64 {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in path.bytes().chain(count.to_le_bytes()) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        state ^ (state >> 29)
    }
}
