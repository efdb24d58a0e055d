//! Signatures and what else refers to an image go with it.

mod common;

use bytes::Bytes;
use common::{CONFIG, client, destination, layer_type, noise, publish, server, source};
use unbloat_oci::{Descriptor, Digest, Family, Index, MediaType};
use unbloat_registry::{Destination, copy_with_referrers};
use unbloat_registry_server::{Options, Quirk, Server};

/// A manifest that refers to another, with a blob of its own; gives its digest.
async fn attach(to: &Destination, subject: &Descriptor, kind: &str) -> Descriptor {
    let blob = Bytes::from(format!("{kind} of {}", subject.digest()));
    let blob = to.put_blob(MediaType::new("application/octet-stream"), blob).await.unwrap();
    let config = to.put_blob(MediaType::new("application/vnd.oci.empty.v1+json"), "{}".into()).await.unwrap();
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": kind,
        "config": config.to_value(), "layers": [blob.to_value()], "subject": subject.to_value(),
    });
    to.put_manifest(&MediaType::new("application/vnd.oci.image.manifest.v1+json"), json.to_string().into())
        .await
        .unwrap()
}

trait ToValue {
    fn to_value(&self) -> serde_json::Value;
}

impl ToValue for Descriptor {
    fn to_value(&self) -> serde_json::Value {
        serde_json::json!({"mediaType": self.media_type().as_str(), "digest": self.digest().to_string(), "size": self.size()})
    }
}

/// An image with five signatures, one of which is signed itself, and a tag of cosign's.
async fn signed(server: &Server) -> (Digest, Vec<Digest>) {
    let to = destination(&client(), server, "a/b:t").await;
    let digest = publish(&to, &[noise(1, 300_000)]).await;
    let image = source(&client(), server, "a/b:t").await.resolve().await.unwrap().descriptor;
    let mut digests = Vec::new();
    for number in 0..5 {
        let signature = attach(&to, &image, &format!("application/vnd.test.signature.v{number}")).await;
        digests.push(signature.digest().clone());
        if number == 2 {
            digests.push(
                attach(&to, &signature, "application/vnd.test.countersignature").await.digest().clone(),
            );
        }
    }
    let cosign = destination(&client(), server, &format!("a/b:sha256-{}.sig", digest.hex())).await;
    digests.push(publish(&cosign, &[noise(9, 500)]).await);
    (digest, digests)
}

#[tokio::test]
async fn what_refers_to_an_image_is_copied_with_it_from_any_kind_of_registry_to_any() {
    for quirks in [vec![], vec![Quirk::ReferrerPages(2)]] {
        let origin = Server::start(Options { quirks, ..Options::default() }).await.unwrap();
        let (digest, referring) = signed(&origin).await;
        let cosign = format!("sha256-{}.sig", digest.hex());
        // To a registry with the API, and on to one without, and from there back.
        let (with, without, back) = (
            server().await,
            Server::start(Options { quirks: vec![Quirk::NoReferrers], ..Options::default() }).await.unwrap(),
            server().await,
        );
        for (from, to) in [(&origin, &with), (&with, &without), (&without, &back)] {
            let from = source(&client(), from, "a/b:t").await;
            let report =
                copy_with_referrers(&from, &destination(&client(), to, "a/b:t").await, &[]).await.unwrap();
            assert_eq!(report.published.descriptor.digest(), &digest);
            assert_eq!(report.referrers.manifests, 7);
            for manifest in &referring {
                assert!(to.manifest("a/b", manifest).is_some(), "{manifest}");
            }
            assert!(to.tag("a/b", &cosign).is_some());
            assert_eq!(source(&client(), to, "a/b:t").await.referrers(&digest).await.unwrap().len(), 5);
            // Once more changes nothing.
            copy_with_referrers(&from, &destination(&client(), to, "a/b:t").await, &[]).await.unwrap();
            assert_eq!(source(&client(), to, "a/b:t").await.referrers(&digest).await.unwrap().len(), 5);
        }
        let fallback = format!("sha256-{}", digest.hex());
        assert!(without.tag("a/b", &fallback).is_some() && with.tag("a/b", &fallback).is_none());
        // Without being asked for, nothing goes along.
        let alone = server().await;
        let from = source(&client(), &origin, "a/b:t").await;
        unbloat_registry::copy(&from, &destination(&client(), &alone, "a/b:t").await, &[]).await.unwrap();
        assert_eq!(alone.manifest_count("a/b"), 1);
    }
}

#[tokio::test]
async fn a_layout_keeps_them_and_gives_them_back() {
    let origin = server().await;
    let (digest, referring) = signed(&origin).await;
    let folder = tempfile::tempdir().unwrap();
    for place in ["oci:layout", "oci:named:v1", "oci-archive:file.tar"] {
        let (kind, rest) = place.split_once(':').unwrap();
        let place = format!("{kind}:{}/{rest}", folder.path().display());
        let to = client().destination(&place.parse().unwrap()).await.unwrap();
        copy_with_referrers(&source(&client(), &origin, "a/b:t").await, &to, &[]).await.unwrap();
        let back = server().await;
        let name = if rest.contains(':') { place.clone() } else { format!("{place}@{digest}") };
        let from = client().source(&name.parse().unwrap()).await.unwrap();
        let report =
            copy_with_referrers(&from, &destination(&client(), &back, "a/b:t").await, &[]).await.unwrap();
        assert_eq!(report.referrers.manifests, 7, "{place}");
        for manifest in &referring {
            assert!(back.manifest("a/b", manifest).is_some(), "{place}: {manifest}");
        }
    }
}

#[tokio::test]
async fn the_images_of_an_index_have_their_own() {
    let origin = server().await;
    let to = destination(&client(), &origin, "a/b:index").await;
    let mut entries = Vec::new();
    for seed in 1..3 {
        let config = to.put_blob(Family::Oci.config(), CONFIG.into()).await.unwrap();
        let layer = to.put_blob(layer_type(), noise(seed, 5000)).await.unwrap();
        let manifest = unbloat_oci::Manifest::new(Family::Oci, config, vec![layer]);
        let child = to.put_manifest(manifest.media_type(), manifest.to_bytes().into()).await.unwrap();
        attach(&to, &child, "application/vnd.test.sbom").await;
        entries.push(child);
    }
    let index = Index::new(Family::Oci, entries);
    let top = to.publish(index.media_type(), index.to_bytes().into(), None).await.unwrap().descriptor;
    attach(&to, &top, "application/vnd.test.signature").await;
    let target = server().await;
    let from = source(&client(), &origin, "a/b:index").await;
    let report = copy_with_referrers(&from, &destination(&client(), &target, "x:t").await, &[]).await;
    assert_eq!(report.unwrap().referrers.manifests, 3);
}
