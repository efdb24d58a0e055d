//! Every key.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::App;

/// Keys and what they do; a line without a key is a heading.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("", "Moving"),
    ("Tab", "from the layers to the tree and back"),
    ("Up Down  k j", "one line"),
    ("PgUp PgDn", "one page; Ctrl-U, Ctrl-D: half of one"),
    ("Home End  g G", "first and last line"),
    ("[ ]", "previous and next layer, from either side"),
    ("", "The tree"),
    ("Enter Space", "open or close a folder; the layers of a file"),
    ("Right Left  l h", "into a folder, out of it"),
    ("e c", "open or close all below"),
    ("v", "the layers that have this path; Enter goes there"),
    ("a", "a layer's changes, or the whole tree after it"),
    ("o", "order: name, most wasted, largest"),
    ("w", "only paths with wasted bytes"),
    ("f", "filter: only paths that hold a text; Esc clears it"),
    ("/ n N", "search: to the next name that holds a text"),
    ("", "Doing"),
    ("x", "extract this file"),
    ("r t u", "mark for --remove, for --truncate, unmark"),
    ("m", "what is marked"),
    ("q", "leave, and print the squash command for the marks"),
    ("Ctrl-C", "leave without a word"),
    ("", "Signs"),
    ("+ ~ -", "the layer adds, changes, removes"),
    (".", "something below is added, changed or removed"),
    ("x", "the image does not show it, but its bytes are there"),
    ("R T", "marked"),
];

impl App {
    pub(super) fn draw_help(&self, frame: &mut Frame<'_>, area: Rect, from: usize) {
        let height = usize::from(area.height).saturating_sub(2);
        let from = from.min(KEYS.len().saturating_sub(height));
        let lines: Vec<Line<'static>> = KEYS[from..]
            .iter()
            .map(|(key, what)| {
                if key.is_empty() {
                    Line::from(Span::styled(format!(" {what}"), self.theme.heading()))
                } else {
                    Line::from(vec![Span::styled(format!("  {key:<17}"), self.theme.key()), Span::raw(*what)])
                }
            })
            .collect();
        let more = if KEYS.len() > height { "Down shows more, " } else { "" };
        let title = format!(" Keys: {more}any other key closes ");
        self.draw_over(frame, area, &title, lines, 72);
    }
}
