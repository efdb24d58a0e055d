//! A Dockerfile as a list of instructions, as BuildKit's parser reads it (frontend/dockerfile/parser):
//! comments out, continued lines joined, here-documents with their body.

use super::heredoc::heredocs;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Its first line, 1 at the top.
    pub(super) line: u64,
    /// In capitals.
    pub(super) keyword: String,
    /// What stands behind the keyword, without here-documents.
    pub(super) text: String,
    /// Its here-documents.
    pub(super) body: String,
}

impl Instruction {
    /// From one line of text, the keyword in front.
    pub(super) fn new(line: u64, whole: &str) -> Self {
        let whole = whole.trim();
        let (keyword, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        Self {
            line,
            keyword: keyword.to_ascii_uppercase(),
            text: rest.trim().to_owned(),
            body: String::new(),
        }
    }
}

/// The instructions of a Dockerfile.
pub(super) fn instructions(text: &str) -> Vec<Instruction> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape_of(text);
    let mut found = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, first)) = lines.next() {
        if is_comment(first) {
            continue;
        }
        let (mut whole, mut continued) = continuation(first.trim_start(), escape);
        while continued {
            // Comments and empty lines inside an instruction are passed over.
            let next = lines
                .by_ref()
                .map(|(_, next)| next)
                .find(|next| !is_comment(next) && !next.trim_start().is_empty());
            let Some(next) = next else { break };
            let (more, goes_on) = continuation(next, escape);
            whole.push_str(&more);
            continued = goes_on;
        }
        if whole.trim().is_empty() {
            continue;
        }
        let mut instruction = Instruction::new(line, &whole);
        for heredoc in heredocs(&whole) {
            for (_, line) in lines.by_ref() {
                if heredoc.ends_at(line) {
                    break;
                }
                instruction.body.push_str(line);
                instruction.body.push('\n');
            }
        }
        found.push(instruction);
    }
    found
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The line without the character that continues it, and whether it had one: the last but blanks, and not
/// itself escaped.
fn continuation(line: &str, escape: char) -> (String, bool) {
    let end = line.trim_end_matches([' ', '\t']);
    match end.strip_suffix(escape) {
        Some(open) if !open.ends_with(escape) => (open.to_owned(), true),
        _ => (line.to_owned(), false),
    }
}

/// The continuation character: a backslash unless a directive on top says otherwise. Directives end at the
/// first line that is none: an instruction, an empty line, a comment.
fn escape_of(text: &str) -> char {
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix('#').and_then(|directive| directive.split_once('='))
        else {
            break;
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" => return if value.trim() == "`" { '`' } else { '\\' },
            "syntax" | "check" => {}
            _ => break,
        }
    }
    '\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(u64, String, String)> {
        instructions(text).into_iter().map(|found| (found.line, found.keyword, found.text)).collect()
    }

    fn one(line: u64, keyword: &str, text: &str) -> (u64, String, String) {
        (line, keyword.to_owned(), text.to_owned())
    }

    #[test]
    fn continued_lines_are_joined_over_comments_and_empty_lines() {
        let text = "\u{feff}from a\n\nRUN one && \\ \n  # why\n\n\ttwo \\\n  && three\\\nfour\nCMD x\n";
        let run = "one && \ttwo   && threefour";
        assert_eq!(found(text), [one(1, "FROM", "a"), one(3, "RUN", run), one(9, "CMD", "x")]);
    }

    #[test]
    fn an_escaped_backslash_continues_nothing() {
        assert_eq!(found("RUN echo a\\\\\nRUN b\n").len(), 2);
        assert_eq!(found("RUN echo a \\\n").len(), 1);
    }

    #[test]
    fn the_escape_directive_counts_on_top_only() {
        let windows = "# syntax=x\r\n#  Escape = `\r\nRUN dir c:\\ `\r\n  d:\\\r\nCMD x\r\n";
        assert_eq!(found(windows), [one(3, "RUN", "dir c:\\   d:\\"), one(5, "CMD", "x")]);
        for late in ["# a comment\n# escape=`\n", "\n# escape=`\n", "# other=x\n# escape=`\n"] {
            assert_eq!(found(&format!("{late}RUN a `\nCMD x\n")).len(), 2, "{late:?}");
        }
    }

    #[test]
    fn here_documents_belong_to_their_instruction_and_the_next_line_is_found() {
        let text = "RUN <<EOF\nFROM x\n# no comment\n\tEOF\nEOF \nEOF\nCOPY <<-a <<'b' /to/\nin a\n\ta\nin b\n\tb\nb\nCMD y\n";
        let list = instructions(text);
        let lines: Vec<_> = list.iter().map(|found| (found.line, found.keyword.as_str())).collect();
        assert_eq!(lines, [(1, "RUN"), (7, "COPY"), (13, "CMD")]);
        assert_eq!(list[0].body, "FROM x\n# no comment\n\tEOF\nEOF \n");
        assert_eq!(list[1].body, "in a\nin b\n\tb\n");
    }

    #[test]
    fn what_only_looks_like_a_here_document_hides_no_instruction() {
        for line in
            ["RUN echo \"<<EOF\"", "RUN cat << EOF", "RUN cat <<<EOF", "RUN [\"<<EOF\"]", "ENV a=<<EOF"]
        {
            assert_eq!(found(&format!("{line}\nCMD x\n")).len(), 2, "{line}");
        }
    }
}
