//! The loop that decodes the symbols of a compressed block: the one place of this crate with `unsafe`.
//!
//! Measured against the same loop with slices and bounds checks, pointers gain 3 to 10 % on a Debian root
//! file system and 5 % on a log (`docs/codecs.md`), and inflating is most of what hidden content costs; hence
//! pointers here, and nowhere else.
//!
//! # Proof
//! [`decode`] is safe: it checks what follows before the loop, so no caller can break it.
//!
//! - **Input**: the loop runs an iteration only while `at <= input.len() - INPUT_MARGIN`. An iteration
//!   refills at most [`REFILLS`] times; a refill reads 8 bytes and advances by at most 7, so no read ends
//!   past `7 * (REFILLS - 1) + 8 <= INPUT_MARGIN` bytes after its start.
//! - **Output**: an iteration starts only while `out < soft_end`, and writes at most 3 literals, then a match
//!   of at most 258 bytes, whose last store of at most 32 bytes starts inside of it: `3 + 258 + 64 <=
//!   OUTPUT_MARGIN`, and `soft_end + OUTPUT_MARGIN <= buffer.len()` is checked.
//! - **Match source**: a match is refused unless `distance <= output - window_start`, and `window_start` lies
//!   in the buffer, so the source starts inside the buffer, before `output`. Reads from the source run at
//!   most as far as the stores do, and start earlier. All bytes of the buffer are initialised (it is a
//!   slice), so reads past `output` see old bytes, never uninitialised ones.
//! - **Tables**: indices are masked to the size of the table's array, which is a power of two, for the main
//!   tables and for subtables alike.
#![expect(unsafe_code, reason = "see the module's text: the measured gain and the proof")]

use super::table::{
    DISTANCE_BITS, DISTANCE_SIZE, END_OF_BLOCK, EXCEPTIONAL, LITERAL, LITLEN_BITS, LITLEN_SIZE, SUBTABLE,
};
use std::ptr;

/// Bytes of input that have to follow the start of an iteration.
pub(super) const INPUT_MARGIN: usize = 32;
/// Refills in one iteration: at the top, after a subtable's codeword, before the distance.
const REFILLS: usize = 3;
const _: () = assert!(7 * (REFILLS - 1) + 8 <= INPUT_MARGIN);
/// Bytes of output that may be written after the soft end.
pub(crate) const OUTPUT_MARGIN: usize = 3 + 258 + 64;

/// The tables of one block.
pub(super) struct Tables {
    pub(super) litlen: [u32; LITLEN_SIZE],
    pub(super) distance: [u32; DISTANCE_SIZE],
}

/// Where a run of the loop starts, and where it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// Position in the input, in bits.
    pub(super) bit: usize,
    /// Position in the output buffer, in bytes.
    pub(super) output: usize,
    /// The lowest position of the output buffer that a match referred to, at most where the run started.
    pub(super) lowest: usize,
}

/// Why a run of the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The input's margin or the output's soft end is reached.
    Limit,
    /// The end-of-block symbol was consumed.
    EndOfBlock,
    /// A literal/length codeword without a symbol.
    BadLitlen,
    /// A distance codeword without a symbol.
    BadDistance,
    /// A match that starts before the window.
    TooFar,
}

/// Which compilation of the loop runs; the output is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// What every CPU of the architecture has.
    Portable,
    /// Made by [`Backend::detect`] only: the CPU has AVX2, BMI1 and BMI2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Backend {
    /// The best for this CPU.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("avx2")
        {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// Decodes symbols until the end of the block or a limit; `cursor` is left after the last whole symbol.
///
/// # Panics
/// When `buffer` has fewer than [`OUTPUT_MARGIN`] bytes after `soft_end` or `cursor` lies outside of it.
pub(super) fn decode(
    backend: Backend,
    tables: &Tables,
    input: &[u8],
    buffer: &mut [u8],
    window_start: usize,
    soft_end: usize,
    cursor: &mut Cursor,
) -> Stop {
    assert!(soft_end + OUTPUT_MARGIN <= buffer.len(), "the output buffer has its margin");
    assert!(window_start <= cursor.output && cursor.output <= buffer.len(), "the window ends at the output");
    assert!(cursor.bit <= input.len() * 8, "the position lies in the input");
    if input.len() < INPUT_MARGIN {
        return Stop::Limit;
    }
    #[cfg(target_arch = "x86_64")]
    if backend == Backend::Avx2 {
        // SAFETY: this value is made only when the CPU has the features; the conditions of `run` were checked
        // above.
        return unsafe { run_avx2(tables, input, buffer, window_start, soft_end, cursor) };
    }
    // SAFETY: the conditions of `run` were checked above.
    unsafe { run(tables, input, buffer, window_start, soft_end, cursor) }
}

/// The width of the next codeword, if it is the end of the block.
pub(super) fn end_of_block(tables: &Tables, bits: u64) -> Option<usize> {
    let mut entry = tables.litlen[(bits as usize) & ((1 << LITLEN_BITS) - 1)];
    let mut width = (entry & 0xff) as usize;
    if entry & (LITERAL | EXCEPTIONAL | SUBTABLE) == EXCEPTIONAL | SUBTABLE {
        let index = (bits >> LITLEN_BITS) as usize & ((1 << ((entry >> 8) & 15)) - 1);
        entry = tables.litlen[((entry >> 16) as usize + index) & (LITLEN_SIZE - 1)];
        width += (entry & 0xff) as usize;
    }
    (entry & (LITERAL | EXCEPTIONAL | END_OF_BLOCK) == EXCEPTIONAL | END_OF_BLOCK).then_some(width)
}

/// [`run`], compiled for CPUs with three-operand shifts and 32-byte registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi1,bmi2,avx2")]
unsafe fn run_avx2(
    tables: &Tables,
    input: &[u8],
    buffer: &mut [u8],
    window_start: usize,
    soft_end: usize,
    cursor: &mut Cursor,
) -> Stop {
    // SAFETY: as the caller's.
    unsafe { run(tables, input, buffer, window_start, soft_end, cursor) }
}

/// The loop.
///
/// # Safety
/// `input.len() >= INPUT_MARGIN`, `cursor.bit <= 8 * input.len()`, `window_start <= cursor.output <=
/// buffer.len()`, `soft_end + OUTPUT_MARGIN <= buffer.len()`.
#[inline(always)]
unsafe fn run(
    tables: &Tables,
    input: &[u8],
    buffer: &mut [u8],
    window_start: usize,
    soft_end: usize,
    cursor: &mut Cursor,
) -> Stop {
    let first = cursor.bit / 8;
    if first > input.len() - INPUT_MARGIN || cursor.output >= soft_end {
        return Stop::Limit;
    }
    let input_start = input.as_ptr();
    // SAFETY: both lie in the input: the condition of this function, and the check above.
    let (last, mut at) = unsafe { (input_start.add(input.len() - INPUT_MARGIN), input_start.add(first)) };
    let buffer_start = buffer.as_mut_ptr();
    // SAFETY: all three lie in the buffer: conditions of this function.
    let (mut out, out_end, window) = unsafe {
        (
            buffer_start.add(cursor.output),
            buffer_start.add(soft_end),
            buffer_start.add(window_start).cast_const(),
        )
    };
    // Nothing was referred to yet: a match never refers to the byte it starts at.
    let mut lowest = out.cast_const();
    let litlen = &tables.litlen;
    let distances = &tables.distance;

    // `left`'s low byte counts the valid bits of `bits`; what is above it is noise, which saves a masking per
    // symbol.
    let mut bits: u64 = 0;
    let mut left: u32 = 0;

    macro_rules! refill {
        () => {{
            // SAFETY: at most REFILLS of these since `at <= last` was checked: inside the input.
            unsafe {
                let word = ptr::read_unaligned(at.cast::<u64>());
                bits |= u64::from_le(word).wrapping_shl(left);
                // 56 to 63 bits are valid afterwards; those above are the next byte's, which the next refill
                // repeats.
                at = at.add(((63 - (left & 63)) >> 3) as usize);
            }
            left |= 56;
        }};
    }
    macro_rules! consume {
        ($entry:expr) => {{
            bits = bits.wrapping_shr($entry);
            left = left.wrapping_sub($entry);
        }};
    }
    macro_rules! literal {
        ($entry:expr) => {{
            // SAFETY: below `soft_end` + 3.
            unsafe {
                *out = ($entry >> 8) as u8;
                out = out.add(1);
            }
        }};
    }
    macro_rules! look {
        () => {
            litlen[(bits as usize) & ((1 << LITLEN_BITS) - 1)]
        };
    }

    refill!();
    // The position is inside of a byte: skip the bits before it.
    consume!((cursor.bit % 8) as u32);
    let mut entry = look!();
    let stop = loop {
        if at > last || out >= out_end {
            break Stop::Limit;
        }
        refill!();
        if entry & LITERAL != 0 {
            consume!(entry);
            literal!(entry);
            entry = look!();
            if entry & LITERAL != 0 {
                consume!(entry);
                literal!(entry);
                entry = look!();
                if entry & LITERAL != 0 {
                    consume!(entry);
                    literal!(entry);
                    entry = look!();
                    continue;
                }
            }
        }
        // At least 56 - 2 * 11 = 34 bits are left.
        if entry & EXCEPTIONAL != 0 {
            if entry & SUBTABLE != 0 {
                consume!(entry);
                let width = (entry >> 8) & 15;
                entry = litlen
                    [((entry >> 16) as usize + ((bits as usize) & ((1 << width) - 1))) & (LITLEN_SIZE - 1)];
                if entry & LITERAL != 0 {
                    consume!(entry);
                    literal!(entry);
                    entry = look!();
                    continue;
                }
            }
            if entry & EXCEPTIONAL != 0 {
                if entry & END_OF_BLOCK == 0 {
                    break Stop::BadLitlen;
                }
                left = left.wrapping_sub(entry);
                break Stop::EndOfBlock;
            }
            refill!();
        }
        let saved = bits;
        consume!(entry);
        let length = ((entry >> 16) + extra(saved, entry)) as usize;
        // A distance takes up to 28 bits, and the next lookup 11.
        if left & 0xff < 28 + LITLEN_BITS {
            refill!();
        }
        entry = distances[(bits as usize) & ((1 << DISTANCE_BITS) - 1)];
        if entry & EXCEPTIONAL != 0 {
            if entry & SUBTABLE == 0 {
                break Stop::BadDistance;
            }
            consume!(entry);
            let width = (entry >> 8) & 15;
            entry = distances
                [((entry >> 16) as usize + ((bits as usize) & ((1 << width) - 1))) & (DISTANCE_SIZE - 1)];
            if entry & EXCEPTIONAL != 0 {
                break Stop::BadDistance;
            }
        }
        let saved = bits;
        consume!(entry);
        let distance = ((entry >> 16) + extra(saved, entry)) as usize;
        if distance > out.addr() - window.addr() {
            break Stop::TooFar;
        }
        entry = look!();
        // SAFETY: `distance` bytes before `out` are still in the window, and `out` is below `soft_end` + 3;
        // see the module's text.
        unsafe {
            let source = out.cast_const().sub(distance);
            lowest = lowest.min(source);
            copy_match(source, out, distance, length);
            out = out.add(length);
        }
    };

    // Give back what was read too far: whole bytes by position, the rest as bits.
    cursor.bit = (at.addr() - input_start.addr()) * 8 - (left & 0xff) as usize;
    cursor.output = out.addr() - buffer_start.addr();
    cursor.lowest = lowest.addr() - buffer_start.addr();
    stop
}

/// The extra bits of a length or distance: those between the codeword's width and the entry's total.
#[inline(always)]
fn extra(bits: u64, entry: u32) -> u32 {
    let total = bits & ((1u64.wrapping_shl(entry)) - 1);
    (total >> ((entry >> 8) & 15)) as u32
}

/// Copies a match. Writes up to 63 bytes more than `length`.
///
/// # Safety
/// `source + distance == target`; 1 <= distance; 3 <= length <= 258; `length + 64` bytes from `target` are
/// writable.
#[inline(always)]
unsafe fn copy_match(source: *const u8, target: *mut u8, distance: usize, length: usize) {
    // SAFETY: each store starts less than `length` bytes after `target` or is one of the first two of 32
    // bytes or less, so all of them end within `length + 64`; each load is as far from `source`, which is
    // lower.
    unsafe {
        if distance >= 32 {
            copy::<32>(source, target);
            let mut done = 32;
            while done < length {
                copy::<32>(source.add(done), target.add(done));
                done += 32;
            }
        } else if distance >= 16 {
            copy::<16>(source, target);
            let mut done = 16;
            while done < length {
                copy::<16>(source.add(done), target.add(done));
                done += 16;
            }
        } else if distance == 1 {
            let run = [*source; 32];
            let mut done = 0;
            while done < length {
                ptr::write_unaligned(target.add(done).cast::<[u8; 32]>(), run);
                done += 32;
            }
        } else {
            // The pattern is repeated in a register until it fills 16 bytes; stores then advance by whole
            // patterns.
            let mut pattern = u128::from_le(ptr::read_unaligned(source.cast::<u128>()));
            let mut width = distance * 8;
            pattern &= (1u128 << width) - 1;
            while width < 128 {
                pattern |= pattern << width;
                width *= 2;
            }
            let whole = 16 / distance * distance;
            let mut done = 0;
            while done < length {
                ptr::write_unaligned(target.add(done).cast::<u128>(), pattern.to_le());
                done += whole;
            }
        }
    }
}

/// One load and one store of `N` bytes; they may overlap.
///
/// # Safety
/// `N` bytes are readable at `source` and writable at `target`.
#[inline(always)]
unsafe fn copy<const N: usize>(source: *const u8, target: *mut u8) {
    // SAFETY: as the caller's.
    unsafe {
        let block = ptr::read_unaligned(source.cast::<[u8; N]>());
        ptr::write_unaligned(target.cast::<[u8; N]>(), block);
    }
}
