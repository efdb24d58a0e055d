//! Sending requests: connections, authentication, redirects, retries.
//!
//! Credentials go to the registry's own origin and nowhere else; each redirect is decided here, none by the HTTP library.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use unbloat_oci::Reference;
use url::Url;

use crate::challenge;
use crate::error::{Error, ErrorKind};
use crate::options::ClientOptions;
use crate::request::{Call, Host, describe, is_loopback, read_bounded, retry_after, status_error};
use crate::secret::{Secret, redact};

/// More hops than any registry needs.
const MAX_REDIRECTS: usize = 10;

/// HTTP clients by kind and registries by name.
#[derive(Debug)]
pub(crate) struct Transport {
    options: ClientOptions,
    /// By (loopback, https): loopback bypasses proxies, plain HTTP needs no certificates of this machine.
    http: [OnceLock<reqwest::Client>; 4],
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    scratch_used: AtomicU64,
}

/// Makes the workspace's TLS provider the process's own, unless it has one. The HTTP library wants one before it builds any
/// client, even one without TLS.
pub fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Self {
        Self { options, http: Default::default(), hosts: Mutex::default(), scratch_used: AtomicU64::new(0) }
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The registry of a reference; one for each name.
    pub(crate) fn host(&self, reference: &Reference) -> Arc<Host> {
        let mut hosts = self.hosts.lock().expect("no panic while held");
        let host = hosts
            .entry(reference.registry().to_owned())
            .or_insert_with(|| Arc::new(Host::new(reference, self.options.plain_http)));
        Arc::clone(host)
    }

    /// Takes scratch bytes from the budget; tells whether there were enough.
    pub(crate) fn take_scratch(&self, bytes: u64) -> bool {
        let limit = self.options.scratch_limit;
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.scratch_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives scratch bytes back.
    pub(crate) fn give_scratch(&self, bytes: u64) {
        self.scratch_used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The HTTP client for a URL.
    pub(crate) fn http(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        let (loopback, https) = (is_loopback(url), url.scheme() == "https");
        let slot = &self.http[usize::from(loopback) * 2 + usize::from(https)];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = self.build(loopback, https).map_err(|kind| {
            Error::new(url.host_str().unwrap_or_default(), "preparing connections to", "", kind)
        })?;
        Ok(slot.get_or_init(|| client))
    }

    fn build(&self, loopback: bool, https: bool) -> Result<reqwest::Client, ErrorKind> {
        install_tls_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("unbloat/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.options.timeouts.connect)
            // One stream may have a megabyte on its way, all of one connection eight: enough for 1 Gbit/s at 60 ms.
            .http2_initial_stream_window_size(1 << 20)
            .http2_initial_connection_window_size(8 << 20)
            .tcp_nodelay(true);
        if loopback {
            builder = builder.no_proxy();
        }
        if !https {
            builder = builder.tls_certs_only([]);
        } else if self.options.insecure_skip_tls_verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        } else {
            let mut certificates = Vec::new();
            for path in &self.options.ca_files {
                let pem = std::fs::read(path)?;
                let bundle = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| {
                    ErrorKind::Invalid(format!("{} holds no PEM certificate", path.display()))
                })?;
                certificates.extend(bundle);
            }
            if !certificates.is_empty() {
                builder = builder.tls_certs_merge(certificates);
            }
        }
        builder.build().map_err(|error| ErrorKind::Network(describe(&error)))
    }

    /// Sends a request to a registry and gives the answer whose status the call accepts.
    pub(crate) async fn send(&self, host: &Host, call: Call<'_>) -> Result<Response, Error> {
        let fault = |kind: ErrorKind| Error::new(host.name(), call.operation, &call.subject, kind);
        let mut url = call.url.clone();
        let mut attempt = 0;
        let mut refused = 0;
        let mut redirects = 0;
        let mut authorization =
            host.authentication.header(self, host, call.scope).await?.filter(|_| host.owns(&url));
        loop {
            let outcome = self.once(&call, &url, authorization.as_ref()).await;
            let failure = match outcome {
                Err(kind) => fault(kind),
                Ok(response) if call.accept.contains(&response.status()) => return Ok(response),
                Ok(response) if follows(&call.method, response.status()) => {
                    redirects += 1;
                    url = self.next_hop(&url, &response, redirects).map_err(&fault)?;
                    authorization = match host.owns(&url) {
                        true => host.authentication.header(self, host, call.scope).await?,
                        false => None,
                    };
                    continue;
                }
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && host.owns(&url) => {
                    let challenge = challenge::parse(response.headers());
                    let error = status_error(host.name(), call.operation, &call.subject, response).await;
                    let Some(challenge) = challenge else { return Err(error) };
                    refused += 1;
                    if refused > 1 {
                        host.authentication.skip_credential(call.scope);
                    }
                    // Each round uses up one credential; a keyring with more than this for one repository is a mistake.
                    if refused > 8 {
                        return Err(error);
                    }
                    let failed = authorization.take();
                    let renewed =
                        host.authentication.renew(self, host, call.scope, challenge, failed.as_ref()).await?;
                    let Some(header) = renewed else { return Err(error) };
                    authorization = Some(header);
                    continue;
                }
                Ok(response) if self.speaks_tls(host, &url, &response) => {
                    let error = status_error(host.name(), call.operation, &call.subject, response).await;
                    if !error.to_string().contains("HTTPS") {
                        return Err(error);
                    }
                    host.use_https();
                    let _ = url.set_scheme("https");
                    continue;
                }
                Ok(response) => {
                    let wait = retry_after(response.headers());
                    let place = match host.owns(&url) {
                        true => host.name().to_owned(),
                        false => {
                            format!("{} (by way of {})", url.host_str().unwrap_or_default(), host.name())
                        }
                    };
                    let transient = is_transient(response.status());
                    let error = status_error(&place, call.operation, &call.subject, response).await;
                    let transient = transient || error.kind().is_about_blobs_of_a_manifest();
                    if !transient || !call.retry || attempt + 1 >= self.options.retry.attempts {
                        return Err(error);
                    }
                    attempt += 1;
                    let wait = wait.unwrap_or_else(|| self.options.retry.wait(attempt));
                    if wait > self.options.retry.longest_retry_after {
                        return Err(error);
                    }
                    tracing::debug!(%error, ?wait, "trying again");
                    tokio::time::sleep(wait).await;
                    // A redirect's target may be signed for a short time: begin at the registry again.
                    url = call.url.clone();
                    continue;
                }
            };
            attempt += 1;
            if !call.retry || !failure.is_retryable() || attempt >= self.options.retry.attempts {
                return Err(failure);
            }
            let wait = self.options.retry.wait(attempt);
            tracing::debug!(error = %failure, ?wait, "trying again");
            tokio::time::sleep(wait).await;
            url = call.url.clone();
        }
    }

    async fn once(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&Secret>,
    ) -> Result<Response, ErrorKind> {
        let http = self.http(url).map_err(|error| ErrorKind::Network(error.to_string()))?;
        let mut request = http.request(call.method.clone(), url.clone()).headers(call.headers.clone());
        if let Some(secret) = authorization {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                ErrorKind::Credentials("they hold characters that HTTP cannot carry".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if !matches!(call.method, Method::GET | Method::HEAD) {
            request = request.header("content-length", call.body.len());
            request = request.body(call.body.to_reqwest().await?);
        }
        let answer = self.options.timeouts.answer;
        match tokio::time::timeout(answer, request.send()).await {
            Err(_) => Err(ErrorKind::Timeout(answer)),
            Ok(Err(error)) => Err(ErrorKind::Network(describe(&error))),
            Ok(Ok(response)) => Ok(response),
        }
    }

    fn next_hop(&self, from: &Url, response: &Response, count: usize) -> Result<Url, ErrorKind> {
        let protocol = |text: String| ErrorKind::Protocol(text);
        if count > MAX_REDIRECTS {
            return Err(protocol(format!("more than {MAX_REDIRECTS} redirects")));
        }
        let target = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| from.join(text).ok())
            .ok_or_else(|| protocol("a redirect without a usable Location".to_owned()))?;
        let downgrade = from.scheme() == "https" && target.scheme() == "http";
        if !matches!(target.scheme(), "https" | "http") || (downgrade && !self.options.plain_http) {
            return Err(protocol(format!("a redirect to {}, which is not encrypted", redact(&target))));
        }
        Ok(target)
    }

    /// A registry on loopback is tried with plain HTTP first; one that wants TLS says so with a 400.
    fn speaks_tls(&self, host: &Host, url: &Url, response: &Response) -> bool {
        response.status() == StatusCode::BAD_REQUEST
            && url.scheme() == "http"
            && host.owns(url)
            && !self.options.plain_http
    }

    /// For token servers: network failures, 429 and 5xx are tried again; every other answer is given back.
    pub(crate) async fn send_with_retries(
        &self,
        request: RequestBuilder,
        fault: &impl Fn(ErrorKind) -> Error,
    ) -> Result<Response, Error> {
        let answer = self.options.timeouts.answer;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let again = request.try_clone().expect("its body is in memory");
            let last = attempt >= self.options.retry.attempts;
            let wait = match tokio::time::timeout(answer, again.send()).await {
                Ok(Ok(response)) if !is_transient(response.status()) || last => return Ok(response),
                Ok(Ok(response)) => retry_after(response.headers()),
                Ok(Err(error)) if last => return Err(fault(ErrorKind::Network(describe(&error)))),
                Err(_) if last => return Err(fault(ErrorKind::Timeout(answer))),
                _ => None,
            };
            let wait = wait.unwrap_or_else(|| self.options.retry.wait(attempt));
            tokio::time::sleep(wait.min(self.options.retry.longest_retry_after)).await;
        }
    }

    /// The whole body of an answer, bounded.
    pub(crate) async fn body(
        &self,
        place: &str,
        operation: &'static str,
        subject: &str,
        response: Response,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        read_bounded(response, limit, self.options.timeouts.stall)
            .await
            .map_err(|kind| Error::new(place, operation, subject, kind))
    }

    /// Sleeps before a further attempt at something that [`Transport::send`] does not retry itself.
    pub(crate) async fn back_off(&self, attempt: u32, error: &Error) -> bool {
        let asked = match error.kind() {
            ErrorKind::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        };
        let wait: Duration = asked.unwrap_or_else(|| self.options.retry.wait(attempt));
        if wait > self.options.retry.longest_retry_after {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }
}

fn follows(method: &Method, status: StatusCode) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
