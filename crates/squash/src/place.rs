//! The same place, another image of it.

use unbloat_oci::Digest;
use unbloat_registry::{LayoutName, Location};

/// The image with this digest at the place that `location` names an image of.
pub(crate) fn at_digest(location: &Location, digest: &Digest) -> Location {
    let name = Some(LayoutName::Digest(digest.clone()));
    match location {
        Location::Registry(reference) => Location::Registry(reference.with_digest(digest.clone())),
        Location::OciDir { path, .. } => Location::OciDir { path: path.clone(), name },
        Location::OciArchive { path, .. } => Location::OciArchive { path: path.clone(), name },
        // Its images have no digest of their own; a reader takes the one that it names.
        Location::DockerArchive { .. } => location.clone(),
    }
}
