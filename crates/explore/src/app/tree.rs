//! The right side: the tree.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::draw::{padded, scrolled};
use super::{App, Focus, theme};
use crate::catalogue::Sort;
use crate::command::Mark;
use crate::permissions;
use crate::view::{Order, Row, Scope, Sign};
use unbloat_text::printable;

/// From this width on, permissions and owner are shown.
const WITH_OWNER: usize = 66;
/// Deeper folders are not moved further to the right.
const DEEPEST: usize = 16;

impl App {
    pub(super) fn draw_tree(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let has_focus = self.focus == Focus::Tree;
        let block = self.frame_of(self.tree_title(usize::from(area.width).saturating_sub(4)), has_focus);
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let columns = usize::from(inside.width);
        let height = usize::from(inside.height).saturating_sub(1);
        let count = self.view.rows().len();
        self.line = self.line.min(count.saturating_sub(1));
        self.top = scrolled(self.top, self.line, height, count);
        let heading = if columns >= WITH_OWNER {
            "     size wasted mode           owner  path"
        } else {
            "     size wasted path"
        };
        let heading = Span::styled(heading, self.theme.faint());
        let mut lines = vec![padded(vec![heading], columns, self.theme.faint())];
        for line in self.top..count.min(self.top + height) {
            lines.push(self.tree_row(line, columns, has_focus));
        }
        if count == 0 {
            lines.push(Line::from(Span::styled(format!(" {}", self.why_empty()), self.theme.faint())));
        }
        frame.render_widget(Paragraph::new(lines), inside);
    }

    fn why_empty(&self) -> &'static str {
        if !self.view.filter().is_empty() {
            "nothing here holds the filter's text; Esc clears it"
        } else if self.view.only_wasted() {
            "nothing here is wasted; w shows the rest"
        } else {
            match self.view.scope() {
                Scope::Layer(_) => "this layer changes nothing",
                _ => "there is nothing",
            }
        }
    }

    fn tree_title(&self, columns: usize) -> String {
        let mut title = match self.view.scope() {
            Scope::Layer(layer) => format!(" Changes of layer {layer}"),
            Scope::Until(layer) => format!(" Tree after layer {layer}"),
            Scope::Image => " Tree of the image".to_owned(),
        };
        match self.view.order() {
            Order::Name => {}
            Order::Size => title.push_str(", by size"),
            Order::Wasted => title.push_str(", by waste"),
        }
        if self.view.only_wasted() {
            title.push_str(", wasted only");
        }
        if !self.view.filter().is_empty() {
            title.push_str(&format!(", filter: {}", printable(self.view.filter())));
        }
        title.push(' ');
        unbloat_text::fit(&title, columns)
    }

    fn tree_row(&self, line: usize, columns: usize, has_focus: bool) -> Line<'static> {
        let Row { node, depth } = self.view.rows()[line];
        let sign = self.view.sign(&self.catalogue, node);
        let version = self.view.event(node).map(|at| self.catalogue.version(at));
        let wasted = self.view.wasted(node);
        let mark = match self.marks.get(&self.catalogue.path(node)) {
            Some(Mark::Remove) => Span::styled("R", self.theme.mark()),
            Some(Mark::Truncate) => Span::styled("T", self.theme.mark()),
            None => Span::raw(if line == self.line { ">" } else { " " }),
        };
        let wasted_style = if wasted > 0 { self.theme.wasted() } else { self.theme.faint() };
        let mut spans = vec![
            mark,
            Span::styled(theme::letter(sign), self.theme.letter(sign)),
            Span::raw(format!(" {:>6} ", unbloat_text::bytes_in_column(self.view.bytes(node)))),
            Span::styled(format!("{:>6} ", unbloat_text::bytes_in_column(wasted)), wasted_style),
        ];
        if columns >= WITH_OWNER {
            let there = version.as_ref().and_then(|version| Some((version, version.owner?)));
            let text = there.map_or_else(String::new, |(version, (user, group))| {
                format!(
                    "{} {:>9}",
                    permissions::mode(version.sort.letter(), version.mode),
                    format!("{user}:{group}")
                )
            });
            spans.push(Span::styled(unbloat_text::fit(&format!("{text:<20}  "), 22), self.theme.faint()));
        }
        let is_folder = self.is_folder(node);
        let arrow = match (is_folder, self.view.is_open(node)) {
            (true, true) => "▾ ",
            (true, false) => "▸ ",
            (false, _) => "  ",
        };
        spans.push(Span::raw("  ".repeat(usize::from(depth).min(DEEPEST))));
        spans.push(Span::styled(arrow, self.theme.faint()));
        let is_directory = match &version {
            Some(version) if version.sort != Sort::Removed => version.sort.is_directory(),
            _ => is_folder,
        };
        let style = self.name_style(sign, is_directory);
        let slash = if is_directory { "/" } else { "" };
        spans.push(Span::styled(format!("{}{slash}", printable(self.catalogue.name(node))), style));
        if let Some(version) = version
            && let Some(link) = version.link
        {
            let arrow = if version.sort == Sort::HardLink { " = /" } else { " -> " };
            spans.push(Span::styled(format!("{arrow}{}", printable(&link)), self.theme.faint()));
        }
        let style = if line == self.line { self.theme.chosen(has_focus) } else { Style::new() };
        padded(spans, columns, style)
    }

    fn name_style(&self, sign: Sign, is_directory: bool) -> Style {
        match sign {
            Sign::Plain | Sign::Below if is_directory => self.theme.folder(),
            Sign::Below => Style::new(),
            sign => self.theme.sign(sign),
        }
    }
}
