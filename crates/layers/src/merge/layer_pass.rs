//! One layer on its way: read record by record, held, and written when it is the front.

use std::sync::Arc;

use super::known::{self, HeaderSink, Known};
use super::layer_state::{Flagged, LayerState, Registered};
use super::round::{Round, WriterGuard};
use super::source::LayerSource;
use super::stop::Stop;
use super::writer::{Body, Entry, Writer};
use crate::chunk::{Chunk, Piece};
use crate::error::LayerError;
use crate::layer::Placed;
use crate::lock::lock;
use crate::tar::{Header, Kind, Meter, TRAILER, TarReader};

/// One layer on its way.
pub(super) struct LayerPass {
    pub(super) state: LayerState,
    /// What is held, in the order of the archive.
    pub(super) held: Vec<Held>,
    /// Its size: what records cost, and the chunks that their pieces keep alive.
    pub(super) bytes: usize,
    /// The chunk that was counted last.
    counted: Option<Arc<Chunk>>,
    /// For a layer that is read for its names first: where each record belongs.
    pub(super) placed: Vec<Option<Placed>>,
    /// Decoded bytes of the layer.
    pub(super) unpacked: u64,
}

impl LayerPass {
    fn new(state: LayerState) -> Self {
        Self { state, held: Vec::new(), bytes: 0, counted: None, placed: Vec::new(), unpacked: 0 }
    }
}

/// An entry that waits until its layer is the front.
pub(super) struct Held {
    pub(super) placed: Placed,
    pub(super) header: Header,
    pub(super) raw: Vec<Piece>,
    /// `None` when it was dropped because the name is hidden.
    pub(super) content: Option<Vec<Piece>>,
}

impl Held {
    fn entry(&self) -> Entry<'_> {
        Entry { placed: self.placed, header: &self.header, raw: &self.raw }
    }
}

/// What one record costs while it is held, without its pieces: the struct, its strings, allocator overhead.
const HELD_OVERHEAD: usize = size_of::<Held>() + 256;

/// What happens to entries as they are read.
enum Mode {
    /// Held until the layer's end or its turn.
    Hold,
    /// Written at once.
    Stream,
    /// Only registered: a kept base, or the first of two reads.
    Names,
}

/// Takes the headers of a kept layer down for the next merge, as far as they can be kept.
struct Learning(Option<Box<dyn HeaderSink>>);

impl Learning {
    fn header(&mut self, header: &Header) {
        if let Some(mut sink) = self.0.take() {
            let blocks = known::blocks(header);
            sink.bytes(&blocks);
            self.0 = (!known::is_too_large(&blocks)).then_some(sink);
        }
    }

    fn finish(self, unpacked: u64) {
        if let Some(mut sink) = self.0 {
            sink.bytes(&TRAILER);
            sink.finish(unpacked);
        }
    }
}

impl<'o, S: LayerSource> Round<'_, 'o, S> {
    fn begin_pass(&self, layer: usize) -> LayerPass {
        let names_first = self.discoveries.names_first.contains(&layer);
        let linked_symlinks = &self.discoveries.linked_symlinks;
        LayerPass::new(LayerState::new(layer as u32, self.is_in_base(layer), names_first, linked_symlinks))
    }

    /// Reads a layer to its end. `None` when all of it was written on the way.
    pub(super) fn read(&self, layer: usize) -> Result<Option<LayerPass>, Stop> {
        let in_base = self.is_in_base(layer);
        if in_base && let Some(known) = self.source.known(layer).map_err(LayerError::Stream)? {
            return self.read_known(layer, known).map(Some);
        }
        let mut learning = Learning(if in_base { self.source.learn(layer) } else { None });
        let names_first = self.discoveries.names_first.contains(&layer);
        let mut mode = if in_base || names_first { Mode::Names } else { Mode::Hold };
        let mut reader = self.open(layer)?;
        let mut pass = self.begin_pass(layer);
        let mut writer = None;
        let mut raw = Vec::new();
        while let Some(mut header) = reader.next(&mut raw)? {
            learning.header(&header);
            self.rewrite(layer, pass.state.rules.records(), &mut header);
            let mut tree = lock(&self.tree);
            let registered = pass.state.register(&mut tree, &header)?;
            if names_first {
                pass.placed.push(match registered {
                    Registered::Entry(placed) => Some(placed),
                    Registered::Nothing => None,
                });
            }
            let Registered::Entry(placed) = registered else { continue };
            let node = placed.node;
            match mode {
                Mode::Names => {
                    if in_base && tree.is_truncated(node) {
                        pass.state.flagged.push(Flagged { record: placed.record, node, header });
                    }
                }
                Mode::Stream => {
                    let writer: &mut WriterGuard<'_, 'o> = writer.get_or_insert_with(|| lock(&self.writer));
                    writer.bind_one(&tree, &mut pass.state, node)?;
                    drop(tree);
                    let entry = Entry { placed, header: &header, raw: &raw };
                    if writer.begin(&self.tree, &mut pass.state, &entry)? == Body::Copy {
                        reader.content(|piece| writer.copy(piece))?;
                    }
                    writer.end(&self.tree)?;
                }
                Mode::Hold => {
                    let directory = header.kind == Kind::Directory;
                    let hidden = pass.state.is_hidden(&tree, node, placed.record, directory);
                    let removed = tree.is_removed(node);
                    drop(tree);
                    if hidden && header.kind != Kind::HardLink {
                        continue;
                    }
                    let wanted = header.kind == Kind::Regular && !removed;
                    let content = (wanted || header.kind != Kind::Regular).then(Vec::new);
                    let held = Held { placed, header, raw: std::mem::take(&mut raw), content };
                    if let Some(guard) = self.hold(layer, &mut pass, held, wanted, &mut reader)? {
                        writer = Some(guard);
                        mode = Mode::Stream;
                    }
                }
            }
        }
        pass.unpacked = reader.position();
        learning.finish(pass.unpacked);
        pass.state.complete(&mut lock(&self.tree));
        let Some(mut writer) = writer else { return Ok(Some(pass)) };
        self.finish_streamed(&mut writer, layer, &mut pass)?;
        drop(writer);
        self.scheduler.advance(layer, &pass);
        Ok(None)
    }

    /// Registers the headers of a kept layer that is known from before.
    fn read_known(&self, layer: usize, known: Known) -> Result<LayerPass, Stop> {
        self.meter.add(known.unpacked_bytes)?;
        let mut reader = TarReader::new(known.headers, layer, Arc::new(Meter::new(u64::MAX)));
        let mut pass = self.begin_pass(layer);
        let mut raw = Vec::new();
        while let Some(mut header) = reader.next(&mut raw)? {
            known::restore(&mut header)?;
            self.rewrite(layer, pass.state.rules.records(), &mut header);
            let mut tree = lock(&self.tree);
            if let Registered::Entry(Placed { record, node, .. }) = pass.state.register(&mut tree, &header)?
                && tree.is_truncated(node)
            {
                pass.state.flagged.push(Flagged { record, node, header });
            }
        }
        pass.unpacked = known.unpacked_bytes;
        pass.state.complete(&mut lock(&self.tree));
        Ok(pass)
    }

    /// Holds one entry with its content. When there is no room, waits until the layer is the front, writes
    /// all that is held, this entry with the rest of its content last, and gives the writer back.
    fn hold(
        &self,
        layer: usize,
        pass: &mut LayerPass,
        mut held: Held,
        wanted: bool,
        reader: &mut TarReader<S::Stream>,
    ) -> Result<Option<WriterGuard<'_, 'o>>, Stop> {
        let mut added = HELD_OVERHEAD + held.raw.iter().map(|piece| pass.keep_alive(piece)).sum::<usize>();
        let mut writer = None;
        let mut body = Body::Skip;
        if wanted {
            let copied: Result<(), Stop> = reader.content(|piece| {
                if let Some(writer) = &mut writer {
                    let writer: &mut WriterGuard<'_, 'o> = writer;
                    return match body {
                        Body::Copy => writer.copy(piece),
                        Body::Skip => Ok(()),
                    };
                }
                added += pass.keep_alive(&piece);
                let pieces = held.content.get_or_insert_default();
                if !pieces.last_mut().is_some_and(|before| before.absorb(&piece)) {
                    pieces.push(piece);
                }
                if !self.scheduler.reserve(layer, pass, std::mem::take(&mut added))? {
                    let mut guard = self.become_front(pass)?;
                    body = guard.begin(&self.tree, &mut pass.state, &held.entry())?;
                    if body == Body::Copy {
                        for piece in held.content.take().unwrap_or_default() {
                            guard.copy(piece)?;
                        }
                    }
                    held.content = None;
                    writer = Some(guard);
                }
                Ok(())
            });
            copied?;
        }
        if let Some(mut guard) = writer {
            guard.end(&self.tree)?;
            return Ok(Some(guard));
        }
        pass.held.push(held);
        if self.scheduler.reserve(layer, pass, added)? {
            return Ok(None);
        }
        self.become_front(pass).map(Some)
    }

    /// The layer is the front in mid-read: settles and writes what is held so far.
    fn become_front(&self, pass: &mut LayerPass) -> Result<WriterGuard<'_, 'o>, Stop> {
        let mut writer = lock(&self.writer);
        writer.settle(&lock(&self.tree), &mut pass.state, false)?;
        pass.state.streaming = true;
        for held in std::mem::take(&mut pass.held) {
            self.write_held(&mut writer, pass, held)?;
        }
        self.scheduler.release(pass);
        Ok(writer)
    }

    pub(super) fn write_held(
        &self,
        writer: &mut Writer<'_>,
        pass: &mut LayerPass,
        held: Held,
    ) -> Result<(), Stop> {
        if writer.begin(&self.tree, &mut pass.state, &held.entry())? == Body::Copy {
            for piece in held.content.unwrap_or_default() {
                writer.copy(piece)?;
            }
        }
        writer.end(&self.tree)
    }
}

impl LayerPass {
    /// Bytes that holding `piece` keeps alive besides those that are held already: a piece keeps the whole of
    /// its chunk.
    fn keep_alive(&mut self, piece: &Piece) -> usize {
        if self.counted.as_ref().is_some_and(|counted| Arc::ptr_eq(counted, piece.chunk())) {
            return 0;
        }
        self.counted = Some(Arc::clone(piece.chunk()));
        piece.chunk().data.len()
    }

    /// What was held is written; tells how much it was.
    pub(super) fn forget(&mut self) -> usize {
        self.counted = None;
        std::mem::take(&mut self.bytes)
    }

    /// Whether entries of this layer were held that are the content of an inode with other names.
    pub(super) fn is_linked(&self, held: &Held) -> bool {
        self.state.links.inodes.contains_key(&held.placed.record) && held.header.kind != Kind::HardLink
    }

    /// The path of record number `record`, for a layer that is read for its names first.
    pub(super) fn take_placed(&mut self) -> Vec<Option<Placed>> {
        std::mem::take(&mut self.placed)
    }
}
