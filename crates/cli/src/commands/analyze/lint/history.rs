//! From a Dockerfile's instructions to an image's layers.
//!
//! A layer's history says what made it, in BuildKit's words (`RUN /bin/sh -c apt-get update # buildkit`) or
//! the classic builder's (`/bin/sh -c #(nop) COPY file:… in /app`). Both sides are compared as lists of
//! words, and the instructions are laid along the layers so that the sum of likenesses is largest: variables,
//! heredocs and formatting make single lines differ, the order never does.

use super::dockerfile::Instruction;
use super::stages::MAKES_A_LAYER;

/// For each layer the line that made it.
pub(super) fn align(stage: &[Instruction], made: &[&str]) -> Vec<Option<u64>> {
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
    let Instruction { keyword, text, body, line: _ } = instruction;
    let made = made.trim().trim_end_matches("# buildkit").trim();
    let classic = made.split_once("#(nop)").map(|(_, rest)| rest.trim());
    let rest = classic.unwrap_or(made);
    let known = MAKES_A_LAYER.iter().find(|known| rest.split_whitespace().next() == Some(known));
    // The classic builder writes a RUN as the bare command.
    let kind = known.copied().unwrap_or(if classic.is_some() { "" } else { "RUN" });
    if kind != keyword || made.is_empty() {
        return 0.0;
    }
    // What a RUN's here-document holds is the command; a COPY's history names its here-documents alone.
    let text = if kind == "RUN" { format!("{text} {body}") } else { text.clone() };
    let (a, b) = (words(&text), words(rest));
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

#[cfg(test)]
mod tests {
    use super::super::dockerfile::instructions;
    use super::super::stages::layers;
    use super::*;

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

    fn lines(made: &[&str]) -> Vec<Option<u64>> {
        align(&layers(&instructions(DOCKERFILE), None).unwrap(), made)
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
}
