//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use unbloat_contract::{Base, Compression, Condition, Format, Limits, Shape, SquashRequest};

use crate::cluster::ClusterCommand;
use crate::commands::{AnalyzeArgs, LoginArgs, LogoutArgs};
use crate::connection::{ConnectionArgs, TwoPlacesArgs};
use crate::settings::Settings;
use crate::{exit, help, values};

/// What `--help` says of images; in a documentation comment the brackets would be links.
const ABOUT: &str = "\
Finds and repairs bloated container images.

Images are HOST/REPO:TAG or HOST/REPO@sha256:… in a registry, oci:DIR[:TAG] in an OCI layout folder,
oci-archive:FILE[:TAG] and docker-archive:FILE[:REF] (read only) in a file.";

/// Finds and repairs bloated container images.
#[derive(Debug, Parser)]
#[command(name = "unbloat", long_about = ABOUT, version = crate::commands::version(), after_long_help = exit::table(), after_help = exit::table())]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show where an image's bytes are, what of them is wasted, why, and what would help
    #[command(after_help = help::images(&["unbloat analyze registry.example/team/devbox:today", "unbloat analyze oci:layout --ci --max-wasted-bytes 100MiB --output json"]))]
    Analyze(Box<AnalyzeArgs>),
    /// Flatten an image's layers into one, or into a kept base and one
    #[command(after_help = help::images(&["unbloat squash registry.example/team/devbox:today registry.example/team/devbox:flat --truncate /var/log/btmp --verify", "unbloat squash registry.example/team/devbox:today registry.example/team/devbox:today --base-layers 5 --if-layers 50", "unbloat squash docker-archive:- oci-archive:flat.tar"]))]
    Squash(SquashArgs),
    /// Remove paths with one whiteout layer on top; rewrites nothing
    #[command(after_help = help::images(&["unbloat remove /var/log/btmp registry.example/team/devbox:today registry.example/team/devbox:clean", "unbloat remove --ignore-missing '/tmp/*' '/root/.cache' oci:in:a oci:out:a"]))]
    Remove(RemoveArgs),
    /// Swap the base layers of an image
    #[command(after_help = help::images(&["unbloat rebase registry.example/team/devbox:today registry.example/team/devbox:patched --old-base debian:12.1 --new-base debian:12.2", "unbloat rebase registry.example/team/devbox:today oci:out --old-base oci:base:a --new-base oci:base:b --platform linux/arm64"]))]
    Rebase(RebaseArgs),
    /// Prove that two images have the same merged tree
    #[command(after_help = help::images(&["unbloat verify registry.example/team/devbox:today registry.example/team/devbox:flat", "unbloat verify registry.example/team/devbox:today oci:out --path /etc --path /usr --output json"]))]
    Verify(VerifyArgs),
    /// Browse an image's layers and files in the terminal
    #[command(after_help = help::images(&["unbloat explore registry.example/team/devbox:today", "unbloat explore docker-archive:app.tar"]))]
    Explore(ExploreArgs),
    /// Show how an image was made, layer by layer
    #[command(after_help = help::images(&["unbloat history registry.example/team/devbox:today", "unbloat history registry.example/team/devbox:today --platform linux/arm64 --output json"]))]
    History(ImageArgs),
    /// List the tags of a repository
    #[command(after_help = help::images(&["unbloat tags registry.example/team/devbox", "unbloat tags oci:layout --output json"]))]
    Tags(TagsArgs),
    /// Give an image another tag, without moving any layer
    #[command(after_help = help::images(&["unbloat tag registry.example/team/devbox:flat today", "unbloat tag oci:layout:a b"]))]
    Tag(CopyArgs),
    /// Copy an image, with all its platforms
    #[command(after_help = help::images(&["unbloat copy registry.example/team/devbox:today oci:layout:today", "unbloat copy registry.example/team/devbox:today oci-archive:devbox.tar --platform linux/amd64"]))]
    Copy(CopyArgs),
    /// Log in to a registry: the credentials are tried and kept in the file where every tool finds them
    #[command(after_help = help::images(&["unbloat login registry.example --username team", "unbloat login registry.example --username team --password-stdin"]))]
    Login(LoginArgs),
    /// Forget the credentials for a registry
    #[command(after_help = help::images(&["unbloat logout registry.example", "unbloat logout docker.io --output json"]))]
    Logout(LogoutArgs),
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// Make a bloated image, find the cause, repair it: offline, in seconds
    #[command(after_help = help::local(&["unbloat demo", "unbloat demo --layers 200 --output json"]))]
    Demo(DemoArgs),
    /// Print shell completions
    #[command(after_help = help::local(&["unbloat completions bash > /etc/bash_completion.d/unbloat", "unbloat completions zsh > ~/.zfunc/_unbloat", "unbloat completions bash --kubectl > kubectl_complete-unbloat"]))]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
        /// Print the program that kubectl asks for completions of the plugin; it belongs into the PATH as kubectl_complete-unbloat
        #[arg(long)]
        kubectl: bool,
    },
    /// Write the manual pages, one a command
    #[command(hide = true)]
    Man {
        /// The folder, which must exist
        folder: PathBuf,
    },
}

/// `unbloat squash`
#[derive(Args, Debug)]
pub(crate) struct SquashArgs {
    /// The image
    #[arg(value_name = "SRC")]
    source: String,
    /// Where the result goes; may be SRC, whose tag is then moved if it still is what was read
    #[arg(value_name = "DST", required_unless_present = "dry_run", default_value = "")]
    destination: String,
    /// Drop this path from the result, with all below it (repeatable; globs: * and ? in a component, ** across)
    #[arg(long, value_name = "PATH")]
    remove: Vec<String>,
    /// Empty this file, keeping its metadata (repeatable; globs)
    #[arg(long, value_name = "PATH")]
    truncate: Vec<String>,
    /// A pattern that matches nothing, or a diffID that is not the layer's, is an error
    #[arg(long)]
    strict: bool,
    /// Keep the lowest N layers as they are
    #[arg(long, value_name = "N", conflicts_with = "base")]
    base_layers: Option<usize>,
    /// Keep the layers that the image has in common with this one
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// Squash this platform of an index only (os/arch[/variant]; repeatable)
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<String>,
    /// Compression of the new layer
    #[arg(long, value_parser = values::compression(), default_value = "keep")]
    compression: Compression,
    /// Compression level, in the codec's own scale: gzip 1 to 12 [default: 5], zstd 1 to 19 [default: 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    level: Option<i32>,
    /// Manifest format of the result
    #[arg(long, value_parser = values::format(), default_value = "keep")]
    format: Format,
    /// Do nothing, and end well, when the image has fewer layers than this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    if_layers: Option<u32>,
    /// Do nothing, and end well, when upper layers hide fewer bytes than this, as 100MiB
    #[arg(long, value_name = "SIZE", value_parser = crate::report::parse_size)]
    if_wasted: Option<u64>,
    /// Squash an image that is flat already
    #[arg(long)]
    force: bool,
    /// Tell what would be saved and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Read the result back and prove that it is the same tree before the tag moves
    #[arg(long)]
    verify: bool,
    /// A path below a lower layer's symlink goes through the link instead of replacing it
    #[arg(long)]
    follow_symlinked_parents: bool,
    /// Fetch and merge foreign layers too
    #[arg(long)]
    allow_foreign: bool,
    /// Remember what kept layers hold in this folder, which only you may write to; the next squash above them reads none
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) places: TwoPlacesArgs,
}

/// Bounds on what a command may use.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Threads that decode and encode [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Memory for buffers, as 16MiB; names of paths come on top (150 bytes a path)
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = crate::report::parse_size)]
    pub(crate) memory: u64,
    /// Folder for what a server makes us keep [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Most bytes that all layers together may unpack to
    #[arg(long, value_name = "SIZE", default_value = "16TiB", value_parser = crate::report::parse_size)]
    max_unpacked: u64,
    /// Most paths that all layers together may name
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    max_paths: u64,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory,
            jobs: self.jobs.map_or(0, usize::from),
            scratch: self.scratch.clone(),
            cache: None,
            max_unpacked_bytes: self.max_unpacked,
            max_paths: self.max_paths,
        }
    }
}

impl SquashArgs {
    pub(crate) fn request(self) -> SquashRequest {
        SquashRequest {
            source: self.source,
            destination: self.destination,
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
        }
    }
}

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

/// `unbloat verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The first image
    #[arg(value_name = "A")]
    pub(crate) a: String,
    /// The second image
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// Most bytes that all layers together may unpack to
    #[arg(long, value_name = "SIZE", default_value = "16TiB", value_parser = crate::report::parse_size)]
    pub(crate) max_unpacked: u64,
    /// Most paths that all layers together may name
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
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
