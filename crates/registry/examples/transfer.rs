//! Measures a pull of many blobs and a push of one against a registry: `transfer HOST/REPO [BLOBS]
//! [BLOB_BYTES] [PUSH_BYTES]`.
//!
//! The blobs are made and pushed first. What is printed is wall time and this process's processor time
//! (Linux).

use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use unbloat_oci::{Codec, Descriptor, Family};
use unbloat_registry::{Client, ClientOptions, Location, UploadOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let location: Location = arguments.next().ok_or("HOST/REPO is missing")?.parse()?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, size, push) = (number(272)?, number(800_000)?, number(80_000_000)?);
    let client = Client::new(ClientOptions::default());
    let (source, destination) = (client.source(&location).await?, client.destination(&location).await?);
    let media_type = Family::Oci.layer(Codec::Gzip).ok_or("no such layer")?;

    let blobs: Vec<Bytes> = (0..count).map(|seed| noise(seed as u64, size)).collect();
    let descriptors: Vec<Descriptor> = stream::iter(blobs)
        .map(|blob| destination.put_blob(media_type.clone(), blob))
        .buffered(4)
        .try_collect()
        .await?;

    let (begin, busy) = (Instant::now(), processor_seconds());
    let read: u64 = stream::iter(descriptors)
        .map(|descriptor| {
            let mut stream = source.blob(&descriptor);
            tokio::spawn(async move {
                let mut read = 0;
                while let Some(bytes) = stream.chunk().await? {
                    read += bytes.len() as u64;
                }
                Ok::<u64, unbloat_registry::Error>(read)
            })
        })
        .buffer_unordered(4)
        .try_fold(0, |sum, read| async move { Ok(sum + read.unwrap_or(0)) })
        .await?;
    report(&format!("pulled and verified {read} bytes in {count} blobs"), begin, busy);

    let bytes = noise(999_999_999, push);
    let (begin, busy) = (Instant::now(), processor_seconds());
    let mut upload = destination.upload(UploadOptions::default()).await?;
    for start in (0..push).step_by(1 << 20) {
        upload.write(bytes.slice(start..push.min(start + (1 << 20)))).await?;
    }
    upload.finish(None).await?;
    report(&format!("hashed and pushed {push} bytes in chunks"), begin, busy);
    Ok(())
}

fn report(what: &str, begin: Instant, busy: f64) {
    let (wall, busy) = (begin.elapsed().as_secs_f64(), processor_seconds() - busy);
    println!("{what}: {wall:.3} s, processor {busy:.2} s");
}

/// User and system time so far, in ticks of 10 ms; 0 where there is no `/proc`.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out.into()
}
