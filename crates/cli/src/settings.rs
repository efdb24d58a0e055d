//! What every command shares: output format, progress, how registries are reached.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use unbloat_contract::Limits;
use unbloat_registry::{Client, ClientOptions, Credential, Keyring, Secret, UploadMode, UploadPolicy};

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// How results are printed
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) output: OutputFormat,
    /// How progress is shown, on standard error
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) progress: ProgressStyle,
    /// Speak plain HTTP to registries that are not on loopback
    #[arg(long, global = true)]
    pub(crate) plain_http: bool,
    /// Trust this certificate authority too (PEM; repeatable)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) ca_file: Vec<PathBuf>,
    /// Accept any certificate
    #[arg(long, global = true)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Read credentials from this file (Docker's or containers' format) before the usual places
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) authfile: Option<PathBuf>,
    /// Use this user name where no other credential is known; the password comes from standard input
    #[arg(long, value_name = "NAME", requires = "password_stdin", global = true)]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username", global = true)]
    pub(crate) password_stdin: bool,
    /// How blobs larger than a chunk go to a registry
    #[arg(long, value_enum, value_name = "WAY", default_value_t, global = true)]
    pub(crate) upload: UploadWay,
    /// Bytes of an upload's chunk, 64 MiB at most [default: an eighth of --memory, from 5 MiB to 32 MiB]
    #[arg(long, value_name = "SIZE", value_parser = chunk_size, global = true)]
    pub(crate) chunk_size: Option<usize>,
    /// Say more on standard error (twice: everything)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// A bar on a terminal, nothing elsewhere.
    #[default]
    Auto,
    /// A line every few seconds.
    Plain,
    /// A JSON object a line.
    Json,
    /// Nothing.
    None,
}

/// How blobs larger than a chunk go to a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UploadWay {
    /// In chunks; what refuses them gets a stream, what refuses that the whole.
    #[default]
    Auto,
    /// In chunks only.
    Chunked,
    /// In one streaming request without a length only, as skopeo and Docker send.
    Stream,
    /// In one request with a length only; what is made anew is in --scratch meanwhile.
    Whole,
}

impl From<UploadWay> for UploadMode {
    fn from(way: UploadWay) -> Self {
        match way {
            UploadWay::Auto => Self::Auto,
            UploadWay::Chunked => Self::Chunked,
            UploadWay::Stream => Self::Stream,
            UploadWay::Whole => Self::Whole,
        }
    }
}

fn chunk_size(text: &str) -> Result<usize, String> {
    let bytes = crate::report::parse_size(text)?;
    match usize::try_from(bytes) {
        Ok(bytes) if (64 << 10..=64 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("a chunk has from 64KiB to 64MiB: two are in memory".to_owned()),
    }
}

impl Settings {
    pub(crate) fn is_json(&self) -> bool {
        self.output == OutputFormat::Json
    }

    /// A client with these settings. `memory_bytes` is what a squash may use for buffers, `scratch` where a server that
    /// takes no chunks makes it put the layer.
    pub(crate) fn client(
        &self,
        memory_bytes: u64,
        scratch: Option<PathBuf>,
        allow_foreign: bool,
    ) -> anyhow::Result<Client> {
        let mut keyring = Keyring::from_environment()?;
        if let Some(path) = &self.authfile {
            keyring.add_file(path)?;
        }
        if let Some(username) = &self.username {
            let mut password = String::new();
            std::io::stdin().read_line(&mut password)?;
            let password = Secret::new(password.trim_end_matches(['\r', '\n']));
            keyring.insert_for_all(Credential::Basic { username: username.clone(), password });
        }
        let mut options = ClientOptions {
            keyring,
            plain_http: self.plain_http,
            ca_files: self.ca_file.clone(),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            allow_foreign,
            scratch,
            ..ClientOptions::default()
        };
        let chunk_bytes = || Limits { memory_bytes, ..Limits::default() }.chunk_bytes();
        options.upload = UploadPolicy {
            chunk_bytes: self.chunk_size.unwrap_or_else(chunk_bytes),
            mode: self.upload.into(),
        };
        Ok(Client::new(options))
    }
}

pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,unbloat=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNBLOAT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}
