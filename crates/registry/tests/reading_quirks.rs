//! Reading from registries that do not follow the specification.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{client, descriptor, destination, location, noise, options, publish, server, source};
use unbloat_oci::{Descriptor, Digest, Manifest};
use unbloat_registry::{Category, Client, ClientOptions, Credential, ErrorKind, Retry, Secret, Unchanged};
use unbloat_registry_server::{Access, Fault, LinkForm, Options, Quirk, RetryForm, Rule, Server};

/// More than one piece that is checked alone.
const LARGE: usize = 3_500_000;

async fn quirky(quirks: Vec<Quirk>) -> Server {
    Server::start(Options { quirks, ..Options::default() }).await.unwrap()
}

/// A server with these quirks on the content of one without.
async fn beside(plain: &Server, quirks: Vec<Quirk>) -> Server {
    Server::start_beside(plain, Options { quirks, ..Options::default() }).await.unwrap()
}

async fn published(size: usize) -> (Server, Bytes, Descriptor, Digest) {
    let plain = server().await;
    let layer = noise(3, size);
    let digest = publish(&destination(&client(), &plain, "a/b:t").await, std::slice::from_ref(&layer)).await;
    let blob = descriptor(&layer);
    (plain, layer, blob, digest)
}

#[tokio::test]
async fn whatever_head_answers_get_decides_what_a_tag_is() {
    let (plain, _, _, digest) = published(1000).await;
    for status in [404, 405, 403, 501, 400, 401, 500, 503] {
        let server = beside(&plain, vec![Quirk::HeadOfManifests(status)]).await;
        let found = source(&client(), &server, "a/b:t").await.current_digest(None).await.unwrap();
        assert_eq!(found.as_ref(), Some(&digest), "HEAD {status}");
        let gone = source(&client(), &server, "a/b:gone").await.current_digest(None).await.unwrap();
        assert_eq!(gone, None, "HEAD {status}");
    }
    for quirk in [Quirk::NoDigestHeader, Quirk::StaleDigestOnHead] {
        let server = beside(&plain, vec![quirk.clone()]).await;
        let found = source(&client(), &server, "a/b:t").await.current_digest(Some(&digest)).await.unwrap();
        assert_eq!(found, Some(digest.clone()), "{quirk:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_what_is_signed_for_get_is_no_answer_to_head() {
    let (plain, layer, blob, digest) = published(LARGE).await;
    let store = beside(&plain, vec![Quirk::SignedForGet]).await;
    let quirks = vec![Quirk::SignedManifests(store.origin()), Quirk::SignedBlobs(store.origin())];
    let server = beside(&plain, quirks).await;
    let source = source(&client(), &server, "a/b:t").await;
    assert_eq!(source.current_digest(Some(&digest)).await.unwrap(), Some(digest));
    assert_eq!(source.blob(&blob).collect(u64::MAX).await.unwrap(), layer);
}

#[tokio::test]
async fn publishing_looks_at_the_source_once_more_whatever_head_says() {
    let (plain, layer, _, digest) = published(1000).await;
    let target = server().await;
    for quirks in
        [vec![Quirk::HeadOfManifests(404)], vec![Quirk::HeadOfManifests(405), Quirk::NoDigestHeader]]
    {
        let server = beside(&plain, quirks).await;
        let source = source(&client(), &server, "a/b:t").await;
        let copy =
            unbloat_registry::copy(&source, &destination(&client(), &target, "a/b:t").await, &[]).await;
        assert_eq!(copy.unwrap().published.descriptor.digest(), &digest);
    }
    // A source that is named by its digest is not looked at.
    let server = beside(&plain, Vec::new()).await;
    let by_digest = source(&client(), &server, &format!("a/b@{digest}")).await;
    let destination = destination(&client(), &target, "a/c:t").await;
    publish(&destination, &[layer]).await;
    server.forget_requests();
    let bytes = plain.manifest("a/b", &digest).unwrap();
    let kind = by_digest.resolve().await.unwrap().descriptor.media_type().clone();
    server.forget_requests();
    let unchanged = Unchanged { source: &by_digest, digest: &digest };
    destination.publish(&kind, bytes, Some(unchanged)).await.unwrap();
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn small_blobs_and_manifests_that_come_wrong_are_read_again_twice() {
    let (plain, layer, blob, _) = published(100_000).await;
    for times in [1, 2] {
        let server = beside(&plain, vec![Quirk::CorruptBlobs(times), Quirk::CorruptManifests(times)]).await;
        let source = source(&client(), &server, "a/b:t").await;
        source.resolve().await.unwrap();
        assert_eq!(source.blob(&blob).collect(u64::MAX).await.unwrap(), layer);
        assert_eq!(server.blob_reads(blob.digest()), times + 1);
    }
    let server = beside(&plain, vec![Quirk::CorruptBlobs(99), Quirk::CorruptManifests(99)]).await;
    let source = source(&client(), &server, "a/b:t").await;
    let error = source.blob(&blob).collect(u64::MAX).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Verify(_)), "{error}");
    assert_eq!(server.blob_reads(blob.digest()), 3);
    assert_eq!(source.resolve().await.unwrap_err().category(), Category::Image);
}

#[tokio::test]
async fn a_large_blob_is_known_to_be_misread_and_then_read_with_care() {
    let (plain, layer, blob, _) = published(LARGE).await;
    for times in [1, 2] {
        let server = beside(&plain, vec![Quirk::CorruptBlobs(times)]).await;
        let source = source(&client(), &server, "a/b:t").await;
        let error = source.blob(&blob).collect(u64::MAX).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Verify(_)), "{error}");
        assert!(source.was_misread(&blob).await.unwrap());
        assert_eq!(source.checked_blob(&blob).collect(u64::MAX).await.unwrap(), layer);
    }
    // What was right is not called wrong.
    let source = source(&client(), &plain, "a/b:t").await;
    let mut stream = source.blob(&blob);
    stream.chunk().await.unwrap();
    drop(stream);
    assert!(!source.was_misread(&blob).await.unwrap());
}

#[tokio::test]
async fn only_the_piece_that_is_wrong_is_read_again() {
    let (plain, layer, blob, _) = published(LARGE).await;
    let source = source(&client(), &plain, "a/b:t").await;
    assert_eq!(source.checked_blob(&blob).collect(u64::MAX).await.unwrap(), layer);
    plain.forget_requests();
    // The second piece is wrong twice; everything is known of the blob now.
    plain.faults().add(Rule::new("/blobs/", Fault::CorruptAt(1_500_000)).times(1));
    plain.faults().add(Rule::new("/blobs/", Fault::CorruptAt(10)).times(1));
    let before = source.bytes_read();
    assert_eq!(source.checked_blob(&blob).collect(u64::MAX).await.unwrap(), layer);
    let ranges: Vec<_> = plain.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=1048576-".to_owned()), Some("bytes=1048576-".to_owned())]);
    assert!(source.bytes_read() - before < 2 * LARGE as u64 + (4 << 20));
    // And one that is always wrong is an error.
    plain.faults().add(Rule::new("/blobs/", Fault::CorruptAt(10)));
    let error = source.checked_blob(&blob).collect(u64::MAX).await.unwrap_err();
    assert_eq!(error.category(), Category::Image);
}

#[tokio::test]
async fn reading_with_care_needs_no_ranges() {
    let (plain, layer, blob, _) = published(LARGE).await;
    for quirks in [
        vec![Quirk::NoRanges, Quirk::CorruptBlobs(2)],
        vec![Quirk::NoRanges, Quirk::CorruptOneIn(5, 1)],
        vec![Quirk::CorruptOneIn(3, 2)],
    ] {
        let server = beside(&plain, quirks).await;
        let source = source(&client(), &server, "a/b:t").await;
        assert_eq!(source.checked_blob(&blob).collect(u64::MAX).await.unwrap(), layer);
    }
}

#[tokio::test]
async fn a_copy_survives_blobs_that_come_wrong_twice() {
    let plain = server().await;
    let layers = [noise(1, LARGE), noise(2, 50_000), noise(3, 700_000)];
    let digest = publish(&destination(&client(), &plain, "a/b:t").await, &layers).await;
    let server = beside(&plain, vec![Quirk::CorruptBlobs(2), Quirk::CorruptManifests(2)]).await;
    let target = common::server().await;
    let source = source(&client(), &server, "a/b:t").await;
    let copy = unbloat_registry::copy(&source, &destination(&client(), &target, "x:t").await, &[]).await;
    assert_eq!(copy.unwrap().published.descriptor.digest(), &digest);
    for layer in &layers {
        assert!(target.has_blob("x", &Digest::sha256_of(layer)));
    }
    assert_eq!(target.open_uploads(), 0);
}

#[tokio::test]
async fn a_server_is_given_the_time_that_it_asks_for_in_every_form() {
    let (plain, layer, blob, _) = published(1000).await;
    for (form, least) in [
        (RetryForm::Seconds(1), 1000),
        // Dates and Unix times have whole seconds: up to one of the two is over already.
        (RetryForm::Date(2), 900),
        (RetryForm::UnixTime(2), 900),
        (RetryForm::Nonsense, 0),
    ] {
        let server = beside(&plain, vec![Quirk::TooMany(1, form)]).await;
        let source = source(&client(), &server, "a/b:t").await;
        let start = Instant::now();
        assert_eq!(source.blob(&blob).collect(u64::MAX).await.unwrap(), layer);
        assert!(start.elapsed() >= Duration::from_millis(least), "{form:?}: {:?}", start.elapsed());
    }
    let patience = Retry { longest_retry_after: Duration::from_secs(60), ..options().retry };
    let impatient = Client::new(unbloat_registry::ClientOptions { retry: patience, ..options() });
    for form in [RetryForm::Seconds(3600), RetryForm::Date(3600), RetryForm::UnixTime(3600)] {
        let server = beside(&plain, vec![Quirk::TooMany(1, form)]).await;
        let source = impatient.source(&location(&server, "a/b:t")).await.unwrap();
        let start = Instant::now();
        let error = source.resolve().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::RateLimited { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10), "an hour is not waited for");
    }
}

#[tokio::test]
async fn every_page_of_tags_is_read_in_every_form_of_link() {
    let plain = server().await;
    let names: Vec<String> = (0..11).map(|n| format!("v{n:02}")).collect();
    for name in &names {
        publish(&destination(&client(), &plain, &format!("a/b:{name}")).await, &[]).await;
    }
    let elsewhere = LinkForm::Elsewhere("http://inside.example:8080".to_owned());
    for form in [
        LinkForm::Usual,
        LinkForm::Bare,
        LinkForm::Unquoted,
        LinkForm::QueryOnly,
        elsewhere,
        LinkForm::SeveralValues,
        LinkForm::SeveralHeaders,
        LinkForm::SeveralRelations,
        LinkForm::EmptyPages,
    ] {
        for size in [1, 3, 11] {
            let server =
                beside(&plain, vec![Quirk::Pages(size, form.clone()), Quirk::BreakManifests(1)]).await;
            let tags = source(&client(), &server, "a/b:x").await.tags().await;
            assert_eq!(tags.unwrap(), names, "{form:?}, {size} a page");
        }
    }
    for form in [LinkForm::Loop, LinkForm::Broken] {
        let server = beside(&plain, vec![Quirk::Pages(3, form.clone())]).await;
        let error = source(&client(), &server, "a/b:x").await.tags().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Protocol(_)), "{form:?}: {error}");
    }
    // A page that fails is an error and not the end.
    let server = beside(&plain, vec![Quirk::Pages(3, LinkForm::Usual)]).await;
    server.faults().add(Rule::new("/tags/list", Fault::Status(404, Vec::new())).after(2));
    assert!(source(&client(), &server, "a/b:x").await.tags().await.is_err());
}

#[tokio::test]
async fn a_range_that_is_answered_otherwise_costs_a_whole_reading_and_no_more() {
    let (plain, layer, blob, _) = published(LARGE).await;
    for quirk in [
        Quirk::NoRanges,
        Quirk::UnsaidRanges,
        Quirk::LaterRanges(1),
        Quirk::LaterRanges(100_000),
        Quirk::LaterRanges(u64::from(u32::MAX)),
    ] {
        let server = beside(&plain, vec![quirk.clone()]).await;
        let rule = Rule::new("/blobs/", Fault::Truncate(1_000_000)).method(reqwest::Method::GET);
        server.faults().add(rule.times(1));
        let bytes = source(&client(), &server, "a/b:t").await.blob(&blob).collect(u64::MAX).await;
        assert_eq!(bytes.unwrap_or_else(|error| panic!("{quirk:?}: {error}")), layer, "{quirk:?}");
    }
}

#[tokio::test]
async fn a_foreign_layer_is_followed_where_its_place_has_moved_and_without_credentials() {
    let (plain, layer, blob, _) = published(LARGE).await;
    let moved = beside(&plain, vec![Quirk::RedirectBlobs(plain.origin())]).await;
    let access = Access::Basic { username: "user".to_owned(), password: "hunter2".to_owned() };
    let registry = Server::start(Options { access, ..Options::default() }).await.unwrap();
    let path = format!("v2/a/b/blobs/{}", blob.digest());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob.digest(), "size": 2},
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "digest": blob.digest(),
            "size": blob.size(), "urls": [format!("{}/gone", moved.origin()), format!("{}/{path}", moved.origin())],
        }],
    });
    let manifest = Manifest::parse(None, manifest.to_string().as_bytes()).unwrap();
    let foreign = &manifest.layers()[0];
    for allow_foreign in [true, false] {
        let mut with = ClientOptions { allow_foreign, ..options() };
        let password = Secret::new("hunter2");
        with.keyring.insert(&registry.host(), Credential::Basic { username: "user".to_owned(), password });
        let source = source(&Client::new(with), &registry, "a/b:t").await;
        match source.blob(foreign).collect(u64::MAX).await {
            Ok(bytes) => assert!(allow_foreign && bytes == layer),
            Err(error) => {
                assert!(!allow_foreign, "{error}");
                assert!(matches!(error.kind(), ErrorKind::NotFound { .. }), "{error}");
            }
        }
    }
    for place in [&moved, &plain] {
        assert!(place.requests().iter().any(|request| request.path.ends_with(blob.digest().as_str())));
        assert!(place.requests().iter().all(|request| request.header("authorization").is_none()));
    }
}

#[tokio::test]
async fn what_comes_compressed_unasked_is_undone_and_a_wrong_label_is_not_believed() {
    // Content that compresses well, and content that is compressed already.
    let plain = server().await;
    let layers = [noise(3, LARGE), Bytes::from(vec![7; LARGE]), noise(4, 1000), Bytes::from(vec![8; 1000])];
    let digest = publish(&destination(&client(), &plain, "a/b:t").await, &layers).await;
    for quirks in [vec![Quirk::Compresses], vec![Quirk::LabelsBlobs]] {
        let server = beside(&plain, quirks.clone()).await;
        let source = source(&client(), &server, "a/b:t").await;
        assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &digest, "{quirks:?}");
        assert_eq!(source.tags().await.unwrap(), ["t"], "{quirks:?}");
        for layer in &layers {
            let blob = descriptor(layer);
            assert_eq!(source.blob(&blob).collect(u64::MAX).await.unwrap(), layer, "{quirks:?}");
            assert_eq!(source.checked_blob(&blob).collect(u64::MAX).await.unwrap(), layer, "{quirks:?}");
        }
        // Nothing of that was asked for.
        assert!(
            server.requests().iter().all(|request| request.header("accept-encoding") == Some("identity"))
        );
    }
}

#[tokio::test]
async fn servers_of_the_old_protocol_are_read() {
    let (plain, layer, blob, digest) = published(LARGE).await;
    for quirks in [vec![Quirk::OldProtocol], vec![Quirk::OldProtocol, Quirk::NoRanges]] {
        let server = beside(&plain, quirks).await;
        server.faults().add(Rule::new("/blobs/", Fault::Truncate(1_000_000)).times(1));
        let source = source(&client(), &server, "a/b:t").await;
        assert_eq!(source.current_digest(None).await.unwrap(), Some(digest.clone()));
        assert_eq!(source.tags().await.unwrap(), ["t"]);
        assert_eq!(source.blob(&blob).collect(u64::MAX).await.unwrap(), layer);
    }
}

#[tokio::test]
async fn documents_that_break_off_are_asked_for_again() {
    let server = quirky(vec![Quirk::BreakManifests(2)]).await;
    publish(&destination(&client(), &server, "a/b:t").await, &[noise(1, 1000)]).await;
    let source = source(&client(), &server, "a/b:t").await;
    source.resolve().await.unwrap();
    assert_eq!(source.tags().await.unwrap(), ["t"]);
}
