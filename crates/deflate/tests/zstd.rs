//! Zstandard: every frame is read, and what is written does not depend on threads.

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use support::tarlike;
use unbloat_deflate::{BufferPool, ZstdDecoder, ZstdError, ZstdOptions, ZstdWriter};

fn pack(data: &[u8], options: ZstdOptions, step: usize) -> Vec<u8> {
    let mut output = Vec::new();
    let mut writer = ZstdWriter::new(options, |part: Bytes| {
        output.extend_from_slice(&part);
        Ok(())
    })
    .unwrap();
    for part in data.chunks(step) {
        writer.write(part).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!((summary.uncompressed, summary.compressed), (data.len() as u64, output.len() as u64));
    output
}

fn unpack(data: &[u8], step: usize) -> Result<Vec<u8>, ZstdError> {
    let mut decoder = ZstdDecoder::new(&BufferPool::new(1), ZstdDecoder::DEFAULT_WINDOW_LOG)?;
    let mut out = Vec::new();
    for mut part in data.chunks(step) {
        while let Some(chunk) = decoder.decode(&mut part)? {
            assert_eq!(chunk.offset, out.len() as u64);
            out.extend_from_slice(&chunk.data);
        }
    }
    while let Some(chunk) = decoder.finish()? {
        out.extend_from_slice(&chunk.data);
    }
    assert_eq!(decoder.uncompressed(), out.len() as u64);
    Ok(out)
}

fn skippable(content: &[u8]) -> Vec<u8> {
    [&0x184d_2a53u32.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), content].concat()
}

#[test]
fn the_frame_is_the_same_on_any_number_of_threads_however_the_content_arrives() {
    let data = tarlike(11, 9_000_000);
    let first = pack(&data, ZstdOptions { level: 3, threads: 1 }, data.len());
    for (threads, step) in [(2, 1_000_000), (3, 4_097), (8, 65_536)] {
        assert!(first == pack(&data, ZstdOptions { level: 3, threads }, step), "{threads} threads");
    }
    assert!(unpack(&first, 10_000).unwrap() == data);
}

#[test]
fn all_frames_are_read_and_skippable_ones_skipped() {
    let data = tarlike(12, 700_000);
    let (one, two) = data.split_at(300_000);
    let options = ZstdOptions::default();
    let frames = [skippable(b"first"), pack(one, options, 5_000), skippable(b""), pack(two, options, 5_000)];
    let stream = [&frames.concat()[..], &skippable(&[7; 400])].concat();
    for step in [1, 1_000, stream.len()] {
        assert!(unpack(&stream, step).unwrap() == data);
    }
}

#[test]
fn garbage_after_a_frame_truncation_and_a_wrong_checksum_are_refused() {
    let packed = pack(&tarlike(13, 400_000), ZstdOptions::default(), 100_000);
    for tail in [&b"x"[..], b"\0\0\0\0\0", b"plain text"] {
        let error = unpack(&[&packed[..], tail].concat(), 50).unwrap_err();
        assert!(matches!(error, ZstdError::Corrupt { .. } | ZstdError::Truncated { .. }), "{error}");
    }
    for length in [0, 1, 5, 1_000, packed.len() - 1] {
        let error = unpack(&packed[..length], 100).unwrap_err();
        assert!(matches!(error, ZstdError::Truncated { offset } if offset == length as u64), "{error}");
    }
    let mut wrong = packed.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert!(matches!(unpack(&wrong, 4_096), Err(ZstdError::Corrupt { .. })));
}

#[test]
fn a_window_past_the_limit_is_refused() {
    let packed = pack(&tarlike(14, 3_000_000), ZstdOptions::default(), 100_000);
    let mut decoder = ZstdDecoder::new(&BufferPool::new(1), 15).unwrap();
    assert!(matches!(decoder.decode(&mut &packed[..]), Err(ZstdError::Corrupt { .. })));
}

#[test]
fn each_frames_window_is_told_before_it_is_decoded() {
    let data = tarlike(15, 9_000_000);
    let small = zstd::bulk::compress(&data[..70_000], 3).unwrap();
    let frames = [pack(&data, ZstdOptions { level: 3, threads: 1 }, data.len()), skippable(&[1; 99]), small];
    let stream = frames.concat();
    for step in [1, 7, 100_000] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let pool = BufferPool::new(1);
        let note = Arc::clone(&told);
        let decoder = ZstdDecoder::new(&pool, ZstdDecoder::DEFAULT_WINDOW_LOG).unwrap();
        let mut decoder = decoder.before_frames(move |bytes| note.lock().unwrap().push(bytes));
        let mut length = 0;
        for mut part in stream.chunks(step) {
            while let Some(chunk) = decoder.decode(&mut part).unwrap() {
                length += chunk.data.len();
            }
        }
        while let Some(chunk) = decoder.finish().unwrap() {
            length += chunk.data.len();
        }
        assert_eq!(length, data.len() + 70_000);
        // Level 3 has a window of 2 MiB; a frame that is made at once knows its size.
        assert_eq!(*told.lock().unwrap(), [2 << 20, 0, 70_000]);
    }
}
