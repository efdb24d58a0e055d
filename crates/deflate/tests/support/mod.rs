//! Sources compressed in every way, and every inflater to check with.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use bytes::Bytes;
use std::io::{Read, Write};
use std::ops::Range;
use unbloat_deflate::{BufferPool, GzipDecoder, GzipOptions, GzipSummary, GzipWriter, Origin};

/// A generator of numbers that is the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Bytes like those of a layer: headers, text, binaries, noise, runs, copies of what came before.
pub(crate) fn tarlike(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut out = Vec::with_capacity(length + 100_000);
    let words: Vec<String> =
        (0..600).map(|_| format!("{:x}", random.next() >> (20 + random.below(30)))).collect();
    while out.len() < length {
        let mut header = [0u8; 512];
        let name = format!("usr/share/{}/{}", words[random.below(600)], words[random.below(600)]);
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..124].copy_from_slice(b"0000644\x000000000\x000000000\0");
        header[257..265].copy_from_slice(b"ustar\x0000");
        out.extend_from_slice(&header);
        let size = [200, 3_000, 30_000, 150_000][random.below(4)] + random.below(500);
        let end = out.len() + size;
        match random.below(6) {
            0 | 1 => {
                while out.len() < end {
                    out.extend_from_slice(words[random.below(600)].as_bytes());
                    out.push(b" \n.;"[random.below(4)]);
                }
            }
            2 => {
                while out.len() < end {
                    let word = random.next();
                    out.extend_from_slice(&(word & 0x00ff_0f0f_3fff_0103).to_le_bytes());
                }
            }
            3 => out.extend((0..size).map(|_| random.next() as u8)),
            4 => out.extend(std::iter::repeat_n(random.next() as u8, size)),
            _ => {
                let record: Vec<u8> =
                    (0..384).map(|at| if at % 7 == 0 { random.next() as u8 } else { 0 }).collect();
                while out.len() < end {
                    out.extend_from_slice(&record);
                    let at = out.len() - random.below(384) - 1;
                    out[at] = random.next() as u8;
                }
            }
        }
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.truncate(length);
    out
}

/// A way to make gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packer {
    Zlib(u32),
    Libdeflate(i32),
    /// A sync or full flush every so many bytes.
    Flushes(u32, bool),
    /// A member every so many bytes.
    Members(usize),
    /// Only the fixed codes.
    Fixed,
}

impl Packer {
    pub(crate) fn all() -> Vec<Self> {
        let mut all: Vec<_> = (0..=9).map(Self::Zlib).collect();
        all.extend([1, 6, 9, 12].map(Self::Libdeflate));
        all.extend([
            Self::Flushes(131_072, false),
            Self::Flushes(5_000, true),
            Self::Members(100_000),
            Self::Fixed,
        ]);
        all
    }

    pub(crate) fn pack(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Zlib(level) => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Self::Libdeflate(level) => {
                let level = libdeflater::CompressionLvl::new(level).unwrap();
                let mut compressor = libdeflater::Compressor::new(level);
                let mut out = vec![0; compressor.gzip_compress_bound(data.len())];
                let length = compressor.gzip_compress(data, &mut out).unwrap();
                out.truncate(length);
                out
            }
            Self::Flushes(every, full) => {
                let mut compress = flate2::Compress::new(flate2::Compression::new(6), false);
                let flush = if full { flate2::FlushCompress::Full } else { flate2::FlushCompress::Sync };
                let mut body = Vec::with_capacity(data.len() * 2 + 1000);
                for part in data.chunks(every as usize) {
                    compress.compress_vec(part, &mut body, flush).unwrap();
                }
                compress.compress_vec(b"", &mut body, flate2::FlushCompress::Finish).unwrap();
                member(&body, data)
            }
            Self::Members(every) => data.chunks(every).flat_map(|part| Self::Zlib(6).pack(part)).collect(),
            Self::Fixed => member(&fixed(data), data),
        }
    }
}

/// A deflate body in a gzip member.
fn member(body: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend_from_slice(body);
    out.extend(crc32fast::hash(data).to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out
}

/// Literals, and a few matches with the furthest distance, in blocks with the fixed codes.
fn fixed(data: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    fn code(bits: &mut Vec<bool>, value: u32, width: u32) {
        bits.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
    }
    for (number, part) in data.chunks(50_000).enumerate() {
        bits.extend([(number + 1) * 50_000 >= data.len(), true, false]);
        let mut at = number * 50_000;
        let end = at + part.len();
        while at < end {
            if at >= 32_768 && end - at >= 3 && data[at..at + 3] == data[at - 32_768..at - 32_765] {
                code(&mut bits, 1, 7); // length 3
                code(&mut bits, 29, 5); // distances from 24,577
                bits.extend([true; 13]);
                at += 3;
                continue;
            }
            let byte = u32::from(data[at]);
            if byte < 144 {
                code(&mut bits, 0x30 + byte, 8);
            } else {
                code(&mut bits, 0x190 + byte - 144, 9);
            }
            at += 1;
        }
        code(&mut bits, 0, 7);
    }
    bits.chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |all, (place, &bit)| all | (u8::from(bit) << place)))
        .collect()
}

/// The bytes of some ranges.
pub(crate) fn cut(data: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    ranges.iter().flat_map(|range| &data[range.clone()]).copied().collect()
}

/// Decodes `packed`, which arrives in steps, and writes the ranges, in pieces of at most `piece` bytes.
pub(crate) fn splice(
    packed: &[u8],
    ranges: &[Range<usize>],
    step: usize,
    piece: usize,
    options: GzipOptions,
) -> (Vec<u8>, GzipSummary) {
    let mut output = Vec::new();
    let mut writer = GzipWriter::new(options, |part: Bytes| {
        output.extend_from_slice(&part);
        Ok(())
    })
    .unwrap();
    let mut decoder = GzipDecoder::new(&BufferPool::new(8), true);
    let mut chunks = Vec::new();
    for mut part in packed.chunks(step) {
        while let Some(chunk) = decoder.decode(&mut part).unwrap() {
            chunks.push(chunk);
        }
    }
    while let Some(chunk) = decoder.finish().unwrap() {
        chunks.push(chunk);
    }
    for range in ranges {
        for chunk in &chunks {
            let start = chunk.offset as usize;
            let from = range.start.max(start);
            let to = range.end.min(start + chunk.data.len());
            let mut at = from;
            while at < to {
                let end = at.saturating_add(piece).min(to);
                let origin = Origin { stream: 1, offset: at as u64, blocks: chunk.blocks.clone() };
                writer.write(chunk.data.slice(at - start..end - start), Some(origin)).unwrap();
                at = end;
            }
        }
    }
    let summary = writer.finish().unwrap();
    (output, summary)
}

/// Checks with every inflater at hand that `packed` makes `expected`.
pub(crate) fn inflate_everywhere(packed: &[u8], expected: &[u8]) {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut out).unwrap();
    assert!(out == expected, "zlib-rs disagrees");
    let mut out = vec![0; expected.len() + 1];
    let length = libdeflater::Decompressor::new().gzip_decompress(packed, &mut out).unwrap();
    assert!(out[..length] == *expected, "libdeflate disagrees");
}
