//! Text from an image on its way to people: an image can hold any name and any history, also one that is a command to a
//! terminal, or markup to a page.

use unbloat_explore::is_unsafe;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// For a terminal: what it could act on, or what turns the direction of text around, becomes visible.
pub(crate) fn terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            letter if is_unsafe(letter) => safe.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
            letter => safe.push(letter),
        }
    }
    safe
}

/// For a cell of a Markdown table: nothing in it is markup, a link or HTML.
pub(crate) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in terminal(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            // A colon and an at sign make links and mentions of plain text on code hosts.
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '+' | '!' | '|' | '~'
            | '$' => {
                safe.push('\\');
                safe.push(letter);
            }
            ':' | '@' => safe.push_str(&format!("&#{};", u32::from(letter))),
            letter => safe.push(letter),
        }
    }
    safe
}

/// For XML 1.0, in content and in attributes: control characters, which it cannot hold at all, become visible first.
pub(crate) fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in terminal(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

/// An argument for a shell; `None` for one that cannot be shown as it is.
pub(crate) fn shell(argument: &str) -> Option<String> {
    if argument.chars().any(is_unsafe) {
        return None;
    }
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@%=".contains(letter);
    if !argument.is_empty() && argument.chars().all(plain) {
        return Some(argument.to_owned());
    }
    Some(format!("'{}'", argument.replace('\'', "'\\''")))
}

/// At most `columns` of a text: of one that is longer, the end (of a path the file) or the start (of a command).
pub(crate) fn fit(text: &str, columns: usize, keep_end: bool) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let mut fits = |letter: &char| {
        let width = letter.width().unwrap_or(0);
        let fits = width <= left;
        left = if fits { left - width } else { 0 };
        fits
    };
    if keep_end {
        let end: Vec<char> = text.chars().rev().take_while(&mut fits).collect();
        format!("…{}", end.into_iter().rev().collect::<String>())
    } else {
        format!("{}…", text.chars().take_while(&mut fits).collect::<String>())
    }
}

/// Lines of at most `columns`, broken at blanks.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_act_on() {
        assert_eq!(terminal("\u{1b}]0;x\u{7}a\nb\u{202e}c"), "\\u{1b}]0;x\\u{7}a\\nb\\u{202e}c");
        assert_eq!(terminal("naïve 文件.txt"), "naïve 文件.txt");
    }

    #[test]
    fn markdown_and_xml_get_no_markup() {
        assert_eq!(markdown("<script>|[x](y)`"), "&lt;script&gt;\\|\\[x\\]\\(y\\)\\`");
        assert_eq!(markdown("https://x @all"), "https&#58;//x &#64;all");
        assert_eq!(xml("<a b=\"'\">&\u{0}\u{ffff}"), "&lt;a b=&quot;&apos;&quot;&gt;&amp;\\u{0}\u{fffd}");
    }

    #[test]
    fn a_shell_gets_one_argument_or_none() {
        assert_eq!(shell("/var/log/btmp").as_deref(), Some("/var/log/btmp"));
        assert_eq!(shell("/a b'c;$(x)").as_deref(), Some("'/a b'\\''c;$(x)'"));
        assert_eq!(shell("/a\nb"), None);
    }

    #[test]
    fn what_is_too_long_keeps_its_telling_end() {
        assert_eq!(fit("/usr/lib/x.so", 8, true), "…ib/x.so");
        assert_eq!(fit("RUN apt-get", 8, false), "RUN apt…");
        assert_eq!(fit("文件文件", 5, true), "…文件");
        assert_eq!(fit("short", 8, true), "short");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    }
}
