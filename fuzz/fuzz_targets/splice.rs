//! Any content, compressed in any way, cut in any way: what is spliced inflates to what was kept, and does not depend on
//! how the source arrived.
#![no_main]

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::io::Read;
use unbloat_deflate::{BufferPool, GzipDecoder, GzipOptions, GzipWriter, Origin};

#[derive(Arbitrary, Debug)]
struct Case {
    /// Pieces of content: a seed of bytes, repeated, with a stride that changes some.
    content: Vec<(Vec<u8>, u16, u8)>,
    level: u8,
    /// Flush after so many bytes, how.
    flush: (u16, u8),
    /// Kept and removed lengths, by turns.
    cuts: Vec<u16>,
    step: u16,
    piece: u16,
    threads: bool,
}

fn content(pieces: &[(Vec<u8>, u16, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (seed, times, stride) in pieces.iter().take(64) {
        let start = out.len();
        for _ in 0..*times {
            out.extend_from_slice(seed);
            if out.len() - start > 150_000 || out.len() > 2_000_000 {
                break;
            }
        }
        if *stride > 0 {
            for (number, at) in (start..out.len()).step_by(usize::from(*stride)).enumerate() {
                out[at] = out[at].wrapping_add((number.wrapping_mul(2_654_435_761) >> 7) as u8);
            }
        }
    }
    out
}

fn pack(data: &[u8], level: u8, (every, how): (u16, u8)) -> Vec<u8> {
    let mut compress = Compress::new(Compression::new(u32::from(level % 10)), false);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.reserve(data.len() * 2 + 100_000);
    let flush = [FlushCompress::None, FlushCompress::Sync, FlushCompress::Full, FlushCompress::Partial]
        [usize::from(how % 4)];
    for part in data.chunks(usize::from(every).max(50)) {
        out.reserve(part.len() * 2 + 1000);
        compress.compress_vec(part, &mut out, flush).unwrap();
    }
    out.reserve(data.len() * 2 + 1000);
    compress.compress_vec(b"", &mut out, FlushCompress::Finish).unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(data);
    out.extend(crc.sum().to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out
}

fn splice(packed: &[u8], kept: &[std::ops::Range<u64>], step: usize, piece: u64, threads: usize) -> Vec<u8> {
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
    let mut output = Vec::new();
    let mut writer = GzipWriter::new(GzipOptions { level: 1, threads }, |part: Bytes| {
        output.extend_from_slice(&part);
        Ok(())
    })
    .unwrap();
    for (number, range) in kept.iter().enumerate() {
        if number % 3 == 2 {
            writer.write(Bytes::from_static(b"a header made anew"), None).unwrap();
        }
        for chunk in &chunks {
            let mut at = range.start.max(chunk.offset);
            let end = range.end.min(chunk.offset + chunk.data.len() as u64);
            while at < end {
                let next = (at + piece).min(end);
                let data = chunk.data.slice((at - chunk.offset) as usize..(next - chunk.offset) as usize);
                let origin = Origin { stream: 9, offset: at, blocks: chunk.blocks.clone() };
                writer.write(data, Some(origin)).unwrap();
                at = next;
            }
        }
    }
    writer.finish().unwrap();
    output
}

fuzz_target!(|case: Case| {
    let data = content(&case.content);
    let packed = pack(&data, case.level, case.flush);
    let mut kept = Vec::new();
    let mut at = 0u64;
    for pair in case.cuts.chunks(2).take(40) {
        let end = (at + u64::from(pair[0]) * 4).min(data.len() as u64);
        kept.push(at..end);
        at = (end + pair.get(1).map_or(0, |&length| u64::from(length))).min(data.len() as u64);
    }
    kept.push(at..data.len() as u64);
    let mut expected = Vec::new();
    for (number, range) in kept.iter().enumerate() {
        if number % 3 == 2 {
            expected.extend_from_slice(b"a header made anew");
        }
        expected.extend_from_slice(&data[range.start as usize..range.end as usize]);
    }

    let output = splice(&packed, &kept, packed.len(), u64::MAX / 2, 1);
    let mut found = Vec::new();
    flate2::read::GzDecoder::new(&output[..]).read_to_end(&mut found).unwrap();
    assert!(found == expected, "zlib makes other bytes");
    let mut found = vec![0; expected.len() + 1];
    let length = libdeflater::Decompressor::new().gzip_decompress(&output, &mut found).unwrap();
    assert!(found[..length] == expected, "libdeflate makes other bytes");

    let step = usize::from(case.step).max(40);
    let again = splice(&packed, &kept, step, u64::from(case.piece).max(100), 1 + usize::from(case.threads));
    assert!(output == again, "the output depends on how the source arrived");
});
