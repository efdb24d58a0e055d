//! Layout folders and archives.

mod common;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use common::{CONFIG, client, descriptor, noise, publish};
use unbloat_oci::{AnyManifest, Digest, VerifyError};
use unbloat_registry::{Category, Destination, Error, ErrorKind, Location, Source, copy};

async fn to(text: &str) -> Destination {
    client().destination(&text.parse::<Location>().unwrap()).await.unwrap()
}

async fn from(text: &str) -> Result<Source, Error> {
    client().source(&text.parse::<Location>().unwrap()).await
}

async fn read_layer(source: &Source) -> Result<Bytes, Error> {
    let fetched = source.resolve().await?;
    let AnyManifest::Image(image) = fetched.parse().unwrap() else { panic!("it is an image") };
    source.config(image.config()).await?;
    source.blob(&image.layers()[0]).collect(u64::MAX).await
}

#[tokio::test]
async fn a_folder_and_an_archive_give_back_what_was_written() {
    let temporary = tempfile::tempdir().unwrap();
    let layer = noise(1, 2_000_003);
    for transport in ["oci", "oci-archive"] {
        let text = format!("{transport}:{}/{transport}:v1", temporary.path().display());
        let digest = publish(&to(&text).await, std::slice::from_ref(&layer)).await;
        let source = from(&text).await.unwrap();
        assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &digest);
        assert_eq!(source.tags().await.unwrap(), ["v1"]);
        assert_eq!(read_layer(&source).await.unwrap(), layer);
        assert_eq!(source.current_digest(None).await.unwrap(), Some(digest));
    }
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing temporary stays: {left:?}");
}

#[tokio::test]
async fn an_archive_of_the_same_image_is_the_same_file() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    for name in ["one", "two"] {
        let text = format!("oci-archive:{}:t", path(name).display());
        publish(&to(&text).await, &[noise(1, 100_000), noise(2, 5)]).await;
    }
    assert_eq!(fs::read(path("one")).unwrap(), fs::read(path("two")).unwrap());
}

#[tokio::test]
async fn a_tag_of_a_folder_is_replaced_and_others_stay() {
    let temporary = tempfile::tempdir().unwrap();
    let place = format!("oci:{}/layout", temporary.path().display());
    let first = publish(&to(&format!("{place}:a")).await, &[noise(1, 10)]).await;
    publish(&to(&format!("{place}:b")).await, &[noise(2, 10)]).await;
    let second = publish(&to(&format!("{place}:b")).await, &[noise(3, 10)]).await;
    let source = from(&format!("{place}:b")).await.unwrap();
    assert_eq!(source.tags().await.unwrap(), ["a", "b"]);
    assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &second);
    let by_digest = from(&format!("{place}@{first}")).await.unwrap();
    assert_eq!(by_digest.resolve().await.unwrap().descriptor.digest(), &first);

    let unnamed = from(&place).await.unwrap().resolve().await.unwrap_err();
    assert!(unnamed.to_string().contains("name one of: a, b"), "{unnamed}");
    let unknown = from(&format!("{place}:c")).await.unwrap().resolve().await.unwrap_err();
    assert_eq!(unknown.category(), Category::NotFound);
    assert!(unknown.to_string().contains("a, b"), "{unknown}");
}

/// As a new folder is before its first image is published, when `squash --verify` reads the result back.
#[tokio::test]
async fn a_folder_without_an_index_is_read_by_digest_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let place = format!("oci:{}/layout", temporary.path().display());
    let digest = publish(&to(&format!("{place}:a")).await, &[noise(1, 10)]).await;
    fs::remove_file(temporary.path().join("layout/index.json")).unwrap();
    let by_digest = from(&format!("{place}@{digest}")).await.unwrap();
    assert_eq!(read_layer(&by_digest).await.unwrap(), noise(1, 10));
    let Err(by_tag) = from(&format!("{place}:a")).await else { panic!("no tag without an index") };
    assert_eq!(by_tag.category(), Category::NotFound);
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let destination = to(&format!("oci:{}/layout:t", temporary.path().display())).await;
    let mut upload = destination.upload(unbloat_registry::UploadOptions::default()).await.unwrap();
    upload.write(noise(1, 3 << 20)).await.unwrap();
    drop(upload);
    let blobs = temporary.path().join("layout/blobs/sha256");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
    let files: Vec<_> =
        fs::read_dir(temporary.path().join("layout")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
}

#[tokio::test]
async fn changed_truncated_and_missing_blobs_are_told_apart() {
    let temporary = tempfile::tempdir().unwrap();
    let place = format!("oci:{}/layout", temporary.path().display());
    let layer = noise(1, 900_000);
    publish(&to(&place).await, std::slice::from_ref(&layer)).await;
    let path = temporary.path().join("layout/blobs/sha256").join(descriptor(&layer).digest().hex());
    let source = from(&place).await.unwrap();
    let mut changed = layer.to_vec();
    changed[800_000] ^= 1;
    fs::write(&path, &changed).unwrap();
    let error = read_layer(&source).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Verify(VerifyError::DigestMismatch { .. })), "{error}");
    fs::write(&path, &layer[..layer.len() - 1]).unwrap();
    let error = read_layer(&source).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::CutShort(VerifyError::Truncated { found: 899_999, .. })),
        "{error}"
    );
    assert_eq!((error.category(), error.is_retryable()), (Category::Image, false));
    fs::write(&path, [&layer[..], b"x"].concat()).unwrap();
    let error = read_layer(&source).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Verify(VerifyError::TooLong { .. })), "{error}");
    fs::remove_file(&path).unwrap();
    assert_eq!(read_layer(&source).await.unwrap_err().category(), Category::NotFound);
}

#[tokio::test]
async fn what_is_no_layout_is_said_to_be_none() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().display();
    let missing = from(&format!("oci:{folder}/none")).await.unwrap_err();
    assert_eq!(missing.category(), Category::NotFound, "{missing}");
    let file = temporary.path().join("file.tar");
    fs::write(&file, noise(1, 5000)).unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        let error = from(&format!("{transport}:{}", file.display())).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{}", file.display())), "{error}");
        assert!(matches!(error.category(), Category::Image | Category::Io), "{error}");
    }
    fs::write(&file, [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    let error = from(&format!("docker-archive:{}", file.display())).await.unwrap_err();
    assert!(error.to_string().contains("the archive's gzip is broken"), "{error}");
    fs::write(&file, [0xfd, b'7', b'z', b'X', b'Z', 0, 0]).unwrap();
    let error = from(&format!("docker-archive:{}", file.display())).await.unwrap_err();
    assert!(error.to_string().contains("unpack it first (unxz)"), "{error}");
    // What is there, called what it is not.
    let error = from(&format!("oci-archive:{folder}")).await.unwrap_err();
    assert_eq!(error.category(), Category::Usage, "{error}");
    let error = from(&format!("oci:{}", file.display())).await.unwrap_err();
    assert_eq!(error.category(), Category::Usage, "{error}");
    // Docker names by tags.
    let digest = Digest::sha256_of(b"");
    let by_digest = format!("docker-archive:{folder}/x:app@{digest}").parse().unwrap();
    assert_eq!(client().destination(&by_digest).await.unwrap_err().category(), Category::Usage);
}

#[tokio::test]
async fn a_docker_archive_keeps_the_digest_and_the_names_of_one_that_it_is_made_of() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().display();
    let digest = publish(&to(&format!("oci:{folder}/layout:t")).await, &[noise(1, 70_000)]).await;
    let client = client();
    let copied = async |from: &str, to: &str| {
        let source = client.source(&from.parse().unwrap()).await.unwrap();
        let destination = client.destination_for(&to.parse().unwrap(), &source).await.unwrap();
        copy(&source, &destination, &[]).await.unwrap().published
    };
    let first = format!("docker-archive:{folder}/first.tar");
    let named = copied(&format!("oci:{folder}/layout:t"), &format!("{first}:team/app:1")).await;
    assert_eq!(named.reference, format!("{first}:docker.io/team/app:1"));
    let second = format!("docker-archive:{folder}/second.tar");
    let published = copied(&first, &second).await;
    assert_eq!(published.descriptor.digest(), &digest);
    let source = from(&second).await.unwrap();
    assert_eq!(source.tags().await.unwrap(), ["docker.io/team/app:1"]);
    assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &digest);
    assert_eq!(read_layer(&source).await.unwrap(), noise(1, 70_000));
    // An image without a name has none, and is read as the one that there is.
    let third = format!("docker-archive:{folder}/third.tar");
    assert_eq!(copied(&format!("oci:{folder}/layout:t"), &third).await.reference, third);
    assert_eq!(from(&third).await.unwrap().resolve().await.unwrap().descriptor.digest(), &digest);
    let wrong = from(&format!("{second}:team/app:2")).await.unwrap_err();
    assert!(wrong.to_string().contains("there are docker.io/team/app:1"), "{wrong}");
    assert!(!wrong.to_string().contains("the server"), "{wrong}");
}

/// All names that Docker knows an image by go along.
#[tokio::test]
async fn every_name_of_an_image_in_a_docker_archive_is_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().display();
    let layer = noise(1, 10_240);
    let id = Digest::sha256_of(&layer);
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let config = CONFIG.replace(empty, id.as_str());
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder, "layer.tar", &layer);
    add(&mut builder, "config.json", config.as_bytes());
    let list = r#"[{"Config":"config.json","RepoTags":["team/app:1","team/app:2"],"Layers":["layer.tar"]}]"#;
    add(&mut builder, "manifest.json", list.as_bytes());
    fs::write(temporary.path().join("save.tar"), builder.into_inner().unwrap()).unwrap();
    let source = from(&format!("docker-archive:{folder}/save.tar")).await.unwrap();
    let place: Location = format!("docker-archive:{folder}/again.tar").parse().unwrap();
    let destination = client().destination_for(&place, &source).await.unwrap();
    let digest = copy(&source, &destination, &[]).await.unwrap().published.descriptor.digest().clone();
    for name in ["", ":team/app:1", ":docker.io/team/app:2"] {
        let again = from(&format!("docker-archive:{folder}/again.tar{name}")).await.unwrap();
        assert_eq!(again.resolve().await.unwrap().descriptor.digest(), &digest, "{name}");
    }
}

fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, bytes).unwrap();
}

/// Two layers, the second stored as a link to the first, as old Docker versions do for equal layers.
fn docker_save(path: &Path, layer: &[u8]) {
    let id = Digest::sha256_of(layer);
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let config = CONFIG.replace(&format!("\"{empty}\""), &format!("\"{id}\",\"{id}\""));
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder, "first/layer.tar", layer);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "second/layer.tar", "../first/layer.tar").unwrap();
    add(&mut builder, "config.json", config.as_bytes());
    let list = r#"[{"Config":"config.json","RepoTags":["team/app:1"],"Layers":["first/layer.tar","second/layer.tar"]},
        {"Config":"config.json","RepoTags":["team/other:2"],"Layers":["first/layer.tar","second/layer.tar"]}]"#;
    add(&mut builder, "manifest.json", list.as_bytes());
    fs::write(path, builder.into_inner().unwrap()).unwrap();
}

/// Docker 25.0.0 saved manifests whose layers stand in no order; its list and its config are right.
#[tokio::test]
async fn a_docker_archive_whose_layout_has_its_layers_in_another_order_is_read_by_its_list() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("save.tar");
    let layers = [noise(1, 1024), noise(2, 2048)];
    let ids = [Digest::sha256_of(&layers[0]), Digest::sha256_of(&layers[1])];
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let config = CONFIG.replace(&format!("\"{empty}\""), &format!("\"{}\",\"{}\"", ids[0], ids[1]));
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::sha256_of(bytes).hex());
    let descriptor = |bytes: &[u8], kind: &str| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": Digest::sha256_of(bytes).to_string(),
            "size": bytes.len(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config.as_bytes(), "config.v1+json"),
        "layers": [descriptor(&layers[1], "layer.v1.tar"), descriptor(&layers[0], "layer.v1.tar")],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let index =
        serde_json::json!({"schemaVersion": 2, "manifests": [descriptor(&manifest, "manifest.v1+json")]});
    let list = serde_json::json!([{
        "Config": blob(config.as_bytes()), "RepoTags": ["team/app:1"], "Layers": [blob(&layers[0]), blob(&layers[1])],
    }]);
    let mut builder = tar::Builder::new(Vec::new());
    for bytes in [&layers[0][..], &layers[1], config.as_bytes(), &manifest] {
        add(&mut builder, &blob(bytes), bytes);
    }
    add(&mut builder, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    add(&mut builder, "index.json", &serde_json::to_vec(&index).unwrap());
    add(&mut builder, "manifest.json", &serde_json::to_vec(&list).unwrap());
    fs::write(&path, builder.into_inner().unwrap()).unwrap();
    let source = from(&format!("docker-archive:{}", path.display())).await.unwrap();
    let AnyManifest::Image(image) = source.resolve().await.unwrap().parse().unwrap() else { panic!() };
    let found: Vec<_> = image.layers().iter().map(|layer| layer.digest().clone()).collect();
    assert_eq!(found, ids);
}

#[tokio::test]
async fn a_docker_archive_is_read_by_its_names_and_links() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("save.tar");
    let layer = noise(1, 10_240);
    docker_save(&path, &layer);
    let source = from(&format!("docker-archive:{}:team/app:1", path.display())).await.unwrap();
    assert_eq!(read_layer(&source).await.unwrap(), layer);
    assert_eq!(source.tags().await.unwrap(), ["team/app:1"]);
    let AnyManifest::Image(image) = source.resolve().await.unwrap().parse().unwrap() else { panic!() };
    assert_eq!(image.layers().len(), 2);
    assert_eq!(image.layers()[1].digest(), &Digest::sha256_of(&layer));
    let unnamed = from(&format!("docker-archive:{}", path.display())).await.unwrap_err();
    assert!(unnamed.to_string().contains("team/app:1, team/other:2"), "{unnamed}");
    let unknown = from(&format!("docker-archive:{}:nope", path.display())).await.unwrap_err();
    assert_eq!(unknown.category(), Category::NotFound);
}

#[tokio::test]
async fn an_image_is_the_same_after_folder_archive_and_registry() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().display().to_string();
    let server = common::server().await;
    let places = [
        format!("oci:{folder}/one:t"),
        format!("oci-archive:{folder}/two.tar:t"),
        format!("{}/three/image:t", server.host()),
        format!("oci:{folder}/four"),
    ];
    let digest = publish(&to(&places[0]).await, &[noise(1, 300_000), noise(2, 5)]).await;
    for pair in places.windows(2) {
        let report = copy(&from(&pair[0]).await.unwrap(), &to(&pair[1]).await, &[]).await.unwrap();
        assert_eq!(report.published.descriptor.digest(), &digest);
        assert_eq!(report.copied, 3);
        let again = from(&report.published.reference).await.unwrap();
        assert_eq!(again.resolve().await.unwrap().descriptor.digest(), &digest);
    }
}

/// Indexes whose entries name no platform, and indexes in indexes, as image-spec allows.
#[tokio::test]
async fn a_platform_comes_from_the_config_and_indexes_are_followed() {
    use unbloat_oci::{Descriptor, Family, Index, Manifest, Platform};
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().display();
    let place = |name: &str| format!("oci:{folder}/{name}:t");
    let destination = to(&place("index")).await;
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let layer = noise(architecture.len() as u64, 3000);
        let layer =
            destination.put_blob(Family::Oci.layer(unbloat_oci::Codec::None).unwrap(), layer).await.unwrap();
        let config = CONFIG.replace("amd64", architecture);
        let config = destination.put_blob(Family::Oci.config(), config.into()).await.unwrap();
        let manifest = Manifest::new(Family::Oci, config, vec![layer]);
        let bytes = manifest.to_bytes();
        entries.push(destination.put_manifest(manifest.media_type(), bytes.into()).await.unwrap());
    }
    let inner = Index::new(Family::Oci, vec![entries[1].clone()]);
    let inner: Descriptor =
        destination.put_manifest(inner.media_type(), inner.to_bytes().into()).await.unwrap();
    let index = Index::new(Family::Oci, vec![entries[0].clone(), inner]);
    destination.publish(index.media_type(), index.to_bytes().into(), None).await.unwrap();
    let source = from(&place("index")).await.unwrap();
    for (wanted, entry) in ["linux/amd64", "linux/arm64"].into_iter().zip(&entries) {
        let wanted: Platform = wanted.parse().unwrap();
        let one = copy(&source, &to(&place("one")).await, std::slice::from_ref(&wanted)).await.unwrap();
        assert_eq!(one.published.descriptor.digest(), entry.digest(), "{wanted}");
        // The image of no index has to be for one of them too.
        let alone = from(&place("one")).await.unwrap();
        copy(&alone, &to(&place("alone")).await, &[wanted]).await.unwrap();
        let other: Platform = "linux/s390x".parse().unwrap();
        let refused =
            copy(&alone, &to(&place("alone")).await, std::slice::from_ref(&other)).await.unwrap_err();
        assert_eq!(refused.category(), Category::Usage, "{refused}");
        let refused = copy(&source, &to(&place("one")).await, &[other]).await.unwrap_err();
        assert_eq!(refused.category(), Category::Usage, "{refused}");
        assert!(refused.to_string().contains("linux/amd64, linux/arm64"), "{refused}");
    }
}
