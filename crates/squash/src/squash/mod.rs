//! From a request to a result: every image of the source, one after the other, the tag last.
//!
//! [`plan`] says what becomes of an image, [`encode`] makes its new layer, [`place`] puts the rest around it
//! at the destination, [`count`] tells what was gained, [`prove`] reads it back. The name is moved here, when
//! all of that is done.

mod count;
mod encode;
mod place;
mod plan;
mod prove;

use std::sync::Arc;
use std::time::Instant;

use unbloat_contract::{Format, PlatformFigures, SquashRequest, SquashResult, Stage};
use unbloat_oci::{Descriptor, Digest, Family};
use unbloat_registry::{Client, Destination, Location, Source, Unchanged};

use crate::assemble::{Assembly, IndexRules, Made};
use crate::cache::HeaderCache;
use crate::diff_ids::DiffIds;
use crate::error::Error;
use crate::image::Image;
use crate::open::{Found, Wanted, open, parse_platforms};
use crate::progress::Progress;

/// How often layers are made again that a registry has lost after it had shown them. One that loses a layer
/// twice will do so again.
const MADE_AGAIN: u32 = 1;

/// Squashes what `request` names.
///
/// # Guarantees
/// Manifest and tag are written last, and the tag only while the source still has the digest that was read.
/// On an error nothing is published: at most blobs without a manifest are left, which registries collect.
///
/// # Errors
/// See [`Error`].
pub async fn squash(
    client: &Client,
    request: &SquashRequest,
    progress: &Arc<Progress>,
) -> Result<SquashResult, Error> {
    let started = Instant::now();
    progress.enter(Stage::Resolving, "");
    if let Some(words) = request.shape.not_carried_out() {
        return Err(Error::Request(words.into()));
    }
    let source_at: Location = request.source.parse()?;
    let destination_at: Option<Location> =
        if request.dry_run { None } else { Some(request.destination.parse()?) };
    let source = client.source(&source_at).await?;
    let wanted = parse_platforms(&request.platforms)?;
    let found = open(&source, Wanted::Platforms(&wanted), request.allow_foreign).await?;
    let digest = found.fetched.descriptor.digest();
    let mut result = SquashResult::default();
    result.figures.source_digest = digest.to_string();
    let watched = watched(client, &source_at, destination_at.as_ref(), &source).await?;
    let unchanged = Unchanged { source: &watched, digest };
    let squash = Squash { client, request, progress, source: &source, destination: None };
    let nothing_to_do = squash.nothing_to_do(&found).await?;
    // Opened only now: where nothing is written, not even a folder is left.
    let destination = match destination_at.as_ref().filter(|_| squash.writes(nothing_to_do)) {
        Some(location) => {
            let destination = client.destination_for(location, &source).await?;
            destination.require_room_for(found.images.len())?;
            if request.verify && !destination.can_be_read_back() {
                let words =
                    "--verify reads the result back, and what goes through a pipe cannot be; write a file";
                return Err(Error::Request(words.into()));
            }
            Some(destination)
        }
        None => None,
    };
    let squash = Squash { destination: destination.as_ref(), ..squash };
    match nothing_to_do {
        Some(reason) => squash.leave(&found, reason, &mut result).await?,
        None => {
            result = squash.make_and_publish(&found, &unchanged, &result).await?;
            result.warnings.extend(squash.cache_warning());
        }
    }
    result.reclaimed_bytes = result.figures.pull_bytes_saved();
    result.bytes_read = source.bytes_read();
    result.bytes_written = destination.as_ref().map_or(0, Destination::bytes_written);
    result.duration_seconds = started.elapsed().as_secs_f64();
    progress.enter(Stage::Finished, "");
    Ok(result)
}

/// What must not have changed when the tag is moved. A source that is pinned (`NAME:TAG@DIGEST`) never
/// changes; but when its own tag is the destination, that tag must still point at the digest, or somebody
/// else's push would be lost.
async fn watched(
    client: &Client,
    from: &Location,
    to: Option<&Location>,
    source: &Source,
) -> Result<Source, Error> {
    if let (Location::Registry(from), Some(Location::Registry(to))) = (from, to)
        && let Some(tag) = from.tag().filter(|tag| from.digest().is_some() && to.tag() == Some(tag))
        && from.name() == to.name()
        && let Ok(tagged) = from.with_tag(tag)
    {
        return Ok(client.source(&Location::Registry(tagged)).await?);
    }
    Ok(source.clone())
}

/// One squash: what is asked for, and between which places.
struct Squash<'a> {
    client: &'a Client,
    request: &'a SquashRequest,
    progress: &'a Arc<Progress>,
    source: &'a Source,
    destination: Option<&'a Destination>,
}

impl Squash<'_> {
    /// Makes every image and publishes the result. A registry that lost a layer which was made here, after it
    /// had shown it, gets it made and sent once more; what was copied is sent again by its destination.
    async fn make_and_publish(
        &self,
        found: &Found,
        unchanged: &Unchanged<'_>,
        begun: &SquashResult,
    ) -> Result<SquashResult, Error> {
        let mut more = MADE_AGAIN;
        let mut lost = Vec::new();
        loop {
            let mut result = begun.clone();
            let outcome = match self.images(found).await {
                Ok(made) => self.publish(found, &made, unchanged, &mut result).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => {
                    result.warnings.extend(lost);
                    return Ok(result);
                }
                Err(Error::Registry(error)) if more > 0 && error.is_about_blobs_of_a_manifest() => {
                    more -= 1;
                    lost.push(format!(
                        "{} lost a layer that it had taken: it was made and sent again",
                        error.place()
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is to be said of a cache that was asked for and cannot be used.
    fn cache_warning(&self) -> Option<String> {
        let folder = self.request.limits.cache.as_deref().filter(|_| self.request.base.is_some())?;
        let error = HeaderCache::new(folder).try_writing().err()?;
        Some(format!("--cache {}: {error}; nothing of the kept layers is remembered there", folder.display()))
    }

    /// Every image, one after the other.
    async fn images(&self, found: &Found) -> Result<Vec<Made>, Error> {
        let mut made = Vec::new();
        for image in &found.images {
            made.push(self.image(image).await?);
        }
        Ok(made)
    }

    /// Squashes one image and puts all of it but the manifest at the destination.
    async fn image(&self, image: &Image) -> Result<Made, Error> {
        let layers = image.manifest.layers().to_vec();
        let plan = self.plan(image).await?;
        let platform = image.platform();
        self.progress.enter(Stage::Merging, &platform);
        self.progress.expect(layers.len() as u64, layers.iter().map(Descriptor::size).sum());
        let diff_ids = DiffIds::expected(&image.config, self.request.strict);
        let (encoded, merged) = self.make_layer(&layers, &plan, &diff_ids).await?;
        let (manifest, bytes) = self.place(image, &plan, &encoded).await?;
        let digest = Digest::sha256_of(&bytes);
        let figures = count::squashed(image, &plan, &manifest, &digest, &merged);
        Ok(Made {
            figures: PlatformFigures { platform, figures },
            warnings: count::warnings(&merged, &diff_ids),
            media_type: manifest.media_type().clone(),
            bytes,
        })
    }

    /// Writes the last documents and moves the name.
    async fn publish(
        &self,
        found: &Found,
        made: &[Made],
        unchanged: &Unchanged<'_>,
        result: &mut SquashResult,
    ) -> Result<(), Error> {
        result.warnings = found.warnings();
        for image in made {
            image.count_into(result, made.len() > 1);
        }
        let family = match self.request.format {
            Format::Keep => None,
            Format::Oci => Some(Family::Oci),
            Format::Docker => Some(Family::Docker),
        };
        let assembly = Assembly {
            images: &found.images,
            made,
            source: self.source,
            destination: self.destination,
            rules: IndexRules { family, keeps_base: self.request.base.is_some() },
        };
        let (media_type, bytes) = assembly.document(found).await?;
        let Some(destination) = self.destination else { return Ok(()) };
        self.progress.enter(Stage::Publishing, "");
        let published = destination.publish(&media_type, bytes, Some(unchanged.clone())).await?;
        result.figures.digest = published.descriptor.digest().to_string();
        result.reference = published.reference;
        if self.request.verify && destination.location().is_archive() {
            self.verify_archive(result).await?;
        }
        Ok(())
    }
}
