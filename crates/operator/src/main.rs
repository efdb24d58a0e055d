//! The operator's process; see [`run`].

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use unbloat_operator::{Args, log_filter, run};

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let filter = log_filter(std::env::var("RUST_LOG").ok().as_deref());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    if args.log_json {
        log.json().init();
    } else {
        log.init();
    }
    run(args).await
}
