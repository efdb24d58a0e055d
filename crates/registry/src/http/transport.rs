//! Sending requests to registries: authentication, redirects, further attempts.
//!
//! Credentials go to the registry's own origin and nowhere else; each redirect is decided here, none by the HTTP library.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use unbloat_oci::Reference;
use url::Url;

use crate::auth::challenge;
use crate::auth::secret::Secret;
use crate::error::{Error, ErrorKind};
use crate::http::answer::{failure, read_bounded, status_error};
use crate::http::attempts::Attempts;
use crate::http::body::Watch;
use crate::http::call::Call;
use crate::http::clients::{Clients, is_loopback, is_transient};
use crate::http::host::Host;
use crate::http::redirect::{follows, next_hop};
use crate::operation::Operation;
use crate::options::ClientOptions;

/// Each round uses up one credential; a keyring with more than this for one repository is a mistake.
const MOST_REFUSALS: u32 = 8;

/// Connections, and registries by name.
#[derive(Debug)]
pub(crate) struct Transport {
    clients: Clients,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    scratch_used: AtomicU64,
}

/// Where a request is, on its way to an answer.
struct Progress {
    url: Url,
    authorization: Option<Secret>,
    redirects: usize,
    refusals: u32,
    attempts: Attempts,
}

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Self {
        Self { clients: Clients::new(options), hosts: Mutex::default(), scratch_used: AtomicU64::new(0) }
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        self.clients.options()
    }

    /// Attempts as the options have them.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(self.options().retry)
    }

    /// The registry of a reference; one for each name.
    pub(crate) fn host(&self, reference: &Reference) -> Arc<Host> {
        let mut hosts = self.hosts.lock().expect("no panic while held");
        let host = hosts
            .entry(reference.registry().to_owned())
            .or_insert_with(|| Arc::new(Host::new(reference, self.options().plain_http)));
        Arc::clone(host)
    }

    /// Takes scratch bytes from the budget; tells whether there were enough.
    pub(crate) fn take_scratch(&self, bytes: u64) -> bool {
        let limit = self.options().scratch_limit;
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.scratch_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives scratch bytes back.
    pub(crate) fn give_scratch(&self, bytes: u64) {
        self.scratch_used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Sends a request to a registry and gives the answer whose status the call accepts.
    pub(crate) async fn send(&self, host: &Host, call: Call<'_>) -> Result<Response, Error> {
        let mut progress = Progress {
            url: call.url.clone(),
            authorization: None,
            redirects: 0,
            refusals: 0,
            attempts: self.attempts(),
        };
        self.authorize(host, &call, &mut progress).await?;
        loop {
            let failed = match self.once(&call, &progress).await {
                Err(kind) => Error::new(host.name(), call.operation, &call.subject, kind),
                Ok(response) if call.accept.contains(&response.status()) => return Ok(response),
                Ok(response) => match self.go_on(host, &call, &mut progress, response).await? {
                    None => continue,
                    Some(error) => error,
                },
            };
            if !call.retry || !progress.attempts.again_after(&failed).await {
                return Err(failed);
            }
            // A redirect's target may be signed for a short time: begin at the registry again.
            progress.url = call.url.clone();
            self.authorize(host, &call, &mut progress).await?;
        }
    }

    /// The credentials of the next request: those of the registry for its own origin, none elsewhere.
    async fn authorize(&self, host: &Host, call: &Call<'_>, progress: &mut Progress) -> Result<(), Error> {
        progress.authorization = match host.owns(&progress.url) {
            true => host.authentication.header(&self.clients, &host.registry(), call.scope).await?,
            false => None,
        };
        Ok(())
    }

    /// An answer that is not what the call accepts: `None` when another request follows at once, else what is wrong.
    async fn go_on(
        &self,
        host: &Host,
        call: &Call<'_>,
        progress: &mut Progress,
        response: Response,
    ) -> Result<Option<Error>, Error> {
        let status = response.status();
        let own = host.owns(&progress.url);
        // What can be sent only once is not sent elsewhere either: its caller makes it again.
        if !call.body.is_repeatable() {
            return Err(status_error(host.name(), call.operation, &call.subject, response).await);
        }
        if follows(&call.method, status) {
            progress.redirects += 1;
            progress.url = next_hop(&progress.url, &response, progress.redirects)
                .map_err(|kind| Error::new(host.name(), call.operation, &call.subject, kind))?;
            self.authorize(host, call, progress).await?;
            return Ok(None);
        }
        if status == StatusCode::UNAUTHORIZED && own {
            return self.renew(host, call, progress, response).await;
        }
        if status == StatusCode::BAD_REQUEST && self.speaks_tls(host, &progress.url).await {
            host.use_https();
            let _ = progress.url.set_scheme("https");
            return Ok(None);
        }
        let place = match own {
            true => host.name().to_owned(),
            false => {
                format!("{} (by way of {})", progress.url.host_str().unwrap_or_default(), host.name())
            }
        };
        let error = status_error(&place, call.operation, &call.subject, response).await;
        if is_transient(status) { Ok(Some(error)) } else { Err(error) }
    }

    /// After a 401: the next credential or a fresh token.
    async fn renew(
        &self,
        host: &Host,
        call: &Call<'_>,
        progress: &mut Progress,
        response: Response,
    ) -> Result<Option<Error>, Error> {
        let challenge = challenge::parse(response.headers());
        let error = status_error(host.name(), call.operation, &call.subject, response).await;
        let Some(challenge) = challenge else { return Err(error) };
        progress.refusals += 1;
        if progress.refusals > 1 {
            host.authentication.skip_credential(call.scope);
        }
        if progress.refusals > MOST_REFUSALS {
            return Err(error);
        }
        let failed = progress.authorization.take();
        let renewed = host
            .authentication
            .renew(&self.clients, &host.registry(), call.scope, challenge, failed.as_ref())
            .await?;
        let Some(header) = renewed else { return Err(error) };
        progress.authorization = Some(header);
        Ok(None)
    }

    async fn once(&self, call: &Call<'_>, progress: &Progress) -> Result<Response, ErrorKind> {
        let url = &progress.url;
        let http = self.clients.http(url).map_err(Error::into_kind)?;
        let mut request = http.request(call.method.clone(), url.clone()).headers(call.headers.clone());
        if let Some(secret) = &progress.authorization {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                ErrorKind::Credentials("they hold characters that HTTP cannot carry".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let watch = Watch::new();
        if !matches!(call.method, Method::GET | Method::HEAD) {
            if let Some(length) = call.body.len() {
                request = request.header(CONTENT_LENGTH, length);
            }
            request = request.body(call.body.to_reqwest(&watch).await?);
        }
        let timeouts = &self.options().timeouts;
        let mut sending = pin!(request.send());
        loop {
            let deadline = watch.deadline(timeouts.stall, timeouts.answer);
            match tokio::time::timeout_at(deadline.at, &mut sending).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(failure(&error)),
                Err(_) => {}
            }
            let moved = watch.deadline(timeouts.stall, timeouts.answer).at > deadline.at;
            if let Some(limit) = deadline.limit.filter(|_| !moved) {
                return Err(ErrorKind::Timeout(limit));
            }
        }
    }

    /// A registry on loopback is tried with plain HTTP first; one that wants TLS answers that with a 400. Whether it does is
    /// found out by asking, not by its words.
    async fn speaks_tls(&self, host: &Host, url: &Url) -> bool {
        if url.scheme() != "http" || !is_loopback(url) || !host.owns(url) || self.options().plain_http {
            return false;
        }
        let mut probe = url.clone();
        if probe.set_scheme("https").is_err() {
            return false;
        }
        probe.set_path("/v2/");
        probe.set_query(None);
        let Ok(http) = self.clients.http(&probe) else { return false };
        match tokio::time::timeout(self.options().timeouts.connect, http.get(probe).send()).await {
            Ok(Ok(_)) => true,
            // It does, with a certificate that is not trusted: the request itself shall say so.
            Ok(Err(error)) => matches!(failure(&error), ErrorKind::Certificate(_)),
            Err(_) => false,
        }
    }

    /// The whole body of an answer, bounded.
    pub(crate) async fn body(
        &self,
        place: &str,
        operation: Operation,
        subject: &str,
        response: Response,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        read_bounded(response, limit, self.options().timeouts.stall)
            .await
            .map_err(|kind| Error::new(place, operation, subject, kind))
    }
}
