//! One module for each command.

mod analyze;
mod demo;
mod everyday;
mod explore;
mod login;
mod squash;
mod suggestion;
mod verify;

use anyhow::Context as _;
use clap::CommandFactory;

pub(crate) use analyze::AnalyzeArgs;
pub(crate) use login::{LoginArgs, LogoutArgs};

use crate::args::{Cli, Command};
use crate::cluster::{self, Shared};

/// Version, and what of the machine the build uses.
pub(crate) fn version() -> &'static str {
    use std::sync::OnceLock;
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), unbloat_deflate::backend()))
}

pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { command, settings } = cli;
    match command {
        Command::Analyze(args) => analyze::analyze(&settings, *args).await,
        Command::Squash(args) => squash::squash(&settings, args).await,
        Command::Remove(args) => squash::remove(&settings, args).await,
        Command::Rebase(args) => squash::rebase(&settings, args).await,
        Command::Verify(args) => verify::verify(&settings, args).await,
        Command::Explore(args) => explore::explore(&settings, args).await,
        Command::History(args) => everyday::history(&settings, args).await,
        Command::Tags(args) => everyday::tags(&settings, args).await,
        Command::Tag(args) => everyday::tag(&settings, args).await,
        Command::Copy(args) => everyday::copy(&settings, args).await,
        Command::Login(args) => login::login(&settings, args).await,
        Command::Logout(args) => login::logout(&settings, args).await,
        Command::Cluster(command) => {
            let shared = Shared { json: settings.is_json(), progress: settings.progress };
            Ok(cluster::run(command, shared).await?)
        }
        Command::Demo(args) => demo::demo(&settings, args).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "unbloat", &mut std::io::stdout());
            Ok(())
        }
        Command::Man { folder } => {
            // The version that is shown to users names the machine's codecs, which a page must not.
            let command = Cli::command().version(env!("CARGO_PKG_VERSION"));
            clap_mangen::generate_to(command, &folder)
                .with_context(|| format!("the manual pages cannot be written to {}", folder.display()))
        }
    }
}

/// Prints one JSON object.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints a result.
///
/// # Errors
/// Standard output cannot be written. A reader that has seen enough (`unbloat … | head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    let written = writeln!(output, "{text}").and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}
