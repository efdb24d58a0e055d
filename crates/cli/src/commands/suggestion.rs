//! A squash of the image at hand, as a command that can be run as it stands: what `analyze` and `explore` end
//! with.

use std::path::Path;

use unbloat_oci::Reference;
use unbloat_registry::{LayoutName, Location};
use unbloat_text::SquashCommand;

use crate::connection::ConnectionArgs;

/// A squash of `image`, which was read from `location` over `connection`.
pub(super) fn squash_of(
    image: &str,
    location: &Location,
    platform: Option<&str>,
    connection: &ConnectionArgs,
) -> SquashCommand {
    let mut options: Vec<String> =
        platform.map(|platform| format!("--platform={platform}")).into_iter().collect();
    options.extend(connection.options());
    SquashCommand { source: image.to_owned(), destination: destination(location), options }
}

/// A place beside the image for the result.
fn destination(location: &Location) -> String {
    let beside = |path: &Path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        format!("oci-archive:{}", path.with_file_name(format!("{stem}-flat.tar")).display())
    };
    match location {
        Location::Registry(reference) => flat_tag(reference),
        Location::OciDir { path, name: Some(LayoutName::Tag(tag)) } => {
            format!("oci:{}:{tag}-flat", path.display())
        }
        Location::OciDir { path, .. } => format!("oci:{}:flat", path.display()),
        // Beside standard input there is nothing.
        image if image.is_standard_stream() => "oci-archive:flat.tar".to_owned(),
        Location::OciArchive { path, .. } | Location::DockerArchive { path, .. } => beside(path),
    }
}

fn flat_tag(reference: &Reference) -> String {
    let tag = reference.tag().map_or_else(|| "flat".to_owned(), |tag| format!("{tag}-flat"));
    // Only a tag that is as long as a tag may be cannot grow.
    reference
        .with_tag(&tag)
        .or_else(|_| reference.with_tag("flat"))
        .map_or_else(|_| format!("{}:flat", reference.name()), |reference| reference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_goes_beside_the_image_and_never_over_it() {
        for (image, result) in [
            ("localhost:5000/demo/devbox:bloated", "localhost:5000/demo/devbox:bloated-flat"),
            ("oci:layout:v1", "oci:layout:v1-flat"),
            ("oci:layout", "oci:layout:flat"),
            ("oci-archive:/tmp/a.tar", "oci-archive:/tmp/a-flat.tar"),
            ("docker-archive:-", "oci-archive:flat.tar"),
            ("docker-archive:a.tar", "oci-archive:a-flat.tar"),
        ] {
            assert_eq!(destination(&image.parse().unwrap()), result, "{image}");
        }
        let digest = format!("localhost:5000/a@sha256:{}", "0".repeat(64));
        assert_eq!(destination(&digest.parse().unwrap()), "localhost:5000/a:flat");
    }
}
