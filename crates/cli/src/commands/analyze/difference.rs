//! `analyze A B` for a terminal and as Markdown.

use std::fmt::Write as _;

use unbloat_analysis::{Comparison, LayerChange, PathChange, Totals};

use super::markup::markdown;
use super::text::Page;
use crate::report::bytes;

/// From this share on, two bases are taken for one at two patch levels.
const ALIKE: f64 = 0.8;

/// One line: its name, the figure, and how the figure is shown.
type Row = (&'static str, fn(&Totals) -> u64, fn(u64) -> String);

/// What is told of both images.
const ROWS: [Row; 5] = [
    ("layers", |totals| totals.layers, |count| count.to_string()),
    ("compressed", |totals| totals.compressed_bytes, bytes),
    ("shown", |totals| totals.merged_bytes, bytes),
    ("wasted", |totals| totals.wasted_bytes, bytes),
    ("paths", |totals| totals.merged_paths, |count| count.to_string()),
];

/// A difference with its sign.
fn signed(change: i128) -> String {
    let size = bytes(u64::try_from(change.unsigned_abs()).unwrap_or(u64::MAX));
    if change < 0 { format!("-{size}") } else { format!("+{size}") }
}

fn base(compared: &Comparison) -> Option<String> {
    // An image of one layer has no base; a squashed one beside its original is no other patch level.
    let has_base = |totals: &Totals| totals.layers > 1;
    let both = has_base(&compared.before.totals) && has_base(&compared.after.totals);
    let likeness = compared.base_likeness.filter(|_| both)?;
    let percent = 100.0 * likeness;
    Some(if likeness >= ALIKE {
        format!(
            "The lowest layers differ, though {percent:.0} % of the first one's bytes are in files of the same name and size: \
             two patch levels of one base. Built on one tag of it, the images would share the layer."
        )
    } else {
        format!(
            "The images share no layer; {percent:.0} % of the lowest layer's bytes are in files of the same name and size."
        )
    })
}

pub(super) fn text(compared: &Comparison, page: &Page) -> String {
    let Comparison { before, after, common_layers, layers, paths, paths_total, .. } = compared;
    let mut lines = vec![
        format!("- {}", page.rest(2, &before.reference, false)),
        format!("+ {}", page.rest(2, &after.reference, false)),
    ];
    for (name, value, show) in ROWS {
        let (a, b) = (value(&before.totals), value(&after.totals));
        lines.push(format!("  {name:<11} {:>12} -> {:>12}", show(a), show(b)));
    }
    lines.extend(base(compared).iter().flat_map(|says| page.item("  ", says)));
    lines.push(String::new());
    lines.push(format!("Layers above the {common_layers} that both have (compressed before, after)"));
    let size = |bytes_of: &Option<u64>| bytes_of.map_or("-".to_owned(), bytes);
    for LayerChange { index, before, after, created_by } in layers {
        let by = created_by.as_deref().unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ");
        let line =
            format!("{index:>5} {:>12} {:>12}  {}", size(before), size(after), page.rest(33, &by, false));
        lines.push(line.trim_end().to_owned());
    }
    lines.push(String::new());
    lines.push(format!("Paths that differ, {} of {paths_total} (grown by, shown, path)", paths.len()));
    for change in paths {
        let PathChange { path, shown_after, .. } = change;
        lines.push(format!(
            "{:>12} {:>12}  {}",
            signed(change.growth()),
            bytes(*shown_after),
            page.rest(27, path, true)
        ));
    }
    lines.join("\n")
}

pub(super) fn report(compared: &Comparison) -> String {
    let Comparison { before, after, paths, .. } = compared;
    let mut text = format!(
        "# {} to {}\n\n| | before | after |\n|---|---:|---:|\n",
        markdown(&before.reference),
        markdown(&after.reference)
    );
    for (name, value, show) in ROWS {
        let _ =
            writeln!(text, "| {name} | {} | {} |", show(value(&before.totals)), show(value(&after.totals)));
    }
    if let Some(says) = base(compared) {
        let _ = writeln!(text, "\n{says}");
    }
    text.push_str("\n| path | grown by | shown |\n|---|---:|---:|\n");
    for change in paths {
        let path = markdown(&change.path);
        let _ = writeln!(text, "| {path} | {} | {} |", signed(change.growth()), bytes(change.shown_after));
    }
    text
}
