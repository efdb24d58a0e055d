//! How a command ends: its exit code, and the error's text with its causes.

use std::process::ExitCode;

/// Table of exit codes for `--help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done
  1    a check says no: the images differ, a threshold is exceeded
  2    usage: an argument or a reference cannot be parsed, or asks for what cannot be
  3    the image, tag or blob does not exist
  4    the registry wants other credentials
  5    the registry or the network failed; trying again can help
  6    the image is corrupt, hostile or of an unsupported kind
  7    the source changed meanwhile; no tag was moved
  8    a limit was hit (--max-unpacked, --max-paths, scratch space)
  9    a local file could not be read or written
  70   a fault of this program
  130  interrupted; nothing was published";

/// A check that was asked for says no. What it found is printed already.
#[derive(Debug, thiserror::Error)]
#[error("the check failed")]
pub(crate) struct CheckFailed;

pub(crate) fn code(ended: anyhow::Result<()>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    if error.is::<CheckFailed>() {
        return ExitCode::from(1);
    }
    eprintln!("error: {error:#}");
    let code = error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<unbloat_squash::Error>() {
            return Some(error.exit_code());
        }
        if let Some(error) = cause.downcast_ref::<unbloat_registry::Error>() {
            return Some(unbloat_squash::registry_exit_code(error));
        }
        if let Some(error) = cause.downcast_ref::<unbloat_cluster_cli::Error>() {
            return Some(error.exit_code());
        }
        if cause.is::<unbloat_registry::LocationError>() || cause.is::<Usage>() {
            return Some(2);
        }
        cause.is::<std::io::Error>().then_some(9)
    });
    ExitCode::from(code.unwrap_or(70))
}

/// An argument that parses but makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);
