//! Arguments: where things are. What to do is in the spec file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use unbloat_registry::Cloud;

/// Does one task from a spec file.
#[derive(Clone, Debug, Parser)]
#[command(name = "unbloat-worker", version)]
pub struct Args {
    /// The spec file.
    #[arg(long, default_value = unbloat_contract::worker::SPEC_PATH)]
    pub spec: PathBuf,
    /// Address of /progress, /metrics and /healthz.
    #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], unbloat_contract::worker::PORT)))]
    pub address: SocketAddr,
    /// Where the termination message goes.
    #[arg(long, default_value = unbloat_contract::worker::TERMINATION_PATH)]
    pub termination: PathBuf,
    /// Folder of PEM files with further certificate authorities.
    #[arg(long, env = "UNBLOAT_CA_DIR")]
    pub ca_dir: Option<PathBuf>,
    /// What must not be connected to, whatever a registry says: `Own` (this machine, its links, metadata
    /// servers), `Private` (private networks as well), or networks such as `203.0.113.0/24`.
    #[arg(long, env = "UNBLOAT_REFUSED_NETWORKS", value_delimiter = ',')]
    pub refused_networks: Vec<String>,
    /// The cloud in which this worker is its service account: `aws`, `azure` or `gcp`. Without it no identity
    /// is used, whatever variables are set.
    #[arg(long, env = "UNBLOAT_CLOUD_IDENTITY", value_parser = cloud)]
    pub cloud_identity: Option<Cloud>,
    /// Hosts that may be connected to all the same, by their names without a port.
    #[arg(long, env = "UNBLOAT_ALLOWED_HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
}

fn cloud(text: &str) -> Result<Cloud, String> {
    match text {
        "aws" => Ok(Cloud::Aws),
        "azure" => Ok(Cloud::Azure),
        "gcp" => Ok(Cloud::Gcp),
        other => Err(format!("{other} is none of aws, azure and gcp")),
    }
}
