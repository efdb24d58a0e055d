//! Gzip to chunks of uncompressed bytes, with the blocks they came from.

use crate::block::Block;
use crate::error::GzipError;
use crate::inflate::{END_PADDING, Inflater, Outcome, Output, WINDOW};
use crate::member;
use crate::pool::{Buffer, BufferPool, CHUNK_SIZE};
use bytes::Bytes;
use crc32fast::Hasher;
use std::sync::Arc;

/// Input taken at a time: it is decoded while it is in the first or second level of the cache.
const FEED: usize = 64 * 1024;
/// Input kept before what was used up is dropped.
const INPUT_SIZE: usize = 256 * 1024;
/// Where a buffer's chunk ends, give or take one match.
const SOFT_END: usize = WINDOW + CHUNK_SIZE;

/// The largest block that is recorded, in uncompressed bytes. zlib, Go and their kin end a block after 16,384
/// symbols of at most 258 bytes each, which is 4.2 MB; headers of many small files come near it, other
/// content makes 20 to 200 KiB.
pub(crate) const MAX_RECORDED_OUTPUT: u64 = 16_384 * 258;
/// The largest block that is recorded, in compressed bytes.
pub(crate) const MAX_RECORDED_COMPRESSED: u64 = 512 * 1024;
/// A chunk ends early when it has so many blocks, or so many compressed bytes, whatever they make.
const MAX_BLOCKS: usize = 4096;

/// A stretch of the uncompressed stream. Where one ends and the next begins means nothing.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The bytes. A clone or slice keeps the whole buffer (288 KiB) alive: copy what is small and kept for
    /// long.
    pub data: Bytes,
    /// Where `data` starts in the uncompressed stream.
    pub offset: u64,
    /// The blocks that end in this chunk.
    pub blocks: Arc<ChunkBlocks>,
}

/// The blocks that *end* in a chunk, in order, and the compressed bytes that they are made of; empty when
/// they are not recorded. Left out are blocks that make nothing, and those larger than
/// [`MAX_RECORDED_OUTPUT`] or [`MAX_RECORDED_COMPRESSED`].
#[derive(Clone, Debug, Default)]
pub struct ChunkBlocks {
    /// The blocks, in order.
    pub blocks: Vec<Block>,
    /// The compressed stream from the first byte of the first of `blocks` to the last byte of the last.
    pub compressed: Bytes,
    /// Where `compressed` starts in the compressed stream, in bytes.
    pub compressed_offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a member, which must follow.
    FirstHeader,
    /// After a member: another one, padding, or the end.
    AfterMember,
    Body,
    Trailer,
    Padding,
    /// An error was returned; nothing more comes.
    Failed(GzipError),
}

/// An incremental gzip decoder: all members, with zero bytes after the last tolerated.
///
/// Hand the compressed bytes to [`decode`](Self::decode) as they arrive, then call [`finish`](Self::finish)
/// until it returns `None`. Output lags behind the input by less than 1 KiB of compressed bytes, and by up to
/// one chunk.
///
/// A decoder holds at most one chunk, 320 KiB of input, and while it records, the compressed bytes of the
/// blocks that end in the chunk: 1.5 MiB at worst. How much a stream makes is the caller's to limit.
pub struct GzipDecoder {
    inflater: Inflater,
    pool: BufferPool,
    record: bool,
    state: State,

    input: Vec<u8>,
    /// Position in `input`, in bits.
    bit: usize,
    /// Offset of `input[0]` in the compressed stream.
    input_offset: u64,
    /// Bytes of `input` that came from the stream: fewer than its length once the padding is there.
    input_end: usize,
    finishing: bool,

    buffer: Buffer,
    at: usize,
    window_start: usize,
    /// Offset of the buffer's first byte in the uncompressed stream.
    base: i64,
    /// Where the bytes start that the CRC lacks.
    summed: usize,
    crc: Hasher,
    member_start: i64,

    blocks: Vec<Block>,
    /// First bit of the current block in the compressed stream.
    block_bit: u64,
}

impl GzipDecoder {
    /// A decoder at the start of a stream; `record` says whether chunks carry their blocks.
    #[must_use]
    pub fn new(pool: &BufferPool, record: bool) -> Self {
        Self {
            inflater: Inflater::new(),
            pool: pool.clone(),
            record,
            state: State::FirstHeader,
            input: Vec::with_capacity(INPUT_SIZE + FEED),
            bit: 0,
            input_offset: 0,
            input_end: 0,
            finishing: false,
            buffer: pool.take(),
            at: WINDOW,
            window_start: WINDOW,
            base: -(WINDOW as i64),
            summed: WINDOW,
            crc: Hasher::new(),
            member_start: 0,
            blocks: Vec::new(),
            block_bit: 0,
        }
    }

    /// Decodes from the front of `input`, which is advanced, until a chunk is full (call again) or `input` is
    /// empty (`None`).
    ///
    /// # Errors
    /// [`GzipError`]; the same again on every later call.
    ///
    /// # Panics
    /// When called after [`finish`](Self::finish).
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Chunk>, GzipError> {
        assert!(!self.finishing, "no input follows the end of the stream");
        loop {
            if let Some(chunk) = self.advance()? {
                return Ok(Some(chunk));
            }
            if input.is_empty() {
                return Ok(None);
            }
            self.feed(input);
        }
    }

    /// Says that the stream is complete, and returns what is left: call it until it returns `None`, which
    /// means that the stream was whole and every checksum right.
    ///
    /// # Errors
    /// [`GzipError`].
    pub fn finish(&mut self) -> Result<Option<Chunk>, GzipError> {
        if !self.finishing {
            self.finishing = true;
            self.input.resize(self.input_end + END_PADDING, 0);
        }
        if let Some(chunk) = self.advance()? {
            return Ok(Some(chunk));
        }
        match self.state {
            State::AfterMember | State::Padding => Ok((self.at > WINDOW).then(|| self.emit())),
            State::Failed(error) => Err(error),
            _ => {
                let offset = self.input_offset + self.input_end as u64;
                Err(self.fail(GzipError::Truncated { offset }))
            }
        }
    }

    /// Bytes of the uncompressed stream so far, those not yet returned included.
    #[must_use]
    pub fn uncompressed(&self) -> u64 {
        (self.base + self.at as i64) as u64
    }

    fn fail(&mut self, error: GzipError) -> GzipError {
        self.state = State::Failed(error);
        error
    }

    /// Offset in the compressed stream of the byte at the current position.
    fn offset(&self) -> u64 {
        self.input_offset + (self.bit / 8) as u64
    }

    fn feed(&mut self, data: &mut &[u8]) {
        if self.input.len() >= INPUT_SIZE {
            let mut keep = self.bit / 8;
            if self.record && matches!(self.state, State::Body) {
                let at = self.input_offset * 8 + self.bit as u64;
                let first = match self.blocks.first() {
                    Some(block) => block.bits.start,
                    // A block that is too large to be recorded is not kept: some encoders never end one.
                    None if at - self.block_bit > 8 * MAX_RECORDED_COMPRESSED => at,
                    None => self.block_bit,
                };
                keep = keep.min((first / 8).saturating_sub(self.input_offset) as usize);
            }
            self.input.drain(..keep);
            self.bit -= keep * 8;
            self.input_offset += keep as u64;
        }
        let (now, later) = data.split_at(data.len().min(FEED));
        self.input.extend_from_slice(now);
        self.input_end = self.input.len();
        *data = later;
    }

    /// Goes on with what is in `input`: a chunk, or `None` when more input is needed.
    fn advance(&mut self) -> Result<Option<Chunk>, GzipError> {
        loop {
            match self.step() {
                Ok(Step::Continue) => {}
                Ok(Step::Chunk) => return Ok(Some(self.emit())),
                Ok(Step::NeedInput) => return Ok(None),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    fn step(&mut self) -> Result<Step, GzipError> {
        match self.state {
            State::FirstHeader | State::AfterMember => self.header(),
            State::Body => self.body(),
            State::Trailer => self.trailer(),
            State::Padding => {
                let rest = &self.input[self.bit / 8..self.input_end];
                if let Some(place) = rest.iter().position(|&byte| byte != 0) {
                    return Err(GzipError::TrailingData { offset: self.offset() + place as u64 });
                }
                self.bit = self.input_end * 8;
                Ok(Step::NeedInput)
            }
            State::Failed(error) => Err(error),
        }
    }

    fn header(&mut self) -> Result<Step, GzipError> {
        let offset = self.offset();
        let bytes = &self.input[self.bit / 8..self.input_end];
        if bytes.is_empty() {
            return Ok(Step::NeedInput);
        }
        if self.state == State::AfterMember {
            match bytes[0] {
                0 => {
                    self.state = State::Padding;
                    return Ok(Step::Continue);
                }
                0x1f if bytes.len() < 2 || bytes[1] == 0x8b => {}
                _ => return Err(GzipError::TrailingData { offset }),
            }
        }
        let Some(length) = member::header_length(bytes, offset)? else {
            if self.finishing {
                return Err(GzipError::Truncated { offset: self.input_offset + self.input_end as u64 });
            }
            return Ok(Step::NeedInput);
        };
        self.bit += length * 8;
        self.state = State::Body;
        self.window_start = self.at;
        self.member_start = self.base + self.at as i64;
        self.block_bit = self.input_offset * 8 + self.bit as u64;
        Ok(Step::Continue)
    }

    fn body(&mut self) -> Result<Step, GzipError> {
        let mut output = Output {
            buffer: self.buffer.bytes_mut(),
            at: self.at,
            window_start: self.window_start,
            soft_end: SOFT_END,
            base: self.base,
        };
        let outcome = self.inflater.run(&self.input, &mut self.bit, &mut output);
        self.at = output.at;
        let truncated = GzipError::Truncated { offset: self.input_offset + self.input_end as u64 };
        // Past the true end lie zero bytes: whatever they mean, the stream is truncated. A codeword and what
        // belongs to it are at most 48 bits, so an error this near to the end may be one of the padding.
        let slack = if outcome.is_err() { 48 } else { 0 };
        if self.finishing && self.bit + slack > self.input_end * 8 {
            return Err(truncated);
        }
        match outcome {
            Ok(Outcome::NeedInput) if self.finishing => Err(truncated),
            Ok(Outcome::NeedInput) => Ok(Step::NeedInput),
            Ok(Outcome::OutputFull) => Ok(Step::Chunk),
            Ok(Outcome::BlockEnd) => {
                let early = self.block_ended();
                if self.inflater.block().is_final {
                    self.state = State::Trailer;
                }
                Ok(if early { Step::Chunk } else { Step::Continue })
            }
            Err(cause) => Err(GzipError::Corrupt { offset: self.offset(), cause }),
        }
    }

    /// Records the block that ended; says whether the chunk has to end for what is recorded.
    fn block_ended(&mut self) -> bool {
        let start = self.block_bit;
        self.block_bit = self.input_offset * 8 + self.bit as u64;
        let block = self.inflater.block();
        let output = block.start as u64..(self.base + self.at as i64) as u64;
        let compressed = (self.block_bit - start).div_ceil(8);
        let size = output.end - output.start;
        if self.record && (1..=MAX_RECORDED_OUTPUT).contains(&size) && compressed <= MAX_RECORDED_COMPRESSED {
            let (kind, is_final, reach) = (block.kind, block.is_final, block.reach);
            self.blocks.push(Block { kind, is_final, bits: start..self.block_bit, output, reach });
        }
        let Some(first) = self.blocks.first() else { return false };
        let much = self.blocks.len() >= MAX_BLOCKS
            || self.block_bit - first.bits.start >= 8 * MAX_RECORDED_COMPRESSED;
        if much && self.at == WINDOW {
            // Blocks whose content went out with the chunk before: a chunk without content would look like
            // the end.
            self.blocks.clear();
        }
        much && self.at > WINDOW
    }

    fn trailer(&mut self) -> Result<Step, GzipError> {
        let at = self.bit.div_ceil(8);
        if self.input_end < at + 8 {
            return if self.finishing {
                Err(GzipError::Truncated { offset: self.input_offset + self.input_end as u64 })
            } else {
                Ok(Step::NeedInput)
            };
        }
        let offset = self.input_offset + at as u64;
        let word = |at: usize| {
            u32::from_le_bytes([self.input[at], self.input[at + 1], self.input[at + 2], self.input[at + 3]])
        };
        let (crc, length) = (word(at), word(at + 4));
        self.sum();
        let found = std::mem::take(&mut self.crc).finalize();
        if found != crc {
            return Err(GzipError::Checksum { offset, expected: crc, found });
        }
        let found = (self.base + self.at as i64 - self.member_start) as u32;
        if found != length {
            return Err(GzipError::Length { offset, expected: length, found });
        }
        self.bit = (at + 8) * 8;
        self.state = State::AfterMember;
        Ok(Step::Continue)
    }

    /// Brings the CRC up to the current position.
    fn sum(&mut self) {
        self.crc.update(&self.buffer.bytes()[self.summed..self.at]);
        self.summed = self.at;
    }

    /// Turns the buffer into a chunk and goes on in a new one.
    fn emit(&mut self) -> Chunk {
        self.sum();
        let blocks = std::mem::take(&mut self.blocks);
        let (mut compressed, mut compressed_offset) = (Bytes::new(), 0);
        if let (Some(first), Some(last)) = (blocks.first(), blocks.last()) {
            compressed_offset = first.bits.start / 8;
            let from = (compressed_offset - self.input_offset) as usize;
            let to = (last.bits.end.div_ceil(8) - self.input_offset) as usize;
            compressed = Bytes::copy_from_slice(&self.input[from..to]);
        }
        let mut next = self.pool.take();
        let shift = self.at - WINDOW;
        next.bytes_mut()[..WINDOW].copy_from_slice(&self.buffer.bytes()[shift..self.at]);
        let full = std::mem::replace(&mut self.buffer, next);
        let chunk = Chunk {
            data: full.share(WINDOW..self.at),
            offset: (self.base + WINDOW as i64) as u64,
            blocks: Arc::new(ChunkBlocks { blocks, compressed, compressed_offset }),
        };
        self.base += shift as i64;
        self.window_start = self.window_start.saturating_sub(shift);
        self.at = WINDOW;
        self.summed = WINDOW;
        chunk
    }
}

enum Step {
    Continue,
    Chunk,
    NeedInput,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitWriter;

    /// A block with the fixed code, of so many zero bytes as literals, then as many empty stored blocks, the
    /// last of all final, between header and trailer.
    fn blocks(length: usize, empty: usize) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.extend(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        bits.push(0b010 | u64::from(empty == 0), 3);
        // RFC 1951, 3.2.6: the literal 0 is 00110000, its first bit first; the end of the block is seven
        // zeroes.
        (0..length).for_each(|_| bits.push(0b0000_1100, 8));
        bits.push(0, 7);
        for index in 0..empty {
            bits.push(u64::from(index + 1 == empty), 3);
            bits.align();
            bits.extend(&[0, 0, 0xff, 0xff]);
        }
        bits.align();
        let crc = crc32fast::hash(&vec![0; length]);
        bits.extend(&crc.to_le_bytes());
        bits.extend(&(length as u32).to_le_bytes());
        bits.take()
    }

    /// Bytes that the stream makes, blocks that are recorded, and the most input that was kept.
    fn decode(data: &[u8]) -> (usize, usize, usize) {
        let mut decoder = GzipDecoder::new(&BufferPool::new(2), true);
        let (mut made, mut recorded) = (0, 0);
        let mut count = |chunk: Chunk| {
            made += chunk.data.len();
            recorded += chunk.blocks.blocks.len();
        };
        let mut rest = data;
        while let Some(chunk) = decoder.decode(&mut rest).unwrap() {
            count(chunk);
        }
        while let Some(chunk) = decoder.finish().unwrap() {
            count(chunk);
        }
        // A vector's capacity never shrinks here.
        (made, recorded, decoder.input.capacity())
    }

    /// What is kept in hope of an end, and as much again by the vector's growth.
    const MOST: usize = 2 << 20;

    #[test]
    fn the_input_of_a_block_without_end_is_not_kept() {
        let (made, recorded, kept) = decode(&blocks(8 << 20, 0));
        assert_eq!((made, recorded), (8 << 20, 0), "it is too large to be copied");
        assert!(kept < MOST, "{kept} bytes of input were kept");
    }

    #[test]
    fn the_input_of_blocks_that_make_nothing_is_not_kept() {
        let (made, recorded, kept) = decode(&blocks(1000, 2_000_000));
        assert_eq!((made, recorded), (1000, 1));
        assert!(kept < MOST, "{kept} bytes of input were kept");
    }
}
