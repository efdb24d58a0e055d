//! Random combinations of what registries do when they are read: each inspection, listing and copy ends with
//! the right content or with an error of a type, in a bounded time, and no credential reaches another origin.

mod common;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use common::{Dice, client, descriptor, destination, noise, options, publish, server};
use futures::{StreamExt, stream};
use reqwest::Method;
use unbloat_oci::{Digest, Family, Manifest, MediaType};
use unbloat_registry::{Category, Client, Credential, Error, ErrorKind, Secret, Source, copy_with_referrers};
use unbloat_registry_server::{Access, Fault, LinkForm, Options, Quirk, RetryForm, Rule, Server};

const PASSWORD: &str = "hunter2";
const READINGS: u64 = 300;
/// Far more than the waits of these settings add up to: what takes longer hangs.
const BOUND: Duration = Duration::from_secs(90);

impl Dice {
    fn quirk(&mut self, store: &str) -> Quirk {
        let status = self.of(&[400, 401, 403, 404, 405, 500, 501, 503]);
        match self.roll(28) {
            0 => Quirk::HeadOfManifests(status),
            1 => Quirk::HeadOfBlobs(status),
            2 => Quirk::SignedBlobs(store.to_owned()),
            3 => Quirk::SignedManifests(store.to_owned()),
            4 => Quirk::RedirectBlobs(store.to_owned()),
            5 => Quirk::RedirectManifests(store.to_owned()),
            6 => Quirk::CorruptBlobs(self.times(3)),
            7 => Quirk::CorruptOneIn(3 + self.roll(4), self.roll(1000)),
            8 => Quirk::CorruptManifests(self.times(3)),
            9 => Quirk::BreakManifests(self.times(4)),
            10 => self.of(&[
                Quirk::NoRanges,
                Quirk::UnsaidRanges,
                Quirk::LaterRanges(1),
                Quirk::LaterRanges(50_000),
            ]),
            11 => Quirk::NoDigestHeader,
            12 => Quirk::StaleDigestOnHead,
            13 => {
                let form = self.of(&[RetryForm::Seconds(0), RetryForm::Date(0), RetryForm::Nonsense]);
                Quirk::TooMany(self.times(2), form)
            }
            14 => {
                let forms = [
                    LinkForm::Usual,
                    LinkForm::Bare,
                    LinkForm::Unquoted,
                    LinkForm::QueryOnly,
                    LinkForm::Elsewhere("http://inside.example:8080".to_owned()),
                    LinkForm::SeveralValues,
                    LinkForm::SeveralHeaders,
                    LinkForm::SeveralRelations,
                    LinkForm::EmptyPages,
                    LinkForm::Loop,
                    LinkForm::Broken,
                ];
                Quirk::Pages(1 + self.times(2), self.of(&forms))
            }
            15 => Quirk::NoReferrers,
            16 => Quirk::ReferrerPages(1),
            17 => Quirk::OneScope,
            18 => self.of(&[Quirk::NoScopeInChallenge, Quirk::AccessToken, Quirk::RefusedIs403]),
            19 => Quirk::ExpiresIn(self.of(&["", "\"60\"", "0", "-1", "1.5", "null"]).to_owned()),
            20 => Quirk::CloseConnections,
            21 => Quirk::Unchallenged(self.of(&[401, 403, 404])),
            22 => Quirk::RelativeRealm,
            23 => Quirk::MovedTokens(self.of(&[301, 302, 303, 307, 308])),
            24 => Quirk::Compresses,
            25 => Quirk::LabelsBlobs,
            26 => Quirk::PostedTokens(self.of(&[404, 405, 501])),
            _ => Quirk::OldProtocol,
        }
    }

    fn rule(&mut self) -> Rule {
        let path = self.of(&["/blobs/", "/manifests/", "/tags/list", "/referrers/", "/token", "/v2/"]);
        let fault = match self.roll(8) {
            0 => Fault::Reset,
            1 => Fault::Status(self.of(&[500, 502, 503, 429]), vec![]),
            2 => Fault::Truncate(self.roll(400_000)),
            3 => Fault::TruncateAndExpire(self.roll(400_000)),
            4 => Fault::Stall(self.roll(400_000)),
            5 => Fault::CorruptAt(self.roll(400_000)),
            6 => Fault::IgnoreRange,
            _ => Fault::ExpireTokens,
        };
        Rule::new(path, fault).method(Method::GET).after(self.times(4)).times(1 + self.times(2))
    }
}

/// What is published: an image of a large layer and a small one, with a signature, and further tags.
struct Published {
    plain: Server,
    layers: Vec<Bytes>,
    image: Digest,
    signature: Digest,
}

const TAGS: [&str; 5] = ["a", "b", "c", "d", "t"];

async fn published() -> Published {
    let plain = server().await;
    let layers = vec![noise(1, 600_000), noise(2, 20_000)];
    let mut image = None;
    for tag in TAGS {
        let to = destination(&client(), &plain, &format!("a/b:{tag}")).await;
        image = Some(publish(&to, &layers).await);
    }
    let image = image.unwrap();
    let to = destination(&client(), &plain, "a/b:t").await;
    let empty = MediaType::new("application/vnd.oci.empty.v1+json");
    let config = to.put_blob(empty.clone(), "{}".into()).await.unwrap();
    let size = plain.manifest("a/b", &image).unwrap().len();
    let named = |kind: &MediaType, digest: &Digest, size: u64| serde_json::json!({"mediaType": kind.as_str(), "digest": digest.to_string(), "size": size});
    let document = Manifest::new(Family::Oci, config.clone(), Vec::new());
    let config = named(config.media_type(), config.digest(), config.size());
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": document.media_type().as_str(), "artifactType": "application/vnd.test.signature",
        "config": config, "layers": [config], "subject": named(document.media_type(), &image, size as u64),
    });
    let signature = to.put_manifest(document.media_type(), json.to_string().into()).await.unwrap();
    Published { plain, layers, image, signature: signature.digest().clone() }
}

/// A failure has a type that says what to do, names the place, and holds no secret.
fn is_clear(error: &Error, hosts: &[String], seed: u64) {
    let text = error.to_string();
    assert_ne!(error.category(), Category::Internal, "seed {seed}: {text}");
    assert!(hosts.iter().any(|host| text.contains(host)), "seed {seed}: no host in {text}");
    assert!(!text.contains(PASSWORD), "seed {seed}: {text}");
}

/// A blob as a squash reads it: as it comes, and with care once that was wrong.
async fn read(source: &Source, layer: &Bytes) -> Result<Bytes, Error> {
    let blob = descriptor(layer);
    match source.blob(&blob).collect(u64::MAX).await {
        Err(error) if matches!(error.kind(), ErrorKind::Verify(_)) && source.was_misread(&blob).await? => {
            source.checked_blob(&blob).collect(u64::MAX).await
        }
        outcome => outcome,
    }
}

/// Reads all that there is, in three ways; how many of them came to a good end.
async fn random_reading(seed: u64) -> usize {
    let published = published().await;
    let Published { plain, layers, image, signature } = &published;
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let store =
        Server::start_beside(plain, Options { quirks: vec![Quirk::SignedForGet], ..Options::default() })
            .await
            .unwrap();
    let mut quirks: Vec<Quirk> = (0..2 + dice.roll(3)).map(|_| dice.quirk(&store.origin())).collect();
    // Two of a kind would be a server that contradicts itself.
    let mut kinds = HashSet::new();
    quirks.retain(|quirk| kinds.insert(std::mem::discriminant(quirk)));
    // A manifest that is named by a tag and comes with no digest is what it is: nothing tells that a byte was
    // changed.
    if quirks.contains(&Quirk::NoDigestHeader) {
        quirks.retain(|quirk| !matches!(quirk, Quirk::CorruptManifests(_)));
    }
    let access = Access::Token {
        username: "user".to_owned(),
        password: PASSWORD.to_owned(),
        lifetime: Duration::from_secs(600),
        anonymous_pull: dice.roll(2) == 0,
    };
    let quirky = Options { quirks: quirks.clone(), access, ..Options::default() };
    let server = Server::start_beside(plain, quirky).await.unwrap();
    let rules: Vec<Rule> = (0..dice.roll(3)).map(|_| dice.rule()).collect();
    rules.iter().for_each(|rule| server.faults().add(rule.clone()));
    let target = common::server().await;
    let mut with = options();
    let password = Secret::new(PASSWORD);
    with.keyring.insert(&server.host(), Credential::Basic { username: "user".to_owned(), password });
    let client = Client::new(with);
    let hosts = [server.host(), store.host()];
    let source = common::source(&client, &server, "a/b:t").await;
    let context = || format!("seed {seed}: {quirks:?}, {rules:?}");
    let mut good = 0;

    match source.tags().await {
        Ok(tags) => {
            assert_eq!(tags, TAGS, "{}", context());
            good += 1;
        }
        Err(error) => is_clear(&error, &hosts, seed),
    }
    match source.resolve().await {
        Ok(found) => {
            assert_eq!(found.descriptor.digest(), image, "{}", context());
            let mut whole = true;
            for layer in layers {
                match read(&source, layer).await {
                    Ok(bytes) => assert_eq!(bytes, layer, "{}", context()),
                    Err(error) => {
                        is_clear(&error, &hosts, seed);
                        whole = false;
                    }
                }
            }
            good += usize::from(whole);
        }
        Err(error) => is_clear(&error, &hosts, seed),
    }
    let to = destination(&client, &target, "x/y:t").await;
    match copy_with_referrers(&source, &to, &[]).await {
        Ok(report) => {
            assert_eq!(report.published.descriptor.digest(), image, "{}", context());
            assert_eq!(target.tag("x/y", "t").as_ref(), Some(image), "{}", context());
            let arrived = common::source(&common::client(), &target, "x/y:t").await;
            for layer in layers {
                let bytes = arrived.blob(&descriptor(layer)).collect(u64::MAX).await;
                assert_eq!(bytes.expect("every blob is there"), layer, "{}", context());
            }
            // Where the registry says that it lists none, there is the fallback's tag, which nobody wrote.
            let lists = !quirks.contains(&Quirk::NoReferrers);
            assert_eq!(target.manifest("x/y", signature).is_some(), lists, "{}", context());
            good += 1;
        }
        Err(error) => {
            is_clear(&error, &[hosts[0].clone(), hosts[1].clone(), target.host()], seed);
            assert_eq!(target.tag("x/y", "t"), None, "{}: {error}", context());
        }
    }
    for elsewhere in [&store, &target] {
        assert!(elsewhere.requests_with(PASSWORD).is_empty(), "{}: the password", context());
        let authorized =
            |request: &unbloat_registry_server::Recorded| request.header("authorization").is_some();
        assert!(!elsewhere.requests().iter().any(authorized), "{}: a credential", context());
    }
    if good < 3 {
        eprintln!("{}: {good} of 3", context());
    }
    good
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_registries_are_read_right_or_with_a_clear_error() {
    let readings = stream::iter(1..=READINGS).map(|seed| async move {
        let reading = tokio::time::timeout(BOUND, random_reading(seed)).await;
        reading.unwrap_or_else(|_| panic!("seed {seed} hangs"))
    });
    let good: Vec<usize> = readings.buffer_unordered(12).collect().await;
    let all = good.iter().sum::<usize>();
    eprintln!("{all} of {} came to a good end", 3 * READINGS);
    assert!(all >= 600, "{all} of {} came to a good end", 3 * READINGS);
}
