//! `run`, `get`, `watch`, `logs`, `cancel`: the shared options, in the words of the crate that speaks to clusters.

use unbloat_cluster_cli::{ClusterCommand, Shared};

use crate::settings::{ProgressStyle, Settings};

pub(super) async fn run(settings: &Settings, command: ClusterCommand) -> anyhow::Result<()> {
    let progress = match settings.progress {
        ProgressStyle::Auto => unbloat_cluster_cli::ProgressStyle::Auto,
        ProgressStyle::Plain => unbloat_cluster_cli::ProgressStyle::Plain,
        ProgressStyle::Json => unbloat_cluster_cli::ProgressStyle::Json,
        ProgressStyle::None => unbloat_cluster_cli::ProgressStyle::None,
    };
    let shared = Shared { json: settings.is_json(), progress, plain_http: settings.plain_http };
    Ok(unbloat_cluster_cli::run(command, shared).await?)
}
