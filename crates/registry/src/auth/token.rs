//! Authentication to one registry: its challenge, its tokens by scope, and getting new ones.
//!
//! The keyring's candidates are tried in their order, each once: what is refused leads to the next. A token
//! that was good may have expired, so it is got anew with the same credential first; the answer of a program
//! may have expired as well, so it is run again, and its answer is tried if it differs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::challenge::Challenge;
use crate::auth::credential::{Credential, basic_header};
use crate::auth::keyring::{Candidate, Keyring};
use crate::auth::registry::Registry;
use crate::auth::token_server::{self, Realm};
use crate::error::{Error, ErrorKind};
use crate::http::clients::Clients;
use crate::secret::Secret;

/// A token is renewed when less than this is left of it: a request that is under way has to arrive with a
/// valid one.
const MARGIN: Duration = Duration::from_secs(5);
/// A program whose answer was refused is run again once in this time.
const PAUSE: Duration = Duration::from_secs(60);

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
        if self.repository.is_empty() {
            return Vec::new();
        }
        let actions = if self.push { "pull,push" } else { "pull" };
        let mut texts = vec![format!("repository:{}:{actions}", self.repository)];
        texts.extend(self.from.iter().map(|from| format!("repository:{from}:pull")));
        texts
    }

    /// The scopes to ask for after a challenge that names some. The server's own name of a thing counts, and
    /// no more is asked for than the request needs: one that takes a single scope, or refuses actions that an
    /// account may not do, is satisfied.
    fn after_challenge(&self, asked: &str) -> Vec<String> {
        let asked: Vec<String> = asked.split_ascii_whitespace().map(str::to_owned).collect();
        let mut texts = self.texts();
        for text in &asked {
            let name = text.rsplit_once(':').map_or(text.as_str(), |(name, _)| name);
            let own = texts.iter().position(|own| own.rsplit_once(':').is_some_and(|(own, _)| own == name));
            match own {
                Some(at) if covers(text, &texts[at]) => texts[at].clone_from(text),
                // What the request turns out to need besides: a deletion is no push everywhere.
                Some(at) => texts[at] = with_actions(&texts[at], text),
                // Another name for what we ask of: theirs instead of ours.
                None if !texts.is_empty() && asked.len() == 1 => texts[0].clone_from(text),
                None => texts.push(text.clone()),
            }
        }
        texts
    }
}

/// A scope text with the actions of another besides its own.
fn with_actions(have: &str, asked: &str) -> String {
    let mut text = have.to_owned();
    let (_, actions) = asked.rsplit_once(':').unwrap_or_default();
    for action in actions.split(',').filter(|action| !action.is_empty()) {
        let known = text.rsplit_once(':').is_some_and(|(_, own)| own.split(',').any(|one| one == action));
        if !known {
            text = format!("{text},{action}");
        }
    }
    text
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

/// With what a registry's questions are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) keyring: &'a Keyring,
}

/// The state of authentication to one registry.
#[derive(Debug, Default)]
pub(crate) struct Authentication {
    challenge: Mutex<Option<Challenge>>,
    headers: Mutex<HashMap<Scope, Issued>>,
    /// What challenges asked for.
    asked: Mutex<HashMap<Scope, Vec<String>>>,
    /// What programs answered, by candidate.
    answers: Mutex<HashMap<String, Answered>>,
    /// The registry was asked for its challenge, which no answer had.
    asked_at_base: AtomicBool,
    /// Held while a token is fetched, so that 16 requests that find theirs expired fetch one.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Issued {
    header: Secret,
    /// Which of the candidates it was made with.
    rank: usize,
    until: Option<Instant>,
    /// A refusal of it, even one that says 403, need not be the last word: it may have expired, or somebody
    /// may be known.
    better: bool,
    /// The registry has taken it.
    accepted: bool,
}

#[derive(Clone, Debug)]
struct Answered {
    credentials: Vec<Credential>,
    /// Until when it is good, where that is known.
    until: Option<Instant>,
    /// When it was asked for again after a refusal.
    repeated: Option<Instant>,
}

/// Asks a candidate's source for its credentials, and how long they are good.
async fn ask(
    asking: Asking<'_>,
    registry: &Registry<'_>,
    candidate: &Candidate,
    refused: bool,
) -> Result<(Vec<Credential>, Option<Duration>), Error> {
    if let Candidate::Cloud(cloud) = candidate {
        let (credential, lifetime) = cloud.credential(asking.clients, registry).await?;
        return Ok((vec![credential], Some(lifetime)));
    }
    let timeout = asking.clients.options().timeouts.helper;
    asking.keyring.resolve(candidate, registry.name, timeout, refused).await
}

/// A credential's further use after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// From this candidate on.
    At(usize),
    /// This candidate's program is run again first.
    Again(usize),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Authentication {
    /// The `Authorization` header for a scope, if one is known to be needed. Renews one that is about to
    /// expire.
    pub(crate) async fn header(
        &self,
        asking: Asking<'_>,
        registry: &Registry<'_>,
        scope: &Scope,
    ) -> Result<Option<Secret>, Error> {
        let known = lock(&self.challenge).clone();
        let Some(challenge) = known else { return Ok(None) };
        if let Some(issued) = self.valid(scope) {
            return Ok(Some(issued.header));
        }
        let rank = lock(&self.headers).get(scope).map_or(0, |issued| issued.rank);
        self.issue(asking, registry, scope, &challenge, Start::At(rank), None).await
    }

    /// After a 401: a header that differs from the one that failed, or `None` when there is nothing left to
    /// try. `refusals` counts those of one request: what was issued since the first is refused although it is
    /// new.
    pub(crate) async fn renew(
        &self,
        asking: Asking<'_>,
        registry: &Registry<'_>,
        scope: &Scope,
        challenge: Challenge,
        failed: Option<&Secret>,
        refusals: u32,
    ) -> Result<Option<Secret>, Error> {
        *lock(&self.challenge) = Some(challenge.clone());
        if let Challenge::Bearer { scope: Some(asked), .. } = &challenge {
            lock(&self.asked).insert(scope.clone(), scope.after_challenge(asked));
        }
        let current = lock(&self.headers).get(scope).cloned();
        let start = match current {
            None => Start::At(0),
            Some(issued) if failed != Some(&issued.header) => return Ok(Some(issued.header)),
            Some(issued) => {
                let expired = matches!(challenge, Challenge::Bearer { .. }) && issued.until.is_some();
                if expired && refusals <= 1 { Start::At(issued.rank) } else { Start::Again(issued.rank) }
            }
        };
        self.issue(asking, registry, scope, &challenge, start, failed).await
    }

    /// Whether there is something to try after a refusal other than a 401.
    pub(crate) fn could_do_better(&self, scope: &Scope) -> bool {
        lock(&self.headers).get(scope).is_some_and(|issued| issued.better)
    }

    /// A request with what was issued for this scope succeeded.
    pub(crate) fn accepted(&self, scope: &Scope) {
        if let Some(issued) = lock(&self.headers).get_mut(scope) {
            issued.accepted = true;
        }
    }

    /// Whether what was issued for this scope has been taken before and runs out: a refusal of it, even one
    /// that says 403, may mean that its time is over.
    pub(crate) fn may_have_expired(&self, scope: &Scope) -> bool {
        lock(&self.headers).get(scope).is_some_and(|issued| issued.accepted && issued.until.is_some())
    }

    /// Whether it is not known yet what the registry asks for.
    pub(crate) fn is_unasked(&self) -> bool {
        !self.asked_at_base.load(Ordering::Relaxed) && lock(&self.challenge).is_none()
    }

    /// Whether the registry has to be asked for its challenge: the first time.
    pub(crate) fn begin_asking(&self) -> bool {
        !self.asked_at_base.swap(true, Ordering::Relaxed)
    }

    /// What the registry asked for last.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        lock(&self.challenge).clone()
    }

    fn valid(&self, scope: &Scope) -> Option<Issued> {
        let headers = lock(&self.headers);
        let usable = |issued: &&Issued| issued.until.is_none_or(|until| Instant::now() + MARGIN < until);
        // Who may write may read.
        let writing = Scope { push: true, ..scope.clone() };
        headers.get(scope).filter(usable).or_else(|| headers.get(&writing).filter(usable)).cloned()
    }

    async fn issue(
        &self,
        asking: Asking<'_>,
        registry: &Registry<'_>,
        scope: &Scope,
        challenge: &Challenge,
        start: Start,
        failed: Option<&Secret>,
    ) -> Result<Option<Secret>, Error> {
        let _one = self.renewing.lock().await;
        // Another request may have renewed it while this one waited.
        if let Some(issued) = self.valid(scope)
            && failed != Some(&issued.header)
        {
            return Ok(Some(issued.header));
        }
        let candidates = match registry.anonymous {
            true => vec![Candidate::Anonymous],
            false => asking.keyring.candidates(registry.name, &scope.repository),
        };
        let (first, mut again) = match start {
            Start::At(rank) => (rank, false),
            Start::Again(rank) => {
                let renews = candidates.get(rank).is_some_and(Candidate::renews);
                (rank + usize::from(!renews), renews)
            }
        };
        let mut refusal = None;
        for (rank, candidate) in candidates.iter().enumerate().skip(first) {
            loop {
                let credential = match self.credential(asking, registry, candidate, again).await {
                    Ok(credential) => credential,
                    Err(error) => {
                        tracing::warn!("{error}");
                        refusal.get_or_insert(error);
                        break;
                    }
                };
                // A candidate other than nobody that knows nothing has nothing to try.
                if credential.is_none() && !matches!(candidate, Candidate::Anonymous) {
                    break;
                }
                match self
                    .with(asking, registry, challenge, scope, credential.as_ref(), self.until(candidate))
                    .await
                {
                    Ok(Some((header, until))) if failed != Some(&header) => {
                        let nobody = matches!(candidate, Candidate::Anonymous);
                        let better = candidate.renews() || (nobody && rank + 1 < candidates.len());
                        let issued = Issued { header: header.clone(), rank, until, better, accepted: false };
                        lock(&self.headers).insert(scope.clone(), issued);
                        return Ok(Some(header));
                    }
                    Ok(_) => {}
                    // These credentials are not for this token server; the next may be.
                    Err(error) if matches!(error.kind(), ErrorKind::Unauthorized { .. }) => {
                        refusal.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
                if again || !candidate.renews() {
                    break;
                }
                again = true;
            }
            again = false;
        }
        match refusal {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    /// A candidate's credential. With `again`, a program or a cloud is asked once more, and only an answer
    /// that differs counts.
    async fn credential(
        &self,
        asking: Asking<'_>,
        registry: &Registry<'_>,
        candidate: &Candidate,
        again: bool,
    ) -> Result<Option<Credential>, Error> {
        let of = |credentials: &[Credential]| credentials.get(candidate.entry()).cloned();
        if !candidate.renews() {
            return Ok(of(&ask(asking, registry, candidate, again).await?.0));
        }
        let key = candidate.name();
        let known = lock(&self.answers).get(&key).cloned();
        match known {
            // The first entry is asked for before any other; where that failed, so would they.
            None if candidate.entry() > 0 => Ok(None),
            Some(known) if !again && known.until.is_none_or(|until| Instant::now() < until) => {
                Ok(of(&known.credentials))
            }
            Some(known) if again && known.repeated.is_some_and(|at| at.elapsed() < PAUSE) => Ok(None),
            known => {
                let (credentials, lifetime) = ask(asking, registry, candidate, again).await?;
                let credential = of(&credentials);
                let differs = known.as_ref().is_none_or(|known| credential != of(&known.credentials));
                let answered = Answered {
                    credentials,
                    until: lifetime.map(|lifetime| Instant::now() + lifetime),
                    repeated: again.then(Instant::now),
                };
                lock(&self.answers).insert(key, answered);
                Ok(credential.filter(|_| differs || !again))
            }
        }
    }

    /// Until when a candidate's answer is good, where that is known.
    fn until(&self, candidate: &Candidate) -> Option<Instant> {
        lock(&self.answers).get(&candidate.name()).and_then(|answered| answered.until)
    }

    /// The header that a credential gives, and until when it is good.
    pub(crate) async fn with(
        &self,
        asking: Asking<'_>,
        registry: &Registry<'_>,
        challenge: &Challenge,
        scope: &Scope,
        credential: Option<&Credential>,
        until: Option<Instant>,
    ) -> Result<Option<(Secret, Option<Instant>)>, Error> {
        match (challenge, credential) {
            (_, Some(Credential::RegistryToken(token))) => Ok(Some((bearer(token), None))),
            (Challenge::Basic, Some(Credential::Basic { username, password })) => {
                Ok(Some((basic_header(username, password), until)))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let asked = lock(&self.asked).get(scope).cloned();
                let realm = Realm {
                    url: realm,
                    service: service.as_deref(),
                    scopes: asked.unwrap_or_else(|| scope.texts()),
                    push: scope.push,
                    repository: &scope.repository,
                };
                let (token, lifetime) =
                    token_server::fetch(asking.clients, registry, &realm, credential).await?;
                Ok(Some((bearer(&token), Some(Instant::now() + lifetime))))
            }
        }
    }
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(push: bool, from: Option<&str>) -> Scope {
        Scope { repository: "a/b".to_owned(), push, from: from.map(str::to_owned) }
    }

    #[test]
    fn no_more_is_asked_for_than_the_request_needs() {
        assert_eq!(scope(false, None).texts(), ["repository:a/b:pull"]);
        assert_eq!(scope(true, None).texts(), ["repository:a/b:pull,push"]);
        assert_eq!(scope(true, Some("c")).texts(), ["repository:a/b:pull,push", "repository:c:pull"]);
    }

    #[test]
    fn the_servers_name_of_a_repository_counts_and_stands_alone() {
        assert_eq!(
            scope(false, None).after_challenge("repository:proj/a/b:pull"),
            ["repository:proj/a/b:pull"]
        );
        assert_eq!(
            scope(true, None).after_challenge("repository:a/b:push,pull"),
            ["repository:a/b:push,pull"]
        );
        assert_eq!(scope(true, None).after_challenge("repository:a/b:pull"), ["repository:a/b:pull,push"]);
        assert_eq!(
            scope(false, None).after_challenge("repository:a/b:pull,push"),
            ["repository:a/b:pull,push"]
        );
        assert_eq!(
            scope(true, Some("c")).after_challenge("repository:a/b:pull,push repository:c:pull"),
            ["repository:a/b:pull,push", "repository:c:pull"]
        );
        // The distribution project's registry asks for this alone where something is deleted.
        assert_eq!(
            scope(true, None).after_challenge("repository:a/b:delete"),
            ["repository:a/b:pull,push,delete"]
        );
    }
}
