//! Every entry of every layer, compactly: what a browser of an image asks for.
//!
//! # Expected flow
//! [`read`] passes once over the layers ([`gather`]), numbers the paths in the order of a walk, and lays the
//! layers on top of each other ([`apply`]). What is left is a [`Catalogue`].
//!
//! # Guarantees
//! - A path costs 16 bytes and its share of the names; an entry, or a removal that a layer causes, costs 32
//!   bytes. While it is made, it costs about twice that. Content is never held.
//! - Paths are numbered so that a parent stands before its children and all that is below a path is one
//!   range.
//! - Which bytes are wasted is exact by `docs/layer-semantics.md`.

mod apply;
mod bits;
mod gather;
mod paths;
mod record;

use unbloat_layers::{Error, LayerSource};

pub(crate) use bits::Bits;
pub use gather::Limits;
use paths::Names;
pub(crate) use paths::ROOT;
pub(crate) use paths::Text;
pub(crate) use record::{Event, NONE, VOID, WASTED};
pub use record::{Sort, Status};

/// All paths of an image and what each layer does to them.
#[derive(Debug)]
pub struct Catalogue {
    names: Names,
    name_ids: Vec<u32>,
    parents: Vec<u32>,
    /// One past the last path below each.
    ends: Vec<u32>,
    /// Where each path's events begin, and where the last one's end.
    first_events: Vec<u32>,
    /// By path, then layer, then record.
    events: Vec<Event>,
    owners: Vec<(u64, u64)>,
    invisible: Bits,
    layers: Vec<LayerTotals>,
    unpacked_bytes: u64,
    merged_bytes: u64,
}

/// One layer's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerTotals {
    /// Entries, without whiteouts.
    pub entries: u64,
    /// Content of its files, in bytes.
    pub bytes: u64,
    /// What of that content the image does not show.
    pub wasted_bytes: u64,
}

/// What one layer does at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// 0 at the lowest.
    pub layer: usize,
    /// What stands there after it.
    pub sort: Sort,
    /// What it does to lower layers.
    pub status: Status,
    /// Content, in bytes.
    pub bytes: u64,
    /// Whether the image does not show that content.
    pub wasted: bool,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// User and group, where there is an entry.
    pub owner: Option<(u64, u64)>,
    /// A symlink's target, or the path that holds a hard link's content.
    pub link: Option<Vec<u8>>,
    /// What it is another name of, for a hard link.
    pub linked: Option<Sort>,
    /// Where the content can be read.
    pub content: Option<Content>,
}

/// A file's content: a record of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// 0 at the lowest.
    pub layer: usize,
    /// Number of the record in the layer, 0 for the first.
    pub record: u32,
    /// Size in bytes.
    pub bytes: u64,
}

/// Reads every layer of `source` once.
///
/// # Errors
/// A layer that cannot be read as one; a limit that is passed.
pub fn read<S: LayerSource>(source: &S, layers: usize, limits: &Limits) -> Result<Catalogue, Error> {
    let gathered = gather::gather(source, layers, limits)?;
    let gather::Gathered { paths, owners, records, .. } = gathered;
    let numbers = apply::Numbers::new(&paths);
    let applied = apply::apply(&paths, &numbers, records);
    let apply::Numbers { met, parent, end, .. } = numbers;
    let mut invisible = Bits::new(met.len());
    for (at, id) in met.iter().enumerate() {
        invisible.put(at as u32, paths.is_invisible(*id));
    }
    let name_ids = met.iter().map(|id| paths.name_id(*id)).collect();
    let mut names = paths.names;
    names.freeze();
    let (first_events, events) = by_path(met.len(), applied.events);
    let mut totals = vec![LayerTotals::default(); layers];
    for event in events.iter().filter(|event| event.ord != NONE) {
        let layer = &mut totals[usize::from(event.layer)];
        layer.entries += 1;
        layer.bytes += event.size;
        layer.wasted_bytes += event.wasted();
    }
    Ok(Catalogue {
        names,
        name_ids,
        parents: parent,
        ends: end,
        first_events,
        events,
        owners,
        invisible,
        layers: totals,
        unpacked_bytes: applied.unpacked_bytes,
        merged_bytes: applied.merged_bytes,
    })
}

/// Sorts events by path, keeping the order of each path's own, and where each path's begin.
fn by_path(paths: usize, events: Vec<(u32, Event)>) -> (Vec<u32>, Vec<Event>) {
    let mut first = vec![0_u32; paths + 1];
    for (node, _) in events.iter().filter(|(_, event)| event.flags & VOID == 0) {
        first[*node as usize + 1] += 1;
    }
    for at in 0..paths {
        first[at + 1] += first[at];
    }
    let mut next = first.clone();
    let moved: Vec<u32> = events
        .iter()
        .map(|(node, event)| {
            if event.flags & VOID != 0 {
                return NONE;
            }
            let at = next[*node as usize];
            next[*node as usize] += 1;
            at
        })
        .collect();
    let Some((_, any)) = events.first() else { return (first, Vec::new()) };
    let mut sorted = vec![*any; first[paths] as usize];
    for ((_, mut event), at) in events.into_iter().zip(&moved) {
        if *at == NONE {
            continue;
        }
        if event.sort == Sort::HardLink && event.link != NONE {
            event.link = moved[event.link as usize];
        }
        sorted[*at as usize] = event;
    }
    (first, sorted)
}

impl Event {
    /// Content that the image does not show.
    pub(crate) fn wasted(&self) -> u64 {
        if self.flags & WASTED != 0 { self.size } else { 0 }
    }
}

impl Catalogue {
    /// Number of paths, the root among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether no layer names any path but the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// Number of entries and removals.
    #[must_use]
    pub fn events_len(&self) -> usize {
        self.events.len()
    }

    /// What each layer holds, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[LayerTotals] {
        &self.layers
    }

    /// Content that all layers hold, in bytes.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// Content that the image shows, an inode counted once, in bytes.
    #[must_use]
    pub fn merged_bytes(&self) -> u64 {
        self.merged_bytes
    }

    /// Content that the image does not show, in bytes.
    #[must_use]
    pub fn wasted_bytes(&self) -> u64 {
        self.unpacked_bytes - self.merged_bytes
    }

    pub(crate) fn parent(&self, node: u32) -> u32 {
        self.parents[node as usize]
    }

    pub(crate) fn end(&self, node: u32) -> u32 {
        self.ends[node as usize]
    }

    pub(crate) fn is_invisible(&self, node: u32) -> bool {
        self.invisible.get(node)
    }

    /// The last component of a path.
    #[must_use]
    pub fn name(&self, node: u32) -> &[u8] {
        self.names.get(self.name_ids[node as usize])
    }

    /// The number of a path's last component, for [`Catalogue::names_holding`].
    pub(crate) fn name_id(&self, node: u32) -> u32 {
        self.name_ids[node as usize]
    }

    /// The numbers of the names in which a text is found.
    pub(crate) fn names_holding(&self, text: &Text<'_>) -> Bits {
        self.names.holding(text)
    }

    /// The path below the root, without a slash in front; empty for the root.
    #[must_use]
    pub fn path(&self, node: u32) -> Vec<u8> {
        let mut above = Vec::new();
        let mut at = node;
        while at != ROOT {
            above.push(at);
            at = self.parent(at);
        }
        let names: Vec<&[u8]> = above.into_iter().rev().map(|at| self.name(at)).collect();
        names.join(&b'/')
    }

    /// The number of a path, written with or without a slash in front.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<u32> {
        let mut at = ROOT;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            at = self.children(at).find(|child| self.name(*child) == part)?;
        }
        Some(at)
    }

    pub(crate) fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        let end = self.end(node);
        let mut next = node + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                next = self.end(child);
                child
            })
        })
    }

    pub(crate) fn event(&self, at: u32) -> &Event {
        &self.events[at as usize]
    }

    /// Numbers of a path's events, oldest first.
    pub(crate) fn events_of(&self, node: u32) -> std::ops::Range<u32> {
        self.first_events[node as usize]..self.first_events[node as usize + 1]
    }

    /// What stands at a path after `layer`, or was removed by then: the number of its event.
    pub(crate) fn at_layer(&self, node: u32, layer: u16) -> Option<u32> {
        self.events_of(node)
            .rev()
            .find(|at| self.event(*at).layer <= layer && self.event(*at).status != Status::Superseded)
    }

    /// Everything that happens to a path, oldest first.
    #[must_use]
    pub fn versions(&self, node: u32) -> Vec<Version> {
        self.events_of(node).map(|at| self.version(at)).collect()
    }

    pub(crate) fn version(&self, at: u32) -> Version {
        let event = self.event(at);
        let Event { size, link, owner, layer, mode, sort, status, .. } = *event;
        let holder = match sort {
            Sort::File => Some(at),
            Sort::HardLink if link != NONE => Some(link),
            _ => None,
        };
        let holder = holder.map(|at| self.event(at));
        let content = holder.filter(|event| event.sort == Sort::File);
        Version {
            layer: usize::from(layer),
            sort,
            status,
            bytes: size,
            wasted: event.flags & WASTED != 0,
            mode,
            owner: self.owners.get(owner as usize).copied(),
            link: match sort {
                Sort::Symlink => Some(self.names.get(link).to_vec()),
                Sort::HardLink if link != NONE => Some(self.path(self.path_of(link))),
                _ => None,
            },
            linked: holder.filter(|_| sort == Sort::HardLink).map(|event| event.sort),
            content: content.map(|event| Content {
                layer: usize::from(event.layer),
                record: event.ord,
                bytes: event.size,
            }),
        }
    }

    /// Content that `layer` takes out of sight by removing a path, in bytes; it stays in the layers below.
    pub(crate) fn removed_bytes(&self, node: u32, layer: usize) -> u64 {
        let before = |at: u32| {
            let mut events = self.events_of(at).rev().map(|event| self.event(event));
            let removed =
                events.find(|event| usize::from(event.layer) == layer && event.sort == Sort::Removed);
            let mut lower = events.filter(|event| event.status != Status::Superseded);
            removed.and_then(|_| lower.next()).map_or(0, |event| event.size)
        };
        (node..self.end(node)).map(before).sum()
    }

    /// The path that an event is about.
    pub(crate) fn path_of(&self, event: u32) -> u32 {
        self.first_events.partition_point(|first| *first <= event) as u32 - 1
    }
}
