//! All layers put on top of each other, lowest first (`docs/layer-semantics.md#section-2`), as a list of
//! events for each path.
//!
//! What each layer is by itself is known when this begins ([`super::gather`]); here it is laid over what the
//! layers below it show, as overlayfs does. Paths have the numbers of a walk, so what is below a path is one
//! range.

use std::collections::{HashMap, HashSet};

use unbloat_layers::layer::MAX_SYMLINKS;

use super::bits::Bits;
use super::paths::{Paths, ROOT};
use super::record::{Event, Link, NONE, Record, Said, Sort, Status, VOID, WASTED};

/// How paths are numbered.
pub(super) struct Numbers {
    /// Position in a walk to the path as it was met.
    pub(super) met: Vec<u32>,
    /// The inverse.
    pub(super) walked: Vec<u32>,
    /// By position: the parent's.
    pub(super) parent: Vec<u32>,
    /// By position: one past the last path below it.
    pub(super) end: Vec<u32>,
}

impl Numbers {
    pub(super) fn new(paths: &Paths) -> Self {
        let met = paths.walk_order();
        let mut walked = vec![0; met.len()];
        for (at, id) in met.iter().enumerate() {
            walked[*id as usize] = at as u32;
        }
        let parent: Vec<u32> = met.iter().map(|id| walked[paths.parent(*id) as usize]).collect();
        let mut end: Vec<u32> = (1..=met.len() as u32).collect();
        for at in (1..met.len()).rev() {
            let above = parent[at] as usize;
            end[above] = end[above].max(end[at]);
        }
        Self { met, walked, parent, end }
    }
}

/// What all layers do.
pub(super) struct Applied {
    /// With the path; in the order of layers, and of records within one.
    pub(super) events: Vec<(u32, Event)>,
    /// Content that all layers hold, in bytes.
    pub(super) unpacked_bytes: u64,
    /// Content that the image shows, in bytes.
    pub(super) merged_bytes: u64,
}

struct Apply<'a> {
    paths: &'a Paths,
    numbers: &'a Numbers,
    events: Vec<(u32, Event)>,
    /// The latest event at each path.
    current: Vec<u32>,
    /// Paths that exist after the layers so far.
    live: Bits,
    /// Paths that the layer at hand shows by itself.
    own: Bits,
}

/// The layer at hand.
#[derive(Default)]
struct Own {
    layer: u16,
    /// Events by record, in order.
    by_record: Vec<(u32, u32)>,
    /// Events of directories.
    directories: HashMap<u32, u32, foldhash::fast::RandomState>,
    /// What no later record took away, with its event.
    standing: Vec<(u32, u32)>,
    whiteouts: HashSet<u32, foldhash::fast::RandomState>,
    opaques: HashSet<u32, foldhash::fast::RandomState>,
    /// Directories that opaque marks make.
    made: Vec<u32>,
}

impl Own {
    fn event_of(&self, record: u32) -> Option<u32> {
        let at = self.by_record.binary_search_by_key(&record, |(record, _)| *record).ok()?;
        Some(self.by_record[at].1)
    }
}

/// Applies the layers' records, which are given back layer by layer.
pub(super) fn apply(paths: &Paths, numbers: &Numbers, records: Vec<Vec<Record>>) -> Applied {
    let count = numbers.met.len();
    let mut apply = Apply {
        paths,
        numbers,
        events: Vec::with_capacity(records.iter().map(Vec::len).sum()),
        current: vec![NONE; count],
        live: Bits::new(count),
        own: Bits::new(count),
    };
    apply.live.set(ROOT);
    for (layer, records) in records.into_iter().enumerate() {
        apply.layer(layer as u16, &records);
    }
    apply.finish()
}

impl Apply<'_> {
    fn layer(&mut self, layer: u16, records: &[Record]) {
        let mut own = Own { layer, ..Own::default() };
        for record in records {
            let node = self.numbers.walked[record.node as usize];
            match record.said {
                Said::Whiteout => drop(own.whiteouts.insert(node)),
                Said::Opaque => {
                    own.opaques.insert(node);
                    if record.stands {
                        own.made.push(node);
                    }
                }
                Said::Entry(_) => {}
            }
        }
        for record in records {
            if let Said::Entry(sort) = record.said {
                self.own_entry(&mut own, record, sort);
            }
        }
        self.marks(&own);
        self.lay_over(&mut own);
    }

    /// One more entry of the layer.
    fn own_entry(&mut self, own: &mut Own, record: &Record, sort: Sort) {
        let node = self.numbers.walked[record.node as usize];
        let link = match record.link {
            Link::None => NONE,
            Link::Text(text) => text,
            Link::Here(content) => own.event_of(content).map_or(NONE, |event| self.content_of(event)),
            Link::Lower(target) => self.lower(target),
        };
        let event = Event {
            size: record.size,
            ord: record.ord,
            link,
            owner: record.owner,
            layer: own.layer,
            mode: record.mode,
            sort,
            status: Status::Superseded,
            flags: 0,
        };
        // Naming a directory again is no event of its own.
        let before = own.directories.get(&node).copied().filter(|_| record.repeats);
        let at = match before {
            Some(before) => {
                self.events[before as usize].1 = event;
                before
            }
            None => {
                self.events.push((node, event));
                self.events.len() as u32 - 1
            }
        };
        own.by_record.push((record.ord, at));
        if sort == Sort::Directory {
            own.directories.insert(node, at);
        }
        if record.stands {
            own.standing.push((node, at));
        }
    }

    /// The event that holds the content of the path that a hard link names in the layers below, which is what
    /// was visible before the layer at hand, whatever it hides.
    fn lower(&self, target: u32) -> u32 {
        let node = self.numbers.walked[target as usize];
        let found = if self.live.get(node) && node != ROOT {
            Some(self.current[node as usize])
        } else {
            self.through_symlinks(node)
        };
        found.filter(|event| *event != NONE).map_or(NONE, |event| self.content_of(event))
    }

    fn content_of(&self, event: u32) -> u32 {
        match self.events[event as usize].1 {
            Event { sort: Sort::HardLink, link, .. } => link,
            Event { sort, .. } if sort.is_directory() => NONE,
            _ => event,
        }
    }

    /// What lower layers show at a path whose parents are symlinks there.
    fn through_symlinks(&self, node: u32) -> Option<u32> {
        let name_of = |node: u32| self.paths.names.get(self.paths.name_id(self.numbers.met[node as usize]));
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut at = node;
        while at != ROOT {
            parts.push(name_of(at).to_vec());
            at = self.numbers.parent[at as usize];
        }
        let mut followed = 0;
        while let Some(part) = parts.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at = self.numbers.parent[at as usize];
                    continue;
                }
                _ => {}
            }
            let met = self.paths.find(self.numbers.met[at as usize], &part)?;
            let child = self.numbers.walked[met as usize];
            if !self.live.get(child) {
                return None;
            }
            let event = self.current[child as usize];
            if parts.is_empty() {
                return Some(event);
            }
            let Event { sort: Sort::Symlink, link, .. } = self.events[event as usize].1 else {
                at = child;
                continue;
            };
            followed += 1;
            let target = self.paths.names.get(link);
            if followed > MAX_SYMLINKS || target.len() > unbloat_layers::MAX_NAME {
                return None;
            }
            if target.first() == Some(&b'/') {
                at = ROOT;
            }
            parts.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
        None
    }

    /// Whiteouts and opaque marks, which act on lower layers only.
    fn marks(&mut self, own: &Own) {
        for node in &own.whiteouts {
            self.remove(own.layer, *node, self.numbers.end[*node as usize]);
        }
        for node in &own.opaques {
            self.remove(own.layer, node + 1, self.numbers.end[*node as usize]);
        }
    }

    fn remove(&mut self, layer: u16, from: u32, end: u32) {
        let mut from = from.max(ROOT + 1);
        while let Some(node) = self.live.next(from, end) {
            self.live.clear(node);
            let gone = Event {
                size: 0,
                ord: NONE,
                link: NONE,
                owner: NONE,
                layer,
                mode: 0,
                sort: Sort::Removed,
                status: Status::Removed,
                flags: 0,
            };
            self.current[node as usize] = self.events.len() as u32;
            self.events.push((node, gone));
            from = node + 1;
        }
    }

    /// The folder that the layer is, over what the layers below it show.
    fn lay_over(&mut self, own: &mut Own) {
        let mut touched = std::mem::take(&mut own.standing);
        for (node, _) in &touched {
            self.own.set(*node);
        }
        for node in std::mem::take(&mut own.made) {
            self.make(node, &mut touched);
        }
        for node in &own.whiteouts {
            self.make_parents(*node, &mut touched);
        }
        for at in 0..touched.len() {
            let mut above = touched[at].0;
            while above != ROOT {
                above = self.numbers.parent[above as usize];
                if above == ROOT || self.own.get(above) {
                    break;
                }
                // A directory that only paths below it speak of.
                self.make(above, &mut touched);
            }
        }
        touched.sort_unstable();
        for (node, event) in touched {
            if event == NONE {
                // A file of this layer above it took away what a whiteout would have made a directory.
                if self.is_directory(self.numbers.parent[node as usize]) {
                    self.imply(own.layer, node);
                }
            } else {
                self.events[event as usize].1.status = self.status(own.layer, node, event);
                if !self.events[event as usize].1.sort.is_directory() {
                    self.remove(own.layer, node + 1, self.numbers.end[node as usize]);
                }
                self.place(own.layer, node, event);
            }
            self.own.clear(node);
        }
    }

    /// The layer at hand makes a directory exist without an entry for it.
    fn make(&mut self, node: u32, touched: &mut Vec<(u32, u32)>) {
        if node != ROOT && !self.own.get(node) {
            self.own.set(node);
            touched.push((node, NONE));
        }
    }

    /// A whiteout makes a directory of a lower layer's file or symlink above it, and makes nothing where
    /// nothing is (`docs/layer-semantics.md#section-3`).
    fn make_parents(&mut self, whiteout: u32, touched: &mut Vec<(u32, u32)>) {
        let mut above = whiteout;
        while above != ROOT {
            above = self.numbers.parent[above as usize];
            if self.live.get(above) && !self.is_directory(above) {
                self.make(above, touched);
            }
        }
    }

    fn is_directory(&self, node: u32) -> bool {
        let event = self.current[node as usize];
        node == ROOT || (self.live.get(node) && self.events[event as usize].1.sort.is_directory())
    }

    fn imply(&mut self, layer: u16, node: u32) {
        if self.is_directory(node) {
            return;
        }
        let event = self.events.len() as u32;
        let implied = Event {
            size: 0,
            ord: NONE,
            link: NONE,
            owner: NONE,
            layer,
            mode: 0o755,
            sort: Sort::ImpliedDirectory,
            status: Status::Added,
            flags: 0,
        };
        self.events.push((node, implied));
        self.events[event as usize].1.status = self.status(layer, node, event);
        self.place(layer, node, event);
    }

    fn status(&self, layer: u16, node: u32, event: u32) -> Status {
        if node == ROOT {
            return Status::Same;
        }
        let before = self.current[node as usize];
        if before == NONE {
            return Status::Added;
        }
        let (before, now) = (&self.events[before as usize].1, &self.events[event as usize].1);
        if !self.live.get(node) {
            let just_removed = before.sort == Sort::Removed && before.layer == layer;
            return if just_removed { Status::Changed } else { Status::Added };
        }
        let repeats = before.sort.is_directory()
            && now.sort.is_directory()
            && (before.mode, before.owner) == (now.mode, now.owner);
        if repeats { Status::Same } else { Status::Changed }
    }

    fn place(&mut self, layer: u16, node: u32, event: u32) {
        let before = self.current[node as usize];
        if before != NONE && !self.live.get(node) {
            let before = &mut self.events[before as usize].1;
            // Taken away and made again by one layer: it was changed.
            if before.layer == layer && before.sort == Sort::Removed {
                before.flags |= VOID;
            }
        }
        self.current[node as usize] = event;
        self.live.set(node);
    }

    /// Tells which content no visible name leads to.
    fn finish(mut self) -> Applied {
        let mut shown = Bits::new(self.events.len());
        let count = self.numbers.met.len() as u32;
        let mut from = ROOT + 1;
        while let Some(node) = self.live.next(from, count) {
            from = node + 1;
            if self.paths.is_invisible(self.numbers.met[node as usize]) {
                continue;
            }
            let event = self.current[node as usize];
            match self.events[event as usize].1 {
                Event { sort: Sort::HardLink, link: NONE, .. } => {}
                Event { sort: Sort::HardLink, link, .. } => shown.set(link),
                _ => shown.set(event),
            }
        }
        let (mut unpacked_bytes, mut merged_bytes) = (0, 0);
        for (at, (_, event)) in self.events.iter_mut().enumerate() {
            if event.sort != Sort::File {
                continue;
            }
            unpacked_bytes += event.size;
            if shown.get(at as u32) {
                merged_bytes += event.size;
            } else {
                event.flags |= WASTED;
            }
        }
        Applied { events: self.events, unpacked_bytes, merged_bytes }
    }
}
