//! Which of an image's lowest layers are kept.

use unbloat_contract::{Base, SquashRequest};
use unbloat_registry::Client;

use crate::error::Error;
use crate::image::{self, Image};

/// Number of layers to keep: as asked for, or the longest common prefix of diffIDs with the base image.
pub(crate) async fn kept_layers(
    client: &Client,
    request: &SquashRequest,
    image: &Image,
) -> Result<usize, Error> {
    match &request.base {
        None => Ok(0),
        Some(Base::Layers(count)) => {
            let layers = image.manifest.layers().len();
            if *count > layers {
                return Err(Error::Request(format!(
                    "{count} layers are to be kept and the image has {layers}"
                )));
            }
            Ok(*count)
        }
        Some(Base::Image(name)) => {
            let source = client.source(&name.parse()?).await?;
            let platform = image.config.platform();
            let base = image::single(&source, Some(&platform), true).await?;
            let common = common_prefix(&image.config, &base.config);
            if common == 0 {
                return Err(Error::Request(format!(
                    "{name} is no base of the image: their lowest layers differ (the image is for {platform})"
                )));
            }
            Ok(common)
        }
    }
}

/// Length of the longest common prefix of two images' diffIDs.
pub(crate) fn common_prefix(a: &unbloat_oci::ImageConfig, b: &unbloat_oci::ImageConfig) -> usize {
    a.diff_ids().iter().zip(b.diff_ids()).take_while(|(a, b)| a == b).count()
}
