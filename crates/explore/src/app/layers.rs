//! The left side: the image, and its layers with what they hold, what of it is wasted, and the commands that
//! made them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::draw::{padded, scrolled};
use super::{App, Focus};
use unbloat_text::printable;

impl App {
    pub(super) fn draw_layers(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let has_focus = self.focus == Focus::Layers;
        let block = self.frame_of(" Layers ".into(), has_focus);
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let columns = usize::from(inside.width);
        let height = usize::from(inside.height).saturating_sub(1);
        let count = self.image.layers.len() + 1;
        self.layer_top = scrolled(self.layer_top, self.layer_line, height, count);
        let mut lines = vec![padded(
            vec![Span::styled("    #   size wasted  command", self.theme.faint())],
            columns,
            self.theme.faint(),
        )];
        for line in self.layer_top..count.min(self.layer_top + height) {
            lines.push(self.layer_row(line, columns, has_focus));
        }
        frame.render_widget(Paragraph::new(lines), inside);
    }

    fn layer_row(&self, line: usize, columns: usize, has_focus: bool) -> Line<'static> {
        let (number, bytes, wasted, command) = match line.checked_sub(1) {
            None => (
                "all".to_owned(),
                self.catalogue.unpacked_bytes(),
                self.catalogue.wasted_bytes(),
                "the image".to_owned(),
            ),
            Some(layer) => {
                let totals = self.catalogue.layers()[layer];
                let command = self.image.layers[layer].created_by.as_deref().unwrap_or("");
                (
                    layer.to_string(),
                    totals.bytes,
                    totals.wasted_bytes,
                    printable(plain_command(command).as_bytes()),
                )
            }
        };
        let is_chosen = line == self.layer_line;
        let arrow = if is_chosen { ">" } else { " " };
        let wasted_style = if wasted > 0 { self.theme.wasted() } else { self.theme.faint() };
        let spans = vec![
            Span::raw(format!("{arrow}{number:>4} {:>6} ", unbloat_text::bytes_in_column(bytes))),
            Span::styled(format!("{:>6}", unbloat_text::bytes_in_column(wasted)), wasted_style),
            Span::raw(format!("  {command}")),
        ];
        let style = if is_chosen { self.theme.chosen(has_focus) } else { Default::default() };
        padded(spans, columns, style)
    }
}

/// A history entry's command without what builders put around it.
pub(super) fn plain_command(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("RUN ").unwrap_or(text);
    let text = text.strip_prefix("/bin/sh -c ").unwrap_or(text);
    let text = text.trim_start().strip_prefix("#(nop) ").unwrap_or(text);
    text.strip_suffix("# buildkit").unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_without_their_wrapping() {
        assert_eq!(plain_command("/bin/sh -c #(nop)  CMD [\"bash\"]"), "CMD [\"bash\"]");
        assert_eq!(plain_command("RUN /bin/sh -c apt-get update # buildkit"), "apt-get update");
        assert_eq!(plain_command("COPY . /app # buildkit"), "COPY . /app");
        assert_eq!(plain_command(""), "");
    }
}
