//! The push protocol against a server that fails: each fault is survived, or there is a clear error and
//! nothing published.

mod common;

use bytes::Bytes;
use common::{CHUNK, client, descriptor, destination, layer_type, noise, options, server};
use reqwest::Method;
use unbloat_oci::{Digest, Family, Manifest};
use unbloat_registry::{
    BlobCopy, Category, Client, ClientOptions, Destination, Error, ErrorKind, Unchanged, UploadMode,
    UploadOptions, UploadPolicy,
};
use unbloat_registry_server::{Fault, Options, Rule, Server};

const UPLOADS: &str = "/blobs/uploads/";

/// Writes bytes as a pipeline does: in pieces of another size than the chunks, and once more when they are
/// wanted again.
async fn push(destination: &Destination, bytes: &Bytes) -> Result<Digest, Error> {
    let mut remakes = destination.remakes();
    loop {
        match push_once(destination, bytes).await {
            Err(error) if remakes.again(&error).await => {}
            outcome => return outcome,
        }
    }
}

async fn push_once(destination: &Destination, bytes: &Bytes) -> Result<Digest, Error> {
    let mut upload = destination.upload(UploadOptions::default()).await?;
    for piece in bytes.chunks(37_001) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    let (digest, size) = upload.finish(None).await?;
    assert_eq!(size, bytes.len() as u64);
    Ok(digest)
}

async fn survives(rule: Rule) -> Server {
    survives_all([rule]).await
}

async fn survives_all(rules: impl IntoIterator<Item = Rule>) -> Server {
    let server = server().await;
    rules.into_iter().for_each(|rule| server.faults().add(rule));
    let destination = destination(&client(), &server, "a/b:t").await;
    let bytes = noise(1, 5 * CHUNK + 77);
    let digest = push(&destination, &bytes).await.expect("the fault is survived");
    assert_eq!(digest, Digest::sha256_of(&bytes));
    assert!(server.has_blob("a/b", &digest));
    settled(&server).await;
    server
}

/// Fails, tells why, and leaves nothing.
async fn fails(rule: Rule) -> Error {
    let server = server().await;
    server.faults().add(rule);
    let destination = destination(&client(), &server, "a/b:t").await;
    let bytes = noise(2, 5 * CHUNK + 77);
    let error = push(&destination, &bytes).await.expect_err("the fault cannot be survived");
    assert!(!server.has_blob("a/b", &Digest::sha256_of(&bytes)));
    assert_eq!(server.tag("a/b", "t"), None);
    assert!(error.to_string().contains(&server.host()), "{error}");
    settled(&server).await;
    error
}

/// No session stays open; cancelling may still be under way.
async fn settled(server: &Server) {
    for _ in 0..100 {
        if server.open_uploads() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} upload sessions stay open", server.open_uploads());
}

fn patches(server: &Server) -> usize {
    server.requests().iter().filter(|request| request.method == Method::PATCH).count()
}

#[tokio::test]
async fn a_blob_goes_up_in_chunks_while_it_is_made() {
    let server = survives(Rule::new("no such path", Fault::Reset)).await;
    let ranges: Vec<String> = server
        .requests()
        .iter()
        .filter(|request| request.method == Method::PATCH)
        .map(|request| request.header("content-range").unwrap().to_owned())
        .collect();
    assert_eq!(ranges.len(), 6);
    assert_eq!(ranges[0], format!("0-{}", CHUNK - 1));
    assert_eq!(ranges[5], format!("{}-{}", 5 * CHUNK, 5 * CHUNK + 76));
}

#[tokio::test]
async fn the_servers_own_query_is_given_back_as_it_is() {
    let server = survives(Rule::new("no such path", Fault::Reset)).await;
    let put = server.requests().into_iter().find(|request| request.method == Method::PUT).unwrap();
    assert!(
        put.query.starts_with(&format!("_state=a%2Bb%3D{}&digest=sha256", 5 * CHUNK + 77)),
        "{}",
        put.query
    );
}

#[tokio::test]
async fn a_server_that_refuses_chunks_gets_a_stream_and_one_that_refuses_that_gets_one_piece() {
    for status in [400, 404, 405, 411, 413, 415, 416, 501] {
        let refused = Rule::new(UPLOADS, Fault::Status(status, vec![])).method(Method::PATCH);
        let server = survives(refused).await;
        let puts: Vec<_> =
            server.requests().into_iter().filter(|request| request.method == Method::PUT).collect();
        assert_eq!(puts.len(), 1, "status {status}");
        assert_eq!(puts[0].header("content-length").unwrap(), (5 * CHUNK + 77).to_string());
        let streams = server
            .requests()
            .into_iter()
            .filter(|request| request.method == Method::PATCH && request.header("content-range").is_none());
        // A 404 may be a session that was lost, once.
        assert_eq!(streams.count(), if status == 404 { 2 } else { 1 }, "status {status}");
    }
}

#[tokio::test]
async fn a_server_that_refused_chunks_once_is_not_asked_again() {
    let server = server().await;
    server.faults().add(Rule::new(UPLOADS, Fault::Status(405, vec![])).method(Method::PATCH));
    let destination = destination(&client(), &server, "a/b:t").await;
    push(&destination, &noise(3, 3 * CHUNK)).await.unwrap();
    let before = patches(&server);
    push(&destination, &noise(4, 3 * CHUNK)).await.unwrap();
    assert_eq!(patches(&server), before);
}

#[tokio::test]
async fn a_further_chunk_that_is_refused_wants_the_bytes_again_and_goes_up_in_one_stream() {
    let server = server().await;
    server
        .faults()
        .add(Rule::new(UPLOADS, Fault::Status(405, vec![])).method(Method::PATCH).after(2).times(1));
    let destination = destination(&client(), &server, "a/b:t").await;
    let bytes = noise(5, 5 * CHUNK);
    let error = push_once(&destination, &bytes).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UploadLost { .. }), "{error}");
    assert!(destination.remakes().again(&error).await);
    server.forget_requests();
    push(&destination, &bytes).await.expect("now it goes in one stream");
    assert_eq!(patches(&server), 1);
}

#[tokio::test]
async fn scratch_space_has_a_limit_and_is_given_back() {
    let server = server().await;
    let scratch = tempfile::tempdir().unwrap();
    let client = Client::new(ClientOptions {
        scratch: Some(scratch.path().to_owned()),
        scratch_limit: 2 * CHUNK as u64,
        upload: UploadPolicy { mode: UploadMode::Whole, chunk_bytes: CHUNK },
        ..options()
    });
    let destination = destination(&client, &server, "a/b:t").await;
    for round in 0..3 {
        push(&destination, &noise(round, 2 * CHUNK)).await.expect("it fits");
    }
    let error = push(&destination, &noise(9, 3 * CHUNK)).await.unwrap_err();
    assert_eq!(error.category(), Category::Limit, "{error}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_session_lost_at_the_first_chunk_is_opened_again() {
    survives(Rule::new(UPLOADS, Fault::LoseSession).method(Method::PATCH).times(1)).await;
}

#[tokio::test]
async fn a_session_lost_in_mid_upload_wants_the_bytes_again() {
    survives(Rule::new(UPLOADS, Fault::LoseSession).method(Method::PATCH).after(2).times(1)).await;
    // A server that does so every time does not take chunks.
    survives(Rule::new(UPLOADS, Fault::LoseSession).method(Method::PATCH).after(2)).await;
}

#[tokio::test]
async fn a_session_lost_at_the_commit_wants_the_bytes_again() {
    survives(Rule::new(UPLOADS, Fault::LoseSession).method(Method::PUT).times(1)).await;
}

#[tokio::test]
async fn a_server_that_keeps_less_than_it_took_is_found_out_and_sent_the_blob_another_way() {
    for kept in [0, 1000, CHUNK as u64 - 1] {
        let server = server().await;
        let rule = Rule::new(UPLOADS, Fault::KeepOnly(kept)).method(Method::PATCH).after(1).times(1);
        server.faults().add(rule);
        let destination = destination(&client(), &server, "a/b:t").await;
        let layer = noise(7, 5 * CHUNK + 77);
        let descriptor = destination.put_blob(layer_type(), layer).await.expect("it is made again");
        assert!(server.has_blob("a/b", descriptor.digest()));
        settled(&server).await;
    }
}

#[tokio::test]
async fn a_chunk_whose_connection_breaks_goes_on_where_the_server_is() {
    for kept in [0, 50_000] {
        let rule = Rule::new(UPLOADS, Fault::KeepThenReset(kept)).method(Method::PATCH).after(2).times(2);
        let server = survives(rule).await;
        let asked = server.requests().iter().any(|r| r.method == Method::GET && r.path.contains(UPLOADS));
        assert!(asked, "the server is asked how far it got");
    }
}

#[tokio::test]
async fn a_chunk_that_was_taken_but_whose_answer_was_lost_is_not_sent_twice() {
    survives(Rule::new(UPLOADS, Fault::DoneButStatus(502)).method(Method::PATCH).after(1).times(1)).await;
}

#[tokio::test]
async fn a_server_that_takes_nothing_at_all_ends_the_upload_in_its_own_words() {
    let server = server().await;
    for method in [Method::PATCH, Method::PUT] {
        server.faults().add(Rule::new(UPLOADS, Fault::Status(405, vec![])).method(method));
    }
    let destination = destination(&client(), &server, "a/b:t").await;
    let error = destination.put_blob(layer_type(), noise(7, 5 * CHUNK)).await.unwrap_err();
    assert!(error.to_string().contains("this is a fault on demand"), "{error}");
}

#[tokio::test]
async fn too_many_requests_are_waited_for_as_long_as_the_server_says() {
    for method in [Method::POST, Method::PATCH, Method::PUT] {
        let begin = std::time::Instant::now();
        let wait = vec![("retry-after", "1".to_owned())];
        survives(Rule::new(UPLOADS, Fault::Status(429, wait)).method(method.clone()).times(1)).await;
        assert!(begin.elapsed().as_millis() >= 1000, "{method}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_an_hour_gets_an_error_instead() {
    let wait = vec![("retry-after", "3600".to_owned())];
    let error = fails(Rule::new(UPLOADS, Fault::Status(429, wait))).await;
    assert!(matches!(error.kind(), ErrorKind::RateLimited { .. }), "{error}");
}

#[tokio::test]
async fn two_failures_of_the_server_are_survived_anywhere() {
    for method in [Method::POST, Method::PATCH, Method::PUT] {
        survives(Rule::new(UPLOADS, Fault::Status(500, vec![])).method(method.clone()).times(2)).await;
        survives(Rule::new(UPLOADS, Fault::Reset).method(method).times(2)).await;
    }
}

#[tokio::test]
async fn a_failing_server_ends_the_upload_with_its_own_words() {
    let error = fails(Rule::new(UPLOADS, Fault::Status(503, vec![]))).await;
    assert!(error.to_string().contains("this is a fault on demand"), "{error}");
    assert!(error.is_retryable());
    assert_eq!(error.category(), Category::Registry);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_has_still_happened() {
    survives(Rule::new(UPLOADS, Fault::DoneButStatus(502)).method(Method::PUT).times(1)).await;
}

#[tokio::test]
async fn a_wrong_digest_is_never_published() {
    let server = server().await;
    let destination = destination(&client(), &server, "a/b:t").await;
    let wrong = Digest::sha256_of(b"something else");
    for hash in [true, false] {
        let mut upload = destination.upload(UploadOptions { hash }).await.unwrap();
        upload.write(noise(1, 3 * CHUNK)).await.unwrap();
        let error = upload.finish(Some(wrong.clone())).await.unwrap_err();
        assert!(!server.has_blob("a/b", &wrong), "{error}");
    }
    settled(&server).await;
}

#[tokio::test]
async fn a_dropped_upload_is_cancelled_on_the_server() {
    let server = server().await;
    let destination = destination(&client(), &server, "a/b:t").await;
    let mut upload = destination.upload(UploadOptions::default()).await.unwrap();
    upload.write(noise(1, 3 * CHUNK)).await.unwrap();
    drop(upload);
    settled(&server).await;
    assert!(server.requests().iter().any(|request| request.method == Method::DELETE));
}

#[tokio::test]
async fn a_servers_minimum_makes_chunks_larger() {
    let server = Server::start(Options { min_chunk: Some(2 * CHUNK), ..Options::default() }).await.unwrap();
    let destination = destination(&client(), &server, "a/b:t").await;
    push(&destination, &noise(1, 5 * CHUNK)).await.unwrap();
    assert_eq!(patches(&server), 3);
}

#[tokio::test]
async fn a_small_blob_takes_two_requests_and_a_look() {
    let server = server().await;
    let destination = destination(&client(), &server, "a/b:t").await;
    push(&destination, &noise(1, 1000)).await.unwrap();
    push(&destination, &Bytes::new()).await.unwrap();
    let methods: Vec<Method> = server.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, [Method::POST, Method::PUT, Method::HEAD, Method::POST, Method::PUT, Method::HEAD]);
}

#[tokio::test]
async fn a_token_that_expires_between_chunks_is_renewed() {
    let access = unbloat_registry_server::Access::Token {
        username: "user".to_owned(),
        password: "pass".to_owned(),
        lifetime: std::time::Duration::from_secs(60),
        anonymous_pull: false,
    };
    let server = Server::start(Options { access, ..Options::default() }).await.unwrap();
    server.faults().add(Rule::new(UPLOADS, Fault::ExpireTokens).method(Method::PATCH).times(3));
    let mut with_password = options();
    let credential = unbloat_registry::Credential::Basic {
        username: "user".to_owned(),
        password: unbloat_registry::Secret::new("pass"),
    };
    with_password.keyring.insert(&server.host(), credential);
    let destination = destination(&Client::new(with_password), &server, "a/b:t").await;
    push(&destination, &noise(1, 5 * CHUNK)).await.unwrap();
}

#[tokio::test]
async fn kept_layers_are_mounted_and_present_ones_are_skipped() {
    let server = server().await;
    let client = client();
    let layer = noise(1, 1000);
    let from = destination(&client, &server, "from/image:t").await;
    common::publish(&from, std::slice::from_ref(&layer)).await;
    let source = common::source(&client, &server, "from/image:t").await;
    let to = destination(&client, &server, "to/image:t").await;
    let layer = descriptor(&layer);
    assert_eq!(to.copy_blob(&source, &layer).await.unwrap(), BlobCopy::Mounted);
    assert_eq!(to.copy_blob(&source, &layer).await.unwrap(), BlobCopy::Present);
    assert_eq!(server.blob_reads(layer.digest()), 0);
}

#[tokio::test]
async fn a_mount_that_is_refused_becomes_a_copy() {
    for fault in [Fault::Status(405, vec![]), Fault::Status(403, vec![])] {
        let server = server().await;
        let client = client();
        let layer = noise(1, 1000);
        let from = destination(&client, &server, "from/image:t").await;
        common::publish(&from, std::slice::from_ref(&layer)).await;
        let source = common::source(&client, &server, "from/image:t").await;
        let to = destination(&client, &server, "to/image:t").await;
        server.faults().add(Rule::new("to/image/blobs/uploads/", fault).method(Method::POST).times(1));
        assert_eq!(to.copy_blob(&source, &descriptor(&layer)).await.unwrap(), BlobCopy::Copied(1000));
    }
}

#[tokio::test]
async fn a_tag_moves_only_while_the_source_stands() {
    let server = server().await;
    let client = client();
    let original = destination(&client, &server, "a/b:t").await;
    let first = common::publish(&original, &[noise(1, 1000)]).await;
    let source = common::source(&client, &server, "a/b:t").await;

    let second = common::publish(&original, &[noise(2, 1000)]).await;
    let layer = original.put_blob(layer_type(), noise(3, 1000)).await.unwrap();
    let config = original.put_blob(Family::Oci.config(), common::CONFIG.into()).await.unwrap();
    let result = Manifest::new(Family::Oci, config, vec![layer]);
    let bytes = Bytes::from(result.to_bytes());
    let condition = Unchanged { source: &source, digest: &first };
    let error = original.publish(result.media_type(), bytes.clone(), Some(condition)).await.unwrap_err();
    assert_eq!(error.category(), Category::SourceChanged, "{error}");
    assert!(error.to_string().contains(second.as_str()), "{error}");
    assert_eq!(server.tag("a/b", "t"), Some(second.clone()));
    assert!(server.manifest("a/b", &Digest::sha256_of(&bytes)).is_some(), "the work stays under its digest");

    let condition = Unchanged { source: &source, digest: &second };
    let published = original.publish(result.media_type(), bytes, Some(condition)).await.unwrap();
    assert_eq!(server.tag("a/b", "t").as_ref(), Some(published.descriptor.digest()));
    assert_eq!(published.reference, format!("{}/a/b:t@{}", server.host(), published.descriptor.digest()));
}

#[tokio::test]
async fn a_registry_that_shows_a_blob_late_is_waited_for() {
    let server = server().await;
    let destination = destination(&client(), &server, "a/b:t").await;
    let late = noise(4, 1000);
    let config = destination.put_blob(Family::Oci.config(), common::CONFIG.into()).await.unwrap();
    let manifest = Manifest::new(Family::Oci, config, vec![descriptor(&late)]);
    let bytes = Bytes::from(manifest.to_bytes());
    let published = destination.publish(manifest.media_type(), bytes, None);
    let (published, ()) = tokio::join!(published, async {
        while !server
            .requests()
            .iter()
            .any(|request| request.method == Method::PUT && request.path.contains("/manifests/"))
        {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        server.add_blob("a/b", late).unwrap();
    });
    assert_eq!(server.tag("a/b", "t").as_ref(), Some(published.unwrap().descriptor.digest()));
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused_in_the_servers_words() {
    let server = server().await;
    let destination = destination(&client(), &server, "a/b:t").await;
    let config = destination.put_blob(Family::Oci.config(), common::CONFIG.into()).await.unwrap();
    let manifest = Manifest::new(Family::Oci, config, vec![descriptor(&noise(1, 10))]);
    let error =
        destination.publish(manifest.media_type(), manifest.to_bytes().into(), None).await.unwrap_err();
    assert!(error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
    assert_eq!(server.tag("a/b", "t"), None);
}
