//! Raw deflate (RFC 1951), block by block, over input and output that the caller holds.
//!
//! [`Inflater::run`] decodes until the input or the output has less room left than one step may need, or a
//! block ends. It keeps no bytes: the position is a bit number in the caller's input, so a caller may move
//! both buffers between runs. At the end of the input the caller appends [`END_PADDING`] zero bytes instead
//! of switching to a slower loop; a position past the true end then means that the stream is truncated.

mod header;
mod hot;
mod table;

use crate::block::BlockKind;
pub(crate) use hot::OUTPUT_MARGIN;
use hot::{Backend, Cursor, Stop, Tables};
use thiserror::Error;

/// How far back a match can refer (RFC 1951, 2).
pub(crate) const WINDOW: usize = 32 * 1024;

/// Zero bytes to append at the end of the input: more than a block's header and one step of the hot loop
/// take.
pub(crate) const END_PADDING: usize = 1024;

/// Which code inflates on this machine, for `--version`. It changes the speed, never the output.
#[must_use]
pub fn backend() -> &'static str {
    match Backend::detect() {
        Backend::Portable => "built in, portable",
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => "built in, AVX2 and BMI2",
    }
}

/// What makes a deflate stream invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The block type 3 (RFC 1951, 3.2.3).
    #[error("reserved block type")]
    BlockType,
    /// LEN and NLEN of a stored block are not complements.
    #[error("the length of a stored block does not match its complement")]
    StoredLength,
    /// More than 286 literal/length or 30 distance codes.
    #[error("too many length or distance symbols")]
    TooManySymbols,
    /// The code lengths' own code is over-subscribed or incomplete.
    #[error("invalid code for the code lengths")]
    PrecodeLengths,
    /// A repetition without a predecessor, or past the last symbol.
    #[error("invalid repetition of a code length")]
    Repetition,
    /// No codeword for the end of the block.
    #[error("no codeword for the end of the block")]
    NoEndOfBlock,
    /// The literal/length code is over-subscribed or incomplete.
    #[error("invalid literal/length code")]
    LitlenCode,
    /// The distance code is over-subscribed or incomplete.
    #[error("invalid distance code")]
    DistanceCode,
    /// A codeword without a literal or length.
    #[error("codeword without a literal or length")]
    LitlenSymbol,
    /// A codeword without a distance.
    #[error("codeword without a distance")]
    DistanceSymbol,
    /// A match that starts before the stream.
    #[error("match before the start of the stream")]
    TooFar,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Less input is left than a step may need.
    NeedInput,
    /// The output reached its soft end.
    OutputFull,
    /// A block ended; [`Inflater::block`] describes it.
    BlockEnd,
}

/// The output of a run: a buffer which starts with history.
pub(crate) struct Output<'a> {
    /// The buffer, [`OUTPUT_MARGIN`] bytes longer than `soft_end`.
    pub(crate) buffer: &'a mut [u8],
    /// Where the next byte goes.
    pub(crate) at: usize,
    /// Where the stream's window starts: matches reach no further.
    pub(crate) window_start: usize,
    /// Where a run stops, give or take one match.
    pub(crate) soft_end: usize,
    /// Offset in the uncompressed stream of `buffer[0]` (negative while history is not filled).
    pub(crate) base: i64,
}

/// The block that is being decoded, or was last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CurrentBlock {
    pub(crate) kind: BlockKind,
    pub(crate) is_final: bool,
    /// Offset in the uncompressed stream.
    pub(crate) start: i64,
    /// Bytes before `start` that its matches need.
    pub(crate) reach: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Stored { left: usize },
    Symbols,
}

/// The decoder's state between runs.
pub(crate) struct Inflater {
    backend: Backend,
    tables: Box<Tables>,
    scratch: Box<header::Scratch>,
    /// Whether the tables hold the fixed code.
    fixed: bool,
    state: State,
    block: CurrentBlock,
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self {
            backend: Backend::detect(),
            tables: Box::new(Tables { litlen: [0; table::LITLEN_SIZE], distance: [0; table::DISTANCE_SIZE] }),
            scratch: Box::default(),
            fixed: false,
            state: State::Header,
            block: CurrentBlock { kind: BlockKind::Stored, is_final: false, start: 0, reach: 0 },
        }
    }

    /// The current block, or the last one after [`Outcome::BlockEnd`].
    pub(crate) fn block(&self) -> &CurrentBlock {
        &self.block
    }

    /// Decodes from `input`, starting at bit `bit`, which is moved to the end of what was decoded.
    ///
    /// # Errors
    /// What makes the stream invalid; `bit` is near the place.
    pub(crate) fn run(
        &mut self,
        input: &[u8],
        bit: &mut usize,
        output: &mut Output<'_>,
    ) -> Result<Outcome, Corruption> {
        loop {
            match self.state {
                State::Header => {
                    if input.len() < bit.div_ceil(8) + header::MARGIN {
                        return Ok(Outcome::NeedInput);
                    }
                    self.start_block(input, bit, output)?;
                }
                State::Stored { left } => {
                    let at = *bit / 8;
                    let available = (input.len() - at).min(output.soft_end.saturating_sub(output.at));
                    let take = left.min(available);
                    output.buffer[output.at..output.at + take].copy_from_slice(&input[at..at + take]);
                    output.at += take;
                    *bit += take * 8;
                    if take == left {
                        self.state = State::Header;
                        return Ok(Outcome::BlockEnd);
                    }
                    self.state = State::Stored { left: left - take };
                    return Ok(if output.at >= output.soft_end {
                        Outcome::OutputFull
                    } else {
                        Outcome::NeedInput
                    });
                }
                State::Symbols => return self.symbols(input, bit, output),
            }
        }
    }

    fn start_block(&mut self, input: &[u8], bit: &mut usize, output: &Output<'_>) -> Result<(), Corruption> {
        let mut reader = header::BitReader::new(input, *bit);
        let is_final = reader.take(1) == 1;
        let kind = reader.take(2);
        self.block = CurrentBlock {
            kind: BlockKind::Stored,
            is_final,
            start: output.base + output.at as i64,
            reach: 0,
        };
        match kind {
            0 => {
                *bit = reader.position().next_multiple_of(8);
                let at = *bit / 8;
                *bit += 32;
                let length = u16::from_le_bytes([input[at], input[at + 1]]);
                let complement = u16::from_le_bytes([input[at + 2], input[at + 3]]);
                if length != !complement {
                    return Err(Corruption::StoredLength);
                }
                self.state = State::Stored { left: usize::from(length) };
            }
            1 => {
                *bit = reader.position();
                self.block.kind = BlockKind::Fixed;
                if !self.fixed {
                    header::load_fixed(&mut self.tables);
                    self.fixed = true;
                }
                self.state = State::Symbols;
            }
            2 => {
                self.block.kind = BlockKind::Dynamic;
                self.fixed = false;
                let loaded = header::load_dynamic(&mut reader, &mut self.scratch, &mut self.tables);
                *bit = reader.position();
                loaded?;
                self.state = State::Symbols;
            }
            _ => return Err(Corruption::BlockType),
        }
        Ok(())
    }

    fn symbols(
        &mut self,
        input: &[u8],
        bit: &mut usize,
        output: &mut Output<'_>,
    ) -> Result<Outcome, Corruption> {
        if output.at >= output.soft_end {
            return Ok(self.at_soft_end(input, bit));
        }
        let mut cursor = Cursor { bit: *bit, output: output.at, lowest: output.at };
        let stop = hot::decode(
            self.backend,
            &self.tables,
            input,
            output.buffer,
            output.window_start,
            output.soft_end,
            &mut cursor,
        );
        *bit = cursor.bit;
        output.at = cursor.output;
        let reach = self.block.start - (output.base + cursor.lowest as i64);
        self.block.reach = self.block.reach.max(reach.clamp(0, WINDOW as i64) as u32);
        match stop {
            Stop::Limit if output.at >= output.soft_end => Ok(self.at_soft_end(input, bit)),
            Stop::Limit => Ok(Outcome::NeedInput),
            Stop::EndOfBlock => {
                self.state = State::Header;
                Ok(Outcome::BlockEnd)
            }
            Stop::BadLitlen => Err(Corruption::LitlenSymbol),
            Stop::BadDistance => Err(Corruption::DistanceSymbol),
            Stop::TooFar => Err(Corruption::TooFar),
        }
    }
    /// The output is full: consumes the end of the block if it is next, so that a block ends together with
    /// its last byte, wherever the output is cut.
    fn at_soft_end(&mut self, input: &[u8], bit: &mut usize) -> Outcome {
        if input.len() < *bit / 8 + hot::INPUT_MARGIN {
            return Outcome::NeedInput;
        }
        match hot::end_of_block(&self.tables, header::BitReader::new(input, *bit).peek()) {
            Some(width) => {
                *bit += width;
                self.state = State::Header;
                Outcome::BlockEnd
            }
            None => Outcome::OutputFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, END_PADDING, Inflater, OUTPUT_MARGIN, Outcome, Output};

    fn inflate(mut inflater: Inflater, packed: &[u8], length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length + 1 + OUTPUT_MARGIN];
        let mut output =
            Output { buffer: &mut buffer, at: 0, window_start: 0, soft_end: length + 1, base: 0 };
        let mut bit = 0;
        loop {
            assert_eq!(inflater.run(packed, &mut bit, &mut output), Ok(Outcome::BlockEnd));
            if inflater.block().is_final {
                let made = output.at;
                buffer.truncate(made);
                return buffer;
            }
        }
    }

    #[test]
    fn the_portable_loop_makes_what_the_one_for_this_cpu_makes() {
        // Matches at every distance below 40, which is where copies differ, and further ones.
        let mut data = Vec::new();
        for distance in 1..40usize {
            data.extend((0..distance).map(|at| (at * 37 + distance * 11) as u8));
            for length in [3, 10, 31, 32, 33, 258, 700] {
                (0..length).for_each(|_| data.push(data[data.len() - distance]));
                data.push(length as u8 ^ distance as u8);
            }
            data.extend_from_within(data.len() / 3..data.len() / 3 + 90 * (distance % 3));
        }
        for level in 1..=9 {
            let mut compress = flate2::Compress::new(flate2::Compression::new(level), false);
            let mut packed = Vec::with_capacity(data.len() + 1000);
            compress.compress_vec(&data, &mut packed, flate2::FlushCompress::Finish).unwrap();
            packed.resize(packed.len() + END_PADDING, 0);
            let mut portable = Inflater::new();
            portable.backend = Backend::Portable;
            assert!(inflate(portable, &packed, data.len()) == data, "level {level}");
            assert!(inflate(Inflater::new(), &packed, data.len()) == data, "level {level}");
        }
    }
}
