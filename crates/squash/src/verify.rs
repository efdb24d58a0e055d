//! Proving that two images have the same merged tree.

use std::sync::Arc;

use serde::Serialize;
use unbloat_contract::{Stage, VerifyRequest};
use unbloat_layers::Options;
use unbloat_registry::{Client, Source};

use crate::error::Error;
use crate::history::parse_platform;
use crate::image::{self, Image};
use crate::listing::{self, Difference, Links, Listing};
use crate::progress::Progress;
use crate::run::layer_error;
use crate::source::Layers;

/// The outcome of a comparison.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResult {
    /// Whether the trees are the same.
    pub equal: bool,
    /// Paths of the first image that were compared.
    pub paths: u64,
    /// Differences found.
    pub different: u64,
    /// The first thousand of them.
    pub differences: Vec<Difference>,
}

/// Compares two images.
///
/// # Errors
/// See [`Error`]; a difference is no error.
pub async fn verify(
    client: &Client,
    request: &VerifyRequest,
    progress: &Arc<Progress>,
) -> Result<VerifyResult, Error> {
    let platform = parse_platform(request.platforms.first().map(String::as_str))?;
    progress.enter(Stage::Resolving, "");
    let a = client.source(&request.a.parse()?).await?;
    let b = client.source(&request.b.parse()?).await?;
    let a_image = image::single(&a, platform.as_ref(), true).await?;
    let b_image = image::single(&b, platform.as_ref(), true).await?;
    progress.enter(Stage::Verifying, "");
    let options = Options {
        jobs: request.limits.threads(),
        hold_bytes: request.limits.hold_bytes(),
        max_unpacked_bytes: request.limits.max_unpacked_bytes,
        max_paths: request.limits.max_paths,
        ..Options::default()
    };
    let links = if request.allow_split_links { Links::MaySplit } else { Links::Same };
    let (a, b) = ((&a, &a_image, &options), (&b, &b_image, &options));
    compare_images(a, b, links, &request.paths, request.limits.memory_bytes, progress).await
}

pub(crate) async fn compare_images(
    a: (&Source, &Image, &Options),
    b: (&Source, &Image, &Options),
    links: Links,
    paths: &[String],
    memory_bytes: u64,
    progress: &Arc<Progress>,
) -> Result<VerifyResult, Error> {
    let a = list(a, memory_bytes, progress).await?;
    let b = list(b, memory_bytes, progress).await?;
    let prefixes: Vec<&[u8]> = paths.iter().map(|path| path.trim_matches('/').as_bytes()).collect();
    let wanted = |path: &[u8]| {
        let below = |prefix: &&[u8]| {
            path.strip_prefix(*prefix)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || prefix.is_empty())
        };
        prefixes.is_empty() || prefixes.iter().any(below)
    };
    let (differences, different) = listing::compare(&a, &b, links, wanted);
    let paths = a.keys().filter(|path| wanted(path)).count() as u64;
    Ok(VerifyResult { equal: different == 0, paths, different, differences })
}

async fn list(
    (source, image, options): (&Source, &Image, &Options),
    memory_bytes: u64,
    progress: &Arc<Progress>,
) -> Result<Listing, Error> {
    let descriptors = image.manifest.layers().to_vec();
    progress.expect(descriptors.len() as u64, descriptors.iter().map(unbloat_oci::Descriptor::size).sum());
    let layers = Layers::new(source, &descriptors, false, 1 << 20, progress).with_windows(memory_bytes);
    // Removing and truncating are part of what is expected; a base is not.
    let options = Options { base_layers: 0, strict: false, ..options.clone() };
    let count = descriptors.len();
    let listed = tokio::task::spawn_blocking(move || listing::list(&layers, count, &options)).await;
    let listed = listed.map_err(|panic| Error::Internal(panic.to_string()))?;
    listed.map(|(listing, _)| listing).map_err(|error| layer_error(error, &descriptors, progress))
}
