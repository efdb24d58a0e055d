//! The screen: a title, the layers and the tree side by side, what is chosen, and a line for keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders};
use unicode_width::UnicodeWidthStr;

use super::{App, Focus, Over};
use unbloat_text::printable;

/// Below this width one side is shown at a time.
const TWO_SIDES: u16 = 70;
/// Smaller screens show nothing.
const SMALLEST: (u16, u16) = (24, 8);

impl App {
    /// Draws everything.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            let text = unbloat_text::fit("too small for a browser", usize::from(area.width));
            frame.render_widget(Line::from(text), Rect { height: area.height.min(1), ..area });
            return;
        }
        let facts = if area.height >= 16 { 5 } else { 0 };
        let [title, body, below, last] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(facts),
            Constraint::Length(1),
        ])
        .areas(area);
        self.page = usize::from(body.height.saturating_sub(3)).max(1);
        frame.render_widget(self.title(usize::from(title.width)), title);
        if area.width < TWO_SIDES {
            match self.focus {
                Focus::Layers => self.draw_layers(frame, body),
                Focus::Tree => self.draw_tree(frame, body),
            }
        } else {
            let left = (body.width * 2 / 5).clamp(36, 64);
            let [left, right] =
                Layout::horizontal([Constraint::Length(left), Constraint::Min(20)]).areas(body);
            self.draw_layers(frame, left);
            self.draw_tree(frame, right);
        }
        if facts > 0 {
            self.draw_facts(frame, below);
        }
        self.draw_last_line(frame, last);
        match self.over {
            Over::Nothing => {}
            Over::Help { from } => self.draw_help(frame, area, from),
            Over::Versions { node, chosen } => self.draw_versions(frame, body, node, chosen),
            Over::Marks { from } => self.draw_marks(frame, body, from),
        }
    }

    fn title(&self, columns: usize) -> Line<'static> {
        let catalogue = &self.catalogue;
        let (unpacked, merged) = (catalogue.unpacked_bytes(), catalogue.merged_bytes());
        let efficiency = if unpacked == 0 { 100.0 } else { 100.0 * merged as f64 / unpacked as f64 };
        let numbers = format!(
            "  {}  {}  {} wasted  {efficiency:.1} % efficient ",
            unbloat_text::count(self.image.layers.len(), "layer"),
            unbloat_text::bytes(unpacked),
            unbloat_text::bytes(catalogue.wasted_bytes()),
        );
        let name = printable(self.image.reference.as_bytes());
        let name = unbloat_text::fit_end(&name, columns.saturating_sub(numbers.width() + 1));
        Line::from(vec![Span::styled(format!(" {name}"), self.theme.title()), Span::raw(numbers)])
    }

    pub(super) fn frame_of(&self, title: String, has_focus: bool) -> Block<'static> {
        let kind = if has_focus { BorderType::Thick } else { BorderType::Plain };
        Block::new()
            .borders(Borders::ALL)
            .border_type(kind)
            .border_style(self.theme.border(has_focus))
            .title(Span::styled(title, self.theme.heading()))
    }
}

/// The first line that is drawn, so that `line` is among `height` lines and the screen moves as little as it
/// can.
pub(super) fn scrolled(top: usize, line: usize, height: usize, count: usize) -> usize {
    let height = height.max(1);
    top.min(line).max((line + 1).saturating_sub(height)).min(count.saturating_sub(height))
}

/// Spans cut to `columns`, and filled up to them, in one style under the spans' own.
pub(super) fn padded(spans: Vec<Span<'static>>, columns: usize, style: Style) -> Line<'static> {
    let mut left = columns;
    let mut kept = Vec::with_capacity(spans.len() + 1);
    for span in spans {
        let width = span.content.width();
        if width <= left {
            left -= width;
            kept.push(span);
        } else {
            let cut = unbloat_text::fit(&span.content, left);
            left -= cut.width();
            kept.push(Span::styled(cut, span.style));
            break;
        }
    }
    kept.push(Span::raw(" ".repeat(left)));
    Line::from(kept).style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_moves_as_little_as_it_can() {
        assert_eq!(scrolled(0, 5, 10, 100), 0);
        assert_eq!(scrolled(0, 10, 10, 100), 1);
        assert_eq!(scrolled(50, 20, 10, 100), 20);
        assert_eq!(scrolled(50, 55, 10, 100), 50);
        assert_eq!(scrolled(95, 99, 10, 100), 90);
        assert_eq!(scrolled(7, 0, 10, 3), 0);
    }
}
