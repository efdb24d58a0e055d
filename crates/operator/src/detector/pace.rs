//! How often a registry is asked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Hosts that are remembered; what was quiet for long is forgotten first.
const MOST_HOSTS: usize = 4096;

/// Turns for each host: one after another, at an even distance, and none while a host asked for patience.
#[derive(Debug)]
pub(super) struct Pace {
    distance: Duration,
    next: Mutex<HashMap<String, Instant>>,
}

impl Pace {
    /// So many requests a second for each host.
    pub(super) fn new(per_second: f64) -> Self {
        Self { distance: Duration::from_secs_f64(1.0 / per_second.max(0.001)), next: Mutex::default() }
    }

    /// Waits for the next turn of a host.
    pub(super) async fn turn(&self, host: &str) {
        let turn = self.claim(host, Instant::now());
        sleep_until(turn).await;
    }

    /// Takes the next turn of a host: when it is.
    fn claim(&self, host: &str, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.len() >= MOST_HOSTS {
            next.retain(|_, turn| *turn > now);
        }
        let slot = next.entry(host.to_owned()).or_insert(now);
        let turn = (*slot).max(now);
        *slot = turn + self.distance;
        turn
    }

    /// Leaves a host alone for so long.
    pub(super) fn hold(&self, host: &str, patience: Duration) {
        self.hold_until(host, Instant::now() + patience);
    }

    fn hold_until(&self, host: &str, until: Instant) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = next.entry(host.to_owned()).or_insert(until);
        *slot = (*slot).max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_turns_at_an_even_distance_and_others_have_their_own() {
        let pace = Pace::new(10.0);
        let now = Instant::now();
        let turns: Vec<_> = (0..21).map(|_| pace.claim("a.example", now) - now).collect();
        assert!(turns.windows(2).all(|two| two[1] - two[0] == Duration::from_millis(100)), "{turns:?}");
        assert_eq!(pace.claim("b.example", now), now);
        // A pause saves no turns up: a registry that was left alone is not asked in a burst.
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.claim("a.example", later), later);
        assert_eq!(pace.claim("a.example", later), later + Duration::from_millis(100));
    }

    #[test]
    fn a_host_that_asks_for_patience_is_left_alone() {
        let pace = Pace::new(10.0);
        let now = Instant::now();
        let until = now + Duration::from_secs(30);
        pace.hold_until("a.example", until);
        assert_eq!(pace.claim("a.example", now), until);
        pace.hold_until("a.example", now);
        assert!(pace.claim("a.example", now) > until);
        assert_eq!(pace.claim("b.example", now), now);
    }
}
