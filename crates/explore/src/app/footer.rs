//! What is chosen, in words, and the last line: keys, a message, or what is being typed.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr;

use super::{App, Focus, Typing};
use crate::catalogue::{Sort, Status, Version};
use crate::permissions;
use crate::view::Scope;
use unbloat_text::printable;

impl App {
    pub(super) fn draw_facts(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::new().borders(Borders::TOP).border_style(self.theme.border(false));
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let lines = match (self.focus, self.layer_line.checked_sub(1)) {
            (Focus::Tree, _) if self.row().is_some() => self.path_facts(usize::from(inside.width)),
            (_, Some(layer)) => self.layer_facts(layer),
            (_, None) => self.image_facts(),
        };
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), inside);
    }

    fn image_facts(&self) -> Vec<Line<'static>> {
        let stored = self.image.layers.iter().map(|layer| layer.compressed_bytes).sum();
        vec![
            Line::from(format!(" {}", printable(self.image.digest.as_bytes()))),
            Line::from(format!(" {}", printable(self.image.platform.as_bytes()))),
            Line::from(format!(
                " {} stored; {} in files: {} seen, {} wasted",
                unbloat_text::bytes(stored),
                unbloat_text::bytes(self.catalogue.unpacked_bytes()),
                unbloat_text::bytes(self.catalogue.merged_bytes()),
                unbloat_text::bytes(self.catalogue.wasted_bytes()),
            )),
        ]
    }

    fn layer_facts(&self, layer: usize) -> Vec<Line<'static>> {
        let facts = &self.image.layers[layer];
        let totals = self.catalogue.layers()[layer];
        let command = facts.created_by.as_deref().map(super::layers::plain_command).unwrap_or_default();
        vec![
            Line::from(vec![
                Span::styled(format!(" Layer {layer} "), self.theme.heading()),
                Span::styled(printable(facts.digest.as_bytes()), self.theme.faint()),
            ]),
            Line::from(format!(
                " {} stored; {} in {}, {} wasted",
                unbloat_text::bytes(facts.compressed_bytes),
                unbloat_text::bytes(totals.bytes),
                unbloat_text::count(totals.entries as usize, "entry").replace("entrys", "entries"),
                unbloat_text::bytes(totals.wasted_bytes),
            )),
            Line::from(format!(" {}", printable(command.as_bytes()))),
        ]
    }

    fn path_facts(&self, columns: usize) -> Vec<Line<'static>> {
        let Some(row) = self.row() else { return Vec::new() };
        let path = format!("/{}", printable(&self.catalogue.path(row.node)));
        let mut lines = vec![Line::from(Span::styled(
            format!(" {}", unbloat_text::fit_end(&path, columns.saturating_sub(2))),
            self.theme.heading(),
        ))];
        let versions = self.catalogue.versions(row.node);
        let shown = self.view.event(row.node).map(|at| self.catalogue.version(at));
        let (bytes, wasted) = (self.view.bytes(row.node), self.view.wasted(row.node));
        let what = shown.as_ref().map_or_else(
            || self.why_not_shown().to_owned(),
            |version| match version.owner {
                Some((user, group)) => {
                    format!("{} {user}:{group}", permissions::mode(version.sort.letter(), version.mode))
                }
                None if version.sort == Sort::Removed => {
                    let bytes = self.catalogue.removed_bytes(row.node, version.layer);
                    format!("removed by this layer, which frees none of its {}", unbloat_text::bytes(bytes))
                }
                None => sort_name(version.sort).to_owned(),
            },
        );
        lines.push(Line::from(vec![
            Span::raw(format!(
                " {what}{}",
                if bytes > 0 { format!("  {}", unbloat_text::bytes(bytes)) } else { String::new() }
            )),
            Span::styled(
                if wasted > 0 { format!("  {} wasted", unbloat_text::bytes(wasted)) } else { String::new() },
                self.theme.wasted(),
            ),
        ]));
        lines
            .push(Line::from(format!(" {}", unbloat_text::fit(&told(&versions), columns.saturating_sub(2)))));
        if let Some(version) = shown
            && let Some(link) = version.link
        {
            let how = if version.sort == Sort::HardLink { "the same file as /" } else { "leads to " };
            let text = format!("{how}{}", printable(&link));
            lines.push(Line::from(format!(" {}", unbloat_text::fit(&text, columns.saturating_sub(2)))));
        }
        lines
    }

    fn why_not_shown(&self) -> &'static str {
        match self.view.scope() {
            Scope::Image => "not in the image",
            Scope::Until(_) => "not there after this layer",
            Scope::Layer(_) => "this layer has no entry for it",
        }
    }

    pub(super) fn draw_last_line(&self, frame: &mut Frame<'_>, area: Rect) {
        if let Some((typing, prompt)) = &self.typing {
            let label = match typing {
                Typing::Filter => " filter: ",
                Typing::Search { .. } => " search: ",
                Typing::Extract { .. } => " write to: ",
            };
            let (before, behind) = prompt.parts();
            let room = usize::from(area.width).saturating_sub(label.width() + 1);
            let before = unbloat_text::fit_end(&before, room);
            let at = area.x + (label.width() + before.width()) as u16;
            let line = vec![Span::styled(label, self.theme.key()), Span::raw(before), Span::raw(behind)];
            frame.render_widget(Line::from(line), area);
            frame.set_cursor_position(Position { x: at.min(area.right().saturating_sub(1)), y: area.y });
            return;
        }
        let said = self.message.as_ref().or(self.extracting.as_ref());
        if let Some(said) = said {
            let text = unbloat_text::fit(&format!(" {said}"), usize::from(area.width));
            frame.render_widget(Line::from(Span::styled(text, self.theme.message())), area);
            return;
        }
        frame.render_widget(self.key_line(usize::from(area.width)), area);
    }

    fn key_line(&self, columns: usize) -> Line<'static> {
        const LAYERS: &[(&str, &str)] = &[
            ("?", "help"),
            ("Tab", "tree"),
            ("a", "changes/tree"),
            ("f", "filter"),
            ("/", "search"),
            ("o", "order"),
            ("w", "wasted"),
            ("q", "quit"),
        ];
        const TREE: &[(&str, &str)] = &[
            ("?", "help"),
            ("v", "layers of path"),
            ("f", "filter"),
            ("o", "order"),
            ("w", "wasted"),
            ("x", "extract"),
            ("r", "remove"),
            ("t", "truncate"),
            ("q", "quit"),
        ];
        let marked = self.marks.len();
        let tail = if marked > 0 { format!(" {marked} marked ") } else { String::new() };
        let mut left = columns.saturating_sub(tail.width());
        let mut spans = Vec::new();
        for (key, what) in if self.focus == Focus::Layers { LAYERS } else { TREE } {
            let width = key.width() + what.width() + 3;
            if width > left {
                break;
            }
            left -= width;
            spans.push(Span::styled(format!(" {key}"), self.theme.key()));
            spans.push(Span::raw(format!(" {what} ")));
        }
        spans.push(Span::raw(" ".repeat(left)));
        spans.push(Span::styled(tail, self.theme.mark()));
        Line::from(spans)
    }
}

/// What an entry is, in a word.
pub(super) fn sort_name(sort: Sort) -> &'static str {
    match sort {
        Sort::File => "file",
        Sort::HardLink => "hard link",
        Sort::Symlink => "symlink",
        Sort::Directory => "folder",
        Sort::ImpliedDirectory => "folder without an entry",
        Sort::CharDevice => "character device",
        Sort::BlockDevice => "block device",
        Sort::Fifo => "named pipe",
        Sort::Removed => "removed",
    }
}

/// What a layer does, in a word.
pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Added => "adds",
        Status::Changed => "changes",
        Status::Same => "repeats",
        Status::Removed => "removes",
        Status::Superseded => "overwrites",
    }
}

/// The layers of a path in a sentence.
fn told(versions: &[Version]) -> String {
    let (mut entries, mut removals) = (Vec::new(), Vec::new());
    for version in versions {
        let of_its_kind = if version.sort == Sort::Removed { &mut removals } else { &mut entries };
        if of_its_kind.last() != Some(&version.layer) {
            of_its_kind.push(version.layer);
        }
    }
    if entries.is_empty() {
        return "no layer has an entry for it".to_owned();
    }
    let mut text = format!("in {}: {}", unbloat_text::count(entries.len(), "layer"), ranges(&entries));
    if !removals.is_empty() {
        text.push_str(&format!("; removed by {}", ranges(&removals)));
    }
    text
}

/// Numbers in order as ranges: `0, 2-29`.
fn ranges(numbers: &[usize]) -> String {
    let parts = numbers.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        alone => alone.iter().map(usize::to_string).collect(),
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_in_a_row_are_told_as_a_range() {
        assert_eq!(ranges(&[0, 2, 3, 4, 7]), "0, 2-4, 7");
        assert_eq!(ranges(&[]), "");
    }
}
