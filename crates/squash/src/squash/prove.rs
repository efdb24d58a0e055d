//! The result, read back: the same tree as the source, or no tag moves.

use unbloat_contract::{SquashResult, Stage};
use unbloat_layers::Options;
use unbloat_oci::Digest;
use unbloat_registry::{Location, Source};

use super::Squash;
use crate::base;
use crate::error::Error;
use crate::image::Image;
use crate::listing::Links;
use crate::open::single;
use crate::verify::{self, Side};

impl Squash<'_> {
    /// Compares an image with what was made of it above `kept` layers.
    pub(super) async fn verify(&self, image: &Image, made: &Source, kept: usize) -> Result<(), Error> {
        let made_image = single(made, None, true).await?;
        let options = self.merge_options(0);
        let plain = Options { jobs: options.jobs, ..Options::default() };
        let sides = (
            Side { source: self.source, image, options: &options },
            Side { source: made, image: &made_image, options: &plain },
        );
        let links = if kept > 0 { Links::MaySplit } else { Links::Same };
        let outcome =
            verify::compare_images(sides, links, &[], &self.request.limits, false, self.progress).await?;
        match outcome.differences.first() {
            None => Ok(()),
            Some(first) => Err(Error::Verification(format!(
                "{} of {} paths differ, first {}: {}",
                outcome.different, outcome.paths, first.path, first.what
            ))),
        }
    }

    /// An archive cannot be read before it is complete, so it is verified afterwards and taken away if it is
    /// wrong.
    pub(super) async fn verify_archive(&self, result: &SquashResult) -> Result<(), Error> {
        let Some(destination) = self.destination else { return Ok(()) };
        let (Location::OciArchive { path, .. } | Location::DockerArchive { path, .. }) =
            destination.location()
        else {
            return Ok(());
        };
        self.progress.enter(Stage::Verifying, "");
        for platform in &result.platforms {
            let (before, after) =
                (digest(&platform.figures.source_digest)?, digest(&platform.figures.digest)?);
            let read = self.client.source(&self.source.location().at_digest(&before)).await?;
            let image = single(&read, None, true).await?;
            let made = self.client.source(&destination.location().at_digest(&after)).await?;
            let kept = base::kept_layers(self.client, self.request, &image).await?;
            if let Err(error) = self.verify(&image, &made, kept).await {
                let _ = std::fs::remove_file(path);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|_| Error::Internal("digest".into()))
}
