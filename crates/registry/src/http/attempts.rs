//! How often something is tried, and how long the waits between are.

use std::time::Duration;

use crate::error::Error;
use crate::http::troubles::Troubles;

/// Backoff between attempts: `base * 2^n`, at most `cap`, a random half of it taken off.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts, the first one included. A blob that made progress starts counting anew.
    pub attempts: u32,
    /// First wait.
    pub base: Duration,
    /// Longest wait that is our own choice.
    pub cap: Duration,
    /// Longest `Retry-After` that is honoured; a server that asks for more gets an error instead of a silent
    /// hour.
    pub longest_retry_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(20),
            longest_retry_after: Duration::from_secs(300),
        }
    }
}

impl Retry {
    /// How long to wait when a server asked for this: no less, and a little more, so that clients do not come
    /// back at once.
    pub(crate) fn spread(&self, asked: Duration) -> Duration {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), asked);
        asked + (asked / 8).min(Duration::from_secs(2)).mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Wait before attempt `attempt` (1 is the first retry).
    pub(crate) fn wait(&self, attempt: u32) -> Duration {
        let full = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.cap);
        // The hasher's keys are random for each call: enough for spreading clients, and no dependency.
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), attempt);
        let half = full / 2;
        half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// The attempts at one thing: a request, a chunk, the next bytes of a blob.
#[derive(Debug)]
pub(crate) struct Attempts {
    retry: Retry,
    failures: u32,
    troubles: Troubles,
    /// The number of the trouble that was told.
    told: Option<u64>,
}

impl Attempts {
    /// Attempts that nobody watches.
    pub(crate) fn new(retry: Retry) -> Self {
        Self::telling(retry, &Troubles::default())
    }

    /// Attempts that tell what they wait for to pass.
    pub(crate) fn telling(retry: Retry, troubles: &Troubles) -> Self {
        Self { retry, failures: 0, troubles: troubles.clone(), told: None }
    }

    /// No more than so many.
    pub(crate) fn at_most(mut self, attempts: u32) -> Self {
        self.retry.attempts = self.retry.attempts.min(attempts);
        self
    }

    /// Something came of it: what follows is counted anew.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
        self.is_over();
    }

    fn is_over(&mut self) {
        if let Some(number) = self.told.take() {
            self.troubles.over(number);
        }
    }

    /// Counts a failure that cannot be waited out. `false` when the attempts are used up.
    pub(crate) fn count(&mut self) -> bool {
        self.failures += 1;
        self.failures < self.retry.attempts
    }

    /// Counts a failure and waits: for as long as the server asked, else for our own time. `false`, without a
    /// wait, when the attempts are used up or the server asked for more than is honoured.
    pub(crate) async fn again(&mut self, asked: Option<Duration>) -> bool {
        if !self.count() {
            return false;
        }
        if asked.is_some_and(|asked| asked > self.retry.longest_retry_after) {
            return false;
        }
        let wait = asked.map_or_else(|| self.retry.wait(self.failures), |asked| self.retry.spread(asked));
        tracing::debug!(failures = self.failures, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        true
    }

    /// As [`Attempts::again`]; `false` for an error that no attempt can mend, too.
    pub(crate) async fn again_after(&mut self, error: &Error) -> bool {
        if !error.is_retryable() {
            return false;
        }
        tracing::debug!(%error, "a failure that may pass");
        self.again_for(error).await
    }

    /// As [`Attempts::again`], for as long as this error's server asked, whatever the error is.
    pub(crate) async fn again_for(&mut self, error: &Error) -> bool {
        self.told = Some(self.troubles.put(self.told, error.to_string()));
        self.again(error.retry_after()).await
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.is_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(attempts: u32) -> Retry {
        Retry { attempts, base: Duration::ZERO, ..Retry::default() }
    }

    #[tokio::test]
    async fn the_first_attempt_counts_and_progress_begins_anew() {
        let mut attempts = Attempts::new(retry(3));
        assert!(attempts.again(None).await);
        assert!(attempts.again(None).await);
        assert!(!attempts.again(None).await);
        attempts.progressed();
        assert!(attempts.again(None).await);
    }

    #[tokio::test]
    async fn an_hour_is_not_waited_for() {
        let mut attempts = Attempts::new(retry(3));
        assert!(!attempts.again(Some(Duration::from_secs(3600))).await);
        assert!(attempts.again(Some(Duration::ZERO)).await);
    }

    #[test]
    fn waits_grow_to_the_cap_and_never_exceed_it() {
        let retry = Retry::default();
        for attempt in 1..40 {
            let wait = retry.wait(attempt);
            assert!(wait <= retry.cap);
            let full = retry.base.saturating_mul(1 << (attempt - 1).min(16)).min(retry.cap);
            assert!(wait >= full / 2, "attempt {attempt} waits {wait:?}");
        }
    }
}
