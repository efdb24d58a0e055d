//! The commands that look at images and move them, on the command line.

use clap::Args;

use super::limits::LimitArgs;
use crate::connection::{ConnectionArgs, TwoPlacesArgs};

/// As the limits of other commands.
const LIMITS: &str = "Limits";

/// `unbloat verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The first image, SRC in the options for its registry alone
    #[arg(value_name = "A")]
    pub(crate) a: String,
    /// The second image, DST there
    #[arg(value_name = "B")]
    pub(crate) b: String,
    /// Compare this path and what is below it only (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<String>,
    /// Compare this platform of indexes only (os/arch[/variant]; repeatable)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// A diffID in a config that is not the layer's is an error
    #[arg(long)]
    pub(crate) strict: bool,
    /// A hard link of A may be a copy in B, as above a kept base
    #[arg(long)]
    pub(crate) allow_split_links: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) places: TwoPlacesArgs,
}

/// One image.
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The platform, where the image has several (os/arch[/variant])
    #[arg(long)]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// `unbloat explore`
#[derive(Args, Debug)]
pub(crate) struct ExploreArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The platform, where the image has several (os/arch[/variant])
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Threads that read layers [default: one a core]
    #[arg(help_heading = LIMITS, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// Most bytes that all layers together may unpack to
    #[arg(help_heading = LIMITS, long, value_name = "SIZE", default_value = "16TiB", value_parser = crate::report::parse_size)]
    pub(crate) max_unpacked: u64,
    /// Most paths that all layers together may name
    #[arg(help_heading = LIMITS, long, value_name = "N", default_value_t = 20_000_000)]
    pub(crate) max_paths: u64,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// `unbloat tags`
#[derive(Args, Debug)]
pub(crate) struct TagsArgs {
    /// The repository, layout or archive
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// `unbloat copy`, `unbloat tag`
#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// The image
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// Where it goes; for `tag`, a tag of the same repository is enough
    #[arg(value_name = "DST")]
    pub(crate) destination: String,
    /// Copy what refers to the image as well: signatures, attestations, SBOMs
    #[arg(long)]
    pub(crate) referrers: bool,
    /// Copy this platform of an index only (os/arch[/variant]; repeatable)
    #[arg(long)]
    pub(crate) platform: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) places: TwoPlacesArgs,
}

/// `unbloat demo`
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the embedded registry running until Ctrl-C, for other clients
    #[arg(long)]
    pub(crate) keep: bool,
    /// Layers of the image that is made
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) layers: u16,
}
