//! What every command shares: output format, progress, what is logged.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What is printed")]
pub(crate) struct Settings {
    /// How results are printed
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) output: OutputFormat,
    /// How progress is shown, on standard error
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) progress: ProgressStyle,
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

impl Settings {
    pub(crate) fn is_json(&self) -> bool {
        self.output == OutputFormat::Json
    }
}

/// Our own lines on standard error; those of libraries only where everything is asked for. No colours go into
/// a file.
pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "unbloat=warn",
        1 => "unbloat=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNBLOAT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(verbose > 0)
        .without_time()
        .init();
}
