//! The decision about a lease, without client and clock.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;

/// What a candidate remembers of a lease that another one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Who holds it.
    pub(crate) holder: String,
    /// What changes when it is renewed.
    pub(crate) version: String,
    /// When this version was first seen, by our own clock.
    pub(crate) since: Instant,
}

/// What to do about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours: renew it.
    Renew,
    /// Nobody holds it, or its holder let it lapse: take it.
    Take,
    /// Another one holds it; look again, with this memory.
    Wait(Sighting),
}

/// Decides what to do about a lease that was just read with resource version `version`.
///
/// `seen` is the memory of the look before. A lease lapses `duration` after *we* saw its last change: its own
/// times come from another node's clock.
pub(crate) fn decide(
    spec: &LeaseSpec,
    version: &str,
    seen: Option<&Sighting>,
    me: &str,
    duration: Duration,
    now: Instant,
) -> Claim {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        return Claim::Renew;
    }
    if holder.is_empty() {
        return Claim::Take;
    }
    match seen {
        Some(seen) if seen.version == version && seen.holder == holder => {
            // The holder may count on a longer lease than ours is configured to be.
            let theirs = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let duration = duration.max(Duration::from_secs(theirs.unwrap_or(0)));
            if now.duration_since(seen.since) >= duration { Claim::Take } else { Claim::Wait(seen.clone()) }
        }
        _ => Claim::Wait(Sighting { holder: holder.to_owned(), version: version.to_owned(), since: now }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_free_lease_is_taken_and_an_own_one_renewed() {
        let now = Instant::now();
        assert_eq!(decide(&LeaseSpec::default(), "1", None, "me", DURATION, now), Claim::Take);
        assert_eq!(decide(&held_by(""), "1", None, "me", DURATION, now), Claim::Take);
        assert_eq!(decide(&held_by("me"), "1", None, "me", DURATION, now), Claim::Renew);
    }

    #[test]
    fn a_held_lease_is_taken_only_a_full_duration_after_its_last_change_was_seen() {
        let start = Instant::now();
        let Claim::Wait(first) = decide(&held_by("other"), "1", None, "me", DURATION, start) else {
            panic!("wait")
        };
        let almost = start + DURATION - Duration::from_millis(1);
        assert_eq!(
            decide(&held_by("other"), "1", Some(&first), "me", DURATION, almost),
            Claim::Wait(first.clone())
        );
        assert_eq!(
            decide(&held_by("other"), "1", Some(&first), "me", DURATION, start + DURATION),
            Claim::Take
        );
    }

    #[test]
    fn a_renewal_and_a_new_holder_start_the_wait_anew() {
        let start = Instant::now();
        let seen = Sighting { holder: "other".into(), version: "1".into(), since: start };
        let later = start + DURATION * 2;
        for (holder, version) in [("other", "2"), ("third", "1")] {
            let Claim::Wait(sighting) = decide(&held_by(holder), version, Some(&seen), "me", DURATION, later)
            else {
                panic!("{holder} {version}");
            };
            assert_eq!(sighting.since, later);
        }
    }

    #[test]
    fn a_holder_with_a_longer_lease_is_given_its_time() {
        let start = Instant::now();
        let mut spec = held_by("other");
        spec.lease_duration_seconds = Some(60);
        let seen = Sighting { holder: "other".into(), version: "1".into(), since: start };
        assert!(matches!(decide(&spec, "1", Some(&seen), "me", DURATION, start + DURATION), Claim::Wait(_)));
        assert_eq!(decide(&spec, "1", Some(&seen), "me", DURATION, start + DURATION * 4), Claim::Take);
    }
}
