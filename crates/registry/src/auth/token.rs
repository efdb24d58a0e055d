//! Authentication to one registry: its challenge, its tokens by scope, and getting new ones.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::Url;

use crate::auth::challenge::Challenge;
use crate::auth::credential::Credential;
use crate::auth::secret::{Secret, redact};
use crate::error::{Error, ErrorKind};
use crate::http::answer::{read_bounded, status_error};
use crate::http::clients::{Clients, is_loopback};
use crate::operation::Operation;

/// A token is renewed when less than this is left of it: a request that is under way has to arrive with a valid one.
const MARGIN: Duration = Duration::from_secs(5);
/// What the token specification says when `expires_in` is missing.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Largest answer of a token server.
const MAX_ANSWER: usize = 1 << 20;

/// What the requests of one repository may do, for example `repository:a/b:pull,push`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Repository whose credentials are used.
    pub(crate) repository: String,
    /// Whether it writes.
    pub(crate) push: bool,
    /// A repository to read besides, for a mount.
    pub(crate) from: Option<String>,
}

impl Scope {
    fn texts(&self) -> Vec<String> {
        let actions = if self.push { "pull,push" } else { "pull" };
        let mut texts = vec![format!("repository:{}:{actions}", self.repository)];
        texts.extend(self.from.iter().map(|from| format!("repository:{from}:pull")));
        texts
    }
}

/// The registry that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registry<'a> {
    /// As in references.
    pub(crate) name: &'a str,
    pub(crate) https: bool,
}

/// The state of authentication to one registry.
#[derive(Debug, Default)]
pub(crate) struct Authentication {
    challenge: Mutex<Option<Challenge>>,
    headers: Mutex<HashMap<Scope, Issued>>,
    /// Held while a token is fetched, so that 16 requests that find theirs expired fetch one.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Issued {
    header: Secret,
    /// Which of the keyring's credentials it was made with.
    rank: usize,
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authentication {
    /// The `Authorization` header for a scope, if one is known to be needed. Renews one that is about to expire.
    pub(crate) async fn header(
        &self,
        clients: &Clients,
        registry: &Registry<'_>,
        scope: &Scope,
    ) -> Result<Option<Secret>, Error> {
        let known = self.challenge.lock().expect("no panic while held").clone();
        let Some(challenge) = known else { return Ok(None) };
        if let Some(issued) = self.valid(scope) {
            return Ok(Some(issued.header));
        }
        let rank = self.rank(scope);
        self.issue(clients, registry, scope, &challenge, rank, None).await
    }

    /// After a 401: a header that differs from the one that failed, or `None` when there is nothing left to try.
    pub(crate) async fn renew(
        &self,
        clients: &Clients,
        registry: &Registry<'_>,
        scope: &Scope,
        challenge: Challenge,
        failed: Option<&Secret>,
    ) -> Result<Option<Secret>, Error> {
        *self.challenge.lock().expect("no panic while held") = Some(challenge.clone());
        // A token that was issued may just have expired: the same credential once more, then the next one.
        let (rank, fresh) = {
            let headers = self.headers.lock().expect("no panic while held");
            match headers.get(scope) {
                Some(issued) if failed == Some(&issued.header) => {
                    let bearer = matches!(challenge, Challenge::Bearer { .. });
                    let expired = bearer && issued.until.is_some();
                    (issued.rank + usize::from(!expired), None)
                }
                Some(issued) => (issued.rank, Some(issued.header.clone())),
                None => (0, None),
            }
        };
        if fresh.is_some() {
            return Ok(fresh);
        }
        self.issue(clients, registry, scope, &challenge, rank, failed).await
    }

    /// The next credential, after one that gave a token which was refused although it is new.
    pub(crate) fn skip_credential(&self, scope: &Scope) {
        if let Some(issued) = self.headers.lock().expect("no panic while held").get_mut(scope) {
            issued.until = None;
        }
    }

    fn valid(&self, scope: &Scope) -> Option<Issued> {
        let headers = self.headers.lock().expect("no panic while held");
        let issued = headers.get(scope)?;
        let usable = issued.until.is_none_or(|until| Instant::now() + MARGIN < until);
        usable.then(|| issued.clone())
    }

    fn rank(&self, scope: &Scope) -> usize {
        self.headers.lock().expect("no panic while held").get(scope).map_or(0, |issued| issued.rank)
    }

    async fn issue(
        &self,
        clients: &Clients,
        registry: &Registry<'_>,
        scope: &Scope,
        challenge: &Challenge,
        rank: usize,
        failed: Option<&Secret>,
    ) -> Result<Option<Secret>, Error> {
        let _one = self.renewing.lock().await;
        // Another request may have renewed it while this one waited.
        if let Some(issued) = self.valid(scope)
            && failed != Some(&issued.header)
        {
            return Ok(Some(issued.header));
        }
        let options = clients.options();
        let credentials =
            options.keyring.lookup(registry.name, &scope.repository, options.timeouts.helper).await?;
        for (rank, credential) in credentials.iter().map(Some).chain([None]).enumerate().skip(rank) {
            // Anonymous comes last, and only where nothing else is known or a token can be had for nothing.
            let issued = match (challenge, credential) {
                (_, Some(Credential::RegistryToken(token))) => Some((bearer(token), None)),
                (Challenge::Basic, Some(Credential::Basic { username, password })) => {
                    Some((basic_header(username, password), None))
                }
                (Challenge::Basic, _) => None,
                (Challenge::Bearer { realm, service, scope: asked }, credential) => {
                    let realm = Realm { url: realm, service: service.as_deref(), asked: asked.as_deref() };
                    match fetch(clients, registry, &realm, scope, credential).await {
                        Ok((token, lifetime)) => Some((bearer(&token), Some(Instant::now() + lifetime))),
                        // These credentials are not for this token server; the next may be.
                        Err(error) if matches!(error.kind(), ErrorKind::Unauthorized { .. }) => {
                            if rank < credentials.len() {
                                continue;
                            }
                            return Err(error);
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            if let Some((header, until)) = issued
                && failed != Some(&header)
            {
                let issued = Issued { header: header.clone(), rank, until };
                self.headers.lock().expect("no panic while held").insert(scope.clone(), issued);
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

struct Realm<'a> {
    url: &'a str,
    service: Option<&'a str>,
    /// The scope of the challenge: what the server itself calls the thing that was refused.
    asked: Option<&'a str>,
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

pub(crate) fn basic_header(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}

/// Asks the token server: GET with basic credentials or none, POST with an identity token.
async fn fetch(
    clients: &Clients,
    registry: &Registry<'_>,
    realm: &Realm<'_>,
    scope: &Scope,
    credential: Option<&Credential>,
) -> Result<(Secret, Duration), Error> {
    let operation = Operation::AskingForToken { push: scope.push };
    let fault = |kind: ErrorKind| Error::new(registry.name, operation, &scope.repository, kind);
    let mut url = Url::parse(realm.url)
        .map_err(|_| fault(ErrorKind::Protocol("the token server's address is not a URL".to_owned())))?;
    let mut scopes = scope.texts();
    if let Some(asked) = realm.asked {
        // Some registries name a repository differently in scopes than in paths; theirs counts, ours adds.
        for text in asked.split(' ').filter(|text| !text.is_empty()) {
            let covered = scopes.iter().any(|have| covers(have, text));
            if !covered {
                scopes.push(text.to_owned());
            }
        }
    }
    let secure = url.scheme() == "https" || is_loopback(&url) || !registry.https;
    if !matches!(url.scheme(), "https" | "http") || (!secure && credential.is_some()) {
        let reason = format!("it sends credentials to {} in the clear", redact(&url));
        return Err(fault(ErrorKind::Protocol(reason)));
    }
    let http = clients.http(&url)?;
    let request = if let Some(Credential::IdentityToken(token)) = credential {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "unbloat");
        form.append_pair("service", realm.service.unwrap_or_default());
        form.append_pair("scope", &scopes.join(" "));
        form.append_pair("refresh_token", token.expose());
        http.post(url.clone()).header("content-type", "application/x-www-form-urlencoded").body(form.finish())
    } else {
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = realm.service {
                query.append_pair("service", service);
            }
            for text in &scopes {
                query.append_pair("scope", text);
            }
            if let Some(Credential::Basic { username, .. }) = credential {
                query.append_pair("account", username);
            }
        }
        let request = http.get(url.clone());
        match credential {
            Some(Credential::Basic { username, password }) => {
                request.header("authorization", basic_header(username, password).expose())
            }
            _ => request,
        }
    };
    let response = clients.send_with_retries(request, &fault).await?;
    if !response.status().is_success() {
        return Err(status_error(registry.name, operation, &scope.repository, response).await);
    }
    let body = read_bounded(response, MAX_ANSWER, clients.options().timeouts.stall).await.map_err(&fault)?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| fault(ErrorKind::Protocol("the token server's answer is not JSON".to_owned())))?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    let token = token.filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
    let token =
        token.ok_or_else(|| fault(ErrorKind::Protocol("the token server gave no token".to_owned())))?;
    let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, |s| Duration::from_secs(s.clamp(1, 86_400)));
    Ok((Secret::new(token), lifetime))
}

/// Whether one scope text already asks for another's actions on the same thing.
fn covers(have: &str, asked: &str) -> bool {
    let (Some((have_name, have_actions)), Some((name, actions))) =
        (have.rsplit_once(':'), asked.rsplit_once(':'))
    else {
        return have == asked;
    };
    have_name == name && actions.split(',').all(|action| have_actions.split(',').any(|have| have == action))
}
