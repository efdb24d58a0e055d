//! The commands that speak to a cluster, on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use unbloat_contract::{Compression, Format};

use super::{help, values};

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Squash an image in the cluster: create an ImageSquashJob and follow it
    #[command(after_help = help::cluster(&["unbloat run registry.example/team/devbox:today registry.example/team/devbox:flat --push-secret registry", "unbloat run registry.example/team/devbox:today --move-tag --detach --namespace team"]))]
    Run(Box<RunArgs>),
    /// Show ImageSquashJobs
    #[command(after_help = help::cluster(&["unbloat get --all-namespaces", "unbloat get devbox-today-x7k2p --output json"]))]
    Get(GetArgs),
    /// Follow an ImageSquashJob to its end; the exit code tells how it ended
    #[command(after_help = help::cluster(&["unbloat watch devbox-today-x7k2p", "unbloat watch devbox-today-x7k2p --namespace team --progress plain"]))]
    Watch(JobArgs),
    /// Print the log of an ImageSquashJob's last worker
    #[command(after_help = help::cluster(&["unbloat logs devbox-today-x7k2p", "unbloat logs --follow devbox-today-x7k2p"]))]
    Logs(LogsArgs),
    /// End an ImageSquashJob by deleting it; nothing is published after that
    #[command(after_help = help::cluster(&["unbloat cancel devbox-today-x7k2p", "unbloat cancel devbox-today-x7k2p --namespace team"]))]
    Cancel(JobArgs),
    /// Show what is known of the images in use: how bloated they are, why, and what a squash gives back
    #[command(after_help = help::cluster(&["unbloat report --namespace team", "unbloat report registry.example/team/devbox:today --output json"]))]
    Report(ReportArgs),
    /// Show ImageSquashPolicies and what they found
    #[command(after_help = help::cluster(&["unbloat policies", "unbloat policies --output json"]))]
    Policies(PoliciesArgs),
    /// Let a planned ImageSquashJob go
    #[command(after_help = help::cluster(&["unbloat approve devbox-today-x7k2p", "unbloat approve devbox-today-x7k2p --namespace team"]))]
    Approve(JobArgs),
    /// Try out an ImageSquashPolicy
    #[command(subcommand, after_help = help::cluster(&["unbloat policy test policy.yaml", "unbloat policy test - --output json"]))]
    Policy(PolicyCommand),
}

/// Which cluster, and which namespace.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Which cluster")]
pub(crate) struct ClusterArgs {
    /// Namespace; the context's own when absent
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig; the current one when absent
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// Kubeconfig; the usual places when absent
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Headings of options.
const CONTENT: &str = "What goes and what stays";
const LAYERS: &str = "Which layers and images";
const RESULT: &str = "The result";
const WHEN: &str = "Only when it is worth it";
const JOB: &str = "The job";
const FOLLOW: &str = "What this command does";

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Image to squash
    pub(crate) source: String,
    /// Reference for the result; leave it out with --move-tag
    #[arg(required_unless_present = "move_tag", conflicts_with = "move_tag")]
    pub(crate) target: Option<String>,
    /// Move the source's tag to the result, if nobody moved it meanwhile
    #[arg(help_heading = RESULT, long)]
    pub(crate) move_tag: bool,
    /// Name of the job; made from the source when absent
    #[arg(help_heading = JOB, long)]
    pub(crate) name: Option<String>,
    /// Class of the release that does it, where the cluster has several (label `unbloat.dev/class`)
    #[arg(help_heading = JOB, long, value_name = "NAME")]
    pub(crate) class: Option<String>,
    /// Drop a path or glob from the result (repeatable)
    #[arg(help_heading = CONTENT, long, value_name = "PATH")]
    pub(crate) remove: Vec<String>,
    /// Keep a path's files with zero length (repeatable)
    #[arg(help_heading = CONTENT, long, value_name = "PATH")]
    pub(crate) truncate: Vec<String>,
    /// A path that matches nothing is an error
    #[arg(help_heading = CONTENT, long)]
    pub(crate) strict: bool,
    /// Keep the lowest N layers
    #[arg(help_heading = LAYERS, long, value_name = "N", conflicts_with = "base")]
    pub(crate) base_layers: Option<i32>,
    /// Keep the layers that the source has in common with this image
    #[arg(help_heading = LAYERS, long, value_name = "IMAGE")]
    pub(crate) base: Option<String>,
    /// Platform of an index to squash (repeatable); all of them when absent
    #[arg(help_heading = LAYERS, long, value_name = "OS/ARCH")]
    pub(crate) platform: Vec<String>,
    /// Compression of the new layer
    #[arg(help_heading = RESULT, long, value_parser = values::compression(), default_value = "keep")]
    pub(crate) compression: Compression,
    /// Family of media types of the result
    #[arg(help_heading = RESULT, long, value_parser = values::format(), default_value = "keep")]
    pub(crate) format: Format,
    /// Don't read the result back
    #[arg(help_heading = RESULT, long)]
    pub(crate) no_verify: bool,
    /// Leave an image alone that has fewer layers than this
    #[arg(help_heading = WHEN, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub(crate) if_layers: Option<i32>,
    /// Leave an image alone whose upper layers hide fewer bytes than this, as 100MiB
    #[arg(help_heading = WHEN, long, value_name = "SIZE", value_parser = crate::report::parse_size)]
    pub(crate) if_wasted: Option<u64>,
    /// Secret with the credentials to pull (repeatable)
    #[arg(help_heading = JOB, long, value_name = "SECRET")]
    pub(crate) pull_secret: Vec<String>,
    /// Secret with the credentials to push
    #[arg(help_heading = JOB, long, value_name = "SECRET")]
    pub(crate) push_secret: Option<String>,
    /// Failed attempts that are followed by another one
    #[arg(help_heading = JOB, long, value_name = "N")]
    pub(crate) backoff_limit: Option<i32>,
    /// Give up after this many seconds
    #[arg(help_heading = JOB, long, value_name = "SECONDS")]
    pub(crate) deadline: Option<i64>,
    /// Delete the job this many seconds after its end
    #[arg(help_heading = JOB, long, value_name = "SECONDS")]
    pub(crate) ttl: Option<i32>,
    /// Create the job and return at once
    #[arg(help_heading = FOLLOW, long)]
    pub(crate) detach: bool,
    /// Print the job instead of creating it
    #[arg(help_heading = FOLLOW, long, conflicts_with = "detach")]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The worker speaks plain HTTP to this registry of SRC or DST, and to no other (HOST[:PORT]; repeatable)
    #[arg(help_heading = JOB, long, value_name = "HOST", value_parser = crate::connection::host)]
    pub(crate) plain_http: Vec<String>,
}

/// Arguments of `get`.
#[derive(Args, Clone, Debug)]
pub(crate) struct GetArgs {
    /// Name of a job; all of the namespace's when absent
    pub(crate) name: Option<String>,
    /// Show all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(crate) all_namespaces: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Arguments of `report`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// An image: a reference, a digest, or a report's name; all images when absent
    pub(crate) image: Option<String>,
    /// Images of this namespace alone; of all that may be read when absent
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Arguments of `policies`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PoliciesArgs {
    /// Name of a policy; all of them when absent
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// The commands about a policy.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Tell which running pods a policy would match and what it would do; nothing is changed
    #[command(after_help = help::cluster(&["unbloat policy test policy.yaml", "unbloat policy test - --output json"]))]
    Test(PolicyTestArgs),
}

/// Arguments of `policy test`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PolicyTestArgs {
    /// A YAML or JSON file with an ImageSquashPolicy; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Arguments of commands about one job.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobArgs {
    /// Name of the job
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Arguments of `logs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogsArgs {
    /// Name of the job
    pub(crate) name: String,
    /// Go on until the worker ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
