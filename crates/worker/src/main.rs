//! The worker's process; see [`unbloat_worker::run`].

use clap::Parser;
use tracing_subscriber::EnvFilter;
use unbloat_worker::{args::Args, run};

fn main() -> anyhow::Result<std::process::ExitCode> {
    unbloat_squash::share_one_heap();
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit_code = runtime.block_on(run(args));
    // Blocking threads of a squash that was cut off would be waited for otherwise.
    runtime.shutdown_background();
    exit_code
}
