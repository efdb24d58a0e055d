//! Which of an image's lowest layers are kept.

use unbloat_contract::{Base, SquashRequest};
use unbloat_registry::{Client, Location, Source};

use crate::error::Error;
use crate::image::Image;
use crate::open::single;

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
            let base = single(&source, Some(&platform), true).await?;
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

/// Whether what an image says of its base (`org.opencontainers.image.base.*`) is true of a result that keeps
/// its lowest `kept` layers: all layers of that base have to be among them. A base that cannot be looked at
/// is not known to be kept; only the registry that the image comes from is asked.
pub(crate) async fn stays_true(
    client: &Client,
    source: &Source,
    request: &SquashRequest,
    image: &Image,
    kept: usize,
) -> bool {
    let annotations = image.manifest.annotations();
    let said = |key: &str| annotations.get(&format!("org.opencontainers.image.base.{key}"));
    if kept == 0 || (said("name").is_none() && said("digest").is_none()) {
        return kept > 0;
    }
    let digest = said("digest").and_then(|text| text.parse::<unbloat_oci::Digest>().ok());
    let named = said("name").and_then(|name| name.parse::<unbloat_oci::Reference>().ok());
    let is_here = |base: &unbloat_oci::Reference| {
        source.location().reference().is_some_and(|image| image.registry() == base.registry())
    };
    let place = match (&request.base, named) {
        (Some(Base::Image(name)), _) => name.parse().ok(),
        (_, Some(base)) if is_here(&base) => Some(Location::Registry(match &digest {
            Some(digest) => base.with_digest(digest.clone()),
            None => base,
        })),
        _ => None,
    };
    let Some(place) = place else { return false };
    let Ok(base) = client.source(&place).await else { return false };
    let Ok(base_image) = single(&base, Some(&image.config.platform()), true).await else { return false };
    let Ok(top) = base.resolve().await else { return false };
    let is_that = digest
        .is_none_or(|digest| digest == *base_image.descriptor.digest() || digest == *top.descriptor.digest());
    let layers = base_image.config.diff_ids().len();
    is_that && layers <= kept && common_prefix(&image.config, &base_image.config) == layers
}

/// Length of the longest common prefix of two images' diffIDs.
pub(crate) fn common_prefix(a: &unbloat_oci::ImageConfig, b: &unbloat_oci::ImageConfig) -> usize {
    a.diff_ids().iter().zip(b.diff_ids()).take_while(|(a, b)| a == b).count()
}
