//! How long a job waits after a failed attempt.
//!
//! The wait is a function of the job's uid and its number of failures, both durable: an operator that
//! restarts computes nothing anew and starts no stampede, and jobs that failed together (a registry was down)
//! don't come back together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Base, doubled for each failure, at most `cap`, less up to a fifth that depends on the uid.
pub(crate) fn wait(uid: &str, failures: i32, base: Duration, cap: Duration) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(16);
    let full = base.saturating_mul(1 << doublings).min(cap);
    // SipHash with fixed keys: the same uid and failure give the same wait in every process.
    let mut hasher = DefaultHasher::new();
    (uid, failures).hash(&mut hasher);
    let thousandths = u32::try_from(hasher.finish() % 200).unwrap_or(0);
    full - full / 1000 * thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(10);
    const CAP: Duration = Duration::from_secs(360);

    #[test]
    fn waits_double_up_to_the_cap_and_lose_at_most_a_fifth() {
        for failures in 1..64 {
            let full = BASE.saturating_mul(1 << (failures - 1).min(16)).min(CAP);
            let wait = wait("uid", failures, BASE, CAP);
            assert!(wait <= full && wait >= full * 4 / 5, "{failures}: {wait:?}");
        }
    }

    #[test]
    fn jobs_that_fail_together_do_not_come_back_together() {
        let mut waits: Vec<_> = (0..50).map(|n| wait(&format!("uid-{n}"), 1, BASE, CAP)).collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 30, "{} different waits", waits.len());
    }
}
