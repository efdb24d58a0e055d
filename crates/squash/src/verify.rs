//! Proving that two images have the same merged tree, and two indexes the same in each of their images.

use std::sync::Arc;

use serde::Serialize;
use unbloat_contract::{Limits, Stage, VerifyRequest};
use unbloat_layers::Options;
use unbloat_oci::Platform;
use unbloat_registry::{Client, Source};

use crate::diff_ids::DiffIds;
use crate::error::{Error, layer_error};
use crate::image::Image;
use crate::listing::{self, Difference, Links, Listing};
use crate::open::{Wanted, open, parse_platforms};
use crate::progress::Progress;
use crate::source::Layers;
use crate::tree::plain_options;

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, Serialize)]
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
    /// Platforms that were compared.
    pub platforms: Vec<String>,
    /// What a user should know.
    pub warnings: Vec<String>,
}

/// Compares two images, or the images of two indexes platform by platform.
///
/// # Errors
/// See [`Error`]; a difference is no error, and a platform that one of them lacks is a difference.
pub async fn verify(
    client: &Client,
    request: &VerifyRequest,
    progress: &Arc<Progress>,
) -> Result<VerifyResult, Error> {
    let wanted = parse_platforms(&request.platforms)?;
    progress.enter(Stage::Resolving, "");
    let a = client.source(&request.a.parse()?).await?;
    let b = client.source(&request.b.parse()?).await?;
    let a_found = open(&a, Wanted::Platforms(&wanted), true).await?;
    let mut b_found = open(&b, Wanted::Platforms(&wanted), true).await?;
    let both_alone = a_found.index.is_none() && b_found.index.is_none();
    let several = a_found.images.len().max(b_found.images.len()) > 1;
    progress.enter(Stage::Verifying, "");
    let options = plain_options(&request.limits);
    let links = if request.allow_split_links { Links::MaySplit } else { Links::Same };
    let mut result = VerifyResult { equal: true, ..VerifyResult::default() };
    for image in &a_found.images {
        let platform = image.config.platform();
        let is_its = |other: &Image| other.config.platform().is(&platform);
        // Two images that stand alone are compared whatever they are for: that is what was asked.
        let partner = match both_alone {
            true => Some(0),
            false => b_found.images.iter().position(is_its),
        };
        let Some(partner) = partner else {
            result.add_missing(&platform, "missing in the second image");
            continue;
        };
        let other = b_found.images.remove(partner);
        let sides = (
            Side { source: &a, image, options: &options },
            Side { source: &b, image: &other, options: &options },
        );
        let compared =
            compare_images(sides, links, &request.paths, &request.limits, request.strict, progress).await?;
        result.add(&platform, compared, several);
    }
    for image in &b_found.images {
        result.add_missing(&image.config.platform(), "only in the second image");
    }
    Ok(result)
}

impl VerifyResult {
    fn add(&mut self, platform: &Platform, other: Self, several: bool) {
        let Self { equal, paths, different, differences, platforms: _, warnings } = other;
        self.equal &= equal;
        self.paths += paths;
        self.different += different;
        let room = listing::MAX_DIFFERENCES.saturating_sub(self.differences.len());
        let named = |difference: Difference| match several {
            true => Difference { what: format!("{platform}: {}", difference.what), ..difference },
            false => difference,
        };
        self.differences.extend(differences.into_iter().take(room).map(named));
        self.warnings.extend(warnings);
        self.platforms.push(platform.to_string());
    }

    fn add_missing(&mut self, platform: &Platform, what: &str) {
        self.equal = false;
        self.different += 1;
        self.differences
            .push(Difference { path: "/".into(), what: format!("the image for {platform} is {what}") });
    }
}

/// One of two images.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) source: &'a Source,
    pub(crate) image: &'a Image,
    pub(crate) options: &'a Options,
}

pub(crate) async fn compare_images(
    (a, b): (Side<'_>, Side<'_>),
    links: Links,
    paths: &[String],
    limits: &Limits,
    strict: bool,
    progress: &Arc<Progress>,
) -> Result<VerifyResult, Error> {
    let (a, mut warnings) = list(a, limits, strict, progress).await?;
    let (b, more) = list(b, limits, strict, progress).await?;
    warnings.extend(more);
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
    Ok(VerifyResult { equal: different == 0, paths, different, differences, platforms: Vec::new(), warnings })
}

async fn list(
    Side { source, image, options }: Side<'_>,
    limits: &Limits,
    strict: bool,
    progress: &Arc<Progress>,
) -> Result<(Listing, Vec<String>), Error> {
    let descriptors = image.manifest.layers().to_vec();
    progress.expect(descriptors.len() as u64, descriptors.iter().map(unbloat_oci::Descriptor::size).sum());
    let diff_ids = DiffIds::expected(&image.config, strict);
    let layers = Layers::new(source, &descriptors, false, 1 << 20, progress)
        .with_windows(limits.memory_bytes)
        .with_diff_ids(&diff_ids);
    // Removing and truncating are part of what is expected; a base is not.
    let options = Options { base_layers: 0, strict: false, ..options.clone() };
    let count = descriptors.len();
    let listed = tokio::task::spawn_blocking(move || listing::list(&layers, count, &options)).await;
    let listed = listed.map_err(|panic| Error::Internal(panic.to_string()))?;
    let (listing, _) = listed.map_err(|error| layer_error(error, &descriptors, progress))?;
    Ok((listing, diff_ids.warnings()))
}
