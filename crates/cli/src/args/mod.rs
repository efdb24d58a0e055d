//! The command line: what can be said, and what `--help` says of it. What is done about it is in `commands`
//! and `cluster`, which take these types; nothing here knows them.

mod analyze;
#[cfg(feature = "cluster")]
mod cluster;
mod edit;
mod help;
mod images;
mod limits;
mod login;
mod squash;
mod values;

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::{Parser, Subcommand};
use unbloat_contract::exit;

pub(crate) use analyze::{AnalyzeArgs, ThresholdArgs};
#[cfg(feature = "cluster")]
pub(crate) use cluster::{
    ClusterArgs, ClusterCommand, GetArgs, JobArgs, LogsArgs, PoliciesArgs, PolicyCommand, PolicyTestArgs,
    ReportArgs, RunArgs,
};
pub(crate) use edit::{RebaseArgs, RemoveArgs};
pub(crate) use images::{CopyArgs, DemoArgs, ExploreArgs, ImageArgs, TagsArgs, VerifyArgs};
pub(crate) use login::{LoginArgs, LogoutArgs};
pub(crate) use squash::SquashArgs;

use crate::settings::Settings;

/// What `--help` says of images; in a documentation comment the brackets would be links.
const ABOUT: &str = "\
Finds and repairs bloated container images.

Images are HOST/REPO:TAG or HOST/REPO@sha256:… in a registry, oci:DIR[:TAG] in an OCI layout folder,
oci-archive:FILE[:TAG] and docker-archive:FILE[:REF] in a file, where - is standard input or output.";

/// Version, and what of the machine the build uses.
fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), unbloat_deflate::backend()))
}

/// Finds and repairs bloated container images.
#[derive(Debug, Parser)]
#[command(name = "unbloat", long_about = ABOUT, version = version(), after_long_help = exit::table(), after_help = exit::table())]
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
    #[cfg(feature = "cluster")]
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
        /// Print the program that kubectl asks for completions of the plugin; it belongs into the PATH as
        /// kubectl_complete-unbloat
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

impl Command {
    /// The images that are named, in their order.
    pub(crate) fn images(&self) -> Vec<String> {
        let words: Vec<&String> = match self {
            Self::Analyze(args) => [&args.image].into_iter().chain(&args.other).collect(),
            Self::Squash(args) => {
                let (source, destination) = args.images();
                [Some(source), destination].into_iter().flatten().collect()
            }
            Self::Remove(args) => args.arguments.iter().rev().take(2).rev().collect(),
            Self::Rebase(args) => {
                vec![&args.source, &args.destination, &args.old_base, &args.new_base]
            }
            Self::Verify(args) => vec![&args.a, &args.b],
            Self::Explore(args) => vec![&args.image],
            Self::History(args) => vec![&args.image],
            Self::Tags(args) => vec![&args.repository],
            Self::Tag(args) | Self::Copy(args) => vec![&args.source, &args.destination],
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => Vec::new(),
            Self::Login(_)
            | Self::Logout(_)
            | Self::Demo(_)
            | Self::Completions { .. }
            | Self::Man { .. } => Vec::new(),
        };
        words.into_iter().cloned().collect()
    }
}
