//! One pass over all layers: which path each record is about.
//!
//! Threads take layers from the highest down, as the source expects, and note what they find in one tree. Nothing here
//! depends on the order in which they do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use unbloat_layers::name::{self, Mark, NameError};
use unbloat_layers::tar::{Header, Kind, Meter, TarReader};
use unbloat_layers::{Error, LayerError, LayerSource, MAX_LAYERS};

use super::paths::{Paths, ROOT};
use super::record::{NONE, Record, Said, Sort};

/// Bounds on what is read.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Threads that read layers.
    pub jobs: usize,
    /// Bytes that all layers together may unpack to.
    pub max_unpacked_bytes: u64,
    /// Paths that all layers together may name.
    pub max_paths: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 1, max_unpacked_bytes: 16 << 40, max_paths: 20_000_000 }
    }
}

/// Most symlinks that one name may lead through, as Linux has it.
pub(super) const MAX_SYMLINKS: usize = 40;

/// Records that are parsed before the tree is asked for, so that threads seldom wait for each other.
const BATCH: usize = 256;

/// What all layers say.
pub(super) struct Gathered {
    pub(super) paths: Paths,
    /// User and group.
    pub(super) owners: Vec<(u64, u64)>,
    owner_ids: HashMap<(u64, u64), u32>,
    /// Lowest first.
    pub(super) records: Vec<Vec<Record>>,
    next: usize,
    error: Option<Error>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads every layer once.
pub(super) fn gather<S: LayerSource>(source: &S, layers: usize, limits: &Limits) -> Result<Gathered, Error> {
    if layers > MAX_LAYERS {
        return Err(Error::TooManyLayers(layers));
    }
    let meter = Arc::new(Meter::new(limits.max_unpacked_bytes));
    let gathered = Mutex::new(Gathered {
        paths: Paths::new(limits.max_paths),
        owners: Vec::new(),
        owner_ids: HashMap::new(),
        records: vec![Vec::new(); layers],
        next: layers,
        error: None,
    });
    let work = || {
        while let Some(layer) = take_layer(&gathered) {
            if let Err(source) = read_layer(source, layer, &meter, &gathered) {
                // The first reason is kept: later ones may only follow from it.
                lock(&gathered).error.get_or_insert(Error::Layer { layer, source });
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..limits.jobs.clamp(1, layers.max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let mut gathered = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    gathered.error.take().map_or(Ok(gathered), Err)
}

fn take_layer(gathered: &Mutex<Gathered>) -> Option<usize> {
    let mut gathered = lock(gathered);
    if gathered.error.is_some() {
        return None;
    }
    gathered.next = gathered.next.checked_sub(1)?;
    Some(gathered.next)
}

fn read_layer<S: LayerSource>(
    source: &S,
    layer: usize,
    meter: &Arc<Meter>,
    gathered: &Mutex<Gathered>,
) -> Result<(), LayerError> {
    let stream = source.open(layer).map_err(LayerError::Stream)?;
    let mut reader = TarReader::new(stream, layer, Arc::clone(meter));
    let mut own = OwnLayer::default();
    let mut raw = Vec::new();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let header = reader.next(&mut raw)?;
        let ended = header.is_none();
        batch.extend(header);
        if ended || batch.len() == BATCH {
            let mut gathered = lock(gathered);
            if gathered.error.is_some() {
                return Ok(());
            }
            for header in batch.drain(..) {
                let record = own.register(&mut gathered, &header)?;
                gathered.records[layer].extend(record);
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// What one layer did so far that decides where its later records go (`docs/layer-semantics.md#rule-11`).
#[derive(Default)]
struct OwnLayer {
    next_ord: u32,
    /// Symlinks that this layer made, with the record and the target's text.
    symlinks: HashMap<u32, (u32, u32), foldhash::fast::RandomState>,
    /// Directories that paths below them make.
    parents: HashSet<u32, foldhash::fast::RandomState>,
    /// Records that took a directory of this layer away.
    cuts: HashMap<u32, u32, foldhash::fast::RandomState>,
}

impl OwnLayer {
    fn register(&mut self, all: &mut Gathered, header: &Header) -> Result<Option<Record>, LayerError> {
        let ord = self.next_ord;
        self.next_ord += 1;
        let mut parts = Vec::with_capacity(16);
        name::components(&header.path, &mut parts).map_err(|reason| refuse(&header.path, reason))?;
        let Some((base, dir)) = parts.split_last() else {
            if header.kind != Kind::Directory {
                return Err(refuse(&header.path, NameError::Root));
            }
            return Ok(Some(all.record(header, ROOT, ord, Said::Entry(Sort::Directory), NONE)));
        };
        let mark = name::mark(base).map_err(|reason| refuse(&header.path, reason))?;
        let parent = self.walk(&mut all.paths, &header.path, dir)?;
        let device = header.kind == Kind::CharDevice && header.device == (0, 0);
        Ok(Some(match mark {
            Mark::Opaque => all.record(header, parent, ord, Said::Opaque, NONE),
            Mark::Whiteout(hidden) => {
                // What no layer has can be whited out too; such a path is never shown.
                let node = all.paths.child(parent, hidden, false)?;
                all.record(header, node, ord, Said::Whiteout, NONE)
            }
            Mark::None if device => {
                let node = all.paths.child(parent, base, false)?;
                all.record(header, node, ord, Said::Whiteout, NONE)
            }
            Mark::None | Mark::Aufs => {
                let node = all.paths.child(parent, base, mark == Mark::Aufs)?;
                self.entry(all, header, node, ord)?
            }
        }))
    }

    fn entry(
        &mut self,
        all: &mut Gathered,
        header: &Header,
        node: u32,
        ord: u32,
    ) -> Result<Record, LayerError> {
        let (sort, link) = match header.kind {
            Kind::Regular => (Sort::File, NONE),
            Kind::HardLink => (Sort::HardLink, self.link_target(&mut all.paths, &header.link)?),
            Kind::Symlink => (Sort::Symlink, all.paths.names.intern(&header.link)),
            Kind::Directory => (Sort::Directory, NONE),
            Kind::CharDevice => (Sort::CharDevice, NONE),
            Kind::BlockDevice => (Sort::BlockDevice, NONE),
            Kind::Fifo => (Sort::Fifo, NONE),
        };
        let mut above = node;
        while above != ROOT {
            above = all.paths.parent(above);
            if !self.parents.insert(above) {
                break;
            }
        }
        // A link to a symlink of this layer leads the paths below it as that one does.
        let leads_to = match sort {
            Sort::Symlink => Some(link),
            Sort::HardLink => self.symlink_at(&all.paths, link),
            _ => None,
        };
        match leads_to {
            Some(to) => drop(self.symlinks.insert(node, (ord, to))),
            None => drop(self.symlinks.remove(&node)),
        }
        if sort != Sort::Directory && self.parents.remove(&node) {
            self.cuts.insert(node, ord);
        }
        Ok(all.record(header, node, ord, Said::Entry(sort), link))
    }

    fn link_target(&self, paths: &mut Paths, raw: &[u8]) -> Result<u32, LayerError> {
        let mut parts = Vec::with_capacity(16);
        name::components(raw, &mut parts).map_err(|reason| refuse(raw, reason))?;
        let Some((base, dir)) = parts.split_last() else { return Ok(ROOT) };
        let parent = self.walk(paths, raw, dir)?;
        let aufs = name::is_aufs_directory(base).map_err(|reason| refuse(raw, reason))?;
        paths.child(parent, base, aufs)
    }

    /// The path of a directory, through symlinks that this layer made before.
    fn walk(&self, paths: &mut Paths, raw: &[u8], dir: &[&[u8]]) -> Result<u32, LayerError> {
        let mut at = ROOT;
        let mut followed = 0;
        let mut pending: Vec<Vec<u8>> = Vec::new();
        let mut next = dir.iter();
        loop {
            let owned;
            let part: &[u8] = match pending.pop() {
                Some(part) => {
                    owned = part;
                    &owned
                }
                None => match next.next() {
                    Some(part) => part,
                    None => return Ok(at),
                },
            };
            match part {
                b"" | b"." => continue,
                // Only a symlink's target still has these; at the root they stay there.
                b".." => {
                    at = paths.parent(at);
                    continue;
                }
                _ => {}
            }
            let aufs = name::is_aufs_directory(part).map_err(|reason| refuse(raw, reason))?;
            let node = paths.child(at, part, aufs)?;
            let Some(target) = self.symlink_at(paths, node) else {
                at = node;
                continue;
            };
            followed += 1;
            if followed > MAX_SYMLINKS {
                return Err(refuse(raw, NameError::SymlinkLoop));
            }
            let target = paths.names.get(target);
            if target.contains(&0) || target.len() > name::MAX_NAME {
                return Err(refuse(raw, NameError::TooLong));
            }
            if target.first() == Some(&b'/') {
                at = ROOT;
            }
            pending.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
    }

    /// The target of a symlink at `node` that this layer made and that still stands.
    fn symlink_at(&self, paths: &Paths, node: u32) -> Option<u32> {
        let (ord, target) = *self.symlinks.get(&node)?;
        let mut at = node;
        while !self.cuts.is_empty() && at != ROOT {
            at = paths.parent(at);
            if self.cuts.get(&at).is_some_and(|cut| *cut > ord) {
                return None;
            }
        }
        Some(target)
    }
}

fn refuse(raw: &[u8], reason: NameError) -> LayerError {
    LayerError::Name { path: String::from_utf8_lossy(raw).into_owned(), reason }
}

impl Gathered {
    fn record(&mut self, header: &Header, node: u32, ord: u32, said: Said, link: u32) -> Record {
        let owner = (header.meta.uid, header.meta.gid);
        let owner = *self.owner_ids.entry(owner).or_insert_with(|| {
            self.owners.push(owner);
            self.owners.len() as u32 - 1
        });
        let size = if header.kind == Kind::Regular { header.size } else { 0 };
        // Twelve bits: permissions with setuid, setgid and sticky.
        let mode = (header.meta.mode & 0o7777) as u16;
        Record { size, node, ord, link, owner, mode, said }
    }
}
