//! The HTTP library's clients: one for each kind of connection.

use std::sync::OnceLock;

use reqwest::{RequestBuilder, Response, StatusCode};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::answer::{describe, failure, retry_after};
use crate::http::attempts::Attempts;
use crate::operation::Operation;
use crate::options::ClientOptions;

/// HTTP clients by kind, with the settings that they are made with.
#[derive(Debug)]
pub(crate) struct Clients {
    options: ClientOptions,
    /// By (loopback, https): loopback bypasses proxies, plain HTTP needs no certificates of this machine.
    http: [OnceLock<reqwest::Client>; 4],
}

/// Makes the workspace's TLS provider the process's own, unless it has one. The HTTP library wants one before it builds any
/// client, even one without TLS.
pub fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Whether a URL is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Clients {
    pub(crate) fn new(options: ClientOptions) -> Self {
        Self { options, http: Default::default() }
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The HTTP client for a URL.
    pub(crate) fn http(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        let (loopback, https) = (is_loopback(url), url.scheme() == "https");
        let slot = &self.http[usize::from(loopback) * 2 + usize::from(https)];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = self.build(loopback, https).map_err(|kind| {
            Error::new(url.host_str().unwrap_or_default(), Operation::Connecting, "", kind)
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

    /// For token servers: network failures, 429 and 5xx are tried again; every other answer is given back.
    pub(crate) async fn send_with_retries(
        &self,
        request: RequestBuilder,
        fault: &impl Fn(ErrorKind) -> Error,
    ) -> Result<Response, Error> {
        let answer = self.options.timeouts.answer;
        let mut attempts = Attempts::new(self.options.retry);
        loop {
            let again = request.try_clone().expect("its body is in memory");
            let (failed, wait) = match tokio::time::timeout(answer, again.send()).await {
                Ok(Ok(response)) if !is_transient(response.status()) => return Ok(response),
                Ok(Ok(response)) => {
                    let wait = retry_after(response.headers());
                    (Ok(response), wait)
                }
                Ok(Err(error)) => (Err(fault(failure(&error))), None),
                Err(_) => (Err(fault(ErrorKind::Timeout(answer))), None),
            };
            let passes = failed.as_ref().err().is_none_or(Error::is_retryable);
            if !passes || !attempts.again(wait).await {
                return failed;
            }
        }
    }
}

/// A status that may be another one soon.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
