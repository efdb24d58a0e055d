//! Servers, clients and small images for the tests.
#![allow(clippy::allow_attributes, dead_code, reason = "each test file uses a part of this")]

use std::time::Duration;

use bytes::Bytes;
use unbloat_oci::{Descriptor, Digest, Family, Manifest, MediaType};
use unbloat_registry::{Client, ClientOptions, Destination, Location, Retry, Source, Timeouts, UploadPolicy};
use unbloat_registry_server::{Options, Server};

/// Small enough that a blob of a test has many.
pub(crate) const CHUNK: usize = 100_000;

pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        retry: Retry {
            attempts: 4,
            base: Duration::from_millis(5),
            cap: Duration::from_millis(20),
            longest_retry_after: Duration::from_secs(5),
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            stall: Duration::from_millis(300),
            helper: Duration::from_secs(5),
            commit: Duration::from_secs(3),
        },
        upload: UploadPolicy { chunk_bytes: CHUNK, ..UploadPolicy::default() },
        ..ClientOptions::default()
    }
}

pub(crate) async fn server() -> Server {
    Server::start(Options::default()).await.unwrap()
}

pub(crate) fn client() -> Client {
    Client::new(options())
}

pub(crate) fn location(server: &Server, name: &str) -> Location {
    format!("{}/{name}", server.host()).parse().unwrap()
}

pub(crate) async fn source(client: &Client, server: &Server, name: &str) -> Source {
    client.source(&location(server, name)).await.unwrap()
}

pub(crate) async fn destination(client: &Client, server: &Server, name: &str) -> Destination {
    client.destination(&location(server, name)).await.unwrap()
}

/// Bytes that no piece of repeats.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
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

pub(crate) fn layer_type() -> MediaType {
    Family::Oci.layer(unbloat_oci::Codec::Gzip).unwrap()
}

pub(crate) fn descriptor(bytes: &Bytes) -> Descriptor {
    Descriptor::of(layer_type(), bytes)
}

pub(crate) const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"history":[{"created_by":"test"}]}"#;

/// Publishes an image of these layers and gives its manifest's digest.
pub(crate) async fn publish(destination: &Destination, layers: &[Bytes]) -> Digest {
    let config = destination.put_blob(Family::Oci.config(), CONFIG.into()).await.unwrap();
    let mut descriptors = Vec::new();
    for layer in layers {
        descriptors.push(destination.put_blob(layer_type(), layer.clone()).await.unwrap());
    }
    let manifest = Manifest::new(Family::Oci, config, descriptors);
    let bytes = Bytes::from(manifest.to_bytes());
    destination.publish(manifest.media_type(), bytes, None).await.unwrap().descriptor.digest().clone()
}

/// A small generator of numbers, so that a failing sequence can be repeated by its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub(crate) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()].clone()
    }

    pub(crate) fn times(&mut self, most: u64) -> usize {
        usize::try_from(self.roll(most + 1)).unwrap()
    }
}
