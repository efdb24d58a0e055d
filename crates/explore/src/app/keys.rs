//! What each key does. [`super::help`] lists the same keys.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::prompt::Prompt;
use super::{App, Effect, Focus, Over, Typing};
use crate::command::Mark;

impl App {
    /// Does what a key means.
    pub fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Some(Effect::Abandon);
        }
        self.message = None;
        if self.typing.is_some() {
            return self.type_key(key.code, control);
        }
        match self.over {
            Over::Help { from } => self.scroll_key(key.code, from, |from| Over::Help { from }),
            Over::Marks { from } => self.scroll_key(key.code, from, |from| Over::Marks { from }),
            Over::Versions { node, chosen } => self.versions_key(key.code, node, chosen),
            Over::Nothing => return self.main_key(key.code, control),
        }
        None
    }

    fn main_key(&mut self, code: KeyCode, control: bool) -> Option<Effect> {
        match code {
            KeyCode::Char('q') => return Some(Effect::Leave),
            KeyCode::Char('?') | KeyCode::F(1) => self.over = Over::Help { from: 0 },
            KeyCode::Char('m') => self.over = Over::Marks { from: 0 },
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = if self.focus == Focus::Layers { Focus::Tree } else { Focus::Layers };
            }
            KeyCode::Char('a') => {
                self.whole_tree = !self.whole_tree;
                if self.layer_line == 0 {
                    self.say(if self.whole_tree {
                        "layers show the tree after them"
                    } else {
                        "layers show their changes"
                    });
                }
                self.rescope();
            }
            KeyCode::Char('[') => self.choose_layer(self.layer_line.saturating_sub(1)),
            KeyCode::Char(']') => self.choose_layer(self.layer_line + 1),
            KeyCode::Char('o') => self.next_order(),
            KeyCode::Char('w') => {
                let only = !self.view.only_wasted();
                self.keep_place(|view, catalogue| view.set_only_wasted(catalogue, only));
            }
            KeyCode::Char('f') => {
                let text = String::from_utf8_lossy(self.view.filter()).into_owned();
                self.typing = Some((Typing::Filter, Prompt::new(&text)));
            }
            KeyCode::Char('/') => {
                let from = self.row().map_or(0, |row| row.node);
                self.typing = Some((Typing::Search { from }, Prompt::default()));
            }
            KeyCode::Char('n' | 'N') if self.search.is_empty() => self.say("nothing was searched for yet: /"),
            KeyCode::Char('n') => self.go_to_match(self.row().map_or(0, |row| row.node), false),
            KeyCode::Char('N') => self.go_to_match(self.row().map_or(0, |row| row.node), true),
            KeyCode::Esc if self.extracting.is_some() => return Some(Effect::StopExtracting),
            KeyCode::Esc => {
                self.keep_place(|view, catalogue| {
                    view.set_filter(catalogue, b"");
                    view.set_only_wasted(catalogue, false);
                });
            }
            _ if self.focus == Focus::Layers => self.layers_key(code, control),
            _ => self.tree_key(code, control),
        }
        None
    }

    fn layers_key(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.focus = Focus::Tree,
            _ => {
                if let Some(line) =
                    moved(code, control, self.layer_line, self.page, self.image.layers.len() + 1)
                {
                    self.choose_layer(line);
                }
            }
        }
    }

    fn tree_key(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter | KeyCode::Char(' ') => {
                let Some(row) = self.row() else { return };
                if self.is_folder(row.node) {
                    self.open(!self.view.is_open(row.node));
                } else {
                    self.show_versions();
                }
            }
            KeyCode::Right | KeyCode::Char('l') => self.enter(),
            KeyCode::Left | KeyCode::Char('h') => self.leave_folder(),
            KeyCode::Char('e') => self.open_all(true),
            KeyCode::Char('c') => self.open_all(false),
            KeyCode::Char('v') => self.show_versions(),
            KeyCode::Char('x') => self.ask_where_to_extract(),
            KeyCode::Char('r') => self.mark(Mark::Remove),
            KeyCode::Char('t') => self.mark(Mark::Truncate),
            KeyCode::Char('u') => {
                if let Some(row) = self.row() {
                    self.marks.remove(&self.catalogue.path(row.node));
                }
            }
            _ => {
                if let Some(line) = moved(code, control, self.line, self.page, self.view.rows().len()) {
                    self.move_to(line);
                }
            }
        }
    }

    fn open_all(&mut self, open: bool) {
        let Some(row) = self.row() else { return };
        self.keep_place(|view, catalogue| view.set_all_open(catalogue, row.node, open));
    }

    fn scroll_key(&mut self, code: KeyCode, from: usize, over: impl Fn(usize) -> Over) {
        self.over = match code {
            KeyCode::Down | KeyCode::Char('j') => over(from + 1),
            KeyCode::Up | KeyCode::Char('k') => over(from.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => over(from + self.page),
            KeyCode::PageUp => over(from.saturating_sub(self.page)),
            KeyCode::Home | KeyCode::Char('g') => over(0),
            _ => Over::Nothing,
        };
    }

    fn versions_key(&mut self, code: KeyCode, node: u32, chosen: usize) {
        let count = self.catalogue.events_of(node).len();
        match code {
            KeyCode::Enter if count > 0 => self.go_to_version(node, chosen),
            _ => {
                self.over = match moved(code, false, chosen, self.page, count) {
                    Some(chosen) => Over::Versions { node, chosen },
                    None => Over::Nothing,
                }
            }
        }
    }

    fn type_key(&mut self, code: KeyCode, control: bool) -> Option<Effect> {
        let (typing, mut prompt) = self.typing.take()?;
        match code {
            KeyCode::Enter => return self.typed(&typing, &prompt.text()),
            KeyCode::Esc => {
                if let Typing::Filter = typing {
                    self.filter("");
                }
                return None;
            }
            KeyCode::Char('u') if control => prompt.clear(),
            KeyCode::Char('a') if control => prompt.home(),
            KeyCode::Char('e') if control => prompt.end(),
            KeyCode::Char(letter) if !control => prompt.insert(letter),
            KeyCode::Backspace => prompt.delete_back(),
            KeyCode::Delete => prompt.delete(),
            KeyCode::Left => prompt.left(),
            KeyCode::Right => prompt.right(),
            KeyCode::Home => prompt.home(),
            KeyCode::End => prompt.end(),
            _ => {}
        }
        match typing {
            Typing::Filter => self.filter(&prompt.text()),
            Typing::Search { from } => {
                self.search = prompt.text().into_bytes();
                if !self.search.is_empty() {
                    // The path at hand counts as well while its name is still being typed.
                    self.go_to_match(from.saturating_sub(1), false);
                }
            }
            Typing::Extract { .. } => {}
        }
        self.typing = Some((typing, prompt));
        None
    }

    fn filter(&mut self, text: &str) {
        if text.as_bytes() != self.view.filter() {
            self.keep_place(|view, catalogue| view.set_filter(catalogue, text.as_bytes()));
        }
    }

    fn typed(&mut self, typing: &Typing, text: &str) -> Option<Effect> {
        match typing {
            Typing::Filter => self.focus = Focus::Tree,
            Typing::Search { .. } => {
                self.focus = Focus::Tree;
                self.search = text.as_bytes().to_vec();
            }
            Typing::Extract { content } if !text.is_empty() => {
                return Some(Effect::Extract { content: *content, to: text.into() });
            }
            Typing::Extract { .. } => {}
        }
        None
    }
}

/// Where a key of movement leads from line `at` of `count`; `None` for any other key.
fn moved(code: KeyCode, control: bool, at: usize, page: usize, count: usize) -> Option<usize> {
    let last = count.saturating_sub(1);
    Some(match code {
        KeyCode::Down | KeyCode::Char('j') => (at + 1).min(last),
        KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
        KeyCode::PageDown => (at + page).min(last),
        KeyCode::PageUp => at.saturating_sub(page),
        KeyCode::Char('d') if control => (at + page / 2).min(last),
        KeyCode::Char('u') if control => at.saturating_sub(page / 2),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => return None,
    })
}
