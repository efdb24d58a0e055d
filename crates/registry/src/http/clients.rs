//! The HTTP library's clients: one for each kind of connection.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::http::answer::{describe, failure, retry_after};
use crate::http::attempts::Attempts;
use crate::http::attempts::Retry;
use crate::http::guard::{Guard, GuardedNames};
use crate::http::redirect::{follows, next_hop};
use crate::http::timeouts::Timeouts;
use crate::http::trust;
use crate::operation::Operation;
use crate::settings::Registries;
use crate::settings::trust::Trust;

/// What connections are made with; a part of the client's options.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) registries: Registries,
    pub(crate) ca_files: Vec<PathBuf>,
    pub(crate) insecure_skip_tls_verify: bool,
    pub(crate) guard: Option<Arc<Guard>>,
    pub(crate) retry: Retry,
    pub(crate) timeouts: Timeouts,
}

/// HTTP clients by kind, with the settings that they are made with.
#[derive(Debug)]
pub(crate) struct Clients {
    options: Connections,
    made: Mutex<HashMap<Kind, reqwest::Client>>,
}

/// What makes two connections use one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    /// Past any proxy, as all that is on this machine.
    direct: bool,
    /// Plain HTTP needs no certificates.
    trust: Option<Trust>,
    /// Addresses that the guard refuses may be connected to.
    unguarded: bool,
}

/// Makes the workspace's TLS provider the process's own, unless it has one. The HTTP library wants one before
/// it builds any client, even one without TLS.
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
    pub(crate) fn new(options: Connections) -> Self {
        Self { options, made: Mutex::default() }
    }

    pub(crate) fn options(&self) -> &Connections {
        &self.options
    }

    /// The HTTP client for a URL.
    pub(crate) fn http(&self, url: &Url) -> Result<reqwest::Client, Error> {
        let trust = match url.scheme() {
            "https" => Some(self.trust(&authority(url))?),
            _ => None,
        };
        self.of(Kind { direct: is_loopback(url), trust, unguarded: false }, url)
    }

    fn of(&self, kind: Kind, url: &Url) -> Result<reqwest::Client, Error> {
        let guard = self.options.guard.as_ref().filter(|_| !kind.unguarded);
        if guard.is_some_and(|guard| !guard.lets(url)) {
            let refused = ErrorKind::RefusedAddress;
            return Err(Error::new(url.host_str().unwrap_or_default(), Operation::Connecting, "", refused));
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&kind) {
            return Ok(client.clone());
        }
        let client = self.build(&kind).map_err(|error| {
            Error::new(url.host_str().unwrap_or_default(), Operation::Connecting, "", error)
        })?;
        made.insert(kind, client.clone());
        Ok(client)
    }

    /// As [`Clients::http`] for what answers on the node: that is not beyond a proxy, and the guard, which
    /// keeps others from leading there, does not keep us from asking who we are.
    pub(crate) fn on_node(&self, url: &Url) -> Result<reqwest::Client, Error> {
        let trust = match url.scheme() {
            "https" => Some(self.trust(&authority(url))?),
            _ => None,
        };
        self.of(Kind { direct: true, trust, unguarded: true }, url)
    }

    fn trust(&self, host: &str) -> Result<Trust, Error> {
        let Self { options, .. } = self;
        options.registries.trust(host, &options.ca_files, options.insecure_skip_tls_verify)
    }

    /// Reads the files that were named, so that one that is missing or malformed is told of before anything
    /// is sent.
    pub(crate) fn check_files(&self) -> Result<(), Error> {
        let named = self.options.registries.named_hosts();
        for host in named.chain([""]) {
            let trust = self.trust(host)?;
            trust::config(&trust).map_err(|kind| Error::new(host, Operation::Connecting, "", kind))?;
        }
        Ok(())
    }

    fn build(&self, kind: &Kind) -> Result<reqwest::Client, ErrorKind> {
        install_tls_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("unbloat/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.options.timeouts.connect)
            // One stream may have a megabyte on its way, all of one connection eight: enough for 1 Gbit/s at
            // 60 ms.
            .http2_initial_stream_window_size(1 << 20)
            .http2_initial_connection_window_size(8 << 20)
            .tcp_nodelay(true);
        if kind.direct {
            builder = builder.no_proxy();
        }
        if let Some(guard) = self.options.guard.as_ref().filter(|_| !kind.unguarded) {
            builder = builder.dns_resolver(Arc::new(GuardedNames(Arc::clone(guard))));
        }
        builder = match &kind.trust {
            None => builder.tls_certs_only([]),
            Some(trust) => builder.tls_backend_preconfigured(trust::config(trust)?),
        };
        builder.build().map_err(|error| ErrorKind::Network(describe(&error)))
    }

    /// As [`Clients::send_with_retries`], and follows where the answers lead. The request for each URL is
    /// made anew: what may go to the first one's origin only is not for another.
    pub(crate) async fn send_following(
        &self,
        method: &Method,
        mut url: Url,
        fault: &impl Fn(ErrorKind) -> Error,
        request: impl Fn(&reqwest::Client, &Url) -> Result<RequestBuilder, ErrorKind>,
    ) -> Result<Response, Error> {
        let mut redirects = 0;
        loop {
            let built = request(&self.http(&url)?, &url).map_err(fault)?;
            let response = self.send_with_retries(built, fault).await?;
            if !follows(method, response.status()) {
                return Ok(response);
            }
            redirects += 1;
            url = next_hop(&url, &response, redirects).map_err(fault)?;
        }
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

/// `HOST[:PORT]` of a URL, as references name it.
pub(crate) fn authority(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// A status that may be another one soon.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
