//! An image that was found and checked, whose layers can now be read: for whoever looks at layers instead of
//! writing some.

use std::sync::Arc;

use unbloat_analysis::ImageFacts;
use unbloat_contract::Stage;
use unbloat_layers::{BoxError, LayerError, LayerSource};
use unbloat_oci::Descriptor;
use unbloat_registry::{Client, Location, Source};

use crate::analyze;
use crate::decode::LayerStream;
use crate::diff_ids::DiffIds;
use crate::error::{Error, layer_error};
use crate::history::parse_platform;
use crate::open::single;
use crate::progress::Progress;
use crate::source::Layers;

/// One image with its layers, 0 at the lowest.
///
/// # Guarantees
/// A stream that was read to its end is what its descriptor announced, digest and size. Every layer can be
/// opened again.
pub struct OpenedImage {
    location: Location,
    facts: ImageFacts,
    source: Source,
    descriptors: Vec<Descriptor>,
    layers: Layers,
    diff_ids: DiffIds,
    progress: Arc<Progress>,
}

impl OpenedImage {
    /// Reads manifest and config of `reference`, of `platform` where it has several. Layers are read when
    /// they are opened, and `progress` counts them; cancelling it ends every stream with an error.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(
        client: &Client,
        reference: &str,
        platform: Option<&str>,
        progress: &Arc<Progress>,
    ) -> Result<Self, Error> {
        let platform = parse_platform(platform)?;
        progress.enter(Stage::Resolving, "");
        let location: Location = reference.parse()?;
        let source = client.source(&location).await?;
        let image = single(&source, platform.as_ref(), true).await?;
        let descriptors = image.manifest.layers().to_vec();
        let facts = analyze::facts(reference, &image);
        let diff_ids = DiffIds::expected(&image.config, false);
        progress
            .expect(descriptors.len() as u64, descriptors.iter().map(unbloat_oci::Descriptor::size).sum());
        progress.enter(Stage::Analyzing, "");
        Ok(Self {
            layers: Layers::new(&source, &descriptors, false, 1 << 20, progress).with_diff_ids(&diff_ids),
            diff_ids,
            location,
            facts,
            source,
            descriptors,
            progress: Arc::clone(progress),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What manifest and config say of it and of its layers, lowest first.
    #[must_use]
    pub fn facts(&self) -> &ImageFacts {
        &self.facts
    }

    /// What is to be said of the layers that were read to their end: that one is not what the config says.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.diff_ids.warnings()
    }

    /// The same image, counted and cancelled by another `progress`. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn with_progress(&self, progress: &Arc<Progress>) -> Self {
        Self {
            layers: Layers::new(&self.source, &self.descriptors, false, 1 << 20, progress),
            diff_ids: self.diff_ids.clone(),
            location: self.location.clone(),
            facts: self.facts.clone(),
            source: self.source.clone(),
            descriptors: self.descriptors.clone(),
            progress: Arc::clone(progress),
        }
    }

    /// An error of reading its layers, with the layer's digest and media type.
    #[must_use]
    pub fn error(&self, error: unbloat_layers::Error) -> Error {
        layer_error(error, &self.descriptors, &self.progress)
    }

    /// One layer alone, without asking for others ahead of their turn.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    pub fn open_one(&self, layer: usize) -> Result<LayerStream, BoxError> {
        self.layers.open_one(layer)
    }
}

impl LayerSource for OpenedImage {
    type Stream = LayerStream;

    fn open(&self, layer: usize) -> Result<LayerStream, BoxError> {
        self.layers.open(layer)
    }

    fn misread(&self, layer: usize, cause: &LayerError) -> bool {
        self.layers.was_misread(layer, cause)
    }
}
