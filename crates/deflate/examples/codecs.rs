//! Measures the codecs on gzip files: `cargo run --release -p unbloat-deflate --example codecs -- FILE.gz…`
//!
//! Prints Markdown. Speeds are in MB of uncompressed bytes for each second of CPU time, the best of several
//! interleaved runs; compare them within one run only.

use bytes::Bytes;
use std::io::Read;
use std::process::{Command, Stdio};
use unbloat_deflate::{
    BufferPool, GzipDecoder, GzipOptions, GzipWriter, Origin, ZstdDecoder, ZstdOptions, ZstdWriter,
};

const ROUNDS: usize = 7;

/// CPU seconds of this thread.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

fn timed(mut work: impl FnMut()) -> f64 {
    let start = cpu();
    work();
    cpu() - start
}

fn ours(data: &[u8], record: bool, pool: &BufferPool) -> usize {
    let mut decoder = GzipDecoder::new(pool, record);
    let mut size = 0;
    for mut part in data.chunks(128 * 1024) {
        while let Some(chunk) = decoder.decode(&mut part).expect("valid gzip") {
            size += chunk.data.len();
        }
    }
    while let Some(chunk) = decoder.finish().expect("valid gzip") {
        size += chunk.data.len();
    }
    size
}

/// User and system seconds of `igzip` (ISA-L), when it is installed: the best of a few runs.
fn igzip(path: &str) -> Option<f64> {
    let mut best = None;
    for _ in 0..3 {
        let script = format!("igzip -d -c '{path}' > /dev/null; times");
        let output = Command::new("bash").args(["-c", &script]).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let children: f64 = text
            .lines()
            .nth(1)?
            .split_whitespace()
            .filter_map(|time| time.trim_end_matches('s').split_once('m')?.1.parse::<f64>().ok())
            .sum();
        if children > 0.02 && best.is_none_or(|best| children < best) {
            best = Some(children);
        }
    }
    best
}

fn inflate_row(path: &str) {
    let pool = BufferPool::new(4);
    let data = std::fs::read(path).expect("a readable file");
    let size = ours(&data, false, &pool);
    let mut out = vec![0u8; size];
    let mut window = vec![0u8; 256 * 1024];
    let mut best = [f64::MAX; 4];
    for _ in 0..ROUNDS {
        let times = [
            timed(|| assert_eq!(ours(&data, false, &pool), size)),
            timed(|| assert_eq!(ours(&data, true, &pool), size)),
            timed(|| {
                let done = libdeflater::Decompressor::new().gzip_decompress(&data, &mut out);
                assert_eq!(done, Ok(size));
            }),
            timed(|| {
                let mut reader = flate2::read::MultiGzDecoder::new(&data[..]);
                while reader.read(&mut window).expect("valid gzip") > 0 {}
            }),
        ];
        for (best, time) in best.iter_mut().zip(times) {
            *best = best.min(time);
        }
    }
    let speed = |seconds: f64| format!("{:.0} ({:.2})", size as f64 / 1e6 / seconds, best[3] / seconds);
    let isal = igzip(path).map_or_else(|| "not installed".into(), speed);
    println!(
        "| {} | {:.0} | {:.2} | {} | {} | {} | {isal} | {} |",
        path.rsplit('/').next().unwrap_or(path),
        size as f64 / 1e6,
        size as f64 / data.len() as f64,
        speed(best[0]),
        speed(best[1]),
        speed(best[2]),
        speed(best[3]),
    );
}

/// Decodes, and writes all but a share of the stream's 8 KiB pieces.
fn splice_row(path: &str, removed_per_mille: u64) {
    let data = std::fs::read(path).expect("a readable file");
    let pool = BufferPool::new(16);
    let mut output = 0;
    let mut summary = None;
    let seconds = timed(|| {
        let mut writer = GzipWriter::new(GzipOptions { level: 6, threads: 1 }, |part: Bytes| {
            output += part.len();
            Ok(())
        })
        .expect("a valid level");
        let mut decoder = GzipDecoder::new(&pool, true);
        let mut parts = data.chunks(128 * 1024);
        let mut part: &[u8] = &[];
        let mut finishing = false;
        loop {
            let chunk =
                if finishing { decoder.finish() } else { decoder.decode(&mut part) }.expect("valid gzip");
            let Some(chunk) = chunk else {
                if finishing {
                    break;
                }
                match parts.next() {
                    Some(next) => part = next,
                    None => finishing = true,
                }
                continue;
            };
            let mut at = chunk.offset;
            let end = at + chunk.data.len() as u64;
            while at < end {
                let piece = at / 8192;
                let next = ((piece + 1) * 8192).min(end);
                // The finalizer of SplitMix64: a removal that looks random and is the same in every run.
                let mut hash = piece.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                if (hash ^ (hash >> 27)) % 1000 >= removed_per_mille {
                    let slice =
                        chunk.data.slice((at - chunk.offset) as usize..(next - chunk.offset) as usize);
                    let origin = Origin { stream: 0, offset: at, blocks: chunk.blocks.clone() };
                    writer.write(slice, Some(origin)).expect("a sink that takes everything");
                }
                at = next;
            }
        }
        summary = Some(writer.finish().expect("a sink that takes everything"));
    });
    let summary = summary.expect("a finished writer");
    let source = data.len() as f64 / decoder_size(&data, &pool) as f64;
    println!(
        "| {} | {:.1} % | {:.1} % | {:.0} | {:+.2} % |",
        path.rsplit('/').next().unwrap_or(path),
        removed_per_mille as f64 / 10.0,
        summary.copied as f64 * 100.0 / summary.uncompressed as f64,
        summary.uncompressed as f64 / 1e6 / seconds,
        (summary.compressed as f64 / (summary.uncompressed as f64 * source) - 1.0) * 100.0,
    );
}

fn decoder_size(data: &[u8], pool: &BufferPool) -> usize {
    ours(data, false, pool)
}

fn encode_rows(path: &str) {
    let packed = std::fs::read(path).expect("a readable file");
    let mut data = Vec::new();
    flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut data).expect("valid gzip");
    data.truncate(64_000_000);
    let name = path.rsplit('/').next().unwrap_or(path);
    let row = |codec: &str, size: usize, seconds: f64, threads: usize| {
        let speed = data.len() as f64 / 1e6 / seconds;
        println!("| {name} | {codec} | {threads} | {:.3} | {speed:.0} |", data.len() as f64 / size as f64);
    };
    let content = Bytes::from(data.clone());
    for (level, threads) in [(1, 1), (1, 2), (4, 1), (6, 1), (6, 2), (9, 1)] {
        let start = std::time::Instant::now();
        let mut writer = GzipWriter::new(GzipOptions { level, threads }, |_| Ok(())).expect("a valid level");
        for at in (0..content.len()).step_by(256 * 1024) {
            writer.write(content.slice(at..(at + 256 * 1024).min(content.len())), None).expect("a sink");
        }
        let size = writer.finish().expect("a sink").compressed as usize;
        row(&format!("gzip level {level}"), size, start.elapsed().as_secs_f64(), threads);
    }
    for level in [1, 6] {
        let start = std::time::Instant::now();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        std::io::Write::write_all(&mut encoder, &data).expect("a vector");
        let size = encoder.finish().expect("a vector").len();
        row(&format!("zlib-rs level {level}"), size, start.elapsed().as_secs_f64(), 1);
    }
    for (level, threads) in [(1, 1), (3, 1), (3, 2), (6, 1)] {
        let start = std::time::Instant::now();
        let mut packed = Vec::new();
        let mut writer = ZstdWriter::new(ZstdOptions { level, threads }, |part: Bytes| {
            packed.extend_from_slice(&part);
            Ok(())
        })
        .expect("a valid level");
        data.chunks(256 * 1024).for_each(|part| writer.write(part).expect("a sink"));
        let size = writer.finish().expect("a sink").compressed as usize;
        row(&format!("zstd level {level}"), size, start.elapsed().as_secs_f64(), threads as usize);
        if (level, threads) == (3, 1) {
            let pool = BufferPool::new(2);
            let seconds = timed(|| {
                let mut decoder = ZstdDecoder::new(&pool, 27).expect("memory");
                let mut rest = &packed[..];
                while decoder.decode(&mut rest).expect("valid zstd").is_some() {}
            });
            row("zstd level 3, decoding", size, seconds, 1);
        }
    }
}

fn main() {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let inflate_only = paths.first().is_some_and(|first| first == "--inflate");
    if inflate_only {
        paths.remove(0);
    }
    println!(
        "| file | MB | ratio | ours, MB/s (× zlib-rs) | ours, blocks recorded | libdeflate | ISA-L (igzip) | zlib-rs |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    paths.iter().for_each(|path| inflate_row(path));
    if inflate_only {
        return;
    }
    println!("\n| file | removed | copied | MB/s | size against the source's ratio |");
    println!("|---|---|---|---|---|");
    for path in &paths {
        for removed in [0, 1, 10, 100, 300] {
            splice_row(path, removed);
        }
    }
    println!("\n| file | codec | threads | ratio | MB/s |");
    println!("|---|---|---|---|---|");
    paths.iter().for_each(|path| encode_rows(path));
}
