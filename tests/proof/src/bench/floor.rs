//! The floor of a flatten: every stored byte read and hashed once, inflated once, and what survives encoded
//! as zstd level 3 and hashed once, with the fastest codecs on every core and no work in between.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::{
    command,
    image::{Image, Layout},
    tools::fast_folder,
};

/// Survivors are encoded in pieces of this size, side by side.
const PIECE: usize = 4 << 20;

/// The time that the work itself takes for this image, which `reference` names.
pub fn floor(image: &Image, reference: &str) -> Result<Duration> {
    let survivors = survivors(reference)?;
    let sizes: Vec<usize> = image.tars.iter().map(Vec::len).collect();
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        let begin = Instant::now();
        on_all_cores(image.blobs.len(), |index| {
            let blob = &image.blobs[index];
            std::hint::black_box(Sha256::digest(blob));
            let mut tar = vec![0; sizes[index]];
            inflate(blob, &mut tar);
            std::hint::black_box(&tar);
        });
        on_all_cores(survivors.len().div_ceil(PIECE), |index| {
            let piece = &survivors[index * PIECE..survivors.len().min((index + 1) * PIECE)];
            let packed = zstd::bulk::compress(piece, 3).expect("memory takes everything");
            std::hint::black_box(Sha256::digest(&packed));
        });
        shortest = shortest.min(begin.elapsed());
    }
    Ok(shortest)
}

/// What has to be encoded: the squashed image's tar, made without compression.
fn survivors(reference: &str) -> Result<Vec<u8>> {
    let folder = fast_folder()?;
    let layout = Layout::create(folder.path().join("squashed"))?;
    command::run(["squash", reference, &layout.reference("plain"), "--compression", "none"])?.success()?;
    let mut image = layout.image("plain")?;
    image.tars.pop().context("a squashed image has a layer")
}

fn inflate(blob: &[u8], tar: &mut [u8]) {
    if blob.starts_with(&[0x1f, 0x8b]) {
        let mut at = 0;
        let mut rest = blob;
        // Each member tells its own size in its last four bytes only, so members are inflated as far as there
        // is room.
        let mut inflater = libdeflater::Decompressor::new();
        if inflater.gzip_decompress(rest, tar).is_err() {
            while !rest.is_empty() && at < tar.len() {
                let mut member = flate2::bufread::GzDecoder::new(rest);
                while let Ok(count @ 1..) = std::io::Read::read(&mut member, &mut tar[at..]) {
                    at += count;
                }
                rest = member.into_inner();
            }
        }
    } else if blob.starts_with(&[0x28, 0xb5]) {
        zstd::bulk::decompress_to_buffer(blob, tar).expect("the layer was read before");
    } else {
        tar.copy_from_slice(blob);
    }
}

fn on_all_cores(items: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= items {
                        return;
                    }
                    work(index);
                }
            });
        }
    });
}
