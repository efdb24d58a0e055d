//! Bounds on what a command may use, as options.

use std::path::PathBuf;

use clap::Args;
use unbloat_contract::Limits;

/// Bounds on what a command may use.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Threads that decode and encode [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Memory for buffers, as 16MiB; names of paths come on top (150 bytes a path)
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = crate::report::parse_size)]
    pub(crate) memory: u64,
    /// Folder for what a server makes us keep [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Most bytes that all layers together may unpack to
    #[arg(long, value_name = "SIZE", default_value = "16TiB", value_parser = crate::report::parse_size)]
    max_unpacked: u64,
    /// Most paths that all layers together may name
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    max_paths: u64,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory,
            jobs: self.jobs.map_or(0, usize::from),
            scratch: self.scratch.clone(),
            cache: None,
            max_unpacked_bytes: self.max_unpacked,
            max_paths: self.max_paths,
        }
    }
}
