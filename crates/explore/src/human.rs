//! Numbers and texts in few columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Bytes in at most six columns, with a binary unit: `0`, `999B`, `1.2K`, `12.4M`, `999M`.
pub(crate) fn short(bytes: u64) -> String {
    const UNITS: [char; 7] = ['B', 'K', 'M', 'G', 'T', 'P', 'E'];
    if bytes == 0 {
        return "0".into();
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    // What would be rounded up to 1000 is shown in the next unit, so that no number is wider than the others.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0}{}", UNITS[unit])
    } else {
        format!("{value:.1}{}", UNITS[unit])
    }
}

/// Bytes as a person reads them in a sentence: `1.2 MiB`.
pub(crate) fn long(bytes: u64) -> String {
    let short = short(bytes);
    match short.strip_suffix(|unit: char| unit.is_ascii_alphabetic()) {
        None => "0 B".into(),
        Some(number) if short.ends_with('B') => format!("{number} B"),
        Some(number) => format!("{number} {}iB", &short[number.len()..]),
    }
}

/// A number with its noun: `1 layer`, `2 layers`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The start of a text that fits in `columns`, with an ellipsis where something is left out.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for letter in text.chars() {
        let width = letter.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        kept.push(letter);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The end of a text that fits in `columns`, with an ellipsis in front where something is left out.
pub(crate) fn fit_end(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept: Vec<char> = Vec::new();
    let mut used = 0;
    for letter in text.chars().rev() {
        let width = letter.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        kept.push(letter);
    }
    let kept: String = kept.into_iter().rev().collect();
    if columns > 0 { format!("…{kept}") } else { kept }
}

/// Permissions as `ls -l` shows them.
pub(crate) fn mode(letter: char, mode: u16) -> String {
    let mut text = String::with_capacity(10);
    text.push(letter);
    for (shift, special, with_execute, without) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => with_execute,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(short(bytes), text);
        }
        assert_eq!(long(1536), "1.5 KiB");
        assert_eq!(long(0), "0 B");
        assert_eq!(long(7), "7 B");
    }

    #[test]
    fn long_texts_are_cut_at_columns_not_letters() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("文件名字", 5), "文件…");
        assert_eq!(fit_end("/usr/lib/x", 5), "…ib/x");
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn permissions_look_as_in_ls() {
        assert_eq!(mode('-', 0o4755), "-rwsr-xr-x");
        assert_eq!(mode('d', 0o1777), "drwxrwxrwt");
        assert_eq!(mode('-', 0o2644), "-rw-r-Sr--");
    }
}
