//! Texts for people: sizes, and texts that have to fit somewhere.

/// Bytes with a binary unit, `2.0 GiB`: in the command, its pages, messages, and the columns of `kubectl get`.
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

/// At most `limit` bytes of a text, cut at a character and marked where it was.
#[must_use]
pub fn bounded(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    const MARK: &str = " …";
    let mut end = limit.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}

/// A text from outside, on one line and without what a terminal would obey: control characters, escape sequences and the marks
/// that turn the direction of writing. Each run of them becomes one space.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' || character == '\u{9b}' {
            skip_escape(character, &mut characters);
        } else if !is_obeyed(character) {
            clean.push(character);
            continue;
        }
        if !clean.ends_with(' ') {
            clean.push(' ');
        }
    }
    clean.trim().to_owned()
}

/// Skips the rest of a control sequence (ECMA-48, 5.4) or of a control string (5.6).
fn skip_escape(first: char, characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let introducer = if first == '\u{9b}' { Some('[') } else { characters.next() };
    match introducer {
        // Parameters and intermediates, then one final character.
        Some('[') => while characters.next().is_some_and(|character| !('@'..='~').contains(&character)) {},
        // A string: up to BEL, or to ESC and a backslash.
        Some(']' | 'P' | '^' | '_' | 'X') => {
            while let Some(character) = characters.next() {
                if character == '\u{7}' || character == '\u{9c}' {
                    break;
                }
                if character == '\u{1b}' && characters.next_if_eq(&'\\').is_some() {
                    break;
                }
            }
        }
        _ => {}
    }
}

fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(character, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' | '\u{61c}' | '\u{180e}')
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
    fn nothing_that_a_terminal_obeys_is_left_of_a_text_from_outside() {
        for (text, clean) in [
            ("plain: words, ü → ok", "plain: words, ü → ok"),
            ("two\nlines\r\n\tof it\n", "two lines of it"),
            ("red \u{1b}[31;1malert\u{1b}[0m!", "red alert !"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("\u{9b}2Jcleared", "cleared"),
            ("\u{1b}c\u{1b}(0reset", "0reset"),
            ("right\u{202e}tfel", "right tfel"),
            ("unended \u{1b}[31", "unended"),
            ("\0nul\u{7f}", "nul"),
        ] {
            assert_eq!(sanitize(text), clean, "{text:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character_and_marked() {
        let cut = bounded(&"ü".repeat(2000), 1024);
        assert!(cut.len() <= 1024 && cut.ends_with('…'), "{} bytes", cut.len());
        assert_eq!(bounded("short", 1024), "short");
    }
}
