//! `--lint`: from causes through the layers' history to lines of the Dockerfile.
//!
//! A layer's history says what made it, in BuildKit's words (`RUN /bin/sh -c apt-get update # buildkit`) or the classic
//! builder's (`/bin/sh -c #(nop) COPY file:… in /app`). Both sides are compared as lists of words, and the last stage's
//! instructions are laid along the layers so that the sum of likenesses is largest: variables, heredocs and formatting make
//! single lines differ, the order never does.

use std::collections::BTreeMap;

use serde::Serialize;
use unbloat_analysis::{Analysis, CauseReport};

use crate::escape::terminal;
use crate::report::bytes;

/// A cause at a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// Line of the instruction, 1 at the top; `None` for what the base brought.
    pub(crate) line: Option<u64>,
    /// The layer that the instruction made.
    pub(crate) layer: u32,
    pub(crate) cause: String,
    pub(crate) title: String,
    /// Wasted and removable bytes of the paths that were seen there.
    pub(crate) bytes: u64,
    /// The costliest of them.
    pub(crate) path: String,
    pub(crate) advice: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Instruction {
    line: u64,
    keyword: String,
    text: String,
}

/// Instructions that may make a layer.
const MAKES_A_LAYER: [&str; 4] = ["RUN", "COPY", "ADD", "WORKDIR"];

/// What each line of `dockerfile` causes, the costliest first.
pub(super) fn lint(dockerfile: &str, analysis: &Analysis) -> Vec<Finding> {
    let mut stage = Vec::new();
    for instruction in instructions(dockerfile) {
        if instruction.keyword == "FROM" {
            stage.clear();
        } else if MAKES_A_LAYER.contains(&instruction.keyword.as_str()) {
            stage.push(instruction);
        }
    }
    let made: Vec<&str> =
        analysis.layers.iter().map(|layer| layer.created_by.as_deref().unwrap_or("")).collect();
    let lines = align(&stage, &made);
    let mut findings: BTreeMap<(Option<u64>, &str), Finding> = BTreeMap::new();
    for cause in &analysis.causes {
        for seen in &cause.evidence {
            let Some(layer) = blamed(cause, &seen.layers) else { continue };
            let line = lines.get(layer as usize).copied().flatten();
            let finding = findings.entry((line, &cause.cause)).or_insert_with(|| Finding {
                line,
                layer,
                cause: cause.cause.clone(),
                title: cause.title.clone(),
                bytes: 0,
                path: seen.path.clone(),
                advice: cause.advice.clone(),
            });
            finding.bytes += seen.bytes;
        }
    }
    let mut findings: Vec<Finding> = findings.into_values().collect();
    findings.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (a.line, &a.cause).cmp(&(b.line, &b.cause))));
    findings
}

/// Which of a path's layers is to be mended: the one that wrote it again without need, else the one that brought it.
fn blamed(cause: &CauseReport, layers: &[u32]) -> Option<u32> {
    let again = ["metadata-copy", "upgraded-base", "package-database", "replaced-later"];
    let at = usize::from(again.contains(&cause.cause.as_str()) && layers.len() > 1);
    layers.get(at).copied()
}

/// The instructions of a Dockerfile with their first lines: comments out, continuations joined, heredocs with their body.
fn instructions(text: &str) -> Vec<Instruction> {
    let escape = escape_of(text);
    let mut found = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, first)) = lines.next() {
        let first = first.trim();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let mut whole = String::new();
        let mut part = first.to_owned();
        loop {
            let Some(open) = part.strip_suffix(escape) else {
                whole.push_str(&part);
                break;
            };
            whole.push_str(open);
            whole.push(' ');
            // Comments and empty lines inside an instruction are passed over.
            let next = lines
                .by_ref()
                .map(|(_, line)| line.trim())
                .find(|line| !line.is_empty() && !line.starts_with('#'));
            match next {
                Some(next) => next.clone_into(&mut part),
                None => break,
            }
        }
        for end in heredocs(&whole) {
            for (_, line) in lines.by_ref() {
                if line.trim_start_matches('\t').trim_end() == end {
                    break;
                }
                whole.push(' ');
                whole.push_str(line);
            }
        }
        let (keyword, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
        let keyword = keyword.to_ascii_uppercase();
        found.push(Instruction { line, keyword, text: rest.trim().to_owned() });
    }
    found
}

/// The continuation character: a backslash unless a directive on top says otherwise.
fn escape_of(text: &str) -> char {
    for line in text.lines() {
        let Some(directive) = line.trim().strip_prefix('#') else { break };
        let Some((name, value)) = directive.split_once('=') else { break };
        if name.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

/// The words that end the here-documents of an instruction.
fn heredocs(text: &str) -> Vec<String> {
    if !["RUN", "COPY", "ADD"].iter().any(|keyword| text.to_ascii_uppercase().starts_with(keyword)) {
        return Vec::new();
    }
    let ends = text.split_whitespace().filter_map(|word| {
        let start = word.find("<<")?;
        let name = word[start + 2..].trim_start_matches('-');
        let quoted = name.trim_matches(['"', '\'']);
        let plain: String =
            quoted.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        (!plain.is_empty() && plain.len() == quoted.len()).then_some(plain)
    });
    ends.collect()
}

/// For each layer the line that made it.
fn align(stage: &[Instruction], made: &[&str]) -> Vec<Option<u64>> {
    let (rows, columns) = (stage.len(), made.len());
    // best[i][j]: the largest sum of likenesses of the first i instructions and the first j layers.
    let mut best = vec![vec![0.0_f64; columns + 1]; rows + 1];
    let mut alike = vec![vec![0.0_f64; columns]; rows];
    for (i, instruction) in stage.iter().enumerate() {
        for (j, made) in made.iter().enumerate() {
            alike[i][j] = likeness(instruction, made);
            let both = if alike[i][j] > 0.0 { best[i][j] + alike[i][j] } else { 0.0 };
            best[i + 1][j + 1] = best[i][j + 1].max(best[i + 1][j]).max(both);
        }
    }
    let mut lines = vec![None; columns];
    let (mut i, mut j) = (rows, columns);
    while i > 0 && j > 0 {
        let both = if alike[i - 1][j - 1] > 0.0 { best[i - 1][j - 1] + alike[i - 1][j - 1] } else { 0.0 };
        // Of equals the later one: layers of the base stand below those of the Dockerfile.
        if both > 0.0 && both >= best[i][j] {
            lines[j - 1] = Some(stage[i - 1].line);
            i -= 1;
            j -= 1;
        } else if best[i - 1][j] >= best[i][j] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    lines
}

/// How alike an instruction and a layer's history are, from 0 to 1.
fn likeness(instruction: &Instruction, made: &str) -> f64 {
    let Instruction { keyword, text, line: _ } = instruction;
    let made = made.trim().trim_end_matches("# buildkit").trim();
    let classic = made.split_once("#(nop)").map(|(_, rest)| rest.trim());
    let rest = classic.unwrap_or(made);
    let known = MAKES_A_LAYER.iter().find(|known| rest.split_whitespace().next() == Some(known));
    // The classic builder writes a RUN as the bare command.
    let kind = known.copied().unwrap_or(if classic.is_some() { "" } else { "RUN" });
    if kind != keyword || made.is_empty() {
        return 0.0;
    }
    let (a, b) = (words(text), words(rest));
    let common = a.iter().filter(|word| b.contains(word)).count();
    let share = 2.0 * common as f64 / (a.len() + b.len()).max(1) as f64;
    if kind == "RUN" && share < 0.3 {
        return 0.0;
    }
    // A COPY's history may have nothing in common with it but the keyword and the target.
    0.1 + 0.9 * share
}

fn words(text: &str) -> Vec<String> {
    let noise =
        ["RUN", "COPY", "ADD", "WORKDIR", "/bin/sh", "/bin/bash", "-c", "in", "&&", "set", "-ex", "-e"];
    text.split(|letter: char| {
        letter.is_whitespace() || matches!(letter, ';' | '"' | '\'' | '[' | ']' | ',' | '=')
    })
    .filter(|word| !word.is_empty() && !noise.contains(word) && !word.starts_with("--"))
    .map(str::to_owned)
    .collect()
}

/// The findings as compilers write them.
pub(super) fn text(file: &str, findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding { line, layer, cause, title, bytes: cost, path, advice } = finding;
        let at = match line {
            Some(line) => format!("{}:{line}", terminal(file)),
            None => "base image".to_owned(),
        };
        format!("{at}: {title} ({cause}): {}, as {} in layer {layer}. {advice}", bytes(*cost), terminal(path))
    };
    if findings.is_empty() {
        return format!("{}: nothing to mend", terminal(file));
    }
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbloat_analysis::{Evidence, LayerReport};

    const DOCKERFILE: &str = "\
# syntax=docker/dockerfile:1
FROM golang AS build
RUN go build ./...
FROM debian:12
ARG X=1
ENV A=b
RUN apt-get update && \\
    # why
    apt-get install -y curl \\

    && true
WORKDIR /app
COPY --chown=1:1 . /app
RUN <<EOF
chown -R app /app
make
EOF
CMD [\"x\"]
";

    #[test]
    fn instructions_have_their_first_line() {
        let found: Vec<_> =
            instructions(DOCKERFILE).into_iter().map(|found| (found.line, found.keyword)).collect();
        let expected = [
            (2, "FROM"),
            (3, "RUN"),
            (4, "FROM"),
            (5, "ARG"),
            (6, "ENV"),
            (7, "RUN"),
            (12, "WORKDIR"),
            (13, "COPY"),
            (14, "RUN"),
            (18, "CMD"),
        ];
        assert_eq!(found, expected.map(|(line, keyword)| (line, keyword.to_owned())));
        let run = &instructions(DOCKERFILE)[5];
        assert!(run.text.contains("install -y curl") && !run.text.contains("why"), "{run:?}");
        assert!(instructions(DOCKERFILE)[8].text.contains("chown -R app /app"));
    }

    fn lines(made: &[&str]) -> Vec<Option<u64>> {
        let stage: Vec<_> = instructions(DOCKERFILE)
            .into_iter()
            .skip(3)
            .filter(|found| MAKES_A_LAYER.contains(&found.keyword.as_str()))
            .collect();
        align(&stage, made)
    }

    #[test]
    fn buildkits_history_leads_to_the_lines() {
        let made = [
            "# debian.sh --arch 'amd64'",
            "RUN |1 X=1 /bin/sh -c apt-get update &&     apt-get install -y curl     && true # buildkit",
            "WORKDIR /app",
            "COPY --chown=1:1 . /app # buildkit",
            "RUN |1 X=1 /bin/sh -c chown -R app /app\nmake\n # buildkit",
        ];
        assert_eq!(lines(&made), [None, Some(7), Some(12), Some(13), Some(14)]);
    }

    #[test]
    fn the_classic_builders_history_leads_to_the_lines() {
        let made = [
            "/bin/sh -c #(nop) ADD file:0123456789abcdef in / ",
            "/bin/sh -c apt-get update &&     apt-get install -y curl     && true",
            "/bin/sh -c #(nop) WORKDIR /app",
            "/bin/sh -c #(nop) COPY dir:0123456789abcdef in /app ",
            "/bin/sh -c chown -R app /app\nmake",
        ];
        assert_eq!(lines(&made), [None, Some(7), Some(12), Some(13), Some(14)]);
    }

    #[test]
    fn a_layer_that_no_line_made_has_none() {
        assert_eq!(lines(&["", "commit by hand", "RUN something else entirely"]), [None, None, None]);
    }

    #[test]
    fn a_cause_is_told_at_the_line_that_made_it() {
        let evidence = |path: &str, layers: &[u32], bytes| Evidence {
            path: path.into(),
            bytes,
            layers: layers.to_vec(),
            ..Evidence::default()
        };
        let cause = |name: &str, evidence| CauseReport {
            cause: name.into(),
            evidence: vec![evidence],
            ..CauseReport::default()
        };
        let layer = |made: &str| LayerReport { created_by: Some(made.into()), ..LayerReport::default() };
        let analysis = Analysis {
            layers: vec![
                layer("base"),
                layer("RUN /bin/sh -c apt-get update && apt-get install -y curl && true # buildkit"),
                layer("COPY . /app # buildkit"),
                layer("RUN /bin/sh -c chown -R app /app make # buildkit"),
            ],
            causes: vec![
                cause("apt-cache", evidence("/var/lib/apt/lists/x", &[1], 5)),
                cause("metadata-copy", evidence("/app/x", &[2, 3], 9)),
                cause("deleted-later", evidence("/etc/x", &[0, 1], 2)),
            ],
            ..Analysis::default()
        };
        let found: Vec<_> =
            lint(DOCKERFILE, &analysis).into_iter().map(|found| (found.line, found.cause)).collect();
        let expected = [(Some(14), "metadata-copy"), (Some(7), "apt-cache"), (None, "deleted-later")];
        assert_eq!(found, expected.map(|(line, cause)| (line, cause.to_owned())));
    }
}
