//! Durations for people, in messages. Sizes are `unbloat_text::bytes`, as everywhere.

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
    fn a_duration_has_at_most_two_units() {
        assert_eq!(seconds(99), "99 s");
        assert_eq!(seconds(3627), "60 min 27 s");
        assert_eq!(seconds(7260), "2 h 1 min");
    }
}
