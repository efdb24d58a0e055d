//! One stretch of content, encoded as blocks that can follow any others.

use super::effort::{Choice, HIGHEST};
use crate::block::BlockKind;
use crate::error::EncodeError;
use crate::inflate::{END_PADDING, Inflater, OUTPUT_MARGIN, Outcome, Output, WINDOW};
use std::ops::Range;

/// Below this size a unit is encoded with the content before it as dictionary. Measured on a Debian root file
/// system at level 6: at 16 KiB zlib with its dictionary makes 6 % less than libdeflate, which has none; at
/// 43 KiB they are equal, from there on libdeflate makes less, in two thirds of the time.
pub(crate) const DICTIONARY_BELOW: usize = 32 * 1024;

/// A block of an encoded unit.
#[derive(Debug)]
pub(crate) struct UnitBlock {
    pub(crate) kind: BlockKind,
    /// Its bits in the unit's bytes.
    pub(crate) bits: Range<usize>,
    /// Bytes it makes.
    pub(crate) length: usize,
}

/// An encoded stretch.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) bytes: Vec<u8>,
    pub(crate) blocks: Vec<UnitBlock>,
}

/// Encodes `content[history..]`; what is before it may serve as dictionary.
///
/// The result is decoded again: that finds its blocks, which no encoder reports, and proves that it is right.
pub(crate) fn encode(content: &[u8], history: usize, choice: Choice) -> Result<Unit, EncodeError> {
    let usual = encode_at(content, history, choice.level)?;
    if choice.limit.is_some_and(|limit| usual.bits() > limit) && choice.level < HIGHEST {
        let best = encode_at(content, history, HIGHEST)?;
        return Ok(if best.bits() < usual.bits() { best } else { usual });
    }
    Ok(usual)
}

fn encode_at(content: &[u8], history: usize, level: u8) -> Result<Unit, EncodeError> {
    let data = &content[history..];
    let with_dictionary = data.len() < DICTIONARY_BELOW;
    let bytes = if with_dictionary {
        with_zlib(&content[..history], data, level)?
    } else {
        with_libdeflate(data, level)?
    };
    let window = if with_dictionary { history.min(WINDOW) } else { 0 };
    let (bytes, blocks) = find_blocks(bytes, &content[history - window..], window)?;
    Ok(Unit { bytes, blocks })
}

impl Unit {
    /// Bits of its blocks.
    pub(crate) fn bits(&self) -> u64 {
        self.blocks.iter().map(|block| block.bits.len() as u64).sum()
    }
}

fn with_libdeflate(data: &[u8], level: u8) -> Result<Vec<u8>, EncodeError> {
    let level =
        libdeflater::CompressionLvl::new(i32::from(level)).map_err(|_| EncodeError::Level { level })?;
    let mut compressor = libdeflater::Compressor::new(level);
    let mut bytes = vec![0; compressor.deflate_compress_bound(data.len())];
    let length = compressor.deflate_compress(data, &mut bytes).map_err(EncodeError::of("libdeflate"))?;
    bytes.truncate(length);
    Ok(bytes)
}

fn with_zlib(dictionary: &[u8], data: &[u8], level: u8) -> Result<Vec<u8>, EncodeError> {
    let level = flate2::Compression::new(u32::from(level.min(9)));
    let mut compressor = flate2::Compress::new(level, false);
    if !dictionary.is_empty() {
        compressor.set_dictionary(dictionary).map_err(EncodeError::of("zlib"))?;
    }
    let mut bytes = Vec::with_capacity(data.len() + data.len() / 8 + 256);
    match compressor.compress_vec(data, &mut bytes, flate2::FlushCompress::Finish) {
        Ok(flate2::Status::StreamEnd) => Ok(bytes),
        Ok(_) => Err(EncodeError::of("zlib")("the stream was not ended")),
        Err(error) => Err(EncodeError::of("zlib")(error)),
    }
}

/// Decodes `bytes`, which must make `content[history..]`, and lists the blocks that make something.
fn find_blocks(
    mut bytes: Vec<u8>,
    content: &[u8],
    history: usize,
) -> Result<(Vec<u8>, Vec<UnitBlock>), EncodeError> {
    let length = bytes.len();
    bytes.resize(length + END_PADDING, 0);
    let mut buffer = Vec::with_capacity(content.len() + OUTPUT_MARGIN + 1);
    buffer.extend_from_slice(&content[..history]);
    buffer.resize(content.len() + OUTPUT_MARGIN + 1, 0);
    let soft_end = content.len() + 1;
    let mut output = Output { buffer: &mut buffer, at: history, window_start: 0, soft_end, base: 0 };
    let mut inflater = Inflater::new();
    let mut blocks = Vec::new();
    let mut bit = 0;
    loop {
        let (first_bit, start) = (bit, output.at);
        let outcome = inflater.run(&bytes, &mut bit, &mut output);
        if !matches!(outcome, Ok(Outcome::BlockEnd)) || bit > length * 8 {
            return Err(EncodeError::Verification);
        }
        let block = inflater.block();
        if output.at > start {
            blocks.push(UnitBlock { kind: block.kind, bits: first_bit..bit, length: output.at - start });
        }
        if block.is_final {
            break;
        }
    }
    if output.at != content.len() || buffer[history..content.len()] != content[history..] {
        return Err(EncodeError::Verification);
    }
    bytes.truncate(length);
    Ok((bytes, blocks))
}
