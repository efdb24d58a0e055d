//! Reading from a server that fails.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{client, descriptor, destination, location, noise, options, publish, server, source};
use unbloat_oci::{Descriptor, Digest, Family, Index, Manifest, MediaType, VerifyError};
use unbloat_registry::{Category, Client, Credential, Error, ErrorKind, Secret, Source};
use unbloat_registry_server::{Access, Fault, Options, Rule, Server};

const SIZE: usize = 700_000;

struct Fixture {
    server: Server,
    source: Source,
    layer: Bytes,
    blob: Descriptor,
}

async fn fixture() -> Fixture {
    let server = server().await;
    let layer = noise(7, SIZE);
    publish(&destination(&client(), &server, "a/b:t").await, std::slice::from_ref(&layer)).await;
    let source = source(&client(), &server, "a/b:t").await;
    server.forget_requests();
    Fixture { server, source, blob: descriptor(&layer), layer }
}

impl Fixture {
    async fn read(&self) -> Result<Bytes, Error> {
        self.source.blob(&self.blob).collect(u64::MAX).await
    }

    fn fault(&self, fault: Fault) -> Rule {
        Rule::new(&format!("/blobs/{}", self.blob.digest()), fault)
    }
}

#[tokio::test]
async fn a_blob_is_read_once_and_counted() {
    let fixture = fixture().await;
    assert_eq!(fixture.read().await.unwrap(), fixture.layer);
    assert_eq!(fixture.server.blob_reads(fixture.blob.digest()), 1);
    assert_eq!(fixture.source.bytes_read(), SIZE as u64);
}

#[tokio::test]
async fn nothing_is_asked_before_a_stream_is_polled_unless_it_is_prefetched() {
    let fixture = fixture().await;
    let stream = fixture.source.blob(&fixture.blob);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fixture.server.blob_reads(fixture.blob.digest()), 0);
    let ahead = stream.prefetch(1 << 20);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if fixture.server.blob_reads(fixture.blob.digest()) == 1 {
            break;
        }
    }
    assert_eq!(fixture.server.blob_reads(fixture.blob.digest()), 1);
    assert_eq!(ahead.collect(u64::MAX).await.unwrap(), fixture.layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_reads_the_same_bytes_and_gets_the_same_errors() {
    let fixture = fixture().await;
    let reader = fixture.source.blob(&fixture.blob).into_reader(tokio::runtime::Handle::current());
    let read = tokio::task::spawn_blocking(move || {
        let mut reader = reader;
        let mut out = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut out).map(|_| out)
    });
    assert_eq!(read.await.unwrap().unwrap(), fixture.layer);
    fixture.server.faults().add(fixture.fault(Fault::Corrupt));
    let mut reader = fixture.source.blob(&fixture.blob).into_reader(tokio::runtime::Handle::current());
    let failed = tokio::task::spawn_blocking(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let error = failed.await.unwrap().unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).unwrap();
    assert_eq!(inner.category(), Category::Image);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_resumed_where_it_broke() {
    let fixture = fixture().await;
    fixture.server.faults().add(fixture.fault(Fault::Truncate(300_000)).times(1));
    fixture.server.faults().add(fixture.fault(Fault::Truncate(100_000)).times(1));
    assert_eq!(fixture.read().await.unwrap(), fixture.layer);
    let ranges: Vec<Option<String>> =
        fixture.server.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[1].as_deref(), Some("bytes=300000-"));
    assert_eq!(ranges[2].as_deref(), Some("bytes=400000-"));
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again_and_the_beginning_is_dropped() {
    let fixture = fixture().await;
    fixture.server.faults().add(fixture.fault(Fault::Truncate(300_000)).times(1));
    fixture.server.faults().add(fixture.fault(Fault::IgnoreRange));
    assert_eq!(fixture.read().await.unwrap(), fixture.layer);
    assert!(fixture.source.bytes_read() > SIZE as u64, "repeated bytes count");
}

#[tokio::test]
async fn a_body_that_stalls_is_asked_for_again() {
    let fixture = fixture().await;
    fixture.server.faults().add(fixture.fault(Fault::Stall(200_000)).times(1));
    assert_eq!(fixture.read().await.unwrap(), fixture.layer);
    assert_eq!(fixture.server.blob_reads(fixture.blob.digest()), 2);
}

#[tokio::test]
async fn a_body_that_is_always_cut_short_is_an_error_that_names_the_blob() {
    let fixture = fixture().await;
    fixture.server.faults().add(fixture.fault(Fault::Truncate(0)));
    let error = fixture.read().await.unwrap_err();
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(fixture.blob.digest().as_str()) && text.contains(&fixture.server.host()), "{text}");
}

#[tokio::test]
async fn changed_bytes_are_an_error_and_are_not_asked_for_again() {
    let fixture = fixture().await;
    fixture.server.faults().add(fixture.fault(Fault::Corrupt));
    let error = fixture.read().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Verify(VerifyError::DigestMismatch { .. })), "{error}");
    assert_eq!(error.category(), Category::Image);
    assert_eq!(fixture.server.blob_reads(fixture.blob.digest()), 1);
}

#[tokio::test]
async fn a_blob_of_another_size_than_its_descriptor_is_an_error() {
    let fixture = fixture().await;
    for (size, expected) in [(SIZE - 1, "longer"), (SIZE + 1, "truncated")] {
        let mut wrong = fixture.blob.clone();
        wrong.set_content(fixture.blob.digest().clone(), size as u64);
        let error = fixture.source.blob(&wrong).collect(u64::MAX).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn failures_and_waits_of_the_server_are_survived() {
    for fault in
        [Fault::Status(500, vec![]), Fault::Status(503, vec![("retry-after", "0".to_owned())]), Fault::Reset]
    {
        let fixture = fixture().await;
        fixture.server.faults().add(fixture.fault(fault.clone()).times(2));
        fixture.server.faults().add(Rule::new("/manifests/", fault).times(2));
        fixture.source.resolve().await.unwrap();
        assert_eq!(fixture.read().await.unwrap(), fixture.layer);
    }
    let fixture = fixture().await;
    let begin = Instant::now();
    fixture
        .server
        .faults()
        .add(fixture.fault(Fault::Status(429, vec![("retry-after", "1".to_owned())])).times(1));
    fixture.read().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_empty_blob_is_asked_for_and_verified() {
    let fixture = fixture().await;
    let digest = fixture.server.add_blob("a/b", Bytes::new()).unwrap();
    let empty = Descriptor::new(common::layer_type(), digest, 0);
    assert_eq!(fixture.source.blob(&empty).collect(10).await.unwrap(), Bytes::new());
    let missing = Descriptor::new(common::layer_type(), Digest::sha256_of(b"missing"), 0);
    let error = fixture.source.blob(&missing).collect(10).await.unwrap_err();
    assert_eq!(error.category(), Category::NotFound, "{error}");
}

fn token_access(anonymous_pull: bool) -> Options {
    let access = Access::Token {
        username: "user".to_owned(),
        password: "hunter2".to_owned(),
        lifetime: Duration::from_secs(60),
        anonymous_pull,
    };
    Options { access, ..Options::default() }
}

fn logged_in(server: &Server) -> Client {
    let mut options = options();
    let credential = Credential::Basic { username: "user".to_owned(), password: Secret::new("hunter2") };
    options.keyring.insert(&server.host(), credential);
    Client::new(options)
}

#[tokio::test]
async fn a_token_that_expires_in_mid_blob_is_renewed_and_the_blob_resumed() {
    let server = Server::start(token_access(false)).await.unwrap();
    let client = logged_in(&server);
    let layer = noise(7, SIZE);
    publish(&destination(&client, &server, "a/b:t").await, std::slice::from_ref(&layer)).await;
    let blob = descriptor(&layer);
    let rule = Rule::new(&format!("/blobs/{}", blob.digest()), Fault::TruncateAndExpire(250_000)).times(1);
    server.faults().add(rule);
    server.forget_requests();
    let source = source(&client, &server, "a/b:t").await;
    assert_eq!(source.blob(&blob).collect(u64::MAX).await.unwrap(), layer);
    let statuses: Vec<u16> =
        server.requests().iter().filter(|r| r.path.contains("/blobs/")).map(|r| r.status).collect();
    assert!(statuses.ends_with(&[200, 401, 206]), "{statuses:?}");
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
    let server = Server::start(token_access(false)).await.unwrap();
    let other = Server::start_beside(&server, Options::default()).await.unwrap();
    let client = logged_in(&server);
    let layer = noise(7, SIZE);
    publish(&destination(&client, &server, "a/b:t").await, std::slice::from_ref(&layer)).await;
    let blob = descriptor(&layer);
    let path = format!("/blobs/{}", blob.digest());
    server.forget_requests();
    server.faults().add(Rule::new(&path, Fault::Redirect(format!("http://{}", other.host()))));
    other.faults().add(Rule::new(&path, Fault::Truncate(100_000)).times(1));
    let source = source(&client, &server, "a/b:t").await;
    assert_eq!(source.blob(&blob).collect(u64::MAX).await.unwrap(), layer);
    let there = other.requests();
    assert_eq!(there.len(), 2, "it is resumed by way of the registry");
    assert!(there.iter().all(|request| request.header("authorization").is_none()));
    let here: Vec<_> =
        server.requests().into_iter().filter(|request| request.path.ends_with(&path)).collect();
    assert!(here.iter().all(|request| request.header("authorization").is_some()));
}

#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let fixture = fixture().await;
    let rule = fixture.fault(Fault::Redirect(format!("http://{}", fixture.server.host())));
    fixture.server.faults().add(rule);
    let error = fixture.read().await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
}

#[tokio::test]
async fn who_is_not_logged_in_is_told_so_and_no_secret_is_in_the_text() {
    let server = Server::start(token_access(false)).await.unwrap();
    let source_anonymous = source(&client(), &server, "a/b:t").await;
    let error = source_anonymous.resolve().await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    assert!(error.to_string().contains("log in"), "{error}");

    let mut wrong = options();
    let credential = Credential::Basic { username: "user".to_owned(), password: Secret::new("s3cret") };
    wrong.keyring.insert(&server.host(), credential);
    let client = Client::new(wrong);
    let error = source(&client, &server, "a/b:t").await.resolve().await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized);
    assert!(!format!("{error} {error:?} {client:?}").contains("s3cret"));
}

#[tokio::test]
async fn anonymous_pull_basic_and_identity_tokens_work() {
    let server = Server::start(token_access(true)).await.unwrap();
    publish(&destination(&logged_in(&server), &server, "a/b:t").await, &[noise(1, 10)]).await;
    source(&client(), &server, "a/b:t").await.resolve().await.expect("anonymous pull");
    let denied =
        destination(&client(), &server, "a/b:t").await.put_blob(common::layer_type(), noise(5, 5)).await;
    assert_eq!(denied.unwrap_err().category(), Category::Unauthorized);

    let mut refresh = options();
    refresh.keyring.insert(&server.host(), Credential::IdentityToken(Secret::new("hunter2")));
    let identity = Client::new(refresh);
    publish(&destination(&identity, &server, "c/d:t").await, &[noise(1, 10)]).await;

    let access = Access::Basic { username: "user".to_owned(), password: "hunter2".to_owned() };
    let basic = Server::start(Options { access, ..Options::default() }).await.unwrap();
    publish(&destination(&logged_in(&basic), &basic, "a/b:t").await, &[noise(1, 10)]).await;
    assert!(source(&client(), &basic, "a/b:t").await.resolve().await.is_err());
}

#[tokio::test]
async fn of_two_credentials_the_second_is_tried_when_the_first_is_refused() {
    let server = Server::start(token_access(false)).await.unwrap();
    publish(&destination(&logged_in(&server), &server, "a/b:t").await, &[noise(1, 10)]).await;
    let mut both = options();
    let credential =
        |password: &str| Credential::Basic { username: "user".to_owned(), password: Secret::new(password) };
    both.keyring.insert(&server.host(), credential("hunter2"));
    both.keyring.insert(&format!("{}/a", server.host()), credential("old"));
    source(&Client::new(both), &server, "a/b:t").await.resolve().await.unwrap();
}

#[tokio::test]
async fn an_unknown_image_names_registry_and_operation() {
    let server = server().await;
    let error = source(&client(), &server, "no/such:t").await.resolve().await.unwrap_err();
    assert_eq!(error.category(), Category::NotFound);
    let text = error.to_string();
    for part in ["reading manifest no/such:t", &server.host(), "MANIFEST_UNKNOWN", "check the name"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn a_registry_that_is_down_is_a_network_failure() {
    let server = server().await;
    let place = location(&server, "a/b:t");
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = client().source(&place).await.unwrap().resolve().await.unwrap_err();
    assert_eq!(error.category(), Category::Registry, "{error}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains("check the host name"), "{error}");
}

#[tokio::test]
async fn a_manifest_of_another_digest_than_asked_for_is_refused() {
    let fixture = fixture().await;
    let digest = fixture.server.tag("a/b", "t").unwrap();
    let other = Digest::sha256_of(b"other");
    let by_digest = source(&client(), &fixture.server, &format!("a/b@{digest}")).await;
    assert_eq!(by_digest.resolve().await.unwrap().descriptor.digest(), &digest);
    assert_eq!(by_digest.current_digest(None).await.unwrap(), Some(digest));
    let missing = source(&client(), &fixture.server, &format!("a/b@{other}")).await;
    // A digest names itself, whether it is there or not: nobody can move it.
    assert_eq!(missing.current_digest(None).await.unwrap(), Some(other));
    assert_eq!(missing.resolve().await.unwrap_err().category(), Category::NotFound);
}

#[tokio::test]
async fn tags_come_in_pages_and_referrers_are_listed() {
    let fixture = fixture().await;
    let client = client();
    for tag in ["v1", "v2", "v3"] {
        publish(&destination(&client, &fixture.server, &format!("a/b:{tag}")).await, &[noise(1, 10)]).await;
    }
    assert_eq!(fixture.source.tags().await.unwrap(), ["t", "v1", "v2", "v3"]);

    let subject = fixture.source.resolve().await.unwrap().descriptor;
    let to = destination(&client, &fixture.server, "a/b:sig").await;
    let config = to.put_blob(MediaType::new("application/vnd.oci.empty.v1+json"), "{}".into()).await.unwrap();
    let manifest = Manifest::new(Family::Oci, config, vec![]);
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    let tail = format!(",\"artifactType\":\"a/signature\",\"subject\":{}}}", subject.to_raw().get());
    let text = text.strip_suffix('}').unwrap().to_owned() + &tail;
    let written = to.put_manifest(manifest.media_type(), text.into()).await.unwrap();
    let referrers = fixture.source.referrers(subject.digest()).await.unwrap();
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].digest(), written.digest());
    assert_eq!(referrers[0].artifact_type().as_deref(), Some("a/signature"));
}

#[tokio::test]
async fn an_index_is_copied_whole_or_by_platform() {
    let server = server().await;
    let client = client();
    let to = destination(&client, &server, "multi/image:t").await;
    let config = to.put_blob(Family::Oci.config(), common::CONFIG.into()).await.unwrap();
    let mut entries = Vec::new();
    for (seed, platform) in [(1, "linux/amd64"), (2, "linux/arm64")] {
        let layer = to.put_blob(common::layer_type(), noise(seed, 1000)).await.unwrap();
        let manifest = Manifest::new(Family::Oci, config.clone(), vec![layer]);
        let mut entry = to.put_manifest(manifest.media_type(), manifest.to_bytes().into()).await.unwrap();
        entry.set_platform(platform.parse().unwrap());
        entries.push(entry);
    }
    let index = Index::new(Family::Oci, entries.clone());
    to.publish(index.media_type(), index.to_bytes().into(), None).await.unwrap();
    let from = source(&client, &server, "multi/image:t").await;

    let other = common::server().await;
    let whole = destination(&client, &other, "copy/image:t").await;
    let report = unbloat_registry::copy(&from, &whole, &[]).await.unwrap();
    assert_eq!(report.published.descriptor.digest(), &Digest::sha256_of(&index.to_bytes()));
    assert_eq!((report.copied, report.copied_bytes), (3, 2000 + common::CONFIG.len() as u64));

    let one = destination(&client, &other, "copy/one:t").await;
    let report = unbloat_registry::copy(&from, &one, &["linux/arm64/v8".parse().unwrap()]).await.unwrap();
    assert_eq!(report.published.descriptor.digest(), entries[1].digest());
    let error = unbloat_registry::copy(&from, &one, &["linux/s390x".parse().unwrap()]).await.unwrap_err();
    assert_eq!(error.category(), Category::Usage, "{error}");
}
