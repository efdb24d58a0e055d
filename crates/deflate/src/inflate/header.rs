//! The header of a block: the two Huffman codes, loaded into the tables.

use super::Corruption;
use super::hot::Tables;
use super::table::{
    self, DISTANCE_BITS, DISTANCE_SYMBOLS, LITLEN_BITS, LITLEN_SYMBOLS, PRECODE_BITS, PRECODE_SIZE,
    PRECODE_SYMBOLS,
};

/// Bytes of input that have to follow the start of a block's header: 3 + 14 + 19 * 3 bits, then at most 316
/// code lengths of 7 + 7 bits, and the 8 bytes that a read takes past its position.
pub(super) const MARGIN: usize = 640;
const _: () = assert!((3 + 14 + 19 * 3 + 316 * 14) / 8 + 1 + 16 <= MARGIN);

/// RFC 1951, 3.2.7: the order of the code lengths' own lengths.
const PRECODE_ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Room for reading a dynamic header.
pub(super) struct Scratch {
    precode: [u32; PRECODE_SIZE],
    lengths: [u8; 320],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { precode: [0; PRECODE_SIZE], lengths: [0; 320] }
    }
}

/// Reads bits from a slice that is known to be long enough.
pub(super) struct BitReader<'a> {
    input: &'a [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(input: &'a [u8], at: usize) -> Self {
        Self { input, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next bits, at least 57 of them valid.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        let byte = self.at / 8;
        let word: [u8; 8] = self.input[byte..byte + 8].try_into().unwrap_or_default();
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    /// The next `count` bits (at most 32).
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let value = self.peek() & ((1 << count) - 1);
        self.at += count as usize;
        value as u32
    }
}

/// Loads the fixed code (RFC 1951, 3.2.6).
pub(super) fn load_fixed(tables: &mut Tables) {
    let mut lengths = [8u8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    // Both codes are complete, so building them cannot fail.
    let litlen = table::build(&mut tables.litlen, LITLEN_BITS, &lengths, &LITLEN_SYMBOLS);
    let distance = table::build(&mut tables.distance, DISTANCE_BITS, &[5; 32], &DISTANCE_SYMBOLS);
    debug_assert!(litlen.is_ok() && distance.is_ok());
}

/// Reads a dynamic header (RFC 1951, 3.2.7), after its first three bits, and loads its codes.
pub(super) fn load_dynamic(
    reader: &mut BitReader<'_>,
    scratch: &mut Scratch,
    tables: &mut Tables,
) -> Result<(), Corruption> {
    let litlen_count = reader.take(5) as usize + 257;
    let distance_count = reader.take(5) as usize + 1;
    let precode_count = reader.take(4) as usize + 4;
    if litlen_count > 286 || distance_count > 30 {
        return Err(Corruption::TooManySymbols);
    }
    let mut precode_lengths = [0u8; 19];
    for &symbol in &PRECODE_ORDER[..precode_count] {
        precode_lengths[usize::from(symbol)] = reader.take(3) as u8;
    }
    // Unlike the other two, this code must be complete, even with a single symbol.
    let kraft: u32 =
        precode_lengths.iter().filter(|&&length| length != 0).map(|&length| 128u32 >> length).sum();
    if kraft != 128 {
        return Err(Corruption::PrecodeLengths);
    }
    table::build(&mut scratch.precode, PRECODE_BITS, &precode_lengths, &PRECODE_SYMBOLS)
        .map_err(|_| Corruption::PrecodeLengths)?;

    let total = litlen_count + distance_count;
    let lengths = &mut scratch.lengths;
    let mut index = 0;
    while index < total {
        let bits = reader.peek();
        let entry = scratch.precode[(bits & 127) as usize];
        let width = entry & 15;
        let symbol = entry >> 16;
        let rest = bits >> width;
        if symbol < 16 {
            lengths[index] = symbol as u8;
            index += 1;
            reader.at += width as usize;
            continue;
        }
        let (value, count, extra) = match symbol {
            16 if index == 0 => return Err(Corruption::Repetition),
            16 => (lengths[index - 1], 3 + (rest & 3) as usize, 2),
            17 => (0, 3 + (rest & 7) as usize, 3),
            _ => (0, 11 + (rest & 127) as usize, 7),
        };
        if index + count > total {
            return Err(Corruption::Repetition);
        }
        lengths[index..index + count].fill(value);
        index += count;
        reader.at += width as usize + extra;
    }

    if lengths[256] == 0 {
        return Err(Corruption::NoEndOfBlock);
    }
    let (litlen, distance) = lengths[..total].split_at(litlen_count);
    table::build(&mut tables.litlen, LITLEN_BITS, litlen, &LITLEN_SYMBOLS)
        .map_err(|_| Corruption::LitlenCode)?;
    table::build(&mut tables.distance, DISTANCE_BITS, distance, &DISTANCE_SYMBOLS)
        .map_err(|_| Corruption::DistanceCode)?;
    Ok(())
}
