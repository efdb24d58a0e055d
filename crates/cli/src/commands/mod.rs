//! One module for each command.

mod cluster;
mod demo;
mod everyday;
mod squash;
mod verify;

use clap::CommandFactory;

use crate::args::{Cli, Command};

/// Version, and what of the machine the build uses.
pub(crate) fn version() -> &'static str {
    use std::sync::OnceLock;
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), unbloat_deflate::backend()))
}

pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { command, settings } = cli;
    match command {
        Command::Squash(args) => squash::squash(&settings, args).await,
        Command::Remove(args) => squash::remove(&settings, args).await,
        Command::Rebase(args) => squash::rebase(&settings, args).await,
        Command::Verify(args) => verify::verify(&settings, args).await,
        Command::History(args) => everyday::history(&settings, args).await,
        Command::Tags(args) => everyday::tags(&settings, args).await,
        Command::Tag(args) => everyday::tag(&settings, args).await,
        Command::Copy(args) => everyday::copy(&settings, args).await,
        Command::Cluster(command) => cluster::run(&settings, command).await,
        Command::Demo(args) => demo::demo(&settings, args).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "unbloat", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// Prints one JSON object.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
