//! Listening, routing, recording.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::body::Incoming as Request;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use unbloat_oci::{Digest, MAX_MANIFEST_BYTES};

use crate::access::{Access, Tokens};
use crate::behaviour::Behaviour;
use crate::deviation::Deviation;
use crate::record::Recorded;
use crate::reply::{self, Body};
use crate::store::{Incoming, Storage, Store};
use crate::{blobs, catalog, manifests, uploads};

/// Settings of a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where blobs are.
    pub storage: Storage,
    /// What clients have to show.
    pub access: Access,
    /// `OCI-Chunk-Min-Length` that it announces, in bytes.
    pub min_chunk: Option<usize>,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// How it departs from the specification.
    #[cfg(feature = "faults")]
    pub quirks: Vec<crate::Quirk>,
    /// TLS instead of plain HTTP.
    #[cfg(feature = "faults")]
    pub tls: Option<crate::Tls>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) uploads: Mutex<HashMap<String, Incoming>>,
    access: Mutex<Access>,
    address: SocketAddr,
    tokens: Tokens,
    behaviour: Behaviour,
    requests: Mutex<Vec<Recorded>>,
    ids: AtomicU64,
    /// In every session's name: a late request to another server that had this port before finds nothing
    /// here.
    mark: u64,
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server on a loopback port, in the current tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        let store = Store { storage: options.storage.clone(), ..Store::default() };
        Self::with_store(options, Arc::new(Mutex::new(store))).await
    }

    /// Starts a second server on the same content: another host to redirect to.
    ///
    /// # Errors
    /// If the port cannot be had.
    pub async fn start_beside(other: &Self, options: Options) -> io::Result<Self> {
        Self::with_store(options, Arc::clone(&other.state.store)).await
    }

    async fn with_store(options: Options, store: Arc<Mutex<Store>>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
        #[cfg(feature = "faults")]
        let acceptor = options.tls.as_ref().map(crate::tls::Acceptor::new).transpose()?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            behaviour: Behaviour::new(&options),
            access: Mutex::new(options.access.clone()),
            options,
            store,
            uploads: Mutex::default(),
            address,
            tokens: Tokens::default(),
            requests: Mutex::default(),
            ids: AtomicU64::new(1),
            // The hasher's keys are random for each call.
            mark: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), address.port()),
        });
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            // The set ends its connections with the server.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                let state = Arc::clone(&serving);
                #[cfg(feature = "faults")]
                if let Some(acceptor) = acceptor.clone() {
                    connections.spawn(async move {
                        if let Ok(Some(stream)) = acceptor.accept(stream).await {
                            state.converse(stream).await;
                        }
                    });
                    continue;
                }
                connections.spawn(state.converse(stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { state, task })
    }

    /// Address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// `127.0.0.1:PORT`, as in references.
    #[must_use]
    pub fn host(&self) -> String {
        self.state.address.to_string()
    }

    /// The faults of this server.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn faults(&self) -> &crate::Faults {
        &self.state.behaviour.faults
    }

    /// `SCHEME://127.0.0.1:PORT`
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.state.scheme(), self.host())
    }

    /// Every request that carried this secret in any form: as it is, in Basic credentials, in the query or in
    /// a form.
    #[must_use]
    pub fn requests_with(&self, secret: &str) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| request.carries(secret)).collect()
    }

    /// Every request so far, in the order of their answers.
    ///
    /// # Panics
    /// Never: nothing panics while the list is held.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests so far.
    ///
    /// # Panics
    /// Never.
    pub fn forget_requests(&self) {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How often a blob was asked for with GET.
    #[must_use]
    pub fn blob_reads(&self, digest: &Digest) -> usize {
        let end = format!("/blobs/{digest}");
        let is_read = |request: &&Recorded| request.method == Method::GET && request.path.ends_with(&end);
        self.requests().iter().filter(is_read).count()
    }

    /// The digest of a tag.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        let store = self.state.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.repositories.get(repository)?.tags.get(tag).cloned()
    }

    /// A manifest's bytes.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn manifest(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        let store = self.state.store.lock().unwrap_or_else(PoisonError::into_inner);
        Some(store.repositories.get(repository)?.manifests.get(digest)?.bytes.clone())
    }

    /// Number of manifests of a repository.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn manifest_count(&self, repository: &str) -> usize {
        let store = self.state.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.repositories.get(repository).map_or(0, |found| found.manifests.len())
    }

    /// Whether a repository has a blob.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.state.store.lock().unwrap_or_else(PoisonError::into_inner).blob(repository, digest).is_some()
    }

    /// Puts a blob into a repository, without a request.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// Never.
    pub fn add_blob(&self, repository: &str, bytes: Bytes) -> io::Result<Digest> {
        let digest = Digest::sha256_of(&bytes);
        let id = self.state.next_id();
        let mut incoming = Incoming::new(&self.state.options.storage, repository, &id)?;
        incoming.write(bytes)?;
        self.state.store.lock().unwrap_or_else(PoisonError::into_inner).commit(incoming, &digest)?;
        Ok(digest)
    }

    /// Upload sessions that are open.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.state.uploads.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Asks something else of its clients from now on: a password was changed, or has expired.
    ///
    /// # Panics
    /// Never.
    pub fn set_access(&self, access: Access) {
        *self.state.access.lock().unwrap_or_else(PoisonError::into_inner) = access;
    }
}

/// `/v2/NAME/KIND/REST`: names have slashes, kinds do not.
fn split_path(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path.strip_prefix("/v2/")?;
    for kind in ["/blobs/uploads/", "/blobs/", "/manifests/", "/tags/", "/referrers/"] {
        if let Some(at) = rest.rfind(kind) {
            return Some((&rest[..at], kind.trim_matches('/'), &rest[at + kind.len()..]));
        }
    }
    None
}

impl State {
    pub(crate) fn next_id(&self) -> String {
        format!("{:016x}-{:08}", self.mark, self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn access(&self) -> Access {
        self.access.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn scheme(&self) -> &'static str {
        #[cfg(feature = "faults")]
        if self.options.tls.is_some() {
            return "https";
        }
        "http"
    }

    /// Answers the requests of one connection.
    async fn converse(
        self: Arc<Self>,
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) {
        let service = service_fn(move |request| {
            let state = Arc::clone(&self);
            async move { state.serve(request).await }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        // An error here is a connection that the client or a fault has closed.
        let _ = http.max_buf_size(1 << 20).serve_connection(TokioIo::new(stream), service).await;
    }

    async fn serve(&self, request: hyper::Request<Request>) -> io::Result<Response<Body>> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let headers = request.headers().clone();
        let mut form = String::new();
        let answer = self.answer(request, &mut form).await;
        let recorded = Recorded {
            method,
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers,
            form,
            status: answer.as_ref().map_or(0, |response| response.status().as_u16()),
        };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
        answer
    }

    async fn answer(
        &self,
        request: hyper::Request<Request>,
        form: &mut String,
    ) -> io::Result<Response<Body>> {
        let turn = self.behaviour.begin(request.method(), request.uri(), request.headers());
        if let Some(instead) = turn.before().await? {
            drain(request.into_body()).await;
            return Ok(instead);
        }
        let response = self.route(request, &turn.deviation(), form).await?;
        if turn.expires_tokens() {
            self.tokens.expire_all();
        }
        turn.after(response).await
    }

    async fn route(
        &self,
        request: hyper::Request<Request>,
        deviation: &Deviation,
        sent_form: &mut String,
    ) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let (method, headers) = (&parts.method, &parts.headers);
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let mut parameters: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if path == "/token" {
            if let Some(form) = uploads::collect(body, 1 << 20).await? {
                parameters.extend(url::form_urlencoded::parse(&form).into_owned());
                *sent_form = String::from_utf8_lossy(&form).into_owned();
            }
            return Ok(self.access().issue(&self.tokens, headers, &parameters));
        }
        let split = split_path(&path);
        let repository = split.map(|(repository, _, _)| repository);
        let address = format!("{}://{}", self.scheme(), self.address);
        let refused = self.access().check(&self.tokens, &address, method, repository, headers);
        if let Some(refused) = refused {
            drain(body).await;
            return Ok(refused);
        }
        let lock = || self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let response = match (split, method.as_str()) {
            (None, "GET" | "HEAD") if matches!(path.as_str(), "/v2/" | "/v2") => reply::with(
                reply::full_json("{}"),
                &[("docker-distribution-api-version", "registry/2.0")],
                StatusCode::OK,
            ),
            (None, "GET") if path == "/v2/_catalog" => catalog::repositories(&lock(), &parameters),
            (Some((name, "blobs/uploads", "")), "POST") => {
                uploads::begin(self, name, &parameters, body).await?
            }
            (Some((name, "blobs/uploads", id)), _) if !id.is_empty() => {
                uploads::handle(self, method, (name, id), (headers, &parameters), body, deviation).await?
            }
            (Some((name, "blobs", digest)), "GET" | "HEAD" | "DELETE") => {
                blobs::handle(&mut lock(), method, name, digest, headers, deviation)
            }
            (Some((name, "manifests", reference)), "GET" | "HEAD" | "DELETE") => {
                manifests::handle(&mut lock(), method, name, reference)
            }
            (Some((name, "manifests", reference)), "PUT") => {
                match uploads::collect(body, usize::try_from(MAX_MANIFEST_BYTES).unwrap_or(usize::MAX))
                    .await?
                {
                    Some(bytes) => manifests::put(&mut lock(), name, reference, headers, bytes),
                    None => reply::error(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "MANIFEST_INVALID",
                        "the manifest is too large",
                    ),
                }
            }
            (Some((name, "tags", "list")), "GET") => catalog::tags(&lock(), name, &parameters),
            (Some((name, "referrers", digest)), "GET") => {
                let kind =
                    parameters.iter().find(|(key, _)| key == "artifactType").map(|(_, value)| value.as_str());
                manifests::referrers(&lock(), name, digest, kind)
            }
            (Some(_), _) => {
                reply::error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported")
            }
            (None, _) => reply::error(StatusCode::NOT_FOUND, "NAME_INVALID", "no such thing"),
        };
        Ok(response)
    }
}

/// Reads a body to its end, so that the client sees the answer and not a closed connection.
async fn drain(mut body: Request) {
    use http_body_util::BodyExt;
    while let Some(Ok(_)) = body.frame().await {}
}
