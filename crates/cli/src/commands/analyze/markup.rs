//! Text from an image on its way into a file with markup: an image can hold any name and any history, also
//! one that is markup.

use unbloat_text::terminal;

/// For a cell of a Markdown table: nothing in it is markup, a link or HTML.
pub(super) fn markdown(text: &str) -> String {
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

/// For XML 1.0, in content and in attributes: control characters, which it cannot hold at all, become visible
/// first.
pub(super) fn xml(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_and_xml_get_no_markup() {
        assert_eq!(markdown("<script>|[x](y)`"), "&lt;script&gt;\\|\\[x\\]\\(y\\)\\`");
        assert_eq!(markdown("https://x @all"), "https&#58;//x &#64;all");
        assert_eq!(xml("<a b=\"'\">&\u{0}\u{ffff}"), "&lt;a b=&quot;&apos;&quot;&gt;&amp;\\u{0}\u{fffd}");
    }
}
