//! An analysis for a terminal.

use unbloat_analysis::{Analysis, CauseReport, LayerReport, PathReport};

use super::gate::Check;
use crate::report::bytes;
use unbloat_text::{SquashCommand, count, fit, fit_end, terminal, wrap};

/// Columns of a layer's bar.
const BAR: usize = 24;
/// Columns where the output is no terminal: nothing is cut, prose is wrapped all the same.
const PAGE: usize = 100;

/// How wide the output may be; `None` where it is no terminal.
pub(super) struct Page(pub(super) Option<usize>);

impl Page {
    fn prose(&self) -> usize {
        self.0.unwrap_or(PAGE).clamp(40, 120)
    }

    /// A name in what is left of the line.
    pub(super) fn rest(&self, used: usize, text: &str, keep_end: bool) -> String {
        let text = terminal(text);
        match self.0 {
            Some(width) if keep_end => fit_end(&text, width.saturating_sub(used).max(8)),
            Some(width) => fit(&text, width.saturating_sub(used).max(8)),
            None => text,
        }
    }

    /// The analysis, and at its end `squash` with all that the causes advise.
    pub(super) fn analysis(&self, analysis: &Analysis, squash: &SquashCommand) -> String {
        let mut lines = self.head(analysis);
        lines.push(String::new());
        lines.push(format!("Layers ({} shown, {} wasted)", BLOCKS[7], WASTED));
        let largest = analysis.layers.iter().map(|layer| layer.unpacked_bytes).max().unwrap_or(0);
        lines.extend(analysis.layers.iter().map(|layer| self.layer(layer, largest)));
        let wasting: Vec<&PathReport> = analysis.paths.iter().filter(|path| path.wasted_bytes > 0).collect();
        if !wasting.is_empty() {
            lines.push(String::new());
            lines.push("Paths that waste most (wasted, copies, path)".to_owned());
            lines.extend(wasting.iter().map(|path| self.path(path)));
        }
        if !analysis.causes.is_empty() {
            lines.push(String::new());
            lines.push("Causes".to_owned());
            lines.extend(analysis.causes.iter().flat_map(|cause| self.cause(cause)));
        }
        if !analysis.risks.is_empty() {
            lines.push(String::new());
            lines.push("Can still be read in a lower layer".to_owned());
            for risk in &analysis.risks {
                let now = if risk.replaced { "replaced" } else { "deleted" };
                lines.push(format!("  {now:<9} {}", self.rest(12, &risk.path, true)));
            }
        }
        lines.extend(self.command(analysis, squash));
        lines.join("\n")
    }

    /// One command for all of it, where a squash gives anything back. It is never cut: half a command is
    /// another command.
    fn command(&self, analysis: &Analysis, squash: &SquashCommand) -> Vec<String> {
        let changes = changes(analysis);
        if analysis.totals.wasted_bytes == 0 && changes.is_empty() {
            return Vec::new();
        }
        let mut says = "What gives these bytes back".to_owned();
        if changes.iter().any(|(option, _)| *option == "--remove") {
            says += "; what --remove names is in the image now, so leave out what it needs";
        }
        let mut lines = vec![String::new()];
        lines.extend(self.item("", &says));
        lines.extend(squash.with(changes).lines().map(|line| format!("  {line}")));
        lines
    }

    fn head(&self, analysis: &Analysis) -> Vec<String> {
        let Analysis { reference, digest, platform, totals, estimate, warnings, .. } = analysis;
        let mut lines = vec![self.rest(0, reference, false), self.rest(2, &format!("  {digest}"), false)];
        let mut says = format!(
            "{}, {}, {} compressed; {} unpacked, of which {} are shown in {} and {} wasted: efficiency {:.1} %.",
            terminal(platform),
            count(totals.layers as usize, "layer"),
            bytes(totals.compressed_bytes),
            bytes(totals.unpacked_bytes),
            bytes(totals.merged_bytes),
            count(totals.merged_paths as usize, "path"),
            bytes(totals.wasted_bytes),
            100.0 * totals.efficiency
        );
        if totals.wasted_bytes > 0 {
            says += &format!(
                " A squash saves about {} compressed, and {} unpacked, in about {:.1} s.",
                bytes(estimate.compressed_bytes),
                bytes(estimate.unpacked_bytes),
                estimate.seconds
            );
        }
        if totals.removable_bytes > 0 {
            says += &format!(" Of what is shown, {} could go.", bytes(totals.removable_bytes));
        }
        lines.extend(self.item("  ", &says));
        lines.extend(warnings.iter().flat_map(|warning| self.item("  ! ", &terminal(warning))));
        lines
    }

    /// Prose behind a mark, with further lines as far in.
    pub(super) fn item(&self, mark: &str, text: &str) -> Vec<String> {
        let lines = wrap(text, self.prose() - mark.len()).into_iter().enumerate();
        lines
            .map(
                |(at, line)| {
                    if at == 0 { format!("{mark}{line}") } else { format!("{:1$}{line}", "", mark.len()) }
                },
            )
            .collect()
    }

    fn layer(&self, layer: &LayerReport, largest: u64) -> String {
        let LayerReport { index, unpacked_bytes, wasted_bytes, compressed_bytes, created_by, .. } = layer;
        let wasted = if *wasted_bytes == 0 { "-".to_owned() } else { bytes(*wasted_bytes) };
        let line = format!(
            "{index:>5} {:>10} {} {:>10} {wasted:>10}  ",
            bytes(*compressed_bytes),
            bar(unpacked_bytes - wasted_bytes, *wasted_bytes, largest),
            bytes(*unpacked_bytes),
        );
        let used = 5 + 1 + 10 + 1 + BAR + 1 + 10 + 1 + 10 + 2;
        let by = created_by.as_deref().unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{line}{}", self.rest(used, &by, false)).trim_end().to_owned()
    }

    fn path(&self, path: &PathReport) -> String {
        let PathReport { path, copies, wasted_bytes, .. } = path;
        format!("{:>12} {copies:>6}  {}", bytes(*wasted_bytes), self.rest(21, path, true))
    }

    fn cause(&self, cause: &CauseReport) -> Vec<String> {
        let CauseReport { title, paths, wasted_bytes, removable_bytes, advice, evidence, cause, options: _ } =
            cause;
        let mut cost = Vec::new();
        if *wasted_bytes > 0 {
            cost.push(format!("{} wasted", bytes(*wasted_bytes)));
        }
        if *removable_bytes > 0 {
            cost.push(format!("{} could go", bytes(*removable_bytes)));
        }
        let paths = if *paths == 1 { "1 path".to_owned() } else { format!("{paths} paths") };
        let mut lines = self.item("- ", &format!("{title} ({cause}): {}, {paths}", cost.join(", ")));
        for seen in evidence.iter().take(3) {
            lines.push(format!("    {}", self.rest(4, &seen.path, true)));
            lines.extend(self.item("      ", &seen.seen));
        }
        lines.extend(self.item("    ", advice));
        lines
    }

    pub(super) fn checks(&self, checks: &[Check]) -> String {
        let mut lines = vec!["Checks".to_owned()];
        for Check { name, passed, found, limit } in checks {
            let word = if *passed { "ok  " } else { "FAIL" };
            lines.push(format!("  {word} {name}: {found}, {limit}"));
        }
        lines.join("\n")
    }
}

const BLOCKS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const WASTED: char = '░';

/// What a layer shows and wastes, to the scale of the largest one. Anything but nothing is at least a line.
fn bar(shown: u64, wasted: u64, largest: u64) -> String {
    let columns = |bytes: u64| {
        if largest == 0 { 0.0 } else { bytes as f64 / largest as f64 * BAR as f64 }
    };
    let mut bar = String::new();
    let eighths = (columns(shown) * 8.0).round() as usize;
    bar.extend(std::iter::repeat_n(BLOCKS[7], eighths / 8));
    match eighths % 8 {
        0 if eighths == 0 && shown > 0 => bar.push(BLOCKS[0]),
        0 => {}
        rest => bar.push(BLOCKS[rest - 1]),
    }
    let room = BAR - bar.chars().count().min(BAR);
    let wanted = if wasted == 0 { 0 } else { (columns(wasted).round() as usize).max(1) };
    bar.extend(std::iter::repeat_n(WASTED, wanted.min(room)));
    let used = bar.chars().count();
    bar.extend(std::iter::repeat_n(' ', BAR.saturating_sub(used)));
    bar
}

/// What all causes advise, option and pattern, each once.
fn changes(analysis: &Analysis) -> Vec<(&str, &str)> {
    let mut changes: Vec<(&str, &str)> = Vec::new();
    for cause in &analysis.causes {
        for pair in cause.options.chunks_exact(2) {
            let change = (pair[0].as_str(), pair[1].as_str());
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbloat_analysis::{Evidence, Totals};

    fn example() -> Analysis {
        Analysis {
            reference:
                "localhost:5000/a/very/long/name/of/an/image/that/does/not/fit:into-eighty-columns-at-all"
                    .into(),
            digest: format!("sha256:{}", "a".repeat(64)),
            platform: "linux/amd64".into(),
            layers: (0..3)
                .map(|index| LayerReport {
                    index,
                    unpacked_bytes: 1000 << (index * 9),
                    wasted_bytes: 500 << (index * 9),
                    compressed_bytes: 77 << 30,
                    created_by: Some("RUN x\u{1b}[31m ".repeat(30)),
                    ..LayerReport::default()
                })
                .collect(),
            totals: Totals { layers: 3, wasted_bytes: 9, efficiency: 0.5, ..Totals::default() },
            paths: vec![PathReport {
                path: format!("/{}/\u{202e}文件文件.txt", "deep/".repeat(30)),
                copies: 3,
                wasted_bytes: 1 << 40,
                ..PathReport::default()
            }],
            causes: vec![CauseReport {
                cause: "x".into(),
                title: "A title".into(),
                paths: 1,
                wasted_bytes: 9,
                advice: "word ".repeat(60),
                options: ["--truncate", "/a b", "--remove", "/x/*"].map(String::from).into(),
                evidence: vec![Evidence { path: "/\u{1b}]0;x\u{7}".into(), ..Evidence::default() }],
                ..CauseReport::default()
            }],
            warnings: vec!["warning ".repeat(40)],
            ..Analysis::default()
        }
    }

    fn squash() -> SquashCommand {
        SquashCommand {
            source: "a".into(),
            destination: "b c".into(),
            options: vec!["--plain-http=a".into()],
        }
    }

    #[test]
    fn an_image_that_gives_nothing_back_gets_no_command() {
        let text = Page(None).analysis(&Analysis::default(), &squash());
        assert!(!text.contains("unbloat squash"), "{text}");
    }

    #[test]
    fn an_option_that_two_causes_advise_stands_once() {
        let mut analysis = example();
        analysis.causes.push(analysis.causes[0].clone());
        assert_eq!(changes(&analysis), [("--truncate", "/a b"), ("--remove", "/x/*")]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_acts_on_it() {
        use unicode_width::UnicodeWidthStr;
        for width in [80, 100, 200] {
            let text = Page(Some(width)).analysis(&example(), &squash());
            for line in text.lines() {
                assert!(line.width() <= width, "{} columns: {line}", line.width());
                assert!(!line.chars().any(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
            }
            let command = "  unbloat squash a 'b c' \\\n      --plain-http=a \\\n      --truncate '/a b' \\\n      --remove '/x/*'";
            assert!(text.ends_with(command), "{text}");
        }
    }

    #[test]
    fn a_bar_has_always_the_same_width_and_shows_the_smallest_share() {
        for (shown, wasted) in
            [(0, 0), (1, 1_000_000), (1_000_000, 1), (500_000, 500_000), (0, 1), (999_999, 999_999)]
        {
            let bar = bar(shown, wasted, 1_000_000);
            assert_eq!(bar.chars().count(), BAR, "{bar:?}");
            assert_eq!(shown > 0, bar.starts_with(BLOCKS), "{bar:?}");
        }
        assert!(bar(0, 1, 1_000_000).starts_with(WASTED));
    }

    #[test]
    fn without_a_terminal_names_stay_whole() {
        assert!(Page(None).analysis(&example(), &squash()).contains("/deep/deep/"));
    }
}
