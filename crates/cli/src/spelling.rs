//! A path that is there, given where an image should be: the error says what is there and how it is written.
//!
//! Only an error looks: a folder that has the name of an image must not keep that image from being read.

use unbloat_registry::{Category, ErrorKind, Location, LocationError, local_spelling};

/// The error, with how the image that it is about would be written if the path of its name were meant.
pub(crate) fn explained(error: anyhow::Error, images: &[String]) -> anyhow::Error {
    let meant = images.iter().filter(|image| is_about(&error, image));
    match meant.filter_map(|image| local_spelling(image)).next() {
        Some(words) => error.context(words),
        None => error,
    }
}

fn is_about(error: &anyhow::Error, image: &str) -> bool {
    match image.parse::<Location>() {
        Err(fault) => location_fault(error).is_some_and(|found| *found == fault),
        Ok(Location::Registry(reference)) => registry_fault(error).is_some_and(|fault| {
            fault.place() == reference.registry()
                && matches!(
                    fault.category(),
                    Category::NotFound | Category::Unauthorized | Category::Registry
                )
        }),
        Ok(_) => false,
    }
}

fn location_fault(error: &anyhow::Error) -> Option<&LocationError> {
    error.chain().find_map(|cause| match cause.downcast_ref::<unbloat_squash::Error>() {
        Some(unbloat_squash::Error::Location(fault)) => Some(fault),
        Some(_) => None,
        None => cause.downcast_ref(),
    })
}

fn registry_fault(error: &anyhow::Error) -> Option<&unbloat_registry::Error> {
    let found = error.chain().find_map(|cause| match cause.downcast_ref::<unbloat_squash::Error>() {
        Some(unbloat_squash::Error::Registry(fault)) => Some(fault),
        Some(_) => None,
        None => cause.downcast_ref::<unbloat_registry::Error>(),
    })?;
    (!matches!(found.kind(), ErrorKind::Location(_))).then_some(found)
}
