//! Durations as Kubernetes writes them: Go's `time.ParseDuration`.

use std::time::Duration;

/// The longest that is told apart from for ever.
const LONGEST: f64 = 1e9;

/// Parses `12h`, `1h30m`, `0.5s`, `0`. Negative ones, which mean nothing here, are none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = after;
    }
    Duration::try_from_secs_f64(f64::min(seconds, LONGEST)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("0", 0.0),
            ("0s", 0.0),
            ("12h", 43_200.0),
            ("1h30m", 5400.0),
            ("1h0m0.5s", 3600.5),
            (".5s", 0.5),
            ("300ms", 0.3),
            ("+1m", 60.0),
            ("5us", 5e-6),
            ("999999999h", LONGEST),
        ] {
            let parsed = parse(text).unwrap_or_else(|| panic!("{text} is a duration"));
            assert!((parsed.as_secs_f64() - seconds).abs() < 1e-9, "{text}: {parsed:?}");
        }
        for text in ["", "5", "-1s", "s", "1d", "1 h", "1h5", "1..5s", ".", "one hour", "1e3s"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
