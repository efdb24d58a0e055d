//! `unbloat`: finds and repairs bloated container images from the command line.
//!
//! What happens here: arguments become requests, progress becomes a bar, results become text or JSON, errors
//! become exit codes. What does not: anything that the worker needs as well, which is in the `squash` crate.
//!
//! # Where to look
//! Arguments, one file for each group of commands: `args`; the commands: `commands`, and those that speak to
//! a cluster in `cluster`; how a registry is reached and as whom: `connection`, `settings`; what is printed:
//! `progress`, `report`; exit codes: `exit`.
//!
//! # Example
//! ```
//! use clap::Parser;
//! use unbloat_cli::Cli;
//!
//! let words = ["unbloat", "squash", "registry.example/devbox:today", "oci:flat", "--truncate", "/var/log/btmp"];
//! assert!(Cli::try_parse_from(words).is_ok());
//! let error = Cli::try_parse_from(["unbloat", "squash", "only-a-source"]).expect_err("no destination");
//! assert!(error.use_stderr());
//! ```

mod args;
#[cfg(feature = "cluster")]
mod cluster;
mod commands;
mod connection;
mod error;
mod exit;
mod progress;
mod report;
mod settings;
mod signals;
mod spelling;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use futures::FutureExt;

pub use args::Cli;

/// Parses the process's arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { unbloat_contract::exit::USAGE } else { 0 });
        }
    };
    settings::start_logging(cli.settings.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            return ExitCode::from(unbloat_contract::exit::INTERNAL);
        }
    };
    let ended = runtime.block_on(run(cli));
    // Threads that wait for a server must not keep a finished command from ending.
    runtime.shutdown_background();
    // Threads that were cut off may still have some.
    unbloat_registry::scratch::discard_all();
    signals::code(&ended).unwrap_or_else(|| exit::code(ended))
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    signals::start()?;
    let images = cli.command.images();
    guarded(commands::run(cli)).await.map_err(|error| spelling::explained(error, &images))
}

/// A panic of a command is an error like others: what is temporary goes, and the exit code says whose fault
/// it was.
async fn guarded(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let panicked = |_| Err(error::Internal.into());
    AssertUnwindSafe(command).catch_unwind().await.unwrap_or_else(panicked)
}

#[cfg(test)]
mod tests {
    use unbloat_registry::scratch::{TemporaryFile, TemporaryFolder};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_takes_what_is_temporary_with_it() {
        let ground = tempfile::tempdir().unwrap();
        let path = ground.path().to_owned();
        let ended = guarded(async move {
            let _file = TemporaryFile::new(&path, ".unbloat-").unwrap();
            let _folder = TemporaryFolder::new(&path, ".unbloat-archive-").unwrap();
            assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
            tokio::task::yield_now().await;
            panic!("a fault of this program");
        })
        .await;
        let error = ended.expect_err("it panicked");
        assert!(error.is::<error::Internal>(), "{error}");
        assert_eq!(std::fs::read_dir(ground.path()).unwrap().count(), 0);
        // And as the process ends.
        let code = format!("{:?}", exit::code(Err(error)));
        assert_eq!(code, format!("{:?}", ExitCode::from(unbloat_contract::exit::INTERNAL)));
    }
}
