//! How often something is tried, and how long the waits between are.

use std::time::Duration;

use crate::error::Error;
use crate::options::Retry;

/// The attempts at one thing: a request, a chunk, the next bytes of a blob.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempts {
    retry: Retry,
    failures: u32,
}

impl Attempts {
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, failures: 0 }
    }

    /// No more than so many.
    pub(crate) fn at_most(mut self, attempts: u32) -> Self {
        self.retry.attempts = self.retry.attempts.min(attempts);
        self
    }

    /// Something came of it: what follows is counted anew.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure that cannot be waited out. `false` when the attempts are used up.
    pub(crate) fn count(&mut self) -> bool {
        self.failures += 1;
        self.failures < self.retry.attempts
    }

    /// Counts a failure and waits: for as long as the server asked, else for our own time. `false`, without a wait, when the
    /// attempts are used up or the server asked for more than is honoured.
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
        self.again(error.retry_after()).await
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
}
