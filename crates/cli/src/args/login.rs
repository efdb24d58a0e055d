//! `unbloat login` and `unbloat logout` on the command line.

use std::path::PathBuf;

use clap::Args;

use crate::error::Usage;

/// `unbloat login`
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// The registry (HOST[:PORT])
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: String,
    /// The user name; asked for on a terminal
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// The registry speaks plain HTTP
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Trust this certificate authority, or this very certificate, too (PEM; repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Vec<PathBuf>,
    /// Accept any certificate
    #[arg(long)]
    pub(crate) insecure_skip_tls_verify: bool,
}

/// `unbloat logout`
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// The registry (HOST[:PORT])
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: String,
    #[command(flatten)]
    pub(crate) file: FileArgs,
}

/// Which file it is about.
#[derive(Args, Debug)]
pub(crate) struct FileArgs {
    /// The file of credentials [default: $REGISTRY_AUTH_FILE, else Docker's config.json]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

impl FileArgs {
    /// The file that is named, or the one that every tool reads.
    ///
    /// # Errors
    /// There is neither.
    pub(crate) fn path(&self) -> Result<PathBuf, Usage> {
        let found = self.authfile.clone().or_else(unbloat_registry::login_file);
        found.ok_or_else(|| Usage("there is no home folder: name the file with --authfile".to_owned()))
    }
}
