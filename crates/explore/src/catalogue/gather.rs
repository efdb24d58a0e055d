//! One pass over all layers: which path each record is about.
//!
//! Threads take layers from the highest down, as the source expects, and note what they find in one tree.
//! Nothing here depends on the order in which they do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use unbloat_layers::layer::{
    EntryKind, LayerRules, LinkTarget, LinkedSymlinks, Placed, Subject, SymlinkTarget,
};
use unbloat_layers::tar::{Header, Kind, Meter, TarReader};
use unbloat_layers::{Error, LayerError, LayerSource, MAX_LAYERS};

use super::paths::Paths;
use super::record::{Link, Record, Said, Sort};

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
    let rules = LayerRules::new(layer as u32, LinkedSymlinks::new());
    let mut own = OwnLayer { rules };
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
                own.register(&mut gathered, layer, &header)?;
            }
            if ended {
                own.finish(&mut gathered, layer);
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// The records of one layer, by the engine's own rules.
struct OwnLayer {
    rules: LayerRules,
}

impl OwnLayer {
    fn register(&mut self, all: &mut Gathered, layer: usize, header: &Header) -> Result<(), LayerError> {
        let placed = self.rules.place(&mut all.paths, header)?;
        let said = match placed.subject {
            Subject::Opaque => Said::Opaque,
            Subject::Whiteout | Subject::WhiteoutDevice => Said::Whiteout,
            Subject::Entry => Said::Entry(sort(header.kind)),
        };
        let mut link = Link::None;
        let mut repeats = false;
        if placed.subject == Subject::Opaque {
            self.rules.imply(&all.paths, placed.node, placed.record);
        }
        if placed.subject == Subject::Entry {
            let (kind, leads_to);
            (kind, link, leads_to) = self.entry(all, &placed, header)?;
            let before = self.rules.standing(&all.paths, placed.node);
            repeats = kind == EntryKind::Directory
                && before.is_some_and(|before| before.kind() == EntryKind::Directory);
            self.rules.add(&all.paths, &placed, kind, 0, leads_to);
        }
        let record = all.record(header, &placed, said, link, repeats);
        all.records[layer].push(record);
        Ok(())
    }

    /// What the entry is, what it leads to, and where it leads paths below it.
    fn entry(
        &mut self,
        all: &mut Gathered,
        placed: &Placed,
        header: &Header,
    ) -> Result<(EntryKind, Link, Option<SymlinkTarget>), LayerError> {
        Ok(match header.kind {
            Kind::Directory => (EntryKind::Directory, Link::None, None),
            Kind::Symlink => {
                let text = Link::Text(all.paths.names.intern(&header.link));
                (EntryKind::Content, text, Some(header.link.as_slice().into()))
            }
            Kind::HardLink => {
                let resolved = self.rules.resolve_link(&mut all.paths, header, placed.node)?;
                self.rules.note_link(placed.record, placed.node, resolved.leads_to);
                let link = match resolved.leads_to {
                    LinkTarget::Here(record) => Link::Here(record),
                    LinkTarget::Lower(index) => Link::Lower(self.rules.lower()[index].target),
                };
                (EntryKind::Link, link, resolved.symlink)
            }
            Kind::Regular | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                (EntryKind::Content, Link::None, None)
            }
        })
    }

    /// The layer is at its end: tells which of its entries, and of the directories that opaque marks make, no
    /// later record took away.
    fn finish(&self, all: &mut Gathered, layer: usize) {
        let Gathered { paths, records, .. } = all;
        for record in &mut records[layer] {
            let standing = self.rules.standing(paths, record.node);
            record.stands = match record.said {
                Said::Entry(_) => standing.is_some_and(|entry| entry.record() == record.ord),
                Said::Opaque => standing.is_none() && self.rules.is_implied(paths, record.node),
                Said::Whiteout => false,
            };
        }
    }
}

fn sort(kind: Kind) -> Sort {
    match kind {
        Kind::Regular => Sort::File,
        Kind::HardLink => Sort::HardLink,
        Kind::Symlink => Sort::Symlink,
        Kind::Directory => Sort::Directory,
        Kind::CharDevice => Sort::CharDevice,
        Kind::BlockDevice => Sort::BlockDevice,
        Kind::Fifo => Sort::Fifo,
    }
}

impl Gathered {
    fn record(&mut self, header: &Header, placed: &Placed, said: Said, link: Link, repeats: bool) -> Record {
        let Placed { record: ord, node, .. } = *placed;
        let owner = (header.meta.uid, header.meta.gid);
        let owner = *self.owner_ids.entry(owner).or_insert_with(|| {
            self.owners.push(owner);
            self.owners.len() as u32 - 1
        });
        let size = if header.kind == Kind::Regular { header.size } else { 0 };
        // Twelve bits: permissions with setuid, setgid and sticky.
        let mode = (header.meta.mode & 0o7777) as u16;
        Record { size, node, ord, link, owner, mode, said, repeats, stands: false }
    }
}
