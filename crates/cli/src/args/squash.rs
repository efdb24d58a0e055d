//! `unbloat squash` on the command line.

use std::path::PathBuf;

use clap::Args;
use unbloat_contract::{Base, Compression, Condition, Format, Limits, Shape, SquashRequest};
use unbloat_registry::{LayoutName, Location};

use super::limits::LimitArgs;
use super::values;
use crate::connection::{ConnectionArgs, TwoPlacesArgs};
use crate::error::Usage;

/// Headings of options.
const CONTENT: &str = "What goes and what stays";
const LAYERS: &str = "Which layers and images";
const RESULT: &str = "The result";
const WHEN: &str = "Only when it is worth it";

/// `unbloat squash`
#[derive(Args, Debug)]
pub(crate) struct SquashArgs {
    /// The image
    #[arg(value_name = "SRC")]
    source: String,
    /// Where the result goes; may be SRC, whose tag is then moved if it still is what was read
    #[arg(value_name = "DST", required_unless_present_any = ["dry_run", "move_tag"])]
    destination: Option<String>,
    /// Move SRC's tag to the result, if nobody moved it meanwhile; the same as naming SRC once more
    #[arg(help_heading = RESULT, long, conflicts_with = "destination")]
    move_tag: bool,
    /// Drop this path from the result, with all below it (repeatable; globs: * and ? in a component, **
    /// across)
    #[arg(help_heading = CONTENT, long, value_name = "PATH")]
    remove: Vec<String>,
    /// Empty this file, keeping its metadata (repeatable; globs)
    #[arg(help_heading = CONTENT, long, value_name = "PATH")]
    truncate: Vec<String>,
    /// A pattern that matches nothing, or a diffID that is not the layer's, is an error
    #[arg(help_heading = CONTENT, long)]
    strict: bool,
    /// Keep the lowest N layers as they are
    #[arg(help_heading = LAYERS, long, value_name = "N", conflicts_with = "base")]
    base_layers: Option<usize>,
    /// Keep the layers that the image has in common with this one
    #[arg(help_heading = LAYERS, long, value_name = "IMAGE")]
    base: Option<String>,
    /// Squash this platform of an index only (os/arch[/variant]; repeatable)
    #[arg(help_heading = LAYERS, long, value_name = "PLATFORM")]
    platform: Vec<String>,
    /// Compression of the new layer
    #[arg(help_heading = RESULT, long, value_parser = values::compression(), default_value = "keep")]
    compression: Compression,
    /// Compression level, in the codec's own scale: gzip 1 to 12 [default: 5], zstd 1 to 19 [default: 3]
    #[arg(help_heading = RESULT, long, value_name = "N", allow_negative_numbers = true)]
    level: Option<i32>,
    /// Manifest format of the result
    #[arg(help_heading = RESULT, long, value_parser = values::format(), default_value = "keep")]
    format: Format,
    /// Do nothing, and end well, when the image has fewer layers than this
    #[arg(help_heading = WHEN, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    if_layers: Option<u32>,
    /// Do nothing, and end well, when upper layers hide fewer bytes than this, as 100MiB
    #[arg(help_heading = WHEN, long, value_name = "SIZE", value_parser = crate::report::parse_size)]
    if_wasted: Option<u64>,
    /// Squash an image that is flat already
    #[arg(help_heading = WHEN, long)]
    force: bool,
    /// Tell what would be saved and write nothing
    #[arg(help_heading = RESULT, long)]
    dry_run: bool,
    /// Read the result back and prove that it is the same tree before the tag moves
    #[arg(help_heading = RESULT, long)]
    verify: bool,
    /// A path below a lower layer's symlink goes through the link instead of replacing it
    #[arg(help_heading = CONTENT, long)]
    follow_symlinked_parents: bool,
    /// Fetch and merge foreign layers too
    #[arg(help_heading = CONTENT, long)]
    allow_foreign: bool,
    /// Remember what kept layers hold in this folder, which only you may write to; the next squash above them
    /// reads none
    #[arg(help_heading = LAYERS, long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) places: TwoPlacesArgs,
}

impl SquashArgs {
    /// The image, and where its result goes; nothing for a dry run that names no place.
    pub(crate) fn images(&self) -> (&String, Option<&String>) {
        (&self.source, self.destination.as_ref())
    }

    /// # Errors
    /// [`Usage`] for `--move-tag` of an image that has none.
    pub(crate) fn request(self) -> Result<SquashRequest, Usage> {
        let destination = match self.destination {
            Some(destination) => destination,
            None if self.move_tag => tagged(&self.source)?,
            None => String::new(),
        };
        Ok(SquashRequest {
            source: self.source,
            destination,
            remove: self.remove,
            truncate: self.truncate,
            strict: self.strict,
            base: self.base_layers.map(Base::Layers).or(self.base.map(Base::Image)),
            shape: Shape::default(),
            condition: Condition { min_layers: self.if_layers, min_wasted_bytes: self.if_wasted },
            force: self.force,
            copy_flat: true,
            platforms: self.platform,
            compression: self.compression,
            level: self.level,
            format: self.format,
            verify: self.verify,
            dry_run: self.dry_run,
            follow_symlinked_parents: self.follow_symlinked_parents,
            allow_foreign: self.allow_foreign,
            limits: Limits { cache: self.cache.clone(), ..self.limits.limits() },
        })
    }
}

/// Where the tag of an image is.
fn tagged(source: &str) -> Result<String, Usage> {
    let none = |why: &str| Usage(format!("--move-tag: {source} has no tag to move: {why}"));
    match source.parse::<Location>().map_err(|error| Usage(error.to_string()))? {
        Location::Registry(reference) if reference.tag().is_none() && reference.digest().is_some() => {
            Err(none("name it by a tag, or name DST"))
        }
        Location::Registry(reference) => match reference.with_tag(reference.tag().unwrap_or("latest")) {
            Ok(tagged) => Ok(tagged.to_string()),
            Err(error) => Err(none(&error.to_string())),
        },
        location @ Location::OciDir { name: Some(LayoutName::Tag(_)), .. } => Ok(location.to_string()),
        _ => Err(none("only registries and layouts have tags")),
    }
}

#[cfg(test)]
mod tests {
    use super::tagged;

    #[test]
    fn the_tag_that_moves_is_the_one_that_was_read() {
        let at = |source: &str| tagged(source).map_err(|error| error.to_string());
        assert_eq!(at("reg.example/a/b:c").as_deref(), Ok("reg.example/a/b:c"));
        assert_eq!(at("reg.example/a/b").as_deref(), Ok("reg.example/a/b:latest"));
        let digest = format!("sha256:{}", "0".repeat(64));
        // What is read is pinned, what is written is the tag.
        assert_eq!(at(&format!("reg.example/a/b:c@{digest}")).as_deref(), Ok("reg.example/a/b:c"));
        assert_eq!(at("oci:layout:c").as_deref(), Ok("oci:layout:c"));
        for none in [
            &format!("reg.example/a/b@{digest}"),
            "oci:layout",
            "oci-archive:x.tar:c",
            "docker-archive:x.tar",
        ] {
            assert!(at(none).unwrap_err().contains("--move-tag"), "{none}");
        }
    }
}
