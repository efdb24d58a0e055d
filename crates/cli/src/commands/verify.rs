//! `verify`.

use std::sync::Arc;

use unbloat_contract::VerifyRequest;
use unbloat_squash::{Difference, Progress};

use crate::args::VerifyArgs;
use crate::commands::{print, print_json};
use crate::connection::{Images, Needs};
use crate::error::CheckFailed;
use crate::progress::watch;
use crate::settings::Settings;
use unbloat_text::terminal;

pub(crate) async fn verify(settings: &Settings, args: VerifyArgs) -> anyhow::Result<()> {
    let VerifyArgs { a, b, path, platform, strict, allow_split_links, limits, connection, places } = args;
    let limits = limits.limits();
    let client = connection.client_for(&places, Images::two(&a, &b), Needs::of(&limits, true))?;
    let request = VerifyRequest { a, b, platforms: platform, paths: path, allow_split_links, strict, limits };
    let progress = Arc::new(Progress::default());
    let result =
        watch(&progress, settings.progress, unbloat_squash::verify(&client, &request, &progress)).await?;
    if !settings.is_json() {
        for warning in &result.warnings {
            eprintln!("warning: {}", terminal(warning));
        }
    }
    if settings.is_json() {
        print_json(&result)?;
    } else if result.equal {
        print(&format!("equal: {} paths", result.paths))?;
    } else {
        let line = |difference: &Difference| terminal(&format!("{}: {}", difference.path, difference.what));
        let mut lines: Vec<String> = result.differences.iter().map(line).collect();
        lines.push(format!("{} differences in {} paths", result.different, result.paths));
        print(&lines.join("\n"))?;
    }
    if result.equal { Ok(()) } else { Err(CheckFailed.into()) }
}
