//! The writer: decides what is copied, hands the rest to encoders, and puts both in order.

use super::effort::{Effort, LAG};
use super::queue::ByteQueue;
use super::unit::{self, DICTIONARY_BELOW, Unit};
use super::workers::{Pending, Workers};
use crate::bits::BitWriter;
use crate::block::{Block, BlockKind};
use crate::decoder::{ChunkBlocks, MAX_RECORDED_OUTPUT};
use crate::error::EncodeError;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Content is encoded in units of this size, the last of a stretch up to twice as large. Against 1 MiB this
/// costs 0.2 % in size.
const UNIT: u64 = 512 * 1024;
/// The first units are smaller, as their results decide how hard to try on the others.
const FIRST_UNIT: u64 = 128 * 1024;
/// Output is handed on in pieces of about this size.
const OUTPUT_PIECE: usize = 128 * 1024;
/// Copied bytes that may wait behind an encoder.
const MAX_WAITING: usize = 2 * 1024 * 1024;

/// RFC 1952, 2.3: magic, deflate, no flags, no time, no hint of the level, unknown system. The same for every
/// output.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// How a [`GzipWriter`] encodes.
#[derive(Clone, Copy, Debug)]
pub struct GzipOptions {
    /// 1 (fastest) to 12 (smallest); 6 is gzip's usual.
    pub level: u8,
    /// Threads that encode. They start when the first content has to be encoded; the output does not depend
    /// on them.
    pub threads: usize,
}

impl Default for GzipOptions {
    fn default() -> Self {
        Self { level: 6, threads: 1 }
    }
}

/// Where a piece was in the stream that it was decoded from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Which stream: any number that tells the streams apart.
    pub stream: u64,
    /// Offset of the piece's first byte in that uncompressed stream.
    pub offset: u64,
    /// The blocks of the piece's chunk.
    pub blocks: Arc<ChunkBlocks>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GzipSummary {
    /// Bytes of content.
    pub uncompressed: u64,
    /// Bytes of the member, header and trailer included.
    pub compressed: u64,
    /// Bytes of content whose blocks were copied; the others were encoded.
    pub copied: u64,
    /// Blocks that were copied.
    pub copied_blocks: u64,
}

/// Pieces that follow each other in one source stream.
#[derive(Clone, Copy, Debug)]
struct Run {
    stream: u64,
    /// Offset in the source of the first byte.
    source: u64,
    /// Offset in the output of the first byte.
    output: u64,
    /// Offset in the source after the last byte.
    end: u64,
    /// Offset in the output of the last known end of a block.
    known: u64,
}

#[derive(Debug)]
enum Segment {
    Copy { bytes: Bytes, start: usize, count: usize, kind: BlockKind, length: usize },
    Encode(Pending<Unit>),
}

/// Writes one gzip member from pieces of content.
///
/// Every piece says where it comes from, if from a gzip stream whose blocks are known. Whole blocks inside a
/// run of pieces that follow each other there are copied, when all that their matches refer to is part of the
/// run. What is between them is encoded in units, together with whatever else lies between two copied blocks.
///
/// `sink` receives the output, in order, in pieces of about 128 KiB. Held in memory are at most: 4 MiB that
/// wait for the end of their block, 1 MiB that waits to be encoded, a unit of 1 MiB with its output for each
/// thread and one more, 2 MiB of copied blocks.
pub struct GzipWriter<S> {
    options: GzipOptions,
    sink: S,
    crc: crc32fast::Hasher,
    summary: GzipSummary,
    run: Option<Run>,
    queue: ByteQueue,
    workers: Workers,
    segments: VecDeque<Segment>,
    /// Units under way.
    encoding: usize,
    /// Units handed out.
    units: u64,
    waiting: usize,
    effort: Effort,
    bits: BitWriter,
}

impl<S: FnMut(Bytes) -> io::Result<()>> GzipWriter<S> {
    /// A writer that hands its output to `sink`.
    ///
    /// # Errors
    /// [`EncodeError::Level`].
    pub fn new(options: GzipOptions, sink: S) -> Result<Self, EncodeError> {
        if !(1..=12).contains(&options.level) {
            return Err(EncodeError::Level { level: options.level });
        }
        let mut bits = BitWriter::default();
        bits.extend(&HEADER);
        Ok(Self {
            options,
            sink,
            crc: crc32fast::Hasher::new(),
            summary: GzipSummary::default(),
            run: None,
            queue: ByteQueue::default(),
            workers: Workers::new(options.threads),
            segments: VecDeque::new(),
            encoding: 0,
            units: 0,
            waiting: 0,
            effort: Effort::default(),
            bits,
        })
    }

    /// Appends a piece of content.
    ///
    /// # Errors
    /// [`EncodeError`]; the output is then incomplete and the writer of no more use.
    pub fn write(&mut self, data: Bytes, origin: Option<Origin>) -> Result<(), EncodeError> {
        if data.is_empty() {
            return Ok(());
        }
        self.crc.update(&data);
        let at = self.summary.uncompressed;
        let length = data.len() as u64;
        self.summary.uncompressed += length;
        self.queue.push(data);
        let Some(Origin { stream, offset, blocks }) = origin else {
            self.run = None;
            return self.encode_decided(self.summary.uncompressed);
        };
        let mut run = match self.run {
            Some(run) if run.stream == stream && run.end == offset => run,
            _ => Run { stream, source: offset, output: at, end: offset, known: at },
        };
        run.end = offset + length;
        let first = blocks.blocks.partition_point(|block| block.output.end <= offset);
        for block in blocks.blocks[first..].iter().take_while(|block| block.output.end <= run.end) {
            run.known = run.output + (block.output.end - run.source);
            if block
                .output
                .start
                .checked_sub(u64::from(block.reach))
                .is_some_and(|lowest| lowest >= run.source)
            {
                self.splice(run.output + (block.output.start - run.source), block, &blocks)?;
            } else {
                let inside = block.output.end - block.output.start.max(run.source);
                let bits =
                    (block.bits.end - block.bits.start) * inside / (block.output.end - block.output.start);
                self.effort.learn(run.known - inside, run.known, bits);
            }
        }
        self.run = Some(run);
        // A block that has not ended yet starts where the last one ended, or is too large to be copied.
        self.encode_decided(run.known.max(self.summary.uncompressed.saturating_sub(MAX_RECORDED_OUTPUT)))
    }

    /// Encodes what is left, and ends the member.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn finish(mut self) -> Result<GzipSummary, EncodeError> {
        self.encode_stretch(self.summary.uncompressed)?;
        while self.drain_one(true)? {}
        // An empty final block with the fixed code: copied blocks never carry BFINAL.
        self.bits.push(0b011, 10);
        self.bits.align();
        self.bits.extend(&std::mem::take(&mut self.crc).finalize().to_le_bytes());
        self.bits.extend(&(self.summary.uncompressed as u32).to_le_bytes());
        self.flush(0)?;
        Ok(self.summary)
    }

    /// Offset in the output of the first byte that waits.
    fn undone(&self) -> u64 {
        self.summary.uncompressed - self.queue.len() as u64
    }

    /// Encodes whole units of what precedes `end`, where no block to be copied can start before `end`.
    fn encode_decided(&mut self, end: u64) -> Result<(), EncodeError> {
        loop {
            let size = if self.units < LAG { FIRST_UNIT } else { UNIT };
            if end.saturating_sub(self.undone()) < 2 * size {
                break;
            }
            self.encode_unit(size)?;
        }
        self.drain()
    }

    /// Encodes everything before `end`, which ends a stretch.
    fn encode_stretch(&mut self, end: u64) -> Result<(), EncodeError> {
        self.encode_decided(end)?;
        let left = end - self.undone();
        if left > 0 {
            self.encode_unit(left)?;
        }
        Ok(())
    }

    fn encode_unit(&mut self, length: u64) -> Result<(), EncodeError> {
        while self.encoding >= self.workers.depth() || !self.effort.is_ready() {
            self.drain_one(true)?;
        }
        let start = self.undone();
        let choice = self.effort.choose(start, start + length, self.options.level);
        let length = length as usize;
        let mut content = if length < DICTIONARY_BELOW { self.queue.dictionary() } else { Vec::new() };
        let history = content.len();
        content.reserve_exact(length);
        self.queue.advance(length, |part| content.extend_from_slice(part));
        let pending = self.workers.submit(move || unit::encode(&content, history, choice))?;
        self.encoding += 1;
        self.units += 1;
        self.segments.push_back(Segment::Encode(pending));
        Ok(())
    }

    /// Copies a block whose content starts at `start` in the output.
    fn splice(&mut self, start: u64, block: &Block, blocks: &ChunkBlocks) -> Result<(), EncodeError> {
        self.encode_stretch(start)?;
        let length = (block.output.end - block.output.start) as usize;
        self.queue.advance(length, |_| {});
        let first = (block.bits.start / 8 - blocks.compressed_offset) as usize;
        let last = (block.bits.end.div_ceil(8) - blocks.compressed_offset) as usize;
        let bytes = blocks.compressed.slice(first..last);
        // A slice keeps the whole of its buffer alive, and what waits is counted by its own bytes.
        let small = bytes.len() < blocks.compressed.len() / 4;
        self.segments.push_back(Segment::Copy {
            bytes: if small { Bytes::copy_from_slice(&bytes) } else { bytes },
            start: (block.bits.start % 8) as usize,
            count: (block.bits.end - block.bits.start) as usize,
            kind: block.kind,
            length,
        });
        self.effort.copied(block.bits.end - block.bits.start, start + length as u64);
        self.summary.copied += length as u64;
        self.summary.copied_blocks += 1;
        self.waiting += last - first;
        while self.waiting > MAX_WAITING && self.drain_one(true)? {}
        self.drain()
    }

    /// Writes what is ready.
    fn drain(&mut self) -> Result<(), EncodeError> {
        while self.drain_one(false)? {}
        Ok(())
    }

    /// Writes the first segment; says whether there was one, and it was ready or could be waited for.
    fn drain_one(&mut self, wait: bool) -> Result<bool, EncodeError> {
        let Some(segment) = self.segments.front() else { return Ok(false) };
        match segment {
            Segment::Copy { bytes, start, count, kind, length } => {
                append_block(&mut self.bits, bytes, *start, *count, *kind, *length);
                self.waiting -= bytes.len();
            }
            Segment::Encode(pending) => {
                let unit = if wait {
                    pending.wait()?
                } else {
                    match pending.poll() {
                        Some(unit) => unit?,
                        None => return Ok(false),
                    }
                };
                self.effort.arrived(unit.bits());
                for block in &unit.blocks {
                    let count = block.bits.end - block.bits.start;
                    append_block(
                        &mut self.bits,
                        &unit.bytes,
                        block.bits.start,
                        count,
                        block.kind,
                        block.length,
                    );
                }
                self.encoding -= 1;
            }
        }
        self.segments.pop_front();
        self.flush(OUTPUT_PIECE)?;
        Ok(true)
    }

    /// Hands on what was written, when it is at least `least` bytes.
    fn flush(&mut self, least: usize) -> Result<(), EncodeError> {
        if self.bits.len() >= least.max(1) {
            let piece = self.bits.take();
            self.summary.compressed += piece.len() as u64;
            (self.sink)(piece.into()).map_err(EncodeError::Output)?;
        }
        Ok(())
    }
}

/// Appends a block that is not the last: BFINAL cleared, a stored block aligned anew.
fn append_block(
    bits: &mut BitWriter,
    bytes: &[u8],
    start: usize,
    count: usize,
    kind: BlockKind,
    length: usize,
) {
    bits.push(0, 1);
    if kind != BlockKind::Stored {
        bits.append(bytes, start + 1, count - 1);
        return;
    }
    bits.push(0, 2);
    bits.align();
    // LEN and NLEN (RFC 1951, 3.2.4): `length` came from such a field, and is at most 65,535.
    bits.extend(&(length as u16).to_le_bytes());
    bits.extend(&(!(length as u16)).to_le_bytes());
    let end = (start + count) / 8;
    bits.extend(&bytes[end - length..end]);
}
