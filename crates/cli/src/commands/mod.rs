//! One module for each command.

mod analyze;
mod demo;
mod everyday;
mod explore;
mod login;
mod squash;
mod suggestion;
mod verify;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::CommandFactory;
use unbloat_registry::Location;

use crate::args::{Cli, Command};
#[cfg(feature = "cluster")]
use crate::cluster::{self, Shared};

/// kubectl asks the program `kubectl_complete-PLUGIN` with the words so far, and wants candidates, a line
/// each, and `:4` (no files). Bash's own completion knows them.
const KUBECTL_COMPLETION: &str = r#"#!/usr/bin/env bash
source <(kubectl-unbloat completions bash)
COMP_WORDS=(unbloat "$@")
COMP_CWORD=$#
COMPREPLY=()
current="${COMP_WORDS[COMP_CWORD]}"
previous="${COMP_WORDS[COMP_CWORD-1]}"
_unbloat unbloat "$current" "$previous"
if [ "${#COMPREPLY[@]}" -gt 0 ]; then printf '%s\n' "${COMPREPLY[@]}"; fi
echo ":4""#;

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
        #[cfg(feature = "cluster")]
        Command::Cluster(command) => {
            let shared = Shared { json: settings.is_json(), progress: settings.progress };
            Ok(cluster::run(command, shared).await?)
        }
        Command::Demo(args) => demo::demo(&settings, args).await,
        Command::Completions { kubectl: true, .. } => print(KUBECTL_COMPLETION),
        Command::Completions { shell, kubectl: false } => {
            // The generator ends the process where a reader has seen enough.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "unbloat", &mut script);
            print(String::from_utf8_lossy(&script).trim_end())
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

/// Whether standard output is where an archive goes, so that words go to standard error.
static OUTPUT_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Keeps words off standard output where the destination writes an archive to it.
pub(crate) fn reserve_output(destination: &str) {
    if let Ok(Location::OciArchive { path, .. } | Location::DockerArchive { path, .. }) = destination.parse()
    {
        let is_output =
            [Path::new("-"), Path::new("/dev/stdout"), Path::new("/dev/fd/1")].contains(&path.as_path());
        OUTPUT_IS_TAKEN.store(is_output, Ordering::Relaxed);
    }
}

/// Prints a result.
///
/// # Errors
/// Standard output cannot be written. A reader that has seen enough (`unbloat … | head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    if OUTPUT_IS_TAKEN.load(Ordering::Relaxed) {
        eprintln!("{text}");
        return Ok(());
    }
    let mut output = std::io::stdout().lock();
    let written = writeln!(output, "{text}").and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}
