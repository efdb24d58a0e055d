//! The source, pinned to a digest, and whether there is anything to do.

use unbloat_contract::{Failure, Figures, SquashResult};
use unbloat_oci::{AnyManifest, Descriptor, Digest};
use unbloat_registry::{Client, Location};
use unbloat_squash::Error;

use crate::failure::{of_engine, of_registry};

/// What the source is.
pub(crate) struct Pinned {
    /// The location with its digest, where it is a registry's.
    pub(crate) location: String,
    /// The digest.
    pub(crate) digest: Digest,
    /// The figures, if the image is flat already.
    pub(crate) flat: Option<SquashResult>,
}

/// Reads the source's manifest.
pub(crate) async fn pin(client: &Client, source: &str, flat_up_to: Option<usize>) -> Result<Pinned, Failure> {
    let location: Location = source.parse().map_err(|error| of_engine(&Error::Location(error)))?;
    let image = client.source(&location).await.map_err(|error| of_registry(&error))?;
    let fetched = image.resolve().await.map_err(|error| of_registry(&error))?;
    let digest = fetched.descriptor.digest().clone();
    let pinned = match &location {
        Location::Registry(reference) => reference.with_digest(digest.clone()).to_string(),
        local => local.to_string(),
    };
    // A document that can't be read is the squash's to complain about, with all its context.
    let manifests = match fetched.parse() {
        Ok(AnyManifest::Image(manifest)) => vec![manifest],
        Ok(AnyManifest::Index(index)) if flat_up_to.is_some() => {
            let mut manifests = Vec::new();
            for entry in index.manifests() {
                match image.manifest(entry).await.map_err(|error| of_registry(&error))?.parse() {
                    Ok(AnyManifest::Image(manifest)) => manifests.push(manifest),
                    _ => return Ok(Pinned { location: pinned, digest, flat: None }),
                }
            }
            manifests
        }
        _ => return Ok(Pinned { location: pinned, digest, flat: None }),
    };
    let limit = flat_up_to.unwrap_or(0);
    let is_flat = !manifests.is_empty() && manifests.iter().all(|manifest| manifest.layers().len() <= limit);
    let flat = is_flat.then(|| {
        let layers = manifests.iter().map(|manifest| manifest.layers().len() as u64).sum();
        let sizes = manifests.iter().flat_map(unbloat_oci::Manifest::layers).map(Descriptor::size);
        let bytes = sizes.fold(0, u64::saturating_add);
        let figures = Figures {
            source_digest: digest.to_string(),
            digest: digest.to_string(),
            layers_before: layers,
            layers_after: layers,
            compressed_bytes_before: bytes,
            compressed_bytes_after: bytes,
            ..Figures::default()
        };
        SquashResult { figures, reference: pinned.clone(), ..SquashResult::default() }
    });
    Ok(Pinned { location: pinned, digest, flat })
}

/// Makes a flat image be at another name as it is; `None` where it has that name already.
pub(crate) async fn copy(client: &Client, from: &str, to: &str) -> Result<Option<String>, Failure> {
    let parse = |text: &str| text.parse().map_err(|error| of_engine(&Error::Location(error)));
    let (from, to): (Location, Location) = (parse(from)?, parse(to)?);
    if let (Location::Registry(from), Location::Registry(to)) = (&from, &to)
        && from.name() == to.name()
        && from.tag() == to.tag()
    {
        return Ok(None);
    }
    let failed = |error: unbloat_registry::Error| of_registry(&error);
    let source = client.source(&from).await.map_err(failed)?;
    let destination = client.destination(&to).await.map_err(failed)?;
    let report = unbloat_registry::copy(&source, &destination, &[]).await.map_err(failed)?;
    Ok(Some(report.published.reference))
}
