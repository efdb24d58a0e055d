//! Sending requests to registries: authentication, redirects, further attempts.
//!
//! Credentials go to the registry's own origin and nowhere else; each redirect is decided here, none by the
//! HTTP library.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::auth::challenge;
use crate::auth::token::Asking;
use crate::error::{Error, ErrorKind};
use crate::http::answer::{failure, read_bounded, status_error};
use crate::http::attempts::Attempts;
use crate::http::body::Watch;
use crate::http::clients::{Clients, Connections, is_transient};
use crate::http::redirect::{follows, next_hop};
use crate::operation::Operation;
use crate::options::ClientOptions;
use crate::readings::Readings;
use crate::secret::Secret;
use crate::transport::call::Call;
use crate::transport::host::Host;

/// Each round uses up one credential; a keyring with more than this for one repository is a mistake.
const MOST_REFUSALS: u32 = 8;

/// Connections, and registries by name.
#[derive(Debug)]
pub(crate) struct Transport {
    options: ClientOptions,
    clients: Clients,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    /// Where redirects led, by origin.
    elsewhere: Mutex<HashMap<String, Arc<Host>>>,
    readings: Readings,
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
        let connections = Connections {
            registries: options.registries.clone(),
            ca_files: options.ca_files.clone(),
            insecure_skip_tls_verify: options.insecure_skip_tls_verify,
            guard: options.guard.clone(),
            retry: options.retry,
            timeouts: options.timeouts,
        };
        Self {
            options,
            clients: Clients::new(connections),
            hosts: Mutex::default(),
            elsewhere: Mutex::default(),
            readings: Readings::default(),
            scratch_used: AtomicU64::new(0),
        }
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// With what authentication is done.
    pub(crate) fn asking(&self) -> Asking<'_> {
        Asking { clients: &self.clients, keyring: &self.options.keyring }
    }

    /// Attempts as the options have them.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::telling(self.options().retry, &self.options().troubles)
    }

    /// What is known of blobs from reading them.
    pub(crate) fn readings(&self) -> &Readings {
        &self.readings
    }

    /// A registry by its name; one for each.
    pub(crate) fn host(&self, name: &str, is_loopback: bool) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Host::new(name, self.options().registries.speech(name, is_loopback)))
        });
        Arc::clone(host)
    }

    /// The host that a redirect led to.
    fn elsewhere(&self, url: &Url) -> Arc<Host> {
        let mut hosts = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let host =
            hosts.entry(url.origin().ascii_serialization()).or_insert_with(|| Arc::new(Host::elsewhere(url)));
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
            let outcome = self.once(&call, &progress).await;
            if self.turns_out_otherwise(host, &mut progress.url, &outcome).await {
                continue;
            }
            let failed = match outcome {
                Err(kind) => Error::new(host.name(), call.operation, &call.subject, kind),
                Ok(response) if call.accept.contains(&response.status()) => {
                    if response.status().is_success() && progress.authorization.is_some() {
                        host.authentication.accepted(call.scope);
                    }
                    return Ok(response);
                }
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

    /// Sends a request once, with these credentials and no others.
    pub(crate) async fn send_with(
        &self,
        host: &Host,
        call: Call<'_>,
        authorization: &Secret,
    ) -> Result<Response, Error> {
        let progress = Progress {
            url: call.url.clone(),
            authorization: Some(authorization.clone()),
            redirects: 0,
            refusals: 0,
            attempts: self.attempts(),
        };
        let response = self.once(&call, &progress).await;
        response.map_err(|kind| Error::new(host.name(), call.operation, &call.subject, kind))
    }

    /// The credentials of the next request: those of the registry for its own origin. Elsewhere those that
    /// anybody gets there.
    async fn authorize(&self, host: &Host, call: &Call<'_>, progress: &mut Progress) -> Result<(), Error> {
        progress.authorization = match host.owns(&progress.url) {
            true => host.authentication.header(self.asking(), &host.registry(), call.scope).await?,
            false => {
                let there = self.elsewhere(&progress.url);
                there.authentication.header(self.asking(), &there.registry(), call.scope).await?
            }
        };
        Ok(())
    }

    /// An answer that is not what the call accepts: `None` when another request follows at once, else what is
    /// wrong.
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
        // Some say 403 of credentials that have expired.
        let expired = status == StatusCode::FORBIDDEN
            && own
            && progress.refusals == 0
            && progress.authorization.is_some()
            && (host.authentication.could_do_better(call.scope)
                // Where HEAD is refused, the answer decides nothing anyway.
                || (call.method != Method::HEAD && host.authentication.may_have_expired(call.scope)));
        // Some ask who one is at `/v2/` only, where Docker's clients begin.
        let unasked = matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
            && own
            && progress.authorization.is_none()
            && host.authentication.is_unasked();
        if status == StatusCode::UNAUTHORIZED || expired || unasked {
            if own {
                return self.renew(host, host, call, progress, response).await;
            }
            let there = self.elsewhere(&progress.url);
            return self.renew(host, &there, call, progress, response).await;
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

    /// After a refusal: the next credential or a fresh token for `there`, which is the registry or where it
    /// led.
    async fn renew(
        &self,
        host: &Host,
        there: &Host,
        call: &Call<'_>,
        progress: &mut Progress,
        response: Response,
    ) -> Result<Option<Error>, Error> {
        let status = response.status();
        let named = challenge::parse(response.headers()).or_else(|| there.authentication.challenge());
        let error = status_error(there.name(), call.operation, &call.subject, response).await;
        let challenge = match named {
            None if std::ptr::eq(host, there) => self.ask_challenge(host, call).await,
            named => named,
        };
        let Some(challenge) = challenge else { return Err(error) };
        progress.refusals += 1;
        if progress.refusals > MOST_REFUSALS {
            return Err(error);
        }
        let failed = progress.authorization.take();
        let renewed = there
            .authentication
            .renew(
                self.asking(),
                &there.registry(),
                call.scope,
                challenge,
                failed.as_ref(),
                progress.refusals,
            )
            .await;
        match renewed {
            Ok(Some(header)) => progress.authorization = Some(header),
            Ok(None) => return Err(error),
            // What a redirect leads to has no say in why the registry's image cannot be read.
            Err(_) if !std::ptr::eq(host, there) => return Err(error),
            // Nobody is not known there; what was not found may not be there all the same.
            Err(_) if status == StatusCode::NOT_FOUND => return Err(error),
            Err(refused) => return Err(refused),
        }
        Ok(None)
    }

    /// What a registry asks for at `/v2/`, once for each registry; where Docker's clients begin, so every
    /// registry answers it.
    async fn ask_challenge(&self, host: &Host, call: &Call<'_>) -> Option<challenge::Challenge> {
        if !host.authentication.begin_asking() {
            return None;
        }
        let mut url = host.base();
        url.set_path("/v2/");
        let call = Call::new(Method::GET, url.clone(), call.scope, call.operation);
        let progress =
            Progress { url, authorization: None, redirects: 0, refusals: 0, attempts: self.attempts() };
        let response = self.once(&call, &progress).await.ok()?;
        challenge::parse(response.headers()).filter(|_| response.status() == StatusCode::UNAUTHORIZED)
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

    /// A registry that may speak plain HTTP or TLS is tried with one of them first. Whether it speaks the
    /// other is found out by asking, not by its words: TLS servers answer plain HTTP with a 400, with an
    /// alert, or not at all.
    async fn turns_out_otherwise(
        &self,
        host: &Host,
        url: &mut Url,
        outcome: &Result<Response, ErrorKind>,
    ) -> bool {
        if !host.owns(url) {
            return false;
        }
        let Some(other) = host.other_scheme(url.scheme()) else { return false };
        let doubtful = match outcome {
            Ok(response) => url.scheme() == "http" && response.status() == StatusCode::BAD_REQUEST,
            Err(kind) => matches!(kind, ErrorKind::Network(_) | ErrorKind::NotTls),
        };
        if doubtful {
            let mut probe = url.clone();
            probe.set_path("/v2/");
            probe.set_query(None);
            if probe.set_scheme(other).is_err() {
                return false;
            }
            let Ok(http) = self.clients.http(&probe) else { return false };
            let heard =
                match tokio::time::timeout(self.options().timeouts.connect, http.get(probe).send()).await {
                    Ok(Ok(_)) => true,
                    // It does, with a certificate that is not trusted: the request itself shall say so.
                    Ok(Err(error)) => matches!(failure(&error), ErrorKind::Certificate { .. }),
                    Err(_) => false,
                };
            if heard && url.set_scheme(other).is_ok() {
                host.settle(other);
                return true;
            }
        }
        if outcome.is_ok() {
            host.settle(url.scheme());
        }
        false
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
