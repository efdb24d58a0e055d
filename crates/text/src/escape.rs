//! Names and texts from an image on their way to a terminal.
//!
//! An image can hold any name: escape sequences, line feeds, characters that turn the direction of text
//! around. What a terminal could take for a command is shown as an escape, so that every name is visible and
//! none acts.

use std::fmt::Write;

/// A name as printable text: control characters, characters without a shape, and bytes that are no UTF-8
/// become escapes, and a backslash two of them, so that no two names look alike.
#[must_use]
pub fn printable(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                letter => push(&mut text, letter),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Any other text, such as a command of an image's history, in which a backslash is a backslash.
#[must_use]
pub fn terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        push(&mut safe, letter);
    }
    safe
}

fn push(text: &mut String, letter: char) {
    match letter {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        letter if is_unsafe(letter) => {
            let _ = write!(text, "\\u{{{:x}}}", u32::from(letter));
        }
        letter => text.push(letter),
    }
}

/// Controls of both sets, and format characters: direction, joiners, tags, the byte order mark, line
/// separators.
#[must_use]
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(u32::from(letter),
            0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
            | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_comes_through() {
        assert_eq!(printable(b"\x1b[31mred\x07"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(printable("a\u{202e}b\u{9b}c".as_bytes()), "a\\u{202e}b\\u{9b}c");
        assert_eq!(printable(b"two\nlines\r\ttab"), "two\\nlines\\r\\ttab");
        assert_eq!(printable(b"\xff\xfe"), "\\xff\\xfe");
        assert_eq!(terminal("\u{1b}]0;x\u{7}a\nb\u{202e}c"), "\\u{1b}]0;x\\u{7}a\\nb\\u{202e}c");
    }

    #[test]
    fn ordinary_names_stay_and_no_two_names_look_alike() {
        assert_eq!(printable("naïve 文件.txt".as_bytes()), "naïve 文件.txt");
        assert_ne!(printable(b"a\\nb"), printable(b"a\nb"));
        assert_eq!(terminal("RUN a \\ b 文件"), "RUN a \\ b 文件");
    }
}
