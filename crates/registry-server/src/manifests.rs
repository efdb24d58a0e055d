//! `/v2/NAME/manifests/REFERENCE` and `/v2/NAME/referrers/DIGEST`

use bytes::Bytes;
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::value::RawValue;
use unbloat_oci::{AnyManifest, Descriptor, Digest, Document, MAX_MANIFEST_BYTES, MediaType};

use crate::reply::{self, Body};
use crate::store::{Store, Stored};

/// HEAD, GET and DELETE.
pub(crate) fn handle(store: &mut Store, method: &Method, repository: &str, name: &str) -> Response<Body> {
    let unknown = || reply::error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown");
    let Some(found) = store.repositories.get_mut(repository) else { return unknown() };
    let digest = match name.parse::<Digest>() {
        Ok(digest) => digest,
        Err(_) if *method == Method::DELETE => {
            return if found.tags.remove(name).is_some() {
                reply::status(StatusCode::ACCEPTED)
            } else {
                unknown()
            };
        }
        Err(_) => match found.tags.get(name) {
            Some(digest) => digest.clone(),
            None => return unknown(),
        },
    };
    let Some(stored) = found.manifests.get(&digest).cloned() else { return unknown() };
    if *method == Method::DELETE {
        found.manifests.remove(&digest);
        found.tags.retain(|_, tagged| *tagged != digest);
        return reply::status(StatusCode::ACCEPTED);
    }
    let length = stored.bytes.len().to_string();
    let body = if *method == Method::HEAD { reply::full("") } else { reply::full(stored.bytes) };
    reply::with(
        Response::new(body),
        &[
            ("content-type", &stored.media_type),
            ("content-length", &length),
            ("docker-content-digest", digest.as_str()),
        ],
        StatusCode::OK,
    )
}

/// PUT.
pub(crate) fn put(
    store: &mut Store,
    repository: &str,
    name: &str,
    headers: &HeaderMap,
    bytes: Bytes,
) -> Response<Body> {
    let invalid = |message: &str| reply::error(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message);
    let media_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = MediaType::new(media_type);
    let digest = Digest::sha256_of(&bytes);
    if name.parse::<Digest>().is_ok_and(|expected| expected != digest) {
        return reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the manifest has another digest");
    }
    let parsed = match AnyManifest::parse(Some(&media_type), &bytes) {
        Ok(parsed) => parsed,
        Err(error) => return invalid(&error.to_string()),
    };
    let (missing, subject) = match &parsed {
        AnyManifest::Image(image) => {
            let foreign = |blob: &Descriptor| blob.media_type().layer().is_ok_and(|kind| kind.foreign);
            let blobs = image.layers().iter().filter(|blob| !foreign(blob)).chain([image.config()]);
            let missing = blobs.map(Descriptor::digest).find(|blob| store.blob(repository, blob).is_none());
            (missing.cloned(), image.subject())
        }
        AnyManifest::Index(index) => {
            let manifests = store.repositories.get(repository).map(|repository| &repository.manifests);
            let missing = index
                .manifests()
                .iter()
                .map(Descriptor::digest)
                .find(|child| manifests.is_none_or(|manifests| !manifests.contains_key(*child)));
            (missing.cloned(), index.subject())
        }
    };
    if let Some(missing) = missing {
        return reply::error(
            StatusCode::NOT_FOUND,
            "MANIFEST_BLOB_UNKNOWN",
            &format!("blob unknown: {missing}"),
        );
    }
    let Ok(subject) = subject else { return invalid("the subject is no descriptor") };
    let listed = subject.map(|subject| (subject.digest().clone(), listing(&media_type, &digest, &bytes)));
    let subject = listed.as_ref().map(|(subject, _)| subject.to_string());
    let found = store.repository(repository);
    let stored = Stored { media_type: media_type.as_str().to_owned(), bytes, subject: listed };
    found.manifests.insert(digest.clone(), stored);
    if name.parse::<Digest>().is_err() {
        found.tags.insert(name.to_owned(), digest.clone());
    }
    let location = format!("/v2/{repository}/manifests/{digest}");
    let response = reply::with(
        reply::status(StatusCode::CREATED),
        &[("location", &location), ("docker-content-digest", digest.as_str())],
        StatusCode::CREATED,
    );
    match subject {
        Some(subject) => reply::with(response, &[("oci-subject", &subject)], StatusCode::CREATED),
        None => response,
    }
}

/// How a referrer is listed: with its type and its annotations.
fn listing(media_type: &MediaType, digest: &Digest, bytes: &Bytes) -> Descriptor {
    let plain = Descriptor::new(media_type.clone(), digest.clone(), bytes.len() as u64);
    let Ok(manifest) = Document::parse("manifest", bytes, MAX_MANIFEST_BYTES) else { return plain };
    let mut document = Document::empty("descriptor");
    document.set("mediaType", media_type);
    document.set("digest", digest);
    document.set("size", &bytes.len());
    let artifact = manifest.get::<String>("artifactType").ok().flatten();
    let config =
        manifest.object("config").ok().and_then(|config| config.get::<String>("mediaType").ok().flatten());
    if let Some(kind) = artifact.or(config) {
        document.set("artifactType", &kind);
    }
    if let Some(annotations) = manifest.raw("annotations") {
        document.set_raw("annotations", annotations.to_owned());
    }
    Descriptor::parse(&document.to_raw()).unwrap_or(plain)
}

/// GET of the referrers.
pub(crate) fn referrers(
    store: &Store,
    repository: &str,
    subject: &str,
    artifact_type: Option<&str>,
) -> Response<Body> {
    let Ok(subject) = subject.parse::<Digest>() else {
        return reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not a digest");
    };
    let manifests = store.repositories.get(repository).into_iter().flat_map(|found| found.manifests.values());
    let listed: Vec<Box<RawValue>> = manifests
        .filter_map(|stored| stored.subject.as_ref())
        .filter(|(of, _)| *of == subject)
        .filter(|(_, entry)| {
            artifact_type.is_none_or(|wanted| entry.artifact_type().as_deref() == Some(wanted))
        })
        .map(|(_, entry)| entry.to_raw())
        .collect();
    let mut index = Document::empty("index");
    index.set("schemaVersion", &2);
    index.set("mediaType", "application/vnd.oci.image.index.v1+json");
    index.set("manifests", &listed);
    let mut headers = vec![("content-type", "application/vnd.oci.image.index.v1+json")];
    if artifact_type.is_some() {
        headers.push(("oci-filters-applied", "artifactType"));
    }
    reply::with(Response::new(reply::full(index.to_bytes())), &headers, StatusCode::OK)
}
