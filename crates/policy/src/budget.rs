//! What a policy may still spend, from its status: a restart refills nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use unbloat_api::Finding;
use unbloat_api::squash_policy::Spent;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// Names that are paid for and not seen yet, at most; the schema has the same bound.
const MOST_STARTING: usize = 64;

/// The limits as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Jobs an hour.
    pub jobs_per_hour: i32,
    /// Compressed bytes a day.
    pub bytes_per_day: i64,
}

/// The status's account, with hours and days that are over closed.
pub fn current(spent: &Spent, now: Timestamp) -> Spent {
    let mut spent = spent.clone();
    if is_over(spent.hour_start.as_ref(), HOUR, now) {
        spent.hour_start = None;
        spent.jobs_this_hour = 0;
    }
    if is_over(spent.day_start.as_ref(), DAY, now) {
        spent.day_start = None;
        spent.bytes_today = 0;
    }
    spent
}

/// A start in the future is a clock that was set back: it counts as now, so that nothing stays closed for
/// years.
fn is_over(start: Option<&Time>, length: i64, now: Timestamp) -> bool {
    start.is_none_or(|start| {
        let passed = now.as_second() - start.0.as_second();
        passed >= length || passed < -length
    })
}

/// Whether a job of this name for so many bytes may be made; what keeps it from it otherwise.
///
/// # Errors
/// The limit that is reached.
pub fn check(spent: &Spent, name: &str, bytes: i64, allowance: Allowance) -> Result<(), Finding> {
    if is_paid(spent, name) {
        return Ok(());
    }
    if spent.jobs_this_hour >= allowance.jobs_per_hour {
        return Err(Finding::HourSpent);
    }
    if bytes > allowance.bytes_per_day {
        return Err(Finding::LargerThanDay);
    }
    if spent.bytes_today.saturating_add(bytes) > allowance.bytes_per_day {
        return Err(Finding::DaySpent);
    }
    if spent.starting.len() >= MOST_STARTING {
        return Err(Finding::WaitingForPlace);
    }
    Ok(())
}

/// Whether a job was paid for before the operator was killed.
pub(crate) fn is_paid(spent: &Spent, name: &str) -> bool {
    spent.starting.iter().any(|paid| paid == name)
}

/// Pays for a job, before it is made. One that is paid for isn't paid for again.
pub(crate) fn pay(spent: &mut Spent, name: &str, bytes: i64, now: Timestamp) {
    if is_paid(spent, name) {
        return;
    }
    spent.hour_start.get_or_insert(Time(now));
    spent.day_start.get_or_insert(Time(now));
    spent.jobs_this_hour = spent.jobs_this_hour.saturating_add(1);
    spent.bytes_today = spent.bytes_today.saturating_add(bytes.max(0)).min(9_007_199_254_740_991);
    spent.starting.push(name.to_owned());
}

/// Forgets the names of jobs that exist now.
pub fn seen(spent: &mut Spent, exists: impl Fn(&str) -> bool) {
    spent.starting.retain(|name| !exists(name));
}

/// When the account changes by itself next.
pub(crate) fn next_refill(spent: &Spent) -> Option<Timestamp> {
    let end = |start: &Option<Time>, length| {
        start.as_ref().and_then(|start| Timestamp::from_second(start.0.as_second() + length).ok())
    };
    [end(&spent.hour_start, HOUR), end(&spent.day_start, DAY)].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { jobs_per_hour: 2, bytes_per_day: 100 };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn an_hours_jobs_and_a_days_bytes_are_kept_to_and_come_back() {
        let mut spent = Spent::default();
        for name in ["a", "b"] {
            assert_eq!(check(&spent, name, 40, ALLOWANCE), Ok(()));
            pay(&mut spent, name, 40, at(0));
        }
        assert_eq!(check(&spent, "c", 1, ALLOWANCE), Err(Finding::HourSpent));
        let later = current(&spent, at(3599));
        assert_eq!(check(&later, "c", 1, ALLOWANCE), Err(Finding::HourSpent));
        let later = current(&spent, at(3600));
        assert_eq!(check(&later, "c", 20, ALLOWANCE), Ok(()));
        assert_eq!(check(&later, "c", 21, ALLOWANCE), Err(Finding::DaySpent));
        assert_eq!(check(&later, "c", 101, ALLOWANCE), Err(Finding::LargerThanDay));
        assert_eq!(check(&current(&spent, at(86_400)), "c", 100, ALLOWANCE), Ok(()));
    }

    #[test]
    fn a_restart_between_paying_and_making_pays_once() {
        let mut spent = Spent::default();
        pay(&mut spent, "a", 40, at(0));
        // What another process reads from the status.
        let text = serde_json::to_string(&spent).unwrap();
        let mut read: Spent = serde_json::from_str(&text).unwrap();
        for _ in 0..50 {
            assert_eq!(check(&read, "a", 40, ALLOWANCE), Ok(()));
            pay(&mut read, "a", 40, at(1));
        }
        assert_eq!((read.jobs_this_hour, read.bytes_today), (1, 40));
        seen(&mut read, |name| name == "a");
        assert!(!is_paid(&read, "a"));
    }

    #[test]
    fn a_clock_that_was_far_ahead_closes_nothing_for_ever() {
        let mut spent = Spent::default();
        pay(&mut spent, "a", 100, at(10_000_000));
        assert_eq!(current(&spent, at(0)).bytes_today, 0);
        // A little ahead is another node's clock.
        let mut spent = Spent::default();
        pay(&mut spent, "a", 100, at(30));
        assert_eq!(current(&spent, at(0)).bytes_today, 100);
    }
}
