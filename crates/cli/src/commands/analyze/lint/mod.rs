//! `--lint`: from causes through the layers' history to lines of the Dockerfile.
//!
//! [`dockerfile`] reads the file as BuildKit does, [`heredoc`] finds its here-documents, [`stages`] says
//! which instructions made the image, and [`history`] lays them along its layers.

mod dockerfile;
mod heredoc;
mod history;
mod stages;

use std::collections::BTreeMap;

use serde::Serialize;
use unbloat_analysis::{Analysis, CauseReport};

use crate::error::Usage;
use crate::report::bytes;
use dockerfile::instructions;
use history::align;
use unbloat_text::terminal;

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

/// What each line of `dockerfile` causes, the costliest first. `target` is the stage that the image was made
/// of, the last one where none is named.
///
/// # Errors
/// There is no such stage.
pub(super) fn lint(
    dockerfile: &str,
    target: Option<&str>,
    analysis: &Analysis,
) -> Result<Vec<Finding>, Usage> {
    let layers = stages::layers(&instructions(dockerfile), target)?;
    let made: Vec<&str> =
        analysis.layers.iter().map(|layer| layer.created_by.as_deref().unwrap_or("")).collect();
    let lines = align(&layers, &made);
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
    Ok(findings)
}

/// Whether `dockerfile` has the stage `target`, told before anything is read.
///
/// # Errors
/// It has none of that name.
pub(super) fn check_target(dockerfile: &str, target: Option<&str>) -> Result<(), Usage> {
    stages::layers(&instructions(dockerfile), target).map(|_| ())
}

/// Which of a path's layers is to be mended: the one that wrote it again without need, else the one that
/// brought it.
fn blamed(cause: &CauseReport, layers: &[u32]) -> Option<u32> {
    let again = [
        "metadata-copy",
        "time-only-copy",
        "identical-rewrite",
        "upgraded-base",
        "package-database",
        "replaced-later",
    ];
    let at = usize::from(again.contains(&cause.cause.as_str()) && layers.len() > 1);
    layers.get(at).copied()
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
        assert!(instructions(DOCKERFILE)[8].body.contains("chown -R app /app"));
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
        let found: Vec<_> = lint(DOCKERFILE, None, &analysis)
            .unwrap()
            .into_iter()
            .map(|found| (found.line, found.cause))
            .collect();
        let expected = [(Some(14), "metadata-copy"), (Some(7), "apt-cache"), (None, "deleted-later")];
        assert_eq!(found, expected.map(|(line, cause)| (line, cause.to_owned())));
    }
}
