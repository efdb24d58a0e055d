//! Every command that writes, against registries that depart from the specification in how they take blobs:
//! the image arrives as it would at any other, in the same run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use unbloat_contract::{Base, RebaseRequest, RemoveRequest, SquashRequest, VerifyRequest};
use unbloat_oci::{Codec, Descriptor, Digest, Family, Manifest};
use unbloat_registry::{Client, ClientOptions, Location, Retry, UploadPolicy};
use unbloat_registry_server::{LocationForm, Naming, Options, Quirk, RangeForm, Server};
use unbloat_squash::Progress;

/// Small, so that a layer of a test has many.
const CHUNK: usize = 64 << 10;

/// What registries do, alone and two at a time.
fn behaviours() -> Vec<Vec<Quirk>> {
    vec![
        vec![],
        vec![Quirk::RangeSays(RangeForm::Stuck)],
        vec![Quirk::RangeSays(RangeForm::LastChunk), Quirk::PatchAnswers(201)],
        vec![Quirk::RefuseChunks(0, 405)],
        vec![Quirk::RefuseChunks(2, 416)],
        vec![Quirk::RefuseChunks(1, 400), Quirk::RefuseStreams(404)],
        vec![Quirk::RefuseWhole(405)],
        vec![Quirk::BodyLimit(CHUNK as u64, 413)],
        vec![Quirk::KeepLastChunk],
        vec![Quirk::ForgetSessions(3)],
        vec![Quirk::CommitAnswers(1, 504), Quirk::LateBlobs(2)],
        vec![Quirk::CommitAnswers(1, 404)],
        vec![Quirk::LocationSays(LocationForm::Relative)],
        vec![Quirk::MovedUploads(307), Quirk::RefuseChunks(2, 405)],
        vec![Quirk::MountAnswers(500), Quirk::HeadOfBlobs(403)],
        vec![Quirk::MountLies],
        vec![Quirk::MissesSent(1, Naming::Named)],
        vec![Quirk::MissesSent(1, Naming::Unnamed), Quirk::RefuseChunks(1, 400)],
        vec![Quirk::LeastChunk(2 * CHUNK as u64, 400)],
        vec![Quirk::OldProtocol, Quirk::RefuseCoded(411), Quirk::RefuseChunks(1, 411)],
        vec![Quirk::NoUploadStatus(404), Quirk::CloseConnections],
    ]
}

fn client() -> Client {
    let mut options = ClientOptions {
        retry: Retry { base: Duration::from_millis(5), cap: Duration::from_millis(50), ..Retry::default() },
        upload: UploadPolicy { chunk_bytes: CHUNK, ..UploadPolicy::default() },
        ..ClientOptions::default()
    };
    options.timeouts.commit = Duration::from_secs(3);
    Client::new(options)
}

/// A layer with one file of bytes that do not compress.
fn layer(name: &str, seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(size + 8);
    while content.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(size);
    let header = unbloat_layers::tar::simple_header(name.as_bytes(), b'0', 0o644, size as u64);
    let mut tar = header.to_vec();
    tar.extend_from_slice(&content);
    tar.resize(tar.len().next_multiple_of(512), 0);
    tar.extend_from_slice(&unbloat_layers::tar::TRAILER);
    tar
}

async fn push(client: &Client, image: &str, layers: &[Vec<u8>]) {
    let destination = client.destination(&image.parse::<Location>().unwrap()).await.unwrap();
    let media_type = Family::Oci.layer(Codec::None).unwrap();
    let mut descriptors: Vec<Descriptor> = Vec::new();
    for tar in layers {
        descriptors.push(destination.put_blob(media_type.clone(), tar.clone().into()).await.unwrap());
    }
    let diff_ids: Vec<String> = layers.iter().map(|tar| Digest::sha256_of(tar).to_string()).collect();
    let config = serde_json::json!({
        "architecture": unbloat_oci::Platform::host().architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| serde_json::json!({"created_by": "test"})).collect::<Vec<_>>(),
    });
    let config = Bytes::from(serde_json::to_vec(&config).unwrap());
    let config = destination.put_blob(Family::Oci.config(), config).await.unwrap();
    let manifest = Manifest::new(Family::Oci, config, descriptors);
    destination.publish(manifest.media_type(), manifest.to_bytes().into(), None).await.unwrap();
}

/// The images of a test, at the quirky registry: they were put there without its quirks, so mounts are
/// possible.
struct Ground {
    quirky: Server,
    plain: Server,
    client: Client,
}

impl Ground {
    async fn new(quirks: Vec<Quirk>) -> Self {
        let plain = Server::start(Options::default()).await.unwrap();
        let quirky = Server::start_beside(&plain, Options { quirks, ..Options::default() }).await.unwrap();
        let ground = Self { quirky, plain, client: client() };
        let base = layer("base", 1, 500_000);
        let other = layer("base", 2, 450_000);
        let data = layer("data", 3, 400_000);
        let more = layer("more", 4, 300_000);
        let writer = client();
        push(&writer, &ground.plain("source/image"), &[base.clone(), data, more]).await;
        push(&writer, &ground.plain("source/old"), &[base]).await;
        push(&writer, &ground.plain("source/new"), &[other]).await;
        ground
    }

    fn plain(&self, name: &str) -> String {
        format!("{}/{name}:t", self.plain.host())
    }

    fn quirky(&self, name: &str) -> String {
        format!("{}/{name}:t", self.quirky.host())
    }

    /// What was published is a whole image, read without quirks and verified.
    async fn is_whole(&self, name: &str, quirks: &[Quirk]) {
        let location: Location = self.plain(name).parse().unwrap();
        let source = client().source(&location).await.unwrap();
        let fetched = source.resolve().await.unwrap_or_else(|error| panic!("{quirks:?}: {error}"));
        let image = Manifest::parse(Some(fetched.descriptor.media_type()), &fetched.bytes).unwrap();
        for blob in image.layers().iter().chain([image.config()]) {
            let read = source.blob(blob).collect(1 << 30).await;
            read.unwrap_or_else(|error| panic!("{quirks:?}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn squash_reaches_every_registry_with_the_same_digest() {
    let mut digests = Vec::new();
    for quirks in behaviours() {
        let ground = Ground::new(quirks.clone()).await;
        for (name, base) in [("squashed/flat", None), ("squashed/based", Some(Base::Layers(1)))] {
            let request = SquashRequest {
                base,
                ..SquashRequest::new(&ground.quirky("source/image"), &ground.quirky(name))
            };
            let result =
                unbloat_squash::squash(&ground.client, &request, &Arc::new(Progress::default())).await;
            let result = result.unwrap_or_else(|error| panic!("{quirks:?}: {error}"));
            ground.is_whole(name, &quirks).await;
            digests.push((name, result.figures.digest));
        }
        let request = VerifyRequest {
            a: ground.plain("source/image"),
            b: ground.plain("squashed/flat"),
            ..VerifyRequest::default()
        };
        let verified = unbloat_squash::verify(&client(), &request, &Arc::new(Progress::default())).await;
        assert!(verified.unwrap().equal, "{quirks:?}");
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 2, "the way of uploading is not in the result");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_reaches_every_registry_from_itself_and_from_another() {
    for quirks in behaviours() {
        let ground = Ground::new(quirks.clone()).await;
        let elsewhere = Server::start(Options::default()).await.unwrap();
        let other = format!("{}/other/image:t", elsewhere.host());
        push(&client(), &other, &[layer("data", 7, 500_000), layer("more", 8, 10_000)]).await;
        for (from, name) in [(ground.quirky("source/image"), "copied/own"), (other, "copied/other")] {
            let source = ground.client.source(&from.parse().unwrap()).await.unwrap();
            let to = ground.client.destination(&ground.quirky(name).parse().unwrap()).await.unwrap();
            let copied = unbloat_registry::copy(&source, &to, &[]).await;
            copied.unwrap_or_else(|error| panic!("{quirks:?}: {name}: {error}"));
            ground.is_whole(name, &quirks).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remove_and_rebase_reach_every_registry() {
    for quirks in behaviours() {
        let ground = Ground::new(quirks.clone()).await;
        let progress = Arc::new(Progress::default());
        let remove = RemoveRequest {
            source: ground.quirky("source/image"),
            destination: ground.quirky("edited/removed"),
            paths: vec!["data".into()],
            ..RemoveRequest::default()
        };
        let removed = unbloat_squash::remove(&ground.client, &remove, &progress).await;
        removed.unwrap_or_else(|error| panic!("{quirks:?}: remove: {error}"));
        ground.is_whole("edited/removed", &quirks).await;
        let rebase = RebaseRequest {
            source: ground.quirky("source/image"),
            destination: ground.quirky("edited/rebased"),
            old_base: ground.quirky("source/old"),
            new_base: ground.quirky("source/new"),
            ..RebaseRequest::default()
        };
        let rebased = unbloat_squash::rebase(&ground.client, &rebase, &progress).await;
        rebased.unwrap_or_else(|error| panic!("{quirks:?}: rebase: {error}"));
        ground.is_whole("edited/rebased", &quirks).await;
    }
}

/// What neither chunks nor streams nor whole blobs can reach is an error in the registry's words, and no
/// image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_takes_nothing_has_no_image_afterwards() {
    let all = vec![Quirk::RefuseChunks(2, 405), Quirk::RefuseStreams(405), Quirk::RefuseWhole(405)];
    let ground = Ground::new(all).await;
    let request = SquashRequest::new(&ground.quirky("source/image"), &ground.quirky("squashed/flat"));
    let error =
        unbloat_squash::squash(&ground.client, &request, &Arc::new(Progress::default())).await.unwrap_err();
    assert!(error.to_string().contains("405"), "{error}");
    assert_eq!(ground.quirky.tag("squashed/flat", "t"), None);
}

/// A layer that was made here has no other origin: it is made once more, and a registry that loses it again
/// is the error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_loses_a_new_layer_gets_it_once_more_and_no_third_time() {
    for naming in [Naming::Named, Naming::Unnamed] {
        for verify in [false, true] {
            let sent = |ground: &Ground| {
                let commits = ground.quirky.requests().into_iter().filter(|request| {
                    request.method.as_str() == "PUT"
                        && request.path.contains("squashed/flat/blobs/uploads/")
                        && request.status == 201
                });
                commits.count()
            };
            let squash = async |ground: &Ground| {
                let request = SquashRequest {
                    verify,
                    ..SquashRequest::new(&ground.quirky("source/image"), &ground.quirky("squashed/flat"))
                };
                unbloat_squash::squash(&ground.client, &request, &Arc::new(Progress::default())).await
            };
            let ground = Ground::new(vec![Quirk::MissesSent(1, naming)]).await;
            let result = squash(&ground).await.unwrap();
            assert!(result.warnings.iter().any(|warning| warning.contains("lost a layer")), "{result:?}");
            assert_eq!(sent(&ground), 4, "layer and config, each twice");
            ground.is_whole("squashed/flat", &[]).await;

            let ground = Ground::new(vec![Quirk::MissesSent(9, naming)]).await;
            let error = squash(&ground).await.unwrap_err();
            assert_eq!(error.exit_code(), 5, "{error}");
            assert!(error.to_string().contains("it has confirmed these blobs before"), "{error}");
            assert!(sent(&ground) <= 5, "{} blobs were sent", sent(&ground));
            assert_eq!(ground.quirky.tag("squashed/flat", "t"), None);
            assert_eq!(ground.quirky.open_uploads(), 0);
        }
    }
}

#[tokio::test]
async fn a_shape_that_is_not_carried_out_is_refused_before_anything_is_read() {
    let server = Server::start(Options::default()).await.unwrap();
    let client = Client::new(ClientOptions::default());
    let name = format!("{}/a/b:t", server.host());
    let mut request = SquashRequest::new(&name, &name);
    request.shape.max_layers = 16;
    let error = unbloat_squash::squash(&client, &request, &Arc::new(Progress::default())).await.unwrap_err();
    assert!(matches!(error, unbloat_squash::Error::Request(_)), "{error}");
    assert!(error.to_string().contains("shape.maxLayers"), "{error}");
    assert!(server.requests().is_empty());
}
