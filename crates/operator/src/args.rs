//! Arguments of the process. What the platform team decides is in the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The Unbloat operator.
#[derive(Clone, Debug, Parser)]
#[command(name = "unbloat-operator", version)]
pub struct Args {
    /// Configuration file.
    #[arg(long, env = "UNBLOAT_CONFIG", default_value = "/etc/unbloat/config.yaml")]
    pub config: PathBuf,
    /// Work in this namespace alone; in all of them when absent.
    #[arg(long, env = "UNBLOAT_NAMESPACE")]
    pub namespace: Option<String>,
    /// Address of /livez and /readyz for probes alone; they are at the other address too.
    #[arg(long, env = "UNBLOAT_PROBE_ADDRESS")]
    pub probe_address: Option<SocketAddr>,
    /// Address of /metrics, and of /livez and /readyz for people.
    #[arg(long, env = "UNBLOAT_ADDRESS", default_value = "[::]:8080")]
    pub address: SocketAddr,
    /// Name of this replica, in the lease and in events.
    #[arg(long, env = "POD_NAME", default_value = "unbloat-operator")]
    pub instance: String,
    /// Namespace of the lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// Name of the lease.
    #[arg(long, default_value = "unbloat-operator")]
    pub lease_name: String,
    /// Run without a lease. For one replica with strategy Recreate, or for development.
    #[arg(long)]
    pub no_leader_election: bool,
    /// Turns that run at once.
    #[arg(long, default_value_t = 16)]
    pub concurrency: u16,
    /// Write the log as JSON.
    #[arg(long, env = "UNBLOAT_LOG_JSON")]
    pub log_json: bool,
}
