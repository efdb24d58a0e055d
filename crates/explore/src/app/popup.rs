//! What lies over the two sides: the layers that have a path, and what is marked.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};
use unicode_width::UnicodeWidthStr;

use super::App;
use super::draw::{padded, scrolled};
use super::footer::{sort_name, status_name};
use crate::command::Mark;
use crate::permissions;
use unbloat_text::printable;

impl App {
    pub(super) fn draw_versions(&self, frame: &mut Frame<'_>, area: Rect, node: u32, chosen: usize) {
        let versions = self.catalogue.versions(node);
        let columns = usize::from(area.width).saturating_sub(2).min(110);
        let height = usize::from(area.height).saturating_sub(4).min(versions.len().max(1));
        let top = scrolled(0, chosen, height, versions.len());
        let path = printable(&self.catalogue.path(node));
        let mut lines = vec![padded(
            vec![Span::styled("  layer  what         size wasted  how", self.theme.faint())],
            columns,
            self.theme.faint(),
        )];
        for (at, version) in versions.iter().enumerate().skip(top).take(height) {
            let wasted = if version.wasted { version.bytes } else { 0 };
            let arrow = if at == chosen { ">" } else { " " };
            let command = self.image.layers[version.layer].created_by.as_deref().unwrap_or("");
            let command = printable(super::layers::plain_command(command).as_bytes());
            let mut what = sort_name(version.sort).to_owned();
            if let Some((user, group)) = version.owner {
                what = format!(
                    "{what} {} {user}:{group}",
                    permissions::mode(version.sort.letter(), version.mode)
                );
            }
            let spans = vec![
                Span::raw(format!("{arrow}{:>6}  {:<10} ", version.layer, status_name(version.status))),
                Span::raw(format!("{:>6} ", unbloat_text::bytes_in_column(version.bytes))),
                Span::styled(format!("{:>6}  ", unbloat_text::bytes_in_column(wasted)), self.theme.wasted()),
                Span::raw(format!("{what}  ")),
                Span::styled(command, self.theme.faint()),
            ];
            let style = if at == chosen { self.theme.chosen(true) } else { Default::default() };
            lines.push(padded(spans, columns, style));
        }
        let title = unbloat_text::fit_end(&format!("/{path}"), columns.saturating_sub(24));
        self.draw_over(frame, area, &format!(" {title}: Enter goes there "), lines, columns);
    }

    pub(super) fn draw_marks(&self, frame: &mut Frame<'_>, area: Rect, from: usize) {
        let columns = usize::from(area.width).saturating_sub(2).min(110);
        let mut lines: Vec<Line<'static>> = self
            .marks
            .iter()
            .map(|(path, mark)| {
                let what = match mark {
                    Mark::Remove => "R remove  ",
                    Mark::Truncate => "T truncate",
                };
                padded(vec![Span::raw(format!(" {what} /{}", printable(path)))], columns, Default::default())
            })
            .collect();
        if lines.is_empty() {
            lines.push(Line::from(" nothing: r marks a path for --remove, t a file for --truncate"));
        }
        let height = usize::from(area.height).saturating_sub(3);
        let from = from.min(lines.len().saturating_sub(height));
        let title = " Marked: q leaves and prints the command ";
        self.draw_over(frame, area, title, lines.split_off(from), columns);
    }

    /// Draws `lines` in a frame in the middle of `area`, as large as they need it.
    pub(super) fn draw_over(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        title: &str,
        lines: Vec<Line<'static>>,
        columns: usize,
    ) {
        let width = (columns + 2).max(title.width() + 2).min(usize::from(area.width)) as u16;
        let height = (lines.len() + 2).min(usize::from(area.height)) as u16;
        let over = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        let block = self.frame_of(title.to_owned(), true);
        frame.render_widget(Clear, over);
        frame.render_widget(Paragraph::new(lines).block(block), over);
    }
}
