//! `unbloat analyze` on the command line.

use std::path::PathBuf;

use clap::Args;
use unbloat_contract::AnalyzeRequest;

use super::limits::LimitArgs;
use crate::connection::{ConnectionArgs, TwoPlacesArgs};

/// Headings of options.
const REPORT: &str = "The report";
const CHECKS: &str = "Checks for CI";
const DOCKERFILE: &str = "The Dockerfile";

/// `unbloat analyze`
#[derive(Args, Debug)]
pub(crate) struct AnalyzeArgs {
    /// The image, SRC in the options for its registry alone
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Another image to compare it with: what grew from IMAGE to this one, which is DST in those options
    #[arg(value_name = "OTHER", conflicts_with_all = ["ci", "thresholds", "config", "lint", "target", "junit"])]
    pub(crate) other: Option<String>,
    /// Print one JSON object, as --output json does
    #[arg(help_heading = REPORT, long)]
    pub(crate) json: bool,
    /// List the N paths that waste most [default: 10, with JSON 100]
    #[arg(help_heading = REPORT, long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// List all paths
    #[arg(help_heading = REPORT, long, conflicts_with = "top")]
    pub(crate) all: bool,
    /// The platform, where the image has several (os/arch[/variant])
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Check thresholds, and end with exit code 1 when one is exceeded
    #[arg(help_heading = CHECKS, long)]
    pub(crate) ci: bool,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
    /// Read thresholds from this file [default: .unbloat.yaml, where there is one]
    #[arg(help_heading = CHECKS, long, value_name = "FILE", requires = "ci")]
    pub(crate) config: Option<PathBuf>,
    /// Write the checks as JUnit XML
    #[arg(help_heading = CHECKS, long, value_name = "FILE", requires = "ci")]
    pub(crate) junit: Option<PathBuf>,
    /// Write a summary in Markdown
    #[arg(help_heading = REPORT, long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write all of it as one page for a browser, which needs no network
    #[arg(help_heading = REPORT, long, value_name = "FILE", conflicts_with = "other")]
    pub(crate) html: Option<PathBuf>,
    /// Tell which lines of this Dockerfile, which made the image, cause what
    #[arg(help_heading = DOCKERFILE, long, value_name = "DOCKERFILE")]
    pub(crate) lint: Option<PathBuf>,
    /// The stage of the Dockerfile that made the image, as docker build --target [default: the last one]
    #[arg(help_heading = DOCKERFILE, long, value_name = "STAGE", requires = "lint")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) places: TwoPlacesArgs,
}

/// Thresholds of `--ci`, which come before those of the file.
#[derive(Args, Debug)]
#[group(id = "thresholds", multiple = true)]
pub(crate) struct ThresholdArgs {
    /// Most layers
    #[arg(help_heading = CHECKS, long, value_name = "N", requires = "ci")]
    pub(crate) max_layers: Option<u64>,
    /// Most wasted bytes, as 100MiB
    #[arg(help_heading = CHECKS, long, value_name = "SIZE", requires = "ci", value_parser = crate::report::parse_size)]
    pub(crate) max_wasted_bytes: Option<u64>,
    /// Most wasted bytes as a share of the unpacked ones, from 0 to 100
    #[arg(help_heading = CHECKS, long, value_name = "PERCENT", requires = "ci", value_parser = percent)]
    pub(crate) max_wasted_percent: Option<f64>,
    /// Least efficiency, from 0 to 1
    #[arg(help_heading = CHECKS, long, value_name = "SHARE", requires = "ci", value_parser = share)]
    pub(crate) min_efficiency: Option<f64>,
    /// Most compressed bytes, as 2GiB
    #[arg(help_heading = CHECKS, long, value_name = "SIZE", requires = "ci", value_parser = crate::report::parse_size)]
    pub(crate) max_size: Option<u64>,
}

fn within(text: &str, limit: f64) -> Result<f64, String> {
    let value: f64 =
        text.trim_end_matches('%').trim().parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=limit).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{text} is not between 0 and {limit}"))
    }
}

fn percent(text: &str) -> Result<f64, String> {
    within(text, 100.0)
}

fn share(text: &str) -> Result<f64, String> {
    within(text, 1.0)
}

impl AnalyzeArgs {
    /// How many paths are printed.
    pub(crate) fn top(&self, json: bool) -> Option<usize> {
        let usual = if json { 100 } else { 10 };
        if self.all { None } else { Some(self.top.unwrap_or(usual)) }
    }

    pub(crate) fn request(&self, image: &str, json: bool) -> AnalyzeRequest {
        AnalyzeRequest {
            image: image.to_owned(),
            platform: self.platform.clone(),
            top: self.top(json),
            detailed: false,
            allow_foreign: true,
            limits: self.limits.limits(),
        }
    }
}
