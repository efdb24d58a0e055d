//! The browser's state, and what keys do to it. Drawing is in [`draw`]; nothing here touches a terminal.

mod draw;
mod footer;
mod help;
mod keys;
mod layers;
mod popup;
mod prompt;
mod theme;
mod tree;

use std::path::PathBuf;

use crate::catalogue::{Catalogue, Content, ROOT, Sort};
use crate::command::{Mark, Marks, command_with};
use crate::view::{Order, Row, Scope, View};
use prompt::Prompt;
pub(crate) use theme::Theme;
use unbloat_text::{SquashCommand, printable};

/// What is known of the image besides its layers' content.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The image as given.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: String,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// The command that marks become options of.
    pub squash: SquashCommand,
}

/// What is known of a layer besides its content.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// Digest of the blob.
    pub digest: String,
    /// Stored size, in bytes.
    pub compressed_bytes: u64,
    /// The command that made it.
    pub created_by: Option<String>,
}

/// What has to be done outside of the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write a file's content.
    Extract {
        /// Where it is.
        content: Content,
        /// The file to make.
        to: PathBuf,
    },
    /// Stop writing it.
    StopExtracting,
    /// Leave; print the command for what is marked, if anything is.
    Leave,
    /// Leave without a word.
    Abandon,
}

/// Which side keys go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    Layers,
    Tree,
}

/// What lies over the two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Over {
    Nothing,
    Help {
        from: usize,
    },
    /// The layers that have a path.
    Versions {
        node: u32,
        chosen: usize,
    },
    /// What is marked.
    Marks {
        from: usize,
    },
}

/// What is being typed.
#[derive(Clone, Debug)]
enum Typing {
    Filter,
    Search { from: u32 },
    Extract { content: Content },
}

/// The browser.
pub struct App {
    catalogue: Catalogue,
    image: Image,
    view: View,
    theme: Theme,
    focus: Focus,
    /// Line of the list of layers: 0 is the image, layer N is N + 1.
    layer_line: usize,
    layer_top: usize,
    /// Whether a chosen layer shows the tree after it instead of its changes.
    whole_tree: bool,
    line: usize,
    top: usize,
    /// Lines of a page, from the last drawing.
    page: usize,
    over: Over,
    typing: Option<(Typing, Prompt)>,
    search: Vec<u8>,
    marks: Marks,
    message: Option<String>,
    extracting: Option<String>,
}

impl App {
    /// A browser that shows the whole image. Without `colour`, everything is told by signs and weight.
    #[must_use]
    pub fn new(catalogue: Catalogue, image: Image, colour: bool) -> Self {
        Self {
            view: View::new(&catalogue),
            catalogue,
            image,
            theme: Theme::new(colour),
            focus: Focus::Layers,
            layer_line: 0,
            layer_top: 0,
            whole_tree: false,
            line: 0,
            top: 0,
            page: 10,
            over: Over::Nothing,
            typing: None,
            search: Vec::new(),
            marks: Marks::new(),
            message: None,
            extracting: None,
        }
    }

    /// The command for what is marked; `None` when nothing is.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        (!self.marks.is_empty()).then(|| command_with(&self.image.squash, &self.marks))
    }

    /// A file is being written, or `None`: it is done, or could not be.
    pub(crate) fn set_extracting(&mut self, progress: Option<String>) {
        self.extracting = progress;
    }

    /// Says something in the last line until the next key.
    pub fn say(&mut self, message: impl Into<String>) {
        self.message = Some(message.into());
    }

    fn row(&self) -> Option<Row> {
        self.view.rows().get(self.line).copied()
    }

    fn scope(&self) -> Scope {
        match self.layer_line.checked_sub(1) {
            None => Scope::Image,
            Some(layer) if self.whole_tree => Scope::Until(layer),
            Some(layer) => Scope::Layer(layer),
        }
    }

    fn choose_layer(&mut self, line: usize) {
        let line = line.min(self.image.layers.len());
        if line != self.layer_line {
            self.layer_line = line;
            self.rescope();
        }
    }

    fn rescope(&mut self) {
        let scope = self.scope();
        self.keep_place(|view, catalogue| view.set_scope(catalogue, scope));
    }

    /// Changes the view and stays on the same path, or on the nearest folder above it that is still shown.
    fn keep_place(&mut self, change: impl FnOnce(&mut View, &Catalogue)) {
        let node = self.row().map(|row| row.node);
        change(&mut self.view, &self.catalogue);
        let mut at = node.unwrap_or(ROOT);
        let mut found = None;
        while at != ROOT && found.is_none() {
            found = self.view.line_of(at);
            at = self.catalogue.parent(at);
        }
        self.line = found.unwrap_or(0);
    }

    fn move_to(&mut self, line: usize) {
        self.line = line.min(self.view.rows().len().saturating_sub(1));
    }

    fn is_folder(&self, node: u32) -> bool {
        self.view.has_children(&self.catalogue, node)
    }

    fn open(&mut self, open: bool) {
        let Some(row) = self.row() else { return };
        if open == self.view.is_open(row.node) || !self.is_folder(row.node) {
            return;
        }
        self.keep_place(|view, catalogue| view.set_open(catalogue, row.node, open));
    }

    /// Goes into a folder, or opens it.
    fn enter(&mut self) {
        let Some(row) = self.row() else { return };
        if !self.is_folder(row.node) {
            return;
        }
        if self.view.is_open(row.node) { self.move_to(self.line + 1) } else { self.open(true) }
    }

    /// Closes a folder, or goes to the one that it is in.
    fn leave_folder(&mut self) {
        let Some(row) = self.row() else { return };
        if self.view.is_open(row.node) && self.is_folder(row.node) {
            return self.open(false);
        }
        let above = self.catalogue.parent(row.node);
        if above != ROOT {
            let line = self.view.line_of(above);
            self.move_to(line.unwrap_or(self.line));
        }
    }

    fn next_order(&mut self) {
        let order = match self.view.order() {
            Order::Name => Order::Wasted,
            Order::Wasted => Order::Size,
            Order::Size => Order::Name,
        };
        self.keep_place(|view, catalogue| view.set_order(catalogue, order));
        self.line = if order == Order::Name { self.line } else { 0 };
    }

    fn go_to_match(&mut self, from: u32, backwards: bool) {
        let found = self.view.search(&self.catalogue, &self.search, from, backwards);
        match found {
            Some(node) => {
                if let Some(line) = self.view.reveal(&self.catalogue, node) {
                    self.line = line;
                }
            }
            None => self.say(format!("{} is not in what is shown", printable(&self.search))),
        }
    }

    fn mark(&mut self, mark: Mark) {
        let Some(row) = self.row() else { return };
        let events = self.catalogue.events_of(row.node);
        let last = events.rev().map(|at| self.catalogue.event(at).sort).next();
        let stands = last.is_some_and(|sort| sort != Sort::Removed)
            && self.catalogue.at_layer(row.node, u16::MAX).is_some();
        if !stands {
            return self.say("the image does not show this path: a squash drops it by itself");
        }
        let is_file = matches!(last, Some(Sort::File | Sort::HardLink));
        if mark == Mark::Truncate && !is_file {
            return self.say("only files can be truncated");
        }
        let path = self.catalogue.path(row.node);
        if self.marks.get(&path) == Some(&mark) {
            self.marks.remove(&path);
        } else {
            self.marks.insert(path, mark);
        }
    }

    fn show_versions(&mut self) {
        let Some(row) = self.row() else { return };
        let events = self.catalogue.events_of(row.node);
        let layer = self.layer_line.checked_sub(1);
        let here = events
            .clone()
            .position(|at| Some(usize::from(self.catalogue.event(at).layer)) == layer)
            .unwrap_or(events.len().saturating_sub(1));
        self.over = Over::Versions { node: row.node, chosen: here };
    }

    /// Goes to the layer of a version, and to the path in it.
    fn go_to_version(&mut self, node: u32, chosen: usize) {
        self.over = Over::Nothing;
        let Some(event) = self.catalogue.events_of(node).nth(chosen) else { return };
        self.layer_line = usize::from(self.catalogue.event(event).layer) + 1;
        self.rescope();
        match self.view.reveal(&self.catalogue, node) {
            Some(line) => {
                self.line = line;
                self.focus = Focus::Tree;
            }
            None => self.say("the filter hides this path; Esc clears it"),
        }
    }

    fn ask_where_to_extract(&mut self) {
        if self.extracting.is_some() {
            return self.say("one file at a time: Esc stops the one that is being written");
        }
        let Some(row) = self.row() else { return };
        // A path that the image no longer shows can be extracted all the same: from the last layer that had
        // it.
        let newest_first = self.catalogue.events_of(row.node).rev();
        let shown = self.view.event(row.node).into_iter().chain(newest_first);
        let content = shown.map(|at| self.catalogue.version(at)).find_map(|version| version.content);
        let Some(content) = content else {
            return self.say("only files can be extracted");
        };
        let name: String = String::from_utf8_lossy(self.catalogue.name(row.node))
            .chars()
            .map(|letter| if unbloat_text::is_unsafe(letter) { '_' } else { letter })
            .collect();
        self.typing = Some((Typing::Extract { content }, Prompt::new(&name)));
    }
}
