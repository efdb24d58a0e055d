//! Texts from outside as one line of a message: what a terminal obeys is not shown but dropped.

use crate::escape::is_unsafe;

/// A text from outside, on one line and without what a terminal would obey: control characters, escape
/// sequences and the marks that turn the direction of writing. Each run of them becomes one space.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' || character == '\u{9b}' {
            skip_escape(character, &mut characters);
        } else if !is_unsafe(character) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
