//! What of the catalogue is looked at: one layer's changes, the tree after a layer, or the whole image;
//! filtered, sorted, with some folders open.
//!
//! Everything is a pass over arrays in the order of the walk, so that a key is answered in milliseconds at
//! hundreds of thousands of paths.

use std::cmp::Reverse;

use crate::catalogue::{Bits, Catalogue, NONE, ROOT, Sort, Status, Text, Version};

/// What the tree shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What one layer adds, changes and removes.
    Layer(usize),
    /// What is there after a layer, with the layer's changes marked.
    Until(usize),
    /// What is there in the end, and what is not but costs bytes all the same.
    Image,
}

/// The order of siblings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By name.
    #[default]
    Name,
    /// The largest first.
    Size,
    /// The one with the most wasted bytes first.
    Wasted,
}

/// A path's sign in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing happened here.
    Plain,
    /// The layer adds it.
    Added,
    /// The layer changes it.
    Changed,
    /// The layer takes it away.
    Removed,
    /// Something below it changes.
    Below,
    /// The image does not show it any more.
    Gone,
}

/// One line of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The path's number.
    pub node: u32,
    /// Folders above it, 0 for what lies in the root.
    pub depth: u16,
}

/// A tree to look at.
#[derive(Debug)]
pub struct View {
    scope: Scope,
    order: Order,
    only_wasted: bool,
    filter: Vec<u8>,
    /// By path: the number of the event that the scope shows there, or `NONE`.
    shown: Vec<u32>,
    /// By path: content and wasted content, of it and all below it.
    bytes: Vec<u64>,
    wasted: Vec<u64>,
    /// Paths that are shown themselves, or have such paths below them.
    present: Bits,
    /// Paths below which something is added, changed or removed.
    changed_below: Bits,
    /// Present paths that the filter and the wish for wasted bytes leave.
    wanted: Bits,
    /// Folders that the filter opens.
    opened_by_filter: Bits,
    open: Bits,
    /// Folders that were closed although the view would open them by itself.
    closed: Bits,
    /// Whether there is so little to show that all folders are open.
    opens_all: bool,
    rows: Vec<Row>,
}

/// One layer's changes are shown with all folders open when they are no more paths than this.
const OPEN_BY_ITSELF: usize = 400;

impl View {
    /// A view of the whole image with its root's children.
    #[must_use]
    pub fn new(catalogue: &Catalogue) -> Self {
        let count = catalogue.len();
        let mut view = Self {
            scope: Scope::Image,
            order: Order::Name,
            only_wasted: false,
            filter: Vec::new(),
            shown: vec![NONE; count],
            bytes: vec![0; count],
            wasted: vec![0; count],
            present: Bits::new(count),
            changed_below: Bits::new(count),
            wanted: Bits::new(count),
            opened_by_filter: Bits::new(count),
            open: Bits::new(count),
            closed: Bits::new(count),
            opens_all: false,
            rows: Vec::new(),
        };
        view.open.set(ROOT);
        view.rescope(catalogue);
        view
    }

    /// What is shown.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The order of siblings.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Whether only paths with wasted bytes are shown.
    #[must_use]
    pub(crate) fn only_wasted(&self) -> bool {
        self.only_wasted
    }

    /// The filter's text.
    #[must_use]
    pub fn filter(&self) -> &[u8] {
        &self.filter
    }

    /// The lines, top to bottom.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Content of a path and all below it, in the scope.
    #[must_use]
    pub fn bytes(&self, node: u32) -> u64 {
        self.bytes[node as usize]
    }

    /// Wasted content of a path and all below it, in the scope.
    #[must_use]
    pub fn wasted(&self, node: u32) -> u64 {
        self.wasted[node as usize]
    }

    /// The number of the event that is shown at a path.
    pub(crate) fn event(&self, node: u32) -> Option<u32> {
        Some(self.shown[node as usize]).filter(|event| *event != NONE)
    }

    /// What is shown at a path; `None` for a folder that is only there for what is below it, or a path that
    /// is gone.
    #[must_use]
    pub fn version(&self, catalogue: &Catalogue, node: u32) -> Option<Version> {
        self.event(node).map(|at| catalogue.version(at))
    }

    /// Whether a folder's content is shown.
    #[must_use]
    pub fn is_open(&self, node: u32) -> bool {
        self.open.get(node) || self.opened_by_filter.get(node) || (self.opens_all && !self.closed.get(node))
    }

    /// Whether there is anything below a path to show.
    #[must_use]
    pub(crate) fn has_children(&self, catalogue: &Catalogue, node: u32) -> bool {
        self.wanted.next(node + 1, catalogue.end(node)).is_some()
    }

    /// The path's sign.
    #[must_use]
    pub fn sign(&self, catalogue: &Catalogue, node: u32) -> Sign {
        let below = if self.changed_below.get(node) { Sign::Below } else { Sign::Plain };
        let Some(event) = self.event(node) else {
            return match self.scope {
                Scope::Image if node != ROOT => Sign::Gone,
                _ => below,
            };
        };
        let event = catalogue.event(event);
        match self.scope {
            Scope::Image if event.sort == Sort::Removed => Sign::Gone,
            Scope::Image => Sign::Plain,
            Scope::Layer(layer) | Scope::Until(layer) if usize::from(event.layer) != layer => below,
            _ => match event.status {
                Status::Added => Sign::Added,
                Status::Changed | Status::Superseded => Sign::Changed,
                Status::Removed => Sign::Removed,
                Status::Same => below,
            },
        }
    }

    /// Looks at something else. Open folders stay open.
    pub fn set_scope(&mut self, catalogue: &Catalogue, scope: Scope) {
        self.scope = scope;
        self.rescope(catalogue);
    }

    /// Orders siblings otherwise.
    pub fn set_order(&mut self, catalogue: &Catalogue, order: Order) {
        self.order = order;
        self.rebuild(catalogue);
    }

    /// Shows only paths with wasted bytes, or all.
    pub fn set_only_wasted(&mut self, catalogue: &Catalogue, only: bool) {
        self.only_wasted = only;
        self.refilter(catalogue);
    }

    /// Shows only paths that hold `filter`, which is the start of nothing and the end of nothing. Without a
    /// capital letter, case does not matter. An empty filter shows all.
    pub fn set_filter(&mut self, catalogue: &Catalogue, filter: &[u8]) {
        self.filter = filter.to_vec();
        self.refilter(catalogue);
    }

    /// Opens or closes a folder.
    pub(crate) fn set_open(&mut self, catalogue: &Catalogue, node: u32, open: bool) {
        if !open {
            self.opened_by_filter.clear(node);
        }
        self.open.put(node, open);
        self.closed.put(node, !open);
        self.open.set(ROOT);
        self.rebuild(catalogue);
    }

    /// Opens or closes a folder and all below it.
    pub fn set_all_open(&mut self, catalogue: &Catalogue, node: u32, open: bool) {
        for at in node..catalogue.end(node) {
            // A bit for what has nothing below it does no harm, and asking would take longer.
            self.open.put(at, open);
            self.closed.put(at, !open);
            if !open {
                self.opened_by_filter.clear(at);
            }
        }
        self.open.set(ROOT);
        self.rebuild(catalogue);
    }

    /// Opens all folders above a path. Returns its line, when the scope and the filter show it.
    pub(crate) fn reveal(&mut self, catalogue: &Catalogue, node: u32) -> Option<usize> {
        let mut at = node;
        while at != ROOT {
            at = catalogue.parent(at);
            self.open.set(at);
            self.closed.clear(at);
        }
        self.rebuild(catalogue);
        self.line_of(node)
    }

    /// The line of a path.
    #[must_use]
    pub(crate) fn line_of(&self, node: u32) -> Option<usize> {
        match self.order {
            Order::Name => self.rows.binary_search_by_key(&node, |row| row.node).ok(),
            _ => self.rows.iter().position(|row| row.node == node),
        }
    }

    /// The next path after `from`, in order of name and around the end, whose name holds `text`; backwards if
    /// asked.
    #[must_use]
    pub fn search(&self, catalogue: &Catalogue, text: &[u8], from: u32, backwards: bool) -> Option<u32> {
        if text.is_empty() {
            return None;
        }
        let names = catalogue.names_holding(&Text::new(text));
        let hits = |node: u32| names.get(catalogue.name_id(node)) && self.wanted.get(node);
        let count = catalogue.len() as u32;
        if backwards {
            (ROOT + 1..from).rev().chain((from..count).rev()).find(|node| hits(*node))
        } else {
            (from + 1..count).chain(ROOT + 1..=from.min(count - 1)).find(|node| hits(*node))
        }
    }

    fn rescope(&mut self, catalogue: &Catalogue) {
        self.choose_events(catalogue);
        self.add_up(catalogue);
        self.opens_all = matches!(self.scope, Scope::Layer(_)) && self.present.count() <= OPEN_BY_ITSELF;
        self.refilter(catalogue);
    }

    /// Which event each path shows, and the path's own bytes.
    fn choose_events(&mut self, catalogue: &Catalogue) {
        let last = catalogue.layers().len().saturating_sub(1);
        let (scope, layer) = match self.scope {
            Scope::Layer(layer) => (self.scope, layer),
            Scope::Until(layer) => (self.scope, layer),
            Scope::Image => (self.scope, last),
        };
        let layer = layer as u16;
        let mut linked = std::collections::HashSet::new();
        for node in 0..catalogue.len() as u32 {
            let (mut shown, mut bytes, mut wasted) = (NONE, 0, 0);
            if let Scope::Layer(_) = scope {
                for at in catalogue.events_of(node) {
                    let event = catalogue.event(at);
                    if event.layer == layer && event.sort != Sort::ImpliedDirectory {
                        shown = at;
                        bytes += event.size;
                        wasted += event.wasted();
                    }
                }
            } else {
                for at in catalogue.events_of(node) {
                    let event = catalogue.event(at);
                    if event.layer > layer {
                        break;
                    }
                    wasted += event.wasted();
                    if event.status != Status::Superseded {
                        shown = at;
                    }
                }
                if shown != NONE {
                    let event = catalogue.event(shown);
                    if catalogue.is_invisible(node) {
                        shown = NONE;
                    } else if event.sort == Sort::Removed {
                        let now = scope != Scope::Image && event.layer == layer;
                        shown = if now { shown } else { NONE };
                    } else if event.sort == Sort::HardLink && event.link != NONE {
                        bytes = self.linked_bytes(catalogue, event.link, layer, &mut linked);
                    } else {
                        bytes = event.size;
                    }
                }
            }
            self.shown[node as usize] = shown;
            self.bytes[node as usize] = bytes;
            self.wasted[node as usize] = wasted;
        }
    }

    /// What a hard link counts for: nothing while the name that holds the content is there, else the content,
    /// once.
    fn linked_bytes(
        &self,
        catalogue: &Catalogue,
        holder: u32,
        layer: u16,
        linked: &mut std::collections::HashSet<u32>,
    ) -> u64 {
        let node = catalogue.path_of(holder);
        let there = catalogue.at_layer(node, layer) == Some(holder) && !catalogue.is_invisible(node);
        if there || !linked.insert(holder) { 0 } else { catalogue.event(holder).size }
    }

    /// Adds what is below each path to it.
    fn add_up(&mut self, catalogue: &Catalogue) {
        self.present.clear_all();
        self.changed_below.clear_all();
        let layer = match self.scope {
            Scope::Layer(layer) | Scope::Until(layer) => Some(layer),
            Scope::Image => None,
        };
        let gone_too = self.scope == Scope::Image;
        for node in (ROOT..catalogue.len() as u32).rev() {
            let at = node as usize;
            let shown = self.shown[at];
            if shown != NONE || (gone_too && self.wasted[at] > 0) {
                self.present.set(node);
            }
            if node == ROOT {
                break;
            }
            let above = catalogue.parent(node);
            self.bytes[above as usize] += self.bytes[at];
            self.wasted[above as usize] += self.wasted[at];
            if self.present.get(node) {
                self.present.set(above);
            }
            let changes = shown != NONE && {
                let event = catalogue.event(shown);
                Some(usize::from(event.layer)) == layer && event.status != Status::Same
            };
            if changes || self.changed_below.get(node) {
                self.changed_below.set(above);
            }
        }
    }

    fn refilter(&mut self, catalogue: &Catalogue) {
        self.opened_by_filter.clear_all();
        if self.filter.is_empty() {
            self.wanted.clone_from(&self.present);
        } else {
            self.wanted.clear_all();
            let text = Text::new(&self.filter);
            let mut marks = Marks {
                catalogue,
                kept: &mut self.wanted,
                kept_until: ROOT,
                opened: &mut self.opened_by_filter,
            };
            match self.filter.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => marks.paths(&self.present, &text, slash),
                None => marks.names(&self.present, &catalogue.names_holding(&text)),
            }
            self.wanted.intersect(&self.present);
        }
        if self.only_wasted {
            for (node, wasted) in self.wasted.iter().enumerate() {
                if *wasted == 0 {
                    self.wanted.clear(node as u32);
                }
            }
        }
        self.rebuild(catalogue);
    }

    fn rebuild(&mut self, catalogue: &Catalogue) {
        // What `is_open` says, of all paths at once.
        let mut opened = self.open.clone();
        opened.unite(&self.opened_by_filter);
        if self.opens_all {
            opened.unite_absent(&self.closed);
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        match self.order {
            Order::Name => self.rows_by_name(catalogue, &opened, &mut rows),
            Order::Size => self.rows_by_key(catalogue, &opened, &mut rows, &self.bytes),
            Order::Wasted => self.rows_by_key(catalogue, &opened, &mut rows, &self.wasted),
        }
        self.rows = rows;
    }

    fn rows_by_name(&self, catalogue: &Catalogue, opened: &Bits, rows: &mut Vec<Row>) {
        // Ends of the folders that the walk is in.
        let mut inside: Vec<u32> = Vec::new();
        let mut node = ROOT + 1;
        while let Some(at) = self.wanted.next(node, catalogue.len() as u32) {
            while inside.last().is_some_and(|end| *end <= at) {
                inside.pop();
            }
            rows.push(Row { node: at, depth: inside.len() as u16 });
            node = catalogue.end(at);
            if node > at + 1 && opened.get(at) {
                inside.push(node);
                node = at + 1;
            }
        }
    }

    fn rows_by_key(&self, catalogue: &Catalogue, opened: &Bits, rows: &mut Vec<Row>, key: &[u64]) {
        // What is still to be shown of the folders that the walk is in, the next one last; and how much of it
        // belongs to those above each folder.
        let mut waiting: Vec<(u64, Reverse<u32>)> = Vec::new();
        let mut above: Vec<usize> = Vec::new();
        let push_children = |waiting: &mut Vec<(u64, Reverse<u32>)>, node: u32| {
            let from = waiting.len();
            let wanted = catalogue.children(node).filter(|child| self.wanted.get(*child));
            waiting.extend(wanted.map(|child| (key[child as usize], Reverse(child))));
            // The largest last, and of equals the one whose name comes first.
            waiting[from..].sort_unstable();
        };
        push_children(&mut waiting, ROOT);
        while let Some((_, Reverse(node))) = waiting.pop() {
            while above.last().is_some_and(|rest| *rest > waiting.len()) {
                above.pop();
            }
            rows.push(Row { node, depth: above.len() as u16 });
            if catalogue.end(node) > node + 1 && opened.get(node) {
                above.push(waiting.len());
                push_children(&mut waiting, node);
            }
        }
    }
}

/// Where a filter writes what it finds.
struct Marks<'a> {
    catalogue: &'a Catalogue,
    /// Paths that hold the text, all below them and the folders above; some of them may not be present.
    kept: &'a mut Bits,
    /// One past the last path below one that holds the text.
    kept_until: u32,
    /// Folders above paths that hold the text.
    opened: &'a mut Bits,
}

/// A folder that a walk is in.
struct Folder {
    /// One past the last path below it.
    end: u32,
    /// Bytes of its path.
    length: usize,
    /// Whether its path ends with what precedes the last slash of the text.
    matches: bool,
}

impl Marks<'_> {
    /// A path holds the text, and ends it in its last component. Paths come in the order of the walk.
    fn hit(&mut self, node: u32) {
        if node >= self.kept_until {
            self.kept_until = self.catalogue.end(node);
            self.kept.set_range(node, self.kept_until);
        }
        let mut above = self.catalogue.parent(node);
        while !self.opened.get(above) {
            self.opened.set(above);
            self.kept.set(above);
            above = self.catalogue.parent(above);
        }
    }

    /// A text without a slash, which only a name can hold: the names that do.
    fn names(&mut self, present: &Bits, names: &Bits) {
        let count = self.catalogue.len() as u32;
        let mut next = ROOT + 1;
        while let Some(node) = present.next(next, count) {
            next = node + 1;
            if names.get(self.catalogue.name_id(node)) {
                self.hit(node);
            }
        }
    }

    /// A text with its last slash at `slash`; a path counts with `/` in front.
    ///
    /// The text ends in a component that begins with what follows its last slash, below a folder whose path
    /// ends with what precedes it: names are compared with the one, and only the paths of folders with the
    /// other.
    fn paths(&mut self, present: &Bits, text: &Text<'_>, slash: usize) {
        let catalogue = self.catalogue;
        let (end_of_folder, start) = (&text.bytes()[..slash], &text.bytes()[slash + 1..]);
        let mut path: Vec<u8> = Vec::new();
        // The folders that the walk is in.
        let mut inside =
            vec![Folder { end: catalogue.end(ROOT), length: 0, matches: end_of_folder.is_empty() }];
        let mut next = ROOT + 1;
        while let Some(node) = present.next(next, catalogue.len() as u32) {
            next = node + 1;
            while inside.last().is_some_and(|folder| folder.end <= node) {
                inside.pop();
            }
            let Some(folder) = inside.last() else { return };
            let length = folder.length;
            if folder.matches {
                let begin = catalogue.name(node).get(..start.len());
                if begin.is_some_and(|begin| text.is_same(begin, start)) {
                    self.hit(node);
                }
            }
            let end = catalogue.end(node);
            if end > next {
                path.truncate(length);
                path.push(b'/');
                path.extend_from_slice(catalogue.name(node));
                let tail = path.len().checked_sub(end_of_folder.len()).map(|from| &path[from..]);
                let matches = tail.is_some_and(|tail| text.is_same(tail, end_of_folder));
                inside.push(Folder { end, length: path.len(), matches });
            }
        }
    }
}
