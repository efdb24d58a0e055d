//! The merge of all layers of an image into one tar stream.
//!
//! # Expected flow
//! Threads take layers from the highest down and read them side by side. All of them register what they find in one
//! [`Tree`]; what is known to be hidden is dropped at once, the rest is held. The highest layer that is not finished is the
//! *front*: everything above it is known, so what it holds can be judged and written. A layer that is read to its end before
//! it is the front is parked.
//!
//! # Guarantees
//! - The result depends on the layers and the options alone, never on threads or on how much memory there is.
//! - Each layer is opened once. A second time only for content whose own name is hidden, and after a conflict.
//! - What is held never exceeds [`Options::hold_bytes`] by more than a chunk for each thread: a layer that needs more waits
//!   until it is the front, and the front then writes as it reads ("streaming").
//!
//! # Caveats
//! A streaming layer may say late that something it already wrote must be otherwise (a duplicate name, a link with other
//! metadata). Above a kept base, a directory may turn out to stand where the base has a file, after things below it were
//! written, which unpackers refuse. A lower layer may show that a hard link of a higher one is a symlink, and that paths below
//! it were taken wrongly. All three are [`Outcome::Again`]: the result so far is void, and the merge is run again with what was
//! learnt: a layer to be read once for its names and once for its content, directories to be written first, where links
//! lead. Layers that fit in what may be held never need it for the first.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::chunk::{ChunkSource, Piece};
use crate::collections::HashMap;
use crate::emit::{Body, EmitError, Entry, Front, Output, Written, lock};
use crate::error::{BoxError, Error, LayerError};
use crate::follow::{Follower, Rewrites};
use crate::hardlink::Demand;
use crate::inlayer::{InLayer, Passage, Registered, Stop};
use crate::known::{self, HeaderSink, Known};
use crate::name;
use crate::pattern::Patterns;
use crate::plan::Plan;
use crate::schedule::{End, HELD_OVERHEAD, Halt, Held, Pass, Schedule};
use crate::tar::{Header, Kind, Meter, TRAILER, TarReader};
use crate::tree::{NodeId, ROOT, Tree};
use crate::visibility::MAX_LAYERS;
use crate::warning::{Warning, WarningKind};

/// Where layers come from.
pub trait LayerSource: Sync {
    /// A decoded layer.
    type Stream: ChunkSource;

    /// Opens layer `layer`, 0 at the lowest. Layers are opened from the highest down.
    ///
    /// # Errors
    /// Whatever keeps the layer from being read.
    fn open(&self, layer: usize) -> Result<Self::Stream, BoxError>;

    /// What is known of a layer of a kept base, which is then not opened.
    ///
    /// # Errors
    /// Whatever keeps what is known from being read.
    fn known(&self, _layer: usize) -> Result<Option<Known>, BoxError> {
        Ok(None)
    }

    /// Somebody who wants to know a layer of a kept base that is about to be read.
    fn learn(&self, _layer: usize) -> Option<Box<dyn HeaderSink>> {
        None
    }
}

/// How to merge.
#[derive(Clone, Debug)]
pub struct Options {
    /// Patterns of paths to drop.
    pub remove: Vec<String>,
    /// Patterns of regular files to empty.
    pub truncate: Vec<String>,
    /// A pattern that matches nothing is an error.
    pub strict: bool,
    /// A path below a lower layer's symlink goes through the link; every layer is then read once more, for its names.
    pub follow_symlinked_parents: bool,
    /// The lowest layers that are kept; the result then goes on top of them.
    pub base_layers: usize,
    /// Threads that read layers.
    pub jobs: usize,
    /// Bytes of content that may wait in memory.
    pub hold_bytes: usize,
    /// Bytes that all layers together may unpack to.
    pub max_unpacked_bytes: u64,
    /// Paths that all layers together may name.
    pub max_paths: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            remove: Vec::new(),
            truncate: Vec::new(),
            strict: false,
            follow_symlinked_parents: false,
            base_layers: 0,
            jobs: 1,
            hold_bytes: 16 << 20,
            max_unpacked_bytes: 16 << 40,
            max_paths: 20_000_000,
        }
    }
}

/// What a merge did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What was written.
    pub written: Written,
    /// Decoded bytes of each layer, lowest first.
    pub unpacked_bytes: Vec<u64>,
    /// Records of each layer, lowest first.
    pub records: Vec<u32>,
    /// Distinct paths that the layers name.
    pub paths: u64,
    /// In order of layer and path.
    pub warnings: Vec<Warning>,
    /// Warnings beyond those listed.
    pub more_warnings: usize,
    /// Layers that were opened more than once.
    pub read_again: BTreeSet<usize>,
}

/// How a merge ended.
#[derive(Debug)]
pub enum Outcome {
    /// The result is whole.
    Done(Summary),
    /// What was written is void; merge again with this plan. See [`Plan`] for how often that can be.
    Again(Plan),
}

/// Merges the layers of `source` into `output`. `plan` is what [`Outcome::Again`] said, or empty.
///
/// # Errors
/// See [`Error`]; what was written is then void.
pub fn merge<S: LayerSource>(
    source: &S,
    layers: usize,
    options: &Options,
    plan: &Plan,
    output: &mut (dyn Output + Send),
) -> Result<Outcome, Error> {
    if layers > MAX_LAYERS {
        return Err(Error::TooManyLayers(layers));
    }
    let remove = Patterns::new(&options.remove)?;
    let truncate = Patterns::new(&options.truncate)?;
    let tree = Tree::new(options.max_paths, remove, truncate, options.base_layers > 0);
    let mut front = Front::new(output, &tree, options.base_layers > 0);
    front.begin_with(plan.wanted.clone(), plan.directories_first.clone()).map_err(emit_error)?;
    let rewrites = if options.follow_symlinked_parents {
        read_symlinks(source, layers, options)?
    } else {
        Rewrites::default()
    };
    let merge = Merge {
        source,
        options,
        plan,
        rewrites,
        meter: Arc::new(Meter::new(options.max_unpacked_bytes)),
        tree: Mutex::new(tree),
        front: Mutex::new(front),
        schedule: Mutex::new(Schedule {
            next: layers,
            front: layers,
            parked: HashMap::default(),
            held: 0,
            end: None,
            summary: Summary {
                unpacked_bytes: vec![0; layers],
                records: vec![0; layers],
                ..Summary::default()
            },
        }),
        changed: Condvar::new(),
    };
    let threads = options.jobs.clamp(1, layers.max(1));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| merge.work());
        }
        merge.work();
    });
    merge.finish()
}

/// A failure to write that no layer is to blame for.
fn emit_error(error: EmitError) -> Error {
    match error {
        EmitError::Output(error) => Error::Output(error),
        EmitError::Stop(Stop::Error(error)) => error.at(0),
        EmitError::Stop(Stop::At(layer, error)) => error.at(layer as usize),
        EmitError::Stop(Stop::Conflict) => LayerError::Changed.at(0),
    }
}

/// Reads all headers from the lowest layer up for the symlinks that paths of higher layers lead through.
fn read_symlinks<S: LayerSource>(source: &S, layers: usize, options: &Options) -> Result<Rewrites, Error> {
    let meter = Arc::new(Meter::new(options.max_unpacked_bytes));
    let mut follower = Follower::default();
    for layer in 0..layers {
        let stream = source.open(layer).map_err(|error| LayerError::Stream(error).at(layer))?;
        let mut reader = TarReader::new(stream, layer, Arc::clone(&meter));
        follower.layer(layer as u32, &mut reader).map_err(|error| error.at(layer))?;
    }
    Ok(follower.finish())
}

/// The writer, while a thread has it.
type Turn<'g, 'a> = MutexGuard<'g, Front<'a>>;

/// What happens to entries as they are read.
enum Mode {
    /// Held until the layer's end or its turn.
    Hold,
    /// Written at once.
    Stream,
    /// Only registered: a kept base, or the first of two reads.
    Names,
}

struct Merge<'a, S> {
    source: &'a S,
    options: &'a Options,
    plan: &'a Plan,
    rewrites: Rewrites,
    meter: Arc<Meter>,
    tree: Mutex<Tree>,
    front: Mutex<Front<'a>>,
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

impl<'a, S: LayerSource> Merge<'a, S> {
    fn work(&self) {
        while let Some(layer) = self.take_layer() {
            let end = match self.read(layer) {
                Ok(pass) => self.park(layer, pass),
                Err(halt) => Err(halt.end(layer)),
            };
            let Err(end) = end else { continue };
            let mut schedule = lock(&self.schedule);
            // The first reason is kept: later ones may only follow from it.
            schedule.end = schedule.end.take().or(end);
            self.changed.notify_all();
            return;
        }
    }

    /// The next layer to read, when it is not too far ahead of the front.
    fn take_layer(&self) -> Option<usize> {
        let ahead = self.options.jobs.max(1) + 4;
        let mut schedule = lock(&self.schedule);
        loop {
            if schedule.next == 0 || schedule.end.is_some() {
                return None;
            }
            if schedule.front - schedule.next < ahead {
                schedule.next -= 1;
                return Some(schedule.next);
            }
            schedule = self.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn open(&self, layer: usize) -> Result<TarReader<S::Stream>, Halt> {
        let stream = self.source.open(layer).map_err(LayerError::Stream)?;
        Ok(TarReader::new(stream, layer, Arc::clone(&self.meter)))
    }

    fn rewrite(&self, layer: usize, ord: u32, header: &mut Header) {
        if let Some(rewrite) = self.rewrites.get(&(layer as u32, ord)) {
            rewrite.apply(header);
        }
    }

    /// Reads a layer to its end. `None` when all of it was written on the way.
    fn read(&self, layer: usize) -> Result<Option<Pass>, Halt> {
        let in_base = layer < self.options.base_layers;
        if in_base && let Some(known) = self.source.known(layer).map_err(LayerError::Stream)? {
            return self.read_known(layer, known).map(Some);
        }
        let mut learning = if in_base { self.source.learn(layer) } else { None };
        let names_first = self.plan.names_first.contains(&layer);
        let mut mode = if in_base || names_first { Mode::Names } else { Mode::Hold };
        let mut reader = self.open(layer)?;
        let mut pass = Pass::new(InLayer::new(layer as u32, in_base, names_first, &self.plan.leads));
        let mut front = None;
        let mut raw = Vec::new();
        while let Some(mut header) = reader.next(&mut raw)? {
            if let Some(mut sink) = learning.take() {
                let blocks = known::blocks(&header);
                sink.bytes(&blocks);
                learning = (!known::is_too_large(&blocks)).then_some(sink);
            }
            self.rewrite(layer, pass.inlayer.records(), &mut header);
            let mut tree = lock(&self.tree);
            let registered = pass.inlayer.register(&mut tree, &header)?;
            if names_first {
                pass.nodes.push(match registered {
                    Registered::Entry { node, moved, .. } => Some((node, moved)),
                    Registered::Nothing => None,
                });
            }
            let Registered::Entry { ord, node, moved } = registered else { continue };
            match mode {
                Mode::Names => {
                    if in_base && tree.is_truncated(node) {
                        pass.inlayer.flagged.push((ord, node, header));
                    }
                }
                Mode::Stream => {
                    let front: &mut Turn<'_, 'a> = front.get_or_insert_with(|| lock(&self.front));
                    front.bind_one(&tree, &mut pass.inlayer, node)?;
                    drop(tree);
                    let entry = Entry { ord, node, moved, header: &header, raw: &raw };
                    if front.begin(&self.tree, &mut pass.inlayer, &entry)? == Body::Copy {
                        reader.content(|piece| front.copy(piece))?;
                    }
                    front.end(&self.tree)?;
                }
                Mode::Hold => {
                    let directory = header.kind == Kind::Directory;
                    let hidden = pass.inlayer.is_hidden(&tree, node, ord, directory);
                    let removed = tree.is_removed(node);
                    drop(tree);
                    if hidden && header.kind != Kind::HardLink {
                        continue;
                    }
                    let wanted = header.kind == Kind::Regular && !removed;
                    let content = wanted.then(Vec::new).or((header.kind != Kind::Regular).then(Vec::new));
                    let held = Held { ord, node, moved, header, raw: std::mem::take(&mut raw), content };
                    if let Some(guard) = self.hold(layer, &mut pass, held, wanted, &mut reader)? {
                        front = Some(guard);
                        mode = Mode::Stream;
                    }
                }
            }
        }
        pass.unpacked = reader.position();
        if let Some(mut sink) = learning {
            sink.bytes(&TRAILER);
            sink.finish(pass.unpacked);
        }
        pass.inlayer.complete(&mut lock(&self.tree));
        let Some(mut front) = front else { return Ok(Some(pass)) };
        self.finish_layer(&mut front, layer, &mut pass)?;
        drop(front);
        self.advance(layer, &pass);
        Ok(None)
    }

    /// Registers the headers of a kept layer that is known from before.
    fn read_known(&self, layer: usize, known: Known) -> Result<Pass, Halt> {
        self.meter.add(known.unpacked_bytes)?;
        let mut reader = TarReader::new(known.headers, layer, Arc::new(Meter::new(u64::MAX)));
        let names_first = self.plan.names_first.contains(&layer);
        let mut pass = Pass::new(InLayer::new(layer as u32, true, names_first, &self.plan.leads));
        let mut raw = Vec::new();
        while let Some(mut header) = reader.next(&mut raw)? {
            known::restore(&mut header)?;
            self.rewrite(layer, pass.inlayer.records(), &mut header);
            let mut tree = lock(&self.tree);
            if let Registered::Entry { ord, node, .. } = pass.inlayer.register(&mut tree, &header)?
                && tree.is_truncated(node)
            {
                pass.inlayer.flagged.push((ord, node, header));
            }
        }
        pass.unpacked = known.unpacked_bytes;
        pass.inlayer.complete(&mut lock(&self.tree));
        Ok(pass)
    }

    /// Holds one entry with its content. When there is no room, waits for the layer's turn, writes all that is held, this
    /// entry with the rest of its content last, and gives the writer back.
    fn hold(
        &self,
        layer: usize,
        pass: &mut Pass,
        mut held: Held,
        wanted: bool,
        reader: &mut TarReader<S::Stream>,
    ) -> Result<Option<Turn<'_, 'a>>, Halt> {
        let mut added = HELD_OVERHEAD + held.raw.iter().map(Piece::len).sum::<usize>();
        let mut last: Option<Piece> = None;
        let mut front = None;
        let mut body = Body::Skip;
        if wanted {
            let copied: Result<(), Halt> = reader.content(|piece| {
                if let Some(front) = &mut front {
                    let front: &mut Turn<'_, 'a> = front;
                    return match body {
                        Body::Copy => Ok(front.copy(piece)?),
                        Body::Skip => Ok(()),
                    };
                }
                // A piece keeps the whole of its chunk alive.
                let known = last.as_ref().is_some_and(|last| Arc::ptr_eq(last.chunk(), piece.chunk()));
                if !known {
                    added += piece.chunk().data.len();
                }
                last = Some(piece.clone());
                let pieces = held.content.get_or_insert_default();
                if !pieces.last_mut().is_some_and(|before| before.absorb(&piece)) {
                    pieces.push(piece);
                }
                if !self.reserve(layer, pass, std::mem::take(&mut added))? {
                    let mut guard = self.take_turn(pass)?;
                    body = self.write_held(&mut guard, pass, &held)?;
                    if body == Body::Copy {
                        for piece in held.content.take().unwrap_or_default() {
                            guard.copy(piece)?;
                        }
                    }
                    held.content = None;
                    front = Some(guard);
                }
                Ok(())
            });
            copied?;
        }
        if let Some(mut guard) = front {
            guard.end(&self.tree)?;
            return Ok(Some(guard));
        }
        pass.held.push(held);
        if self.reserve(layer, pass, added)? {
            return Ok(None);
        }
        let guard = self.take_turn(pass)?;
        Ok(Some(guard))
    }

    /// Asks for room to hold `bytes` more; `false` tells that the layer has its turn and should write instead.
    fn reserve(&self, layer: usize, pass: &mut Pass, bytes: usize) -> Result<bool, Halt> {
        let mut schedule = lock(&self.schedule);
        schedule.held += bytes;
        pass.bytes += bytes;
        loop {
            if schedule.end.is_some() {
                return Err(Halt::Stopped);
            }
            // Half is for the layers ahead, so that the front cannot keep them from being read.
            let front = schedule.is_front(layer);
            if schedule.held <= self.options.hold_bytes
                && (!front || pass.bytes <= self.options.hold_bytes / 2)
            {
                return Ok(true);
            }
            if front {
                return Ok(false);
            }
            schedule = self.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The layer's turn has come in mid-read: settles and writes what is held so far.
    fn take_turn(&self, pass: &mut Pass) -> Result<Turn<'_, 'a>, Halt> {
        let mut front = lock(&self.front);
        front.settle(&lock(&self.tree), &mut pass.inlayer, false)?;
        pass.inlayer.streaming = true;
        for held in std::mem::take(&mut pass.held) {
            self.write_one(&mut front, pass, held)?;
        }
        self.release(pass);
        Ok(front)
    }

    fn release(&self, pass: &mut Pass) {
        lock(&self.schedule).held -= std::mem::take(&mut pass.bytes);
        self.changed.notify_all();
    }

    fn write_held(&self, front: &mut Front<'_>, pass: &mut Pass, held: &Held) -> Result<Body, Halt> {
        let Held { ord, node, moved, header, raw, content: _ } = held;
        let entry = Entry { ord: *ord, node: *node, moved: *moved, header, raw };
        Ok(front.begin(&self.tree, &mut pass.inlayer, &entry)?)
    }

    fn write_one(&self, front: &mut Front<'_>, pass: &mut Pass, held: Held) -> Result<(), Halt> {
        if self.write_held(front, pass, &held)? == Body::Copy {
            for piece in held.content.unwrap_or_default() {
                front.copy(piece)?;
            }
        }
        Ok(front.end(&self.tree)?)
    }

    /// Puts a layer that was read aside until its turn, and finishes all whose turn has come.
    fn park(&self, layer: usize, pass: Option<Pass>) -> Result<(), Option<End>> {
        if let Some(pass) = pass {
            lock(&self.schedule).parked.insert(layer, pass);
        }
        loop {
            let mut schedule = lock(&self.schedule);
            let Some(layer) = schedule.front.checked_sub(1) else { return Ok(()) };
            let Some(mut pass) = schedule.parked.remove(&layer) else { return Ok(()) };
            drop(schedule);
            let mut front = lock(&self.front);
            self.finish_parked(&mut front, layer, &mut pass).map_err(|halt| halt.end(layer))?;
            drop(front);
            self.release(&mut pass);
            self.advance(layer, &pass);
        }
    }

    fn advance(&self, layer: usize, pass: &Pass) {
        let mut schedule = lock(&self.schedule);
        schedule.front = layer;
        schedule.summary.unpacked_bytes[layer] = pass.unpacked;
        schedule.summary.records[layer] = pass.inlayer.records();
        self.changed.notify_all();
    }

    fn finish_parked(&self, front: &mut Front<'_>, layer: usize, pass: &mut Pass) -> Result<(), Halt> {
        front.settle(&lock(&self.tree), &mut pass.inlayer, true)?;
        if self.plan.names_first.contains(&layer) && !pass.inlayer.in_base {
            self.write_second_read(front, layer, pass)?;
        } else if pass.inlayer.in_base {
            self.join_in_base(front, pass);
        }
        // Content that waits under other names is taken from what is held if all of it is there.
        let mut waiting = HashMap::default();
        for held in std::mem::take(&mut pass.held) {
            let linked = pass.inlayer.inodes.contains_key(&held.ord);
            if linked && held.content.is_some() && held.header.kind != Kind::HardLink {
                let pieces = held.content.clone().unwrap_or_default();
                waiting.insert(held.ord, (held.header.clone(), pieces));
            }
            self.write_one(front, pass, held)?;
        }
        self.write_waiting(front, layer, pass, &waiting)?;
        self.finish_links(front, pass)
    }

    fn finish_layer(&self, front: &mut Front<'_>, layer: usize, pass: &mut Pass) -> Result<(), Halt> {
        front.bind_all(&lock(&self.tree), &mut pass.inlayer, true)?;
        self.write_waiting(front, layer, pass, &HashMap::default())?;
        self.finish_links(front, pass)
    }

    /// Writes a layer whose names are all known while it is read for the second time.
    fn write_second_read(&self, front: &mut Front<'_>, layer: usize, pass: &mut Pass) -> Result<(), Halt> {
        lock(&self.schedule).summary.read_again.insert(layer);
        let nodes = std::mem::take(&mut pass.nodes);
        let mut reader = self.open(layer)?;
        let mut raw = Vec::new();
        let mut nodes = nodes.into_iter().enumerate();
        while let Some(mut header) = reader.next(&mut raw)? {
            let (ord, known) = nodes.next().ok_or(LayerError::Changed)?;
            self.rewrite(layer, ord as u32, &mut header);
            let Some((node, moved)) = known else { continue };
            let entry = Entry { ord: ord as u32, node, moved, header: &header, raw: &raw };
            if front.begin(&self.tree, &mut pass.inlayer, &entry)? == Body::Copy {
                reader.content(|piece| front.copy(piece))?;
            }
            front.end(&self.tree)?;
        }
        Ok(())
    }

    /// In a kept base nothing is written in place, but links of higher layers to it join its inodes.
    fn join_in_base(&self, front: &mut Front<'_>, pass: &mut Pass) {
        let tree = lock(&self.tree);
        front.truncate_in_base(&tree, &mut pass.inlayer);
        let mut joining: Vec<_> = std::mem::take(&mut pass.inlayer.joining).into_iter().collect();
        joining.sort_unstable_by_key(|(ord, _)| *ord);
        for (ord, names) in joining {
            let (_, belongs) = pass.inlayer.links[&ord];
            match belongs {
                crate::hardlink::Belongs::Here(content) => {
                    pass.inlayer.inodes.entry(content).or_default().waiting.extend(names);
                }
                crate::hardlink::Belongs::Lower(index) => pass.inlayer.lower[index].names.extend(names),
            }
        }
    }

    /// Writes what waits under other names, behind the rest of the layer.
    fn write_waiting(
        &self,
        front: &mut Front<'_>,
        layer: usize,
        pass: &mut Pass,
        held: &HashMap<u32, (Header, Vec<Piece>)>,
    ) -> Result<(), Halt> {
        let mut waiting: Vec<_> = std::mem::take(&mut pass.inlayer.inodes)
            .into_iter()
            .filter(|(_, inode)| inode.written.is_none() && !inode.waiting.is_empty())
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        waiting.sort_unstable_by_key(|(ord, _)| *ord);
        let known = |(ord, inode): &(u32, crate::hardlink::Inode)| {
            held.contains_key(ord) || (inode.truncated && inode.header.is_some())
        };
        if waiting.iter().all(known) {
            for (ord, inode) in &waiting {
                let (header, pieces) = match held.get(ord) {
                    Some((header, pieces)) => (Some(header), &pieces[..]),
                    None => (inode.header.as_ref(), &[][..]),
                };
                let Some(header) = header else { continue };
                let says = inode.effective();
                let truncated = inode.truncated && header.kind == Kind::Regular;
                let body = front.begin_waiting(&self.tree, header, &says, truncated, &inode.waiting);
                if body? == Body::Copy {
                    for piece in pieces {
                        front.copy(piece.clone())?;
                    }
                }
                front.end(&self.tree)?;
            }
            return Ok(());
        }
        lock(&self.schedule).summary.read_again.insert(layer);
        let mut reader = self.open(layer)?;
        let mut raw = Vec::new();
        let mut ord = 0;
        let mut next = waiting.into_iter().peekable();
        while let Some(header) = reader.next(&mut raw)? {
            if let Some((_, inode)) = next.next_if(|(wanted, _)| *wanted == ord) {
                let says = inode.effective();
                let truncated = inode.truncated && header.kind == Kind::Regular;
                let body = front.begin_waiting(&self.tree, &header, &says, truncated, &inode.waiting);
                if body? == Body::Copy {
                    reader.content(|piece| front.copy(piece))?;
                }
                front.end(&self.tree)?;
            }
            ord += 1;
        }
        if next.peek().is_some() { Err(LayerError::Changed.into()) } else { Ok(()) }
    }

    /// Sends the links that this layer could not satisfy further down, with its own.
    fn finish_links(&self, front: &mut Front<'_>, pass: &mut Pass) -> Result<(), Halt> {
        let learnt = std::mem::take(&mut pass.inlayer.learnt);
        if !learnt.is_empty() {
            return Err(Halt::Leads(learnt));
        }
        let mut tree = lock(&self.tree);
        pass.inlayer.warn_of_replaced_symlinks(&mut tree)?;
        for warning in std::mem::take(&mut pass.inlayer.warnings) {
            front.warnings.add(warning);
        }
        // What took a target away may turn out to be elsewhere, behind a link.
        let unsure = front.demands.iter().chain(&pass.inlayer.lower).any(|demand| !demand.led.is_empty());
        for mut demand in std::mem::take(&mut front.demands) {
            match pass.inlayer.passes(&tree, demand.target) {
                Passage::Clear => front.demands.push(demand),
                Passage::Gone => drop_demand(front, unsure, &tree, &demand)?,
                Passage::Through { symlink, to } => {
                    demand.hops += 1;
                    let target = follow(&mut tree, symlink, &to, demand.target);
                    match target? {
                        Some(target) if demand.hops <= 40 && target != ROOT => {
                            demand.target = target;
                            // Nothing of this layer is written any more, so a match here can only be taken as gone.
                            if pass.inlayer.latest(target).is_some() {
                                drop_demand(front, unsure, &tree, &demand)?;
                            } else {
                                front.demands.push(demand);
                            }
                        }
                        _ => drop_demand(front, unsure, &tree, &demand)?,
                    }
                }
            }
        }
        for mut demand in std::mem::take(&mut pass.inlayer.lower) {
            let upper = std::mem::take(&mut demand.upper);
            demand.says.follow_all(&upper);
            front.demands.push(demand);
        }
        Ok(())
    }

    fn finish(self) -> Result<Outcome, Error> {
        let schedule = self.schedule.into_inner().unwrap_or_else(PoisonError::into_inner);
        match schedule.end {
            Some(End::Error(error)) => return Err(error),
            Some(End::Conflict(layer)) => {
                return self.plan.with_names_first(layer).map(Outcome::Again);
            }
            Some(End::Leads(learnt)) => {
                return self.plan.with_leads(learnt).map(Outcome::Again);
            }
            None => {}
        }
        let tree = self.tree.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut front = self.front.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = front.refused.take() {
            return Err(error);
        }
        for demand in &front.demands {
            if !demand.names.is_empty() {
                let (path, target) = demand.paths(&tree);
                return Err(LayerError::LinkTarget { path, target }.at(demand.layer as usize));
            }
        }
        front.finish(&tree, self.options.base_layers as u32).map_err(emit_error)?;
        let wanted = front.too_late(&tree, self.options.base_layers as u32);
        if !wanted.is_empty() {
            return Ok(Outcome::Again(Plan { wanted, ..self.plan.clone() }));
        }
        if let Some(found) = front.found() {
            let mut plan = Plan { wanted: BTreeSet::new(), ..self.plan.clone() };
            plan.directories_first.extend(found);
            return Ok(Outcome::Again(plan));
        }
        for pattern in front.unmatched(&tree) {
            if self.options.strict {
                return Err(Error::PatternUnmatched { pattern });
            }
            let kind = WarningKind::PatternUnmatched;
            front.warnings.add(Warning { layer: None, path: pattern.into_bytes(), kind });
        }
        let mut summary = schedule.summary;
        summary.written = front.written;
        summary.paths = u64::from(tree.len());
        (summary.warnings, summary.more_warnings) = front.warnings.into_parts();
        Ok(Outcome::Done(summary))
    }
}

/// A link whose target does not exist matters only where the link itself survives.
fn drop_demand(front: &mut Front<'_>, unsure: bool, tree: &Tree, demand: &Demand) -> Result<(), Halt> {
    if demand.names.is_empty() {
        return Ok(());
    }
    let (path, target) = demand.paths(tree);
    let error = LayerError::LinkTarget { path, target }.at(demand.layer as usize);
    if unsure {
        front.refused.get_or_insert(error);
        return Ok(());
    }
    Err(Halt::Error(error))
}

/// Where `target` is when `symlink`, one of its parents, leads to `to`. `None` for a name that no file can have.
pub fn follow(
    tree: &mut Tree,
    symlink: NodeId,
    to: &[u8],
    target: NodeId,
) -> Result<Option<NodeId>, LayerError> {
    let mut rest = Vec::new();
    let mut at = target;
    while at != symlink {
        rest.push(tree.name(at).to_vec());
        at = tree.parent(at);
    }
    rest.reverse();
    let mut at = if to.first() == Some(&b'/') { ROOT } else { tree.parent(symlink) };
    for part in to.split(|byte| *byte == b'/').chain(rest.iter().map(Vec::as_slice)) {
        match part {
            b"" | b"." => {}
            b".." => at = tree.parent(at),
            part if part.contains(&0) => return Ok(None),
            part => match name::is_aufs_directory(part) {
                Ok(aufs) => at = tree.child(at, part, aufs)?,
                Err(_) => return Ok(None),
            },
        }
    }
    Ok(Some(at))
}
