//! `unbloat remove` and `unbloat rebase` on the command line.

use clap::Args;

use super::limits::LimitArgs;
use crate::connection::{ConnectionArgs, TwoPlacesArgs};

/// `unbloat remove`
#[derive(Args, Debug)]
#[command(override_usage = "unbloat remove [OPTIONS] <PATH>... <SRC> <DST>")]
pub(crate) struct RemoveArgs {
    /// The paths and globs to remove, the image, where the result goes
    #[arg(value_name = "PATH", required = true, num_args = 3..)]
    pub(crate) arguments: Vec<String>,
    /// A path that matches nothing is a warning instead of an error
    #[arg(long)]
    pub(crate) ignore_missing: bool,
    /// A diffID in the config that is not the layer's is an error
    #[arg(long)]
    pub(crate) strict: bool,
    /// Edit this platform of an index only (os/arch[/variant]; repeatable)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) places: TwoPlacesArgs,
}

/// `unbloat rebase`
#[derive(Args, Debug)]
pub(crate) struct RebaseArgs {
    /// The image
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// Where the result goes
    #[arg(value_name = "DST")]
    pub(crate) destination: String,
    /// The base that SRC was made from: all its layers must be SRC's lowest
    #[arg(long, value_name = "IMAGE")]
    pub(crate) old_base: String,
    /// The base that the result shall have
    #[arg(long, value_name = "IMAGE")]
    pub(crate) new_base: String,
    /// Take it that paths which the image's own layers use mean something else in the new base
    #[arg(long)]
    pub(crate) allow_conflicts: bool,
    /// A diffID in a config that is not the layer's is an error
    #[arg(long)]
    pub(crate) strict: bool,
    /// Edit this platform of an index only (os/arch[/variant]; repeatable)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) places: TwoPlacesArgs,
}
