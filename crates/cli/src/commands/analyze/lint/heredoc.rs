//! Here-documents, as BuildKit finds them: in the words of the whole line, as a shell divides it.
//!
//! A word begins one when it is `<<NAME`, `<<-NAME` or either behind a number, with nothing before it and in
//! no quotes: neither `"<<EOF"` nor `cat<<EOF`, `<<<EOF` or `<< EOF` does (BuildKit,
//! frontend/dockerfile/parser, `heredocsFromLine`).

/// What ends a here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heredoc {
    /// The line that ends it, exactly.
    pub(super) end: String,
    /// `<<-`: tabs before that line do not count.
    pub(super) strips_tabs: bool,
}

impl Heredoc {
    /// Whether `line`, without its line feed, ends it.
    pub(super) fn ends_at(&self, line: &str) -> bool {
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.end
    }
}

/// Instructions that may have here-documents.
const KEYWORDS: [&str; 3] = ["ADD", "COPY", "RUN"];

/// The here-documents of one instruction, in the order in which their bodies follow.
pub(super) fn heredocs(instruction: &str) -> Vec<Heredoc> {
    let mut rest = instruction.trim_start();
    loop {
        let (keyword, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = behind.trim_start();
        if keyword.eq_ignore_ascii_case("ONBUILD") {
            continue;
        }
        if !KEYWORDS.iter().any(|known| keyword.eq_ignore_ascii_case(known)) || is_json(rest) {
            return Vec::new();
        }
        return words(instruction).iter().filter_map(|word| heredoc(word)).collect();
    }
}

/// The exec form: a list of strings behind the options. Anything else in brackets is text for the shell.
fn is_json(arguments: &str) -> bool {
    let mut rest = arguments;
    while rest.starts_with("--") {
        let Some((_, behind)) = rest.split_once(char::is_whitespace) else { return false };
        rest = behind.trim_start();
    }
    rest.starts_with('[') && serde_json::from_str::<Vec<String>>(rest).is_ok()
}

fn heredoc(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix("<<")?;
    let (strips_tabs, name) = rest.strip_prefix('-').map_or((false, rest), |name| (true, name));
    if name.is_empty() || name.contains('<') {
        return None;
    }
    Some(Heredoc { end: unquoted(name), strips_tabs })
}

/// A line's words with their quotes and escapes; none where a quote has no end.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, letter) if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if letter == open => quote = None,
            (None | Some('"'), '\\') => {
                word.push(letter);
                word.extend(letters.next());
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    if quote.is_some() {
        return Vec::new();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A word without the quotes and escapes that a shell takes away.
pub(super) fn unquoted(word: &str) -> String {
    let mut text = String::new();
    let mut quote = None;
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if letter == open => quote = None,
            (None, '\\') => text.extend(letters.next()),
            (Some('"'), '\\') => match letters.next() {
                Some(next @ ('"' | '$' | '\\')) => text.push(next),
                next => {
                    text.push('\\');
                    text.extend(next);
                }
            },
            (_, letter) => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(line: &str) -> Vec<(String, bool)> {
        heredocs(line).into_iter().map(|heredoc| (heredoc.end, heredoc.strips_tabs)).collect()
    }

    #[test]
    fn a_word_begins_a_here_document_only_as_a_whole_and_without_quotes() {
        let plain = |end: &str| vec![(end.to_owned(), false)];
        for (line, expected) in [
            ("RUN <<EOF", plain("EOF")),
            ("run <<EOF bash", plain("EOF")),
            ("RUN cat <<'EOF' > /x", plain("EOF")),
            ("RUN cat <<\"E O F\" > /x", plain("E O F")),
            ("RUN cat <<E\"O\"F", plain("EOF")),
            ("RUN cat <<\\EOF", plain("EOF")),
            ("RUN 3<<EOF read x", plain("EOF")),
            ("RUN <<end-of.it", plain("end-of.it")),
            ("RUN <<-EOF", vec![("EOF".to_owned(), true)]),
            ("COPY <<a <<-'b' /to/", vec![("a".to_owned(), false), ("b".to_owned(), true)]),
            ("ONBUILD RUN <<EOF", plain("EOF")),
            ("RUN --mount=type=cache,target=/x <<EOF", plain("EOF")),
            ("RUN [ -e x ] || cat <<EOF", plain("EOF")),
            ("RUN echo \"<<EOF\"", vec![]),
            ("RUN echo 'a <<EOF b'", vec![]),
            ("RUN cat << EOF", vec![]),
            ("RUN cat<<EOF", vec![]),
            ("RUN cat <<<EOF", vec![]),
            ("RUN echo \\<<EOF", vec![]),
            ("RUN x=\"$(cat <<EOF", vec![]),
            ("RUN [\"echo\", \"<<EOF\"]", vec![]),
            ("RUN --network=none [\"echo\", \"<<EOF\"]", vec![]),
            ("CMD <<EOF", vec![]),
            ("LABEL a=<<EOF", vec![]),
            ("RUNNER <<EOF", vec![]),
        ] {
            assert_eq!(ends(line), expected, "{line}");
        }
    }

    #[test]
    fn only_the_dash_takes_tabs_away_and_nothing_takes_blanks_away() {
        let plain = Heredoc { end: "EOF".into(), strips_tabs: false };
        assert!(plain.ends_at("EOF") && !plain.ends_at("\tEOF") && !plain.ends_at("EOF "));
        let dash = Heredoc { end: "EOF".into(), strips_tabs: true };
        assert!(dash.ends_at("\t\tEOF") && !dash.ends_at("  EOF") && !dash.ends_at("EOF\t"));
    }
}
