//! Sizes and counts. Machines read the exact fields beside them.

/// Bytes with a binary unit, `2.0 GiB`: in the command, its pages, messages, and the columns of `kubectl
/// get`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut unit = 0;
    // What would be shown as 1024.0 of a unit is one of the next.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// As [`bytes`], for what can be less than nothing: `-82 B`.
#[must_use]
pub fn signed_bytes(count: i64) -> String {
    let sign = if count < 0 { "-" } else { "" };
    format!("{sign}{}", bytes(count.unsigned_abs()))
}

const LETTERS: [char; 7] = ['B', 'K', 'M', 'G', 'T', 'P', 'E'];

/// Bytes in at most six columns, in the units of [`bytes`] by their first letter: `0`, `999B`, `1.2K`,
/// `12.4M`, `999M`.
#[must_use]
pub fn bytes_in_column(bytes: u64) -> String {
    if bytes == 0 {
        return "0".into();
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    // What would be rounded up to 1000 is shown in the next unit, so that no number is wider than the others.
    while value >= 999.5 && unit + 1 < LETTERS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 99.95);
    format!("{value:.decimals$}{}", LETTERS[unit])
}

/// A size as people write it: `64MiB`, `1.5G`, `1048576`. K, M, G, T are binary, as Kubernetes' Ki, Mi, Gi,
/// Ti.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no size; write it as 64MiB"))?;
    let unit = unit.trim().trim_end_matches(['b', 'B']).trim_end_matches('i').to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("{text:?} has an unknown unit; write it as 64MiB")),
    };
    Ok((number * (1_u64 << shift) as f64) as u64)
}

/// A number with its noun: `1 layer`, `2 layers`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_one_digit_after_the_point() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(800 << 30), "800.0 GiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(signed_bytes(-1536), "-1.5 KiB");
        assert_eq!(signed_bytes(i64::MIN), "-8.0 EiB");
    }

    #[test]
    fn sizes_fit_in_six_columns() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1.0K"),
            (1536, "1.5K"),
            (1 << 20, "1.0M"),
            (999 << 20, "999M"),
            (1000 << 20, "1.0G"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(bytes_in_column(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in
            [("64MiB", 64 << 20), ("1.5G", 3 << 29), ("1048576", 1 << 20), ("16TiB", 16 << 40), ("2k", 2048)]
        {
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
        }
        for bad in ["", "x", "1X", "-1"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
