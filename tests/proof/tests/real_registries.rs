//! Uploads to registries that others wrote: Debian's docker-registry and distribution v3, each alone and
//! behind a real nginx with TLS, a limit on bodies and a path before the repositories.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use unbloat_oci::{Codec, Digest, Family, Manifest};
use unbloat_proof::proxy::Proxy;
use unbloat_proof::registry::{Flavour, Registry};
use unbloat_registry::{Client, ClientOptions, Location, UploadMode, UploadPolicy};

const MODES: [UploadMode; 4] = [UploadMode::Auto, UploadMode::Chunked, UploadMode::Stream, UploadMode::Whole];
/// A layer of this and a few bytes has several chunks.
const LAYER: usize = 20 << 20;

fn client(mode: UploadMode, trust: Option<&Proxy>) -> Client {
    Client::new(ClientOptions {
        ca_files: trust.map(Proxy::authority).into_iter().collect(),
        upload: UploadPolicy { chunk_bytes: 8 << 20, mode },
        ..ClientOptions::default()
    })
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

/// Pushes a large layer, a small one and an empty blob, then the image, and reads all of it back.
async fn push_and_read(client: &Client, reference: &str, seed: u64) -> Result<()> {
    let location: Location = reference.parse()?;
    let destination = client.destination(&location).await?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256_of(b"").as_str()]},
        "history": [{"created_by": "test"}],
    });
    let config = destination.put_blob(Family::Oci.config(), serde_json::to_vec(&config)?.into()).await?;
    let media_type = Family::Oci.layer(Codec::None).expect("OCI has it");
    let mut layers = Vec::new();
    for length in [LAYER + 77, 1000, 0] {
        layers.push(destination.put_blob(media_type.clone(), noise(seed, length)).await?);
    }
    let manifest = Manifest::new(Family::Oci, config, layers.clone());
    destination.publish(manifest.media_type(), manifest.to_bytes().into(), None).await?;
    let source = client.source(&location).await?;
    let read = source.resolve().await?;
    assert_eq!(read.bytes, manifest.to_bytes());
    for layer in &layers {
        source.blob(layer).collect(1 << 30).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_way_of_uploading_works_with_both_registries() -> Result<()> {
    for flavour in [Flavour::Debian, Flavour::DistributionV3] {
        let registry = Registry::start(flavour)?;
        for (seed, mode) in (1..).zip(MODES) {
            let reference = registry.reference(&format!("ways/image:{seed}"));
            push_and_read(&client(mode, None), &reference, seed).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_way_of_uploading_works_behind_nginx_with_tls_and_a_path() -> Result<()> {
    for flavour in [Flavour::Debian, Flavour::DistributionV3] {
        let registry = Registry::start(flavour)?;
        let proxy = Proxy::start(&registry, "0")?;
        for (seed, mode) in (1..).zip(MODES) {
            let reference = proxy.reference(&format!("ways/image:{seed}"));
            push_and_read(&client(mode, Some(&proxy)), &reference, seed).await?;
        }
        assert!(registry.log()?.contains("/v2/ways/image/blobs/uploads/"), "the path is nginx's alone");
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_of_nginx_on_bodies_makes_chunks_smaller() -> Result<()> {
    for flavour in [Flavour::Debian, Flavour::DistributionV3] {
        let registry = Registry::start(flavour)?;
        let proxy = Proxy::start(&registry, "3m")?;
        push_and_read(&client(UploadMode::Auto, Some(&proxy)), &proxy.reference("limit/image:t"), 9).await?;
        assert!(proxy.log()?.contains(" 413 "), "the limit was met");
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_of_nginx_that_nothing_fits_is_named() -> Result<()> {
    let registry = Registry::start(Flavour::Debian)?;
    let proxy = Proxy::start(&registry, "512k")?;
    let (client, reference) = (client(UploadMode::Auto, Some(&proxy)), proxy.reference("limit/image:t"));
    let pushed = push_and_read(&client, &reference, 9);
    let error = tokio::time::timeout(Duration::from_secs(120), pushed).await?.unwrap_err();
    assert!(error.to_string().contains("client_max_body_size"), "{error}");
    Ok(())
}
