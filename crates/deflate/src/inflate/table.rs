//! Huffman decoding tables: one `u32` for each prefix of the input, so that a symbol costs one load.
//!
//! Layout of an entry (the hot loop relies on it):
//!
//! | bits | literal | length or distance | exceptional |
//! |---|---|---|---|
//! | 0..8 | bits to consume | bits to consume, extra bits included | bits to consume |
//! | 8..12 | byte | width of the codeword alone | width of the subtable |
//! | 12..16 | byte | 0 | flags |
//! | 16..31 | 0 | base value | index of the subtable |
//! | 31 | 1 | 0 | 0 |

/// Entry of a literal. Test this first: its byte overlaps the other flags.
pub(super) const LITERAL: u32 = 1 << 31;
/// Entry that is neither a literal nor a plain length or distance: with neither of the flags below, an
/// invalid code.
pub(super) const EXCEPTIONAL: u32 = 1 << 15;
/// With [`EXCEPTIONAL`]: continue in a subtable.
pub(super) const SUBTABLE: u32 = 1 << 14;
/// With [`EXCEPTIONAL`]: the end of the block.
pub(super) const END_OF_BLOCK: u32 = 1 << 13;

/// Width of the literal/length table's index.
pub(super) const LITLEN_BITS: u32 = 11;
/// Width of the distance table's index.
pub(super) const DISTANCE_BITS: u32 = 8;
/// Width of the index of the table for code lengths: its longest codeword.
pub(super) const PRECODE_BITS: u32 = 7;
/// Room for the largest literal/length table: 2,342 entries is the worst case for 288 symbols, 11 index bits
/// and codes of up to 15 bits (what zlib's `enough` computes). A power of two, so that a masked index is in
/// bounds.
pub(super) const LITLEN_SIZE: usize = 4096;
/// Room for the largest distance table: 402 entries is the worst case for 32 symbols and 8 index bits.
pub(super) const DISTANCE_SIZE: usize = 512;
/// Entries of the table for code lengths.
pub(super) const PRECODE_SIZE: usize = 128;
/// The longest codeword of deflate (RFC 1951, 3.2.7).
const MAX_CODE_BITS: usize = 15;

/// RFC 1951, 3.2.5: base length and extra bits of the symbols 257..=285.
#[rustfmt::skip]
const LENGTHS: [(u16, u8); 29] = [
    (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2),
    (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5),
    (163, 5), (195, 5), (227, 5), (258, 0),
];

/// RFC 1951, 3.2.5: base distance and extra bits of the symbols 0..=29.
#[rustfmt::skip]
const DISTANCES: [(u16, u8); 30] = [
    (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3), (33, 4), (49, 4), (65, 5),
    (97, 5), (129, 6), (193, 6), (257, 7), (385, 7), (513, 8), (769, 8), (1025, 9), (1537, 9), (2049, 10), (3073, 10),
    (4097, 11), (6145, 11), (8193, 12), (12289, 12), (16385, 13), (24577, 13),
];

/// Entries of the literals and lengths, without codeword widths.
pub(super) static LITLEN_SYMBOLS: [u32; 288] = litlen_symbols();
/// Entries of the distances, without codeword widths.
pub(super) static DISTANCE_SYMBOLS: [u32; 32] = distance_symbols();
/// Entries of the code lengths, without codeword widths.
pub(super) static PRECODE_SYMBOLS: [u32; 19] = precode_symbols();

const fn litlen_symbols() -> [u32; 288] {
    // 286 and 287 have codewords in the fixed code and no meaning.
    let mut symbols = [EXCEPTIONAL; 288];
    let mut literal = 0;
    while literal < 256 {
        symbols[literal] = LITERAL | ((literal as u32) << 8);
        literal += 1;
    }
    symbols[256] = EXCEPTIONAL | END_OF_BLOCK;
    let mut index = 0;
    while index < 29 {
        let (base, extra) = LENGTHS[index];
        symbols[257 + index] = ((base as u32) << 16) | extra as u32;
        index += 1;
    }
    symbols
}

const fn distance_symbols() -> [u32; 32] {
    let mut symbols = [EXCEPTIONAL; 32];
    let mut index = 0;
    while index < 30 {
        let (base, extra) = DISTANCES[index];
        symbols[index] = ((base as u32) << 16) | extra as u32;
        index += 1;
    }
    symbols
}

const fn precode_symbols() -> [u32; 19] {
    let mut symbols = [0; 19];
    let mut index = 0;
    while index < 19 {
        symbols[index] = (index as u32) << 16;
        index += 1;
    }
    symbols
}

/// A set of code lengths that is no prefix code, by the rules of zlib.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadCode {
    /// More codewords than bits can tell apart.
    OverSubscribed,
    /// Bit patterns without a symbol (allowed only for a code of one symbol, one bit wide, or of none).
    Incomplete,
}

/// An entry with the width of its codeword put in: `width` bits to consume, for a length or distance also
/// kept apart.
fn with_width(symbol: u32, width: usize) -> u32 {
    let width = width as u32;
    if symbol & (LITERAL | EXCEPTIONAL) != 0 { symbol + width } else { symbol + width + (width << 8) }
}

/// Fills `table` for the canonical code with these `lengths` (0 to 15 bits, by symbol), indexed by the next
/// `bits` bits.
///
/// The table is filled in the order of codewords and doubled from one width to the next, so that each entry
/// is written by a copy of many instead of one by one.
///
/// # Errors
/// [`BadCode`], by the rules of zlib's `inflate_table`.
pub(super) fn build(table: &mut [u32], bits: u32, lengths: &[u8], symbols: &[u32]) -> Result<(), BadCode> {
    let bits = bits as usize;
    let mut counts = [0u16; MAX_CODE_BITS + 1];
    for &length in lengths {
        counts[usize::from(length & 15)] += 1;
    }
    let used = lengths.len() - usize::from(counts[0]);
    counts[0] = 0;

    // The first place of each width in the list sorted by width, and the sum of Kraft.
    let mut places = [0u16; MAX_CODE_BITS + 2];
    let mut free: i32 = 1;
    for width in 1..=MAX_CODE_BITS {
        free = (free << 1) - i32::from(counts[width]);
        if free < 0 {
            return Err(BadCode::OverSubscribed);
        }
        places[width + 1] = places[width] + counts[width];
    }
    if free > 0 {
        if used > 1 || (used == 1 && counts[1] != 1) {
            return Err(BadCode::Incomplete);
        }
        // An invalid pattern consumes one bit, which keeps every loop moving.
        table[..1 << bits].fill(EXCEPTIONAL | 1);
        if let Some(symbol) = lengths.iter().position(|&length| length == 1) {
            let entry = with_width(symbols[symbol], 1);
            table[..1 << bits].iter_mut().step_by(2).for_each(|slot| *slot = entry);
        }
        return Ok(());
    }

    let mut sorted = [0u16; 320];
    for (symbol, &length) in lengths.iter().enumerate() {
        if length != 0 {
            let place = &mut places[usize::from(length & 15)];
            sorted[usize::from(*place)] = symbol as u16;
            *place += 1;
        }
    }

    let mut next = 0;
    let mut code = 0usize; // bits reversed, as they come from the stream
    let mut filled = 1usize;
    for (width, &count) in counts.iter().enumerate().take(bits + 1).skip(1) {
        // The half that is filled already holds for both values of the new bit; what is wrong is written
        // below.
        if next > 0 {
            table.copy_within(..filled, filled);
        }
        filled <<= 1;
        for _ in 0..count {
            table[code] = with_width(symbols[usize::from(sorted[next])], width);
            next += 1;
            code = following(code, width);
        }
    }
    if next == used {
        return Ok(());
    }

    // Codewords longer than the index: subtables, each as wide as the codewords that share its prefix need.
    let mut end = 1usize << bits;
    let mut start = 0;
    let mut prefix = usize::MAX;
    for width in bits + 1..=MAX_CODE_BITS {
        while counts[width] > 0 {
            if code & ((1 << bits) - 1) != prefix {
                prefix = code & ((1 << bits) - 1);
                start = end;
                let mut sub_bits = width - bits;
                let mut room = usize::from(counts[width]);
                while room < 1 << sub_bits {
                    sub_bits += 1;
                    room = (room << 1) + usize::from(counts[bits + sub_bits]);
                }
                end = start + (1 << sub_bits);
                table[prefix] =
                    EXCEPTIONAL | SUBTABLE | ((start as u32) << 16) | ((sub_bits as u32) << 8) | bits as u32;
            }
            let entry = with_width(symbols[usize::from(sorted[next])], width - bits);
            next += 1;
            counts[width] -= 1;
            table[start + (code >> bits)..end]
                .iter_mut()
                .step_by(1 << (width - bits))
                .for_each(|slot| *slot = entry);
            code = following(code, width);
        }
    }
    Ok(())
}

/// The codeword after `code` among those of this width, bits reversed: adds one from the top bit down.
fn following(code: usize, width: usize) -> usize {
    let zeros = !code & ((1 << width) - 1);
    if zeros == 0 {
        return code; // the last codeword of a complete code
    }
    let bit = 1 << (usize::BITS - 1 - zeros.leading_zeros());
    (code & (bit - 1)) | bit
}
