//! Any bytes as a layer: it is read or refused, however it is cut; and what comes out of it comes out of itself again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use unbloat_layers::tar::BLOCK;
use unbloat_layers::{MemoryLayers, Options, flatten};

/// Gives blocks that ask for it a right checksum, which the fuzzer would not find by itself.
fn seal(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(BLOCK) {
        if block[155] & 1 == 1 {
            block[148..156].fill(b' ');
            let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

fn flat(tar: &[u8], chunk_bytes: usize, hold_bytes: usize) -> Result<Vec<u8>, String> {
    let layers = MemoryLayers { layers: vec![Bytes::copy_from_slice(tar)], chunk_bytes };
    // A sparse file of a few bytes may claim terabytes.
    let options = Options { max_unpacked_bytes: 1 << 20, hold_bytes, ..Options::default() };
    flatten(&layers, &options).map(|(tar, _)| tar).map_err(|error| error.to_string())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let mut tar = bytes.to_vec();
    seal(&mut tar);
    let result = flat(&tar, tar.len(), 1 << 20);
    // A layer that is refused may be refused for another of its faults when it is streamed.
    match (&result, flat(&tar, usize::from(step) + 1, 0)) {
        (Ok(one), Ok(other)) => assert!(one == &other, "other bytes with small chunks and no memory"),
        (Err(_), Err(_)) => {}
        (one, other) => panic!("{:?} and {:?}", one.as_ref().map(Vec::len), other.map(|tar| tar.len())),
    }
    if let Ok(result) = result {
        let again = flat(&result, 1 << 20, 1 << 20);
        assert_eq!(again.as_ref(), Ok(&result), "flattening a flat layer changes it");
    }
});
