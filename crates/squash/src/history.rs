//! How an image was made, step by step.

use serde::Serialize;
use unbloat_oci::Platform;
use unbloat_registry::Client;

use crate::error::Error;
use crate::open::single_of_several;

/// An image's history, oldest step first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageHistory {
    /// The image as given.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: String,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// When it was made, as written.
    pub created: Option<String>,
    /// Layers.
    pub layers: u64,
    /// Stored bytes of all layers.
    pub compressed_bytes: u64,
    /// The steps.
    pub steps: Vec<Step>,
    /// Platforms that the location has besides.
    pub other_platforms: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Index of the layer that it made, 0 at the lowest.
    pub layer: Option<u64>,
    /// That layer's digest.
    pub digest: Option<String>,
    /// That layer's stored bytes.
    pub compressed_bytes: Option<u64>,
    /// When, as written.
    pub created: Option<String>,
    /// The command.
    pub created_by: Option<String>,
    /// A remark.
    pub comment: Option<String>,
}

/// Reads an image's history.
///
/// # Errors
/// See [`Error`].
pub async fn history(
    client: &Client,
    reference: &str,
    platform: Option<&str>,
) -> Result<ImageHistory, Error> {
    let platform = parse_platform(platform)?;
    let source = client.source(&reference.parse()?).await?;
    let (image, others) = single_of_several(&source, platform.as_ref(), true).await?;
    let layers = image.manifest.layers();
    let of_layers = image.config.layer_history();
    let step = |entry: Option<&unbloat_oci::HistoryEntry>, index: Option<usize>| Step {
        layer: index.map(|index| index as u64),
        digest: index.map(|index| layers[index].digest().to_string()),
        compressed_bytes: index.map(|index| layers[index].size()),
        created: entry.and_then(|entry| entry.created.clone()),
        created_by: entry.and_then(|entry| entry.created_by.clone()),
        comment: entry.and_then(|entry| entry.comment.clone()),
    };
    let steps = match &of_layers {
        Some(of_layers) => image
            .config
            .history()
            .iter()
            .enumerate()
            .map(|(at, entry)| step(Some(entry), of_layers.iter().position(|layer| *layer == at)))
            .collect(),
        // A history that does not agree with the layers tells nothing about them.
        None => (0..layers.len()).map(|index| step(None, Some(index))).collect(),
    };
    Ok(ImageHistory {
        reference: reference.to_owned(),
        digest: image.descriptor.digest().to_string(),
        platform: image.platform(),
        created: image.config.created(),
        layers: layers.len() as u64,
        compressed_bytes: layers.iter().map(unbloat_oci::Descriptor::size).sum(),
        steps,
        other_platforms: others.iter().map(ToString::to_string).collect(),
    })
}

/// A `--platform` argument.
pub(crate) fn parse_platform(text: Option<&str>) -> Result<Option<Platform>, Error> {
    let parse =
        |text: &str| text.parse().map_err(|error| Error::Request(format!("--platform {text}: {error}")));
    text.map(parse).transpose()
}
