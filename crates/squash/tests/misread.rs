//! Bytes that come wrong now and then: no squash, analysis or comparison is lost for them, and none is wrong.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use unbloat_contract::{AnalyzeRequest, SquashRequest, VerifyRequest};
use unbloat_oci::{Digest, Family, Manifest};
use unbloat_registry::{Client, ClientOptions, Location, Retry};
use unbloat_registry_server::{Options, Quirk, Server};
use unbloat_squash::Progress;

/// Enough that one in five is hit more than once in every run.
const LAYERS: u64 = 14;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// A layer with a file of its own, one that every layer has, and compressed as `codec` says.
fn layer(number: u64, gzip: bool) -> (Vec<u8>, Digest) {
    let mut builder = tar::Builder::new(Vec::new());
    let size = if number.is_multiple_of(3) { 1_500_000 } else { 400_000 };
    for (name, content) in
        [(format!("own-{number}"), noise(number, size)), ("log".to_owned(), noise(99 + number, 300_000))]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let diff_id = Digest::sha256_of(&tar);
    if !gzip {
        return (tar, diff_id);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar).unwrap();
    (encoder.finish().unwrap(), diff_id)
}

fn client() -> Client {
    let retry = Retry { base: Duration::from_millis(2), cap: Duration::from_millis(10), ..Retry::default() };
    Client::new(ClientOptions { retry, ..ClientOptions::default() })
}

/// A server with an image of gzip and plain layers.
async fn published() -> Server {
    let server = Server::start(Options::default()).await.unwrap();
    let location: Location = format!("{}/a/b:t", server.host()).parse().unwrap();
    let destination = client().destination(&location).await.unwrap();
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for number in 0..LAYERS {
        let gzip = number % 4 != 1;
        let (bytes, diff_id) = layer(number, gzip);
        let codec = if gzip { unbloat_oci::Codec::Gzip } else { unbloat_oci::Codec::None };
        let media_type = Family::Oci.layer(codec).unwrap();
        layers.push(destination.put_blob(media_type, Bytes::from(bytes)).await.unwrap());
        diff_ids.push(diff_id.to_string());
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = destination.put_blob(Family::Oci.config(), config.to_string().into()).await.unwrap();
    let manifest = Manifest::new(Family::Oci, config, layers);
    destination.publish(manifest.media_type(), manifest.to_bytes().into(), None).await.unwrap();
    server
}

async fn squash(source: &str, target: &str) -> Result<String, unbloat_squash::Error> {
    let request = SquashRequest::new(source, target);
    let progress = Arc::new(Progress::default());
    unbloat_squash::squash(&client(), &request, &progress).await.map(|result| result.figures.digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_five_readings_corrupted_at_most_twice_in_a_row_is_survived_every_time() {
    let plain = published().await;
    let target = Server::start(Options::default()).await.unwrap();
    let expected =
        squash(&format!("{}/a/b:t", plain.host()), &format!("{}/x:plain", target.host())).await.unwrap();
    for seed in 0..8 {
        for more in [vec![], vec![Quirk::NoRanges]] {
            let quirks = [vec![Quirk::CorruptOneIn(5, seed)], more].concat();
            let server =
                Server::start_beside(&plain, Options { quirks, ..Options::default() }).await.unwrap();
            let source = format!("{}/a/b:t", server.host());
            let digest = squash(&source, &format!("{}/x:seed-{seed}", target.host())).await;
            assert_eq!(digest.unwrap(), expected, "seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_blob_that_comes_wrong_twice_is_survived_by_every_command_that_reads_layers() {
    let plain = published().await;
    let target = Server::start(Options::default()).await.unwrap();
    let beside = async |times: usize| {
        let quirks = vec![Quirk::CorruptBlobs(times)];
        Server::start_beside(&plain, Options { quirks, ..Options::default() }).await.unwrap()
    };
    for times in [1, 2] {
        let server = beside(times).await;
        let (a, b) = (format!("{}/a/b:t", server.host()), format!("{}/a/b:t", plain.host()));
        squash(&a, &format!("{}/x:t", target.host())).await.unwrap();

        let server = beside(times).await;
        let a_again = format!("{}/a/b:t", server.host());
        let analysis = unbloat_squash::analyze(
            &client(),
            &AnalyzeRequest { image: a_again.clone(), ..AnalyzeRequest::default() },
            &Arc::default(),
        )
        .await
        .unwrap();
        let clean = unbloat_squash::analyze(
            &client(),
            &AnalyzeRequest { image: b.clone(), ..AnalyzeRequest::default() },
            &Arc::default(),
        )
        .await
        .unwrap();
        assert_eq!(analysis.totals, clean.totals);
        assert_eq!(analysis.warnings, clean.warnings);

        let server = beside(times).await;
        let a = format!("{}/a/b:t", server.host());
        let compared = unbloat_squash::verify(
            &client(),
            &VerifyRequest { a, b: b.clone(), ..VerifyRequest::default() },
            &Arc::default(),
        )
        .await
        .unwrap();
        assert!(compared.equal);
    }
    // What is wrong for ever is an error that names the layer, and nothing is published.
    let server = beside(usize::MAX).await;
    let error =
        squash(&format!("{}/a/b:t", server.host()), &format!("{}/x:never", target.host())).await.unwrap_err();
    assert_eq!(error.exit_code(), 6, "{error}");
    assert_eq!(target.tag("x", "never"), None);
    assert_eq!(target.open_uploads(), 0);
}
