//! Text in as many columns, or bytes, as there are.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The start of a text that fits in `columns`, with an ellipsis where something is left out.
#[must_use]
pub fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take_while(fits_in(columns)).collect();
    if columns > 0 { format!("{kept}…") } else { kept }
}

/// The end of a text that fits in `columns`, with an ellipsis in front where something is left out.
#[must_use]
pub fn fit_end(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let kept: Vec<char> = text.chars().rev().take_while(fits_in(columns)).collect();
    let kept: String = kept.into_iter().rev().collect();
    if columns > 0 { format!("…{kept}") } else { kept }
}

/// Whether the next letter has room beside the ellipsis.
fn fits_in(columns: usize) -> impl FnMut(&char) -> bool {
    let mut left = columns.saturating_sub(1);
    move |letter| {
        let width = letter.width().unwrap_or(0);
        let fits = width <= left;
        left = if fits { left - width } else { 0 };
        fits && columns > 0
    }
}

/// Lines of at most `columns`, broken at blanks.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_columns_not_letters() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("文件名字", 5), "文件…");
        assert_eq!(fit("RUN apt-get", 8), "RUN apt…");
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn what_is_too_long_can_keep_its_telling_end() {
        assert_eq!(fit_end("/usr/lib/x", 5), "…ib/x");
        assert_eq!(fit_end("/usr/lib/x.so", 8), "…ib/x.so");
        assert_eq!(fit_end("文件文件", 5), "…文件");
        assert_eq!(fit_end("short", 8), "short");
        assert_eq!(fit_end("abc", 0), "");
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character_and_marked() {
        let cut = bounded(&"ü".repeat(2000), 1024);
        assert!(cut.len() <= 1024 && cut.ends_with('…'), "{} bytes", cut.len());
        assert_eq!(bounded("short", 1024), "short");
    }
}
