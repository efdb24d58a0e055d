//! What the decoder accepts, refuses and reports.

use std::io::Write;
use unbloat_deflate::{Block, BlockKind, BufferPool, Chunk, ChunkBlocks, Corruption, GzipDecoder, GzipError};

fn gzip(data: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Text with repetitions near and far.
fn text(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut out = Vec::new();
    while out.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(format!("entry {} of {}\n", state >> 20, state >> 8 & 0xff).as_bytes());
    }
    out.truncate(length);
    out
}

fn chunks(data: &[u8], step: usize) -> Result<Vec<Chunk>, GzipError> {
    let mut decoder = GzipDecoder::new(&BufferPool::new(2), true);
    let mut chunks = Vec::new();
    for mut part in data.chunks(step) {
        while let Some(chunk) = decoder.decode(&mut part)? {
            chunks.push(chunk);
        }
    }
    while let Some(chunk) = decoder.finish()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn inflate(data: &[u8], step: usize) -> Result<(Vec<u8>, Vec<Block>), GzipError> {
    let chunks = chunks(data, step)?;
    let mut out = Vec::new();
    let mut blocks = Vec::new();
    for chunk in chunks {
        assert_eq!(chunk.offset, out.len() as u64);
        out.extend_from_slice(&chunk.data);
        let within = chunk.offset + 1..=chunk.offset + chunk.data.len() as u64;
        assert!(chunk.blocks.blocks.iter().all(|block| within.contains(&block.output.end)));
        let ChunkBlocks { blocks: ended, compressed, compressed_offset } = &*chunk.blocks;
        if let (Some(first), Some(last)) = (ended.first(), ended.last()) {
            assert_eq!(*compressed_offset, first.bits.start / 8);
            let end = compressed_offset + compressed.len() as u64;
            assert_eq!(end, last.bits.end.div_ceil(8));
            assert_eq!(compressed, &data[*compressed_offset as usize..end as usize]);
        }
        blocks.extend(ended.iter().cloned());
    }
    Ok((out, blocks))
}

#[test]
fn every_level_inflates_to_what_was_compressed_however_the_input_is_cut() {
    let data = text(700_000);
    for level in 0..=9 {
        let packed = gzip(&data, level);
        for step in [1, 7, 1000, 65_536, packed.len()] {
            let (out, blocks) = inflate(&packed, step).unwrap();
            assert_eq!(out, data, "level {level}, step {step}");
            assert_eq!(blocks, inflate(&packed, packed.len()).unwrap().1);
            assert_eq!(blocks.first().unwrap().output.start, 0);
            assert!(blocks.windows(2).all(|pair| pair[0].output.end == pair[1].output.start));
            assert_eq!(blocks.last().unwrap().output.end, data.len() as u64);
            if level == 0 {
                assert!(blocks.iter().all(|block| block.kind == BlockKind::Stored && block.reach == 0));
            }
        }
    }
}

#[test]
fn a_block_reaches_as_far_back_as_its_furthest_match() {
    // "abc" stored, then a fixed block: match of length 3 at distance 3, end of block.
    let mut stream = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    stream.extend([0, 3, 0, 0xfc, 0xff]);
    stream.extend(b"abc");
    // 1 (final), 01 (fixed), 0000001 (length 3), 00010 (distance 3), 0000000 (end): bits in order of the
    // stream.
    let bits = [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    for byte in bits.chunks(8) {
        stream.push(byte.iter().enumerate().fold(0, |all, (place, bit)| all | (bit << place)));
    }
    stream.extend(crc32fast::hash(b"abcabc").to_le_bytes());
    stream.extend(6u32.to_le_bytes());
    let (out, blocks) = inflate(&stream, 1).unwrap();
    assert_eq!(out, b"abcabc");
    assert_eq!(blocks.len(), 2);
    assert_eq!((blocks[0].kind, blocks[0].reach, blocks[0].bits.clone()), (BlockKind::Stored, 0, 80..144));
    assert_eq!((blocks[1].kind, blocks[1].reach, blocks[1].bits.clone()), (BlockKind::Fixed, 3, 144..166));
    assert!(blocks[1].is_final && !blocks[0].is_final);
}

#[test]
fn members_follow_one_another_and_zero_padding_ends_them() {
    let (first, second) = (text(300_000), text(10));
    let mut packed = gzip(&first, 6);
    packed.extend(gzip(&second, 9));
    packed.extend(gzip(b"", 1));
    packed.extend([0; 700]);
    let (out, _) = inflate(&packed, 999).unwrap();
    assert_eq!(out, [first, second].concat());
}

#[test]
fn what_follows_the_last_member_is_refused_with_its_place() {
    let packed = gzip(b"content", 6);
    for (tail, place) in [(&b"x"[..], 0), (&[0, 0, 7][..], 2), (&[0x1f, 0x8c][..], 0)] {
        let stream = [&packed[..], tail].concat();
        let offset = (packed.len() + place) as u64;
        assert_eq!(inflate(&stream, 5).unwrap_err(), GzipError::TrailingData { offset });
    }
}

#[test]
fn a_stream_cut_anywhere_is_truncated() {
    let packed = gzip(&text(5_000), 6);
    for length in 0..packed.len() {
        let offset = length as u64;
        let error = inflate(&packed[..length], 100).unwrap_err();
        assert_eq!(error, GzipError::Truncated { offset }, "cut at {length}");
    }
}

#[test]
fn a_wrong_checksum_length_or_header_is_refused() {
    let packed = gzip(b"content", 6);
    let end = packed.len();
    let broken = |place: usize| {
        let mut copy = packed.clone();
        copy[place] ^= 1;
        inflate(&copy, 4).unwrap_err()
    };
    assert!(matches!(broken(end - 8), GzipError::Checksum { .. }));
    assert!(matches!(broken(end - 1), GzipError::Length { expected: 16_777_223, found: 7, .. }));
    assert_eq!(broken(0), GzipError::NotGzip { offset: 0 });
    assert!(matches!(broken(2), GzipError::Unsupported { method: 9, .. }));
    assert!(matches!(inflate(b"plain text", 3), Err(GzipError::NotGzip { offset: 0 })));
}

#[test]
fn a_match_before_the_member_is_refused_even_after_another_member() {
    // A fixed block whose first symbol is a match of length 3 at distance 1.
    let mut stream = gzip(&text(100), 6);
    stream.extend([
        0x1f,
        0x8b,
        8,
        0,
        0,
        0,
        0,
        0,
        0,
        255,
        0b0000_0011,
        0b0000_0010,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    stream.extend([0; 8]);
    assert!(matches!(inflate(&stream, 64), Err(GzipError::Corrupt { cause: Corruption::TooFar, .. })));
}

#[test]
fn a_slice_of_a_chunk_outlives_the_decoder() {
    let data = text(2_000_000);
    let parts = chunks(&gzip(&data, 6), 4096).unwrap();
    let kept: Vec<_> = parts.iter().map(|chunk| (chunk.offset as usize, chunk.data.slice(10..20))).collect();
    drop(parts);
    assert!(kept.len() >= 7);
    for (offset, slice) in kept {
        assert_eq!(slice, data[offset + 10..offset + 20]);
    }
}
