//! When a policy's jobs may start.
//!
//! A schedule is read in the civil time of its zone and only then put on the time line: a start that falls
//! into the hour that a spring night skips opens when that hour would have passed, one that an autumn night
//! has twice opens once. What follows is real time: a window of four hours is open for four hours in every
//! night.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use k8s_openapi::jiff::Timestamp;
use unbloat_api::Finding;
use unbloat_api::squash_policy::Window;

/// Clocks are never changed by more than this; starts are looked for so much earlier and later.
const LARGEST_CHANGE: Duration = Duration::hours(3);
/// Starts that are looked at, at most: one a minute for a month, and a day.
const MOST_STARTS: usize = 32 * 24 * 60;
/// The fields of a schedule.
const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];

/// A window that can be asked.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
    duration: Duration,
}

/// Why a window can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// `InvalidSchedule` or `InvalidTimeZone`.
    pub finding: Finding,
    /// The field, the position, and what is wrong there.
    pub message: String,
}

/// Whether windows let a job start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// One is open, or there are none.
    Open,
    /// All are closed until then; `None` when none ever opens again.
    ClosedUntil(Option<Timestamp>),
}

impl Schedule {
    /// Reads the window at this place of `spec.windows`.
    ///
    /// # Errors
    /// [`Invalid`] names the field and the position in it.
    pub fn parse(place: usize, window: &Window) -> Result<Self, Invalid> {
        let Window { schedule, duration_seconds, time_zone } = window;
        let zone = time_zone.parse::<Tz>().map_err(|_| Invalid {
            finding: Finding::InvalidTimeZone,
            message: format!("windows[{place}].timeZone {time_zone:?} is not in the IANA database"),
        })?;
        let invalid = |words: String| Invalid {
            finding: Finding::InvalidSchedule,
            message: format!("windows[{place}].schedule {schedule:?}: {words}"),
        };
        let cron = parse(schedule).map_err(&invalid)?;
        let known = Self { cron, zone, duration: Duration::seconds(*duration_seconds) };
        if known.next_civil(DateTime::UNIX_EPOCH.naive_utc()).is_none() {
            return Err(invalid("it names a day that never comes".to_owned()));
        }
        Ok(known)
    }

    /// Whether it is open.
    fn is_open(&self, now: DateTime<Utc>) -> bool {
        let from = now - self.duration - LARGEST_CHANGE;
        self.starts_after(from).take_while(|start| *start <= now).any(|start| now < start + self.duration)
    }

    /// The first start after now.
    fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.starts_after(now - LARGEST_CHANGE).find(|start| *start > now)
    }

    /// Starts whose civil time is after the civil time of `from`, in order.
    fn starts_after(&self, from: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        let mut civil = from.with_timezone(&self.zone).naive_local();
        let starts = std::iter::from_fn(move || {
            civil = self.next_civil(civil)?;
            Some(self.on_the_time_line(civil))
        });
        starts.take(MOST_STARTS)
    }

    /// The schedule knows no zone here: UTC, which skips and repeats nothing, stands for civil time.
    fn next_civil(&self, civil: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&civil.and_utc(), false).ok().map(|next| next.naive_utc())
    }

    fn on_the_time_line(&self, civil: NaiveDateTime) -> DateTime<Utc> {
        match self.zone.from_local_datetime(&civil) {
            LocalResult::Single(start) | LocalResult::Ambiguous(start, _) => start.to_utc(),
            // The hour that is skipped: with the offset before it, which is when it would have been.
            LocalResult::None => {
                let before = (civil - LARGEST_CHANGE).and_utc();
                let offset = self.zone.offset_from_utc_datetime(&before.naive_utc()).fix();
                civil.and_utc() - Duration::seconds(i64::from(offset.local_minus_utc()))
            }
        }
    }
}

/// Whether one of the windows is open, and else when the next one opens.
pub fn opening(windows: &[Schedule], now: Timestamp) -> Opening {
    let Some(now) = DateTime::from_timestamp(now.as_second(), 0) else { return Opening::ClosedUntil(None) };
    if windows.is_empty() || windows.iter().any(|window| window.is_open(now)) {
        return Opening::Open;
    }
    let next = windows.iter().filter_map(|window| window.next(now)).min();
    Opening::ClosedUntil(next.and_then(|next| Timestamp::from_second(next.timestamp()).ok()))
}

/// The library names no position, so that fields are tried one by one to find the bad one.
fn parse(schedule: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let mut fields = Vec::new();
    let mut position = 0;
    for field in schedule.split(' ') {
        if !field.is_empty() {
            fields.push((position + 1, field));
        }
        position += field.chars().count() + 1;
    }
    for (number, name) in FIELDS.iter().enumerate() {
        let Some((position, field)) = fields.get(number) else {
            return Err(format!("position {}: {name} is missing", schedule.chars().count() + 1));
        };
        let alone: Vec<&str> = (0..FIELDS.len()).map(|at| if at == number { *field } else { "*" }).collect();
        parser.parse(&alone.join(" ")).map_err(|error| format!("position {position}: {name}: {error}"))?;
    }
    if let Some((position, _)) = fields.get(FIELDS.len()) {
        return Err(format!("position {position}: there are five fields"));
    }
    let whole: Vec<&str> = fields.iter().map(|(_, field)| *field).collect();
    parser.parse(&whole.join(" ")).map_err(|error| format!("position 1: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(schedule: &str, hours: i64, zone: &str) -> Window {
        Window { schedule: schedule.to_owned(), duration_seconds: hours * 3600, time_zone: zone.to_owned() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn state(window: &Window, now: &str) -> Opening {
        opening(&[Schedule::parse(0, window).expect("a window")], at(now))
    }

    #[test]
    fn no_window_is_always_open() {
        assert_eq!(opening(&[], at("2026-01-01T00:00:00Z")), Opening::Open);
    }

    #[test]
    fn a_window_opens_closes_and_says_when_it_opens_next() {
        let window = window("0 1 * * *", 4, "UTC");
        for (now, expected) in [
            ("2026-05-10T00:59:59Z", Opening::ClosedUntil(Some(at("2026-05-10T01:00:00Z")))),
            ("2026-05-10T01:00:00Z", Opening::Open),
            ("2026-05-10T04:59:59Z", Opening::Open),
            ("2026-05-10T05:00:00Z", Opening::ClosedUntil(Some(at("2026-05-11T01:00:00Z")))),
        ] {
            assert_eq!(state(&window, now), expected, "{now}");
        }
    }

    #[test]
    fn a_window_goes_on_over_midnight_and_over_the_end_of_its_days() {
        // Friday evening into Saturday morning.
        let window = window("0 22 * * 1-5", 6, "Europe/Berlin");
        for (now, open) in [
            ("2026-05-08T19:59:00Z", false),
            ("2026-05-08T20:00:00Z", true),
            ("2026-05-08T22:30:00Z", true),
            ("2026-05-09T01:59:00Z", true),
            ("2026-05-09T02:00:00Z", false),
            ("2026-05-09T21:00:00Z", false),
        ] {
            assert_eq!(state(&window, now) == Opening::Open, open, "{now}");
        }
    }

    #[test]
    fn a_night_in_which_clocks_change_is_as_long_as_every_other() {
        let window = window("0 1 * * *", 4, "Europe/Berlin");
        // Spring: 01:00 is +01:00, the window's four hours end at 06:00 +02:00.
        for (now, open) in [
            ("2026-03-28T23:59:00Z", false),
            ("2026-03-29T00:00:00Z", true),
            ("2026-03-29T03:59:00Z", true),
            ("2026-03-29T04:00:00Z", false),
        ] {
            assert_eq!(state(&window, now) == Opening::Open, open, "{now}");
        }
        // Autumn: 01:00 is +02:00.
        for (now, open) in [
            ("2026-10-24T22:59:00Z", false),
            ("2026-10-24T23:00:00Z", true),
            ("2026-10-25T02:59:00Z", true),
            ("2026-10-25T03:00:00Z", false),
        ] {
            assert_eq!(state(&window, now) == Opening::Open, open, "{now}");
        }
    }

    #[test]
    fn a_start_that_the_night_skips_opens_after_it_and_one_that_it_repeats_opens_once() {
        let window = window("30 2 * * *", 1, "Europe/Berlin");
        // 02:30 doesn't exist on 29 March: 03:30 +02:00 is when it would have been.
        for (now, open) in [
            ("2026-03-29T01:29:00Z", false),
            ("2026-03-29T01:30:00Z", true),
            ("2026-03-29T02:29:00Z", true),
            ("2026-03-29T02:30:00Z", false),
        ] {
            assert_eq!(state(&window, now) == Opening::Open, open, "{now}");
        }
        // 02:30 comes twice on 25 October: at 00:30Z and at 01:30Z.
        for (now, open) in [
            ("2026-10-25T00:29:00Z", false),
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:29:00Z", true),
            ("2026-10-25T01:30:00Z", false),
            ("2026-10-25T02:00:00Z", false),
        ] {
            assert_eq!(state(&window, now) == Opening::Open, open, "{now}");
        }
        assert_eq!(
            state(&window, "2026-10-25T01:30:00Z"),
            Opening::ClosedUntil(Some(at("2026-10-26T01:30:00Z")))
        );
    }

    #[test]
    fn windows_that_overlap_are_one() {
        let windows = [window("* * * * *", 31 * 24, "UTC"), window("0 1 1 1 *", 1, "Asia/Kathmandu")]
            .iter()
            .map(|window| Schedule::parse(0, window).unwrap())
            .collect::<Vec<_>>();
        assert_eq!(opening(&windows, at("2026-05-10T12:34:56Z")), Opening::Open);
    }

    #[test]
    fn what_cannot_be_read_says_field_and_position() {
        for (schedule, zone, finding, words) in [
            ("61 * * * *", "UTC", Finding::InvalidSchedule, "windows[2].schedule \"61 * * * *\": position 1"),
            ("0 1 * *", "UTC", Finding::InvalidSchedule, "position"),
            ("0 25 * * *", "UTC", Finding::InvalidSchedule, "position 3"),
            ("0 1 * * nope", "UTC", Finding::InvalidSchedule, "position 9"),
            ("0 0 30 2 *", "UTC", Finding::InvalidSchedule, "never comes"),
            (
                "0 1 * * *",
                "Europe/Atlantis",
                Finding::InvalidTimeZone,
                "windows[2].timeZone \"Europe/Atlantis\"",
            ),
            ("0 1 * * *", "", Finding::InvalidTimeZone, "timeZone"),
        ] {
            let invalid = Schedule::parse(2, &window(schedule, 1, zone)).expect_err(schedule);
            assert_eq!(invalid.finding, finding, "{schedule}");
            assert!(invalid.message.contains(words), "{schedule}: {}", invalid.message);
            assert!(!invalid.message.contains('\n'), "{}", invalid.message);
        }
    }
}
