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
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if next.len() >= MOST_HOSTS {
                next.retain(|_, turn| *turn > now);
            }
            let slot = next.entry(host.to_owned()).or_insert(now);
            let turn = (*slot).max(now);
            *slot = turn + self.distance;
            turn
        };
        sleep_until(turn).await;
    }

    /// Leaves a host alone for so long.
    pub(super) fn hold(&self, host: &str, patience: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + patience;
        let slot = next.entry(host.to_owned()).or_insert(until);
        *slot = (*slot).max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_has_its_turns_at_an_even_distance_and_others_have_their_own() {
        let pace = Pace::new(10.0);
        let start = Instant::now();
        for _ in 0..21 {
            pace.turn("a.example").await;
        }
        assert_eq!(start.elapsed().as_millis() / 10, 200);
        let before = Instant::now();
        pace.turn("b.example").await;
        assert!(before.elapsed() < Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_asks_for_patience_is_left_alone() {
        let pace = Pace::new(10.0);
        pace.hold("a.example", Duration::from_secs(30));
        let start = Instant::now();
        pace.turn("a.example").await;
        assert!(start.elapsed() >= Duration::from_secs(30));
    }
}
