//! Any bytes as a deflate stream: the decoder accepts what zlib accepts, makes the same bytes, and does not depend on how
//! the input is cut.
#![no_main]

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use unbloat_deflate::{Block, BufferPool, GzipDecoder, GzipError};

/// More than this is not compared: a few bytes can make gigabytes.
const LIMIT: usize = 1 << 20;

/// What zlib makes of a raw stream, and the bytes it used; `None` when it refuses it.
fn zlib(raw: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut decoder = Decompress::new(false);
    let mut out = Vec::with_capacity(LIMIT);
    loop {
        let (read, made) = (decoder.total_in() as usize, out.len());
        match decoder.decompress_vec(&raw[read..], &mut out, FlushDecompress::None) {
            Ok(Status::StreamEnd) => return Some((out, decoder.total_in() as usize)),
            Ok(_) if decoder.total_in() as usize > read || out.len() > made => {}
            _ => return None,
        }
    }
}

fn ours(packed: &[u8], step: usize) -> Result<(Vec<u8>, Vec<Block>), GzipError> {
    let mut decoder = GzipDecoder::new(&BufferPool::new(2), true);
    let mut out = Vec::new();
    let mut blocks = Vec::new();
    for mut part in packed.chunks(step) {
        while let Some(chunk) = decoder.decode(&mut part)? {
            out.extend_from_slice(&chunk.data);
            blocks.extend(chunk.blocks.blocks.iter().cloned());
            if out.len() > 4 * LIMIT {
                return Ok((out, blocks));
            }
        }
    }
    while let Some(chunk) = decoder.finish()? {
        out.extend_from_slice(&chunk.data);
        blocks.extend(chunk.blocks.blocks.iter().cloned());
    }
    Ok((out, blocks))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, raw) = input;
    // As it is: headers and trailers, where nearly everything is an error.
    let whole = ours(raw, raw.len().max(1));
    assert_eq!(whole, ours(raw, usize::from(step) + 1));

    // As the body of a member that is right otherwise.
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let expected = zlib(raw);
    match &expected {
        Some((out, used)) => {
            packed.extend_from_slice(&raw[..*used]);
            let mut crc = flate2::Crc::new();
            crc.update(out);
            packed.extend(crc.sum().to_le_bytes());
            packed.extend((out.len() as u32).to_le_bytes());
        }
        None => packed.extend_from_slice(raw),
    }
    let result = ours(&packed, usize::from(step) * 37 + 1);
    assert_eq!(result, ours(&packed, packed.len()));
    match (expected, result) {
        (Some((out, _)), Ok((found, blocks))) => {
            assert!(out == found, "other bytes than zlib's");
            assert!(blocks.iter().all(|block| u64::from(block.reach) <= block.output.start));
        }
        (Some(_), Err(error)) => panic!("zlib reads it: {error}"),
        // zlib stops at the fuzzer's limit, or takes more input for a stream that is cut short.
        (None, Ok((found, _))) => assert!(found.len() >= LIMIT, "zlib refuses it"),
        (None, Err(_)) => {}
    }
});
