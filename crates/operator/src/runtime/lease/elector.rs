//! Reading and writing the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::time::timeout;

use super::{Claim, SAFETY, Sighting, Times, decide};

/// Whether this process may act. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    start: Instant,
    /// Milliseconds after `start` until which the lease is good; 0 while it is another's.
    until: Arc<AtomicU64>,
}

/// The lease is lost: the process has to end.
#[derive(Debug, thiserror::Error)]
#[error("the lease {name} is lost to {to}; ending, so that nothing is done twice")]
pub(crate) struct Lost {
    name: String,
    to: String,
}

impl Leadership {
    fn none() -> Self {
        Self { start: Instant::now(), until: Arc::default() }
    }

    /// For a single operator without election: always valid.
    pub(crate) fn unconditional() -> Self {
        let leadership = Self::none();
        leadership.until.store(u64::MAX, Ordering::Release);
        leadership
    }

    /// Whether the lease is still good now.
    pub(crate) fn is_valid(&self) -> bool {
        self.is_valid_at(Instant::now())
    }

    fn is_valid_at(&self, now: Instant) -> bool {
        let elapsed = u64::try_from(now.duration_since(self.start).as_millis()).unwrap_or(u64::MAX - 1);
        elapsed < self.until.load(Ordering::Acquire)
    }

    /// The request that renewed it was sent at `sent`.
    fn renewed(&self, sent: Instant, duration: Duration) {
        let until = sent.duration_since(self.start) + duration.saturating_sub(SAFETY);
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn dropped(&self) {
        self.until.store(0, Ordering::Release);
    }
}

/// One candidate.
pub(crate) struct Elector {
    api: Api<Lease>,
    name: String,
    me: String,
    times: Times,
    leadership: Leadership,
    seen: Option<Sighting>,
}

impl Elector {
    /// A candidate named `me` for the lease `name`. The client must not retry by itself: a request that is
    /// repeated after its time would renew a lease that was given up.
    pub(crate) fn new(api: Api<Lease>, name: &str, me: &str, times: Times) -> Self {
        let leadership = Leadership::none();
        Self { api, name: name.to_owned(), me: me.to_owned(), times, leadership, seen: None }
    }

    /// The handle to ask before each use.
    pub(crate) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this candidate leads. Cancel-safe.
    pub(crate) async fn acquire(&mut self) {
        let mut told = None;
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {
                    let holder = self.seen.as_ref().map(|seen| seen.holder.clone());
                    if holder != told {
                        tracing::info!(lease = %self.name, holder = holder.as_deref(), "standing by");
                        told = holder;
                    }
                }
                Err(error) => tracing::warn!(lease = %self.name, %error, "cannot look at the lease"),
            }
            tokio::time::sleep(self.times.period).await;
        }
    }

    /// Renews until the lease is lost.
    pub(crate) async fn hold(&mut self) -> Lost {
        loop {
            tokio::time::sleep(self.times.period).await;
            match self.attempt().await {
                Ok(true) => {}
                Ok(false) => {
                    self.leadership.dropped();
                    let to = self.seen.as_ref().map_or("another operator", |seen| seen.holder.as_str());
                    return Lost { name: self.name.clone(), to: to.to_owned() };
                }
                Err(error) => tracing::warn!(lease = %self.name, %error, "cannot renew the lease"),
            }
            if !self.leadership.is_valid() {
                return Lost { name: self.name.clone(), to: "the time: it could not be renewed".to_owned() };
            }
        }
    }

    /// Gives the lease back, so that a standby needs not wait for its end.
    pub(crate) async fn release(&mut self) {
        if !self.leadership.is_valid() {
            return;
        }
        self.leadership.dropped();
        let released = async {
            let mut lease = self.api.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(self.me.as_str()) {
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = timeout(self.times.request, released).await {
            tracing::warn!(lease = %self.name, %error, "cannot release the lease; it lapses by itself");
        }
    }

    /// Looks at the lease once and writes it if it is ours or free; whether it is ours then.
    async fn attempt(&mut self) -> Result<bool, AttemptError> {
        let sent = Instant::now();
        let limit = self.times.request;
        let result = timeout(limit, self.try_attempt()).await.unwrap_or(Err(AttemptError::Timeout(limit)));
        if let Ok(true) = result {
            self.leadership.renewed(sent, self.times.duration);
        }
        result
    }

    async fn try_attempt(&mut self) -> Result<bool, AttemptError> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            return self.write(None).await;
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        match decide(spec, &version, self.seen.as_ref(), &self.me, self.times.duration, Instant::now()) {
            Claim::Wait(sighting) => {
                self.seen = Some(sighting);
                Ok(false)
            }
            Claim::Renew | Claim::Take => self.write(Some(lease)).await,
        }
    }

    /// Writes the lease as ours; a conflict means that another one was faster.
    async fn write(&mut self, old: Option<Lease>) -> Result<bool, AttemptError> {
        let now = MicroTime(Timestamp::now());
        let before = old.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let mine = before.holder_identity.as_deref() == Some(self.me.as_str());
        let spec = LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.times.duration.as_secs()).ok(),
            acquire_time: if mine { before.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!mine)),
            ..before
        };
        let written = match old {
            Some(lease) => {
                self.api
                    .replace(&self.name, &PostParams::default(), &Lease { spec: Some(spec), ..lease })
                    .await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("no answer from the API server within {0:?}")]
    Timeout(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leadership_ends_before_anybody_else_could_take_the_lease() {
        let leadership = Leadership::none();
        let sent = leadership.start + Duration::from_secs(100);
        assert!(!leadership.is_valid_at(sent));
        leadership.renewed(sent, Duration::from_secs(15));
        assert!(leadership.is_valid_at(sent + Duration::from_secs(11)));
        // Others may take it 15 s after they saw the renewal, which is after it was sent.
        assert!(!leadership.is_valid_at(sent + Duration::from_secs(12)));
        leadership.dropped();
        assert!(!leadership.is_valid_at(sent));
    }
}
