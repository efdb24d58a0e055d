//! Numbers for people: printer columns and messages. Machines read the fields beside them.

/// Bytes in decimal units with at most three digits, as registries and `du --si` show them.
pub(crate) fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let sign = if bytes < 0 { "-" } else { "" };
    let mut value = bytes.unsigned_abs() as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{sign}{value:.decimals$} {}", UNITS[unit])
}

/// Seconds as `4 s`, `3 min 5 s` or `2 h 1 min`.
pub(crate) fn seconds(seconds: i64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_at_most_three_digits_and_never_round_to_a_thousand() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_960, "10 kB"),
            (999_500, "1.0 MB"),
            (221_000_000, "221 MB"),
            (800_000_000_000, "800 GB"),
            (-1_500_000, "-1.5 MB"),
            (i64::MAX, "9.2 EB"),
        ] {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(seconds(3627), "60 min 27 s");
        assert_eq!(seconds(7260), "2 h 1 min");
    }
}
