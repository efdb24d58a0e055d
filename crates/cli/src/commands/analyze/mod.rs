//! `analyze`: where an image's bytes are, why, and whether that is as it should be.

mod difference;
mod gate;
mod lint;
mod markup;
mod summary;
mod text;

use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use unbloat_analysis::{Analysis, compare};
use unbloat_contract::AnalyzeRequest;
use unbloat_registry::{Client, Location};
use unbloat_report::PageFile;
use unbloat_squash::Progress;
use unbloat_text::SquashCommand;

use crate::args::AnalyzeArgs;
use crate::commands::suggestion::squash_of;
use crate::commands::{print, print_json};
use crate::connection::{Images, Needs};
use crate::error::CheckFailed;
use crate::progress::watch;
use crate::settings::Settings;
use gate::{Check, Thresholds};
use lint::Finding;
use text::Page;

/// The result with what was checked of it.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    analysis: &'a Analysis,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<&'a [Check]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lint: Option<&'a [Finding]>,
}

pub(crate) async fn analyze(settings: &Settings, args: AnalyzeArgs) -> anyhow::Result<()> {
    let json = args.json || settings.is_json();
    // Whatever is wrong with the request is told before anything is read.
    let thresholds = match args.ci {
        true => Some(Thresholds::read(&Thresholds::from(&args.thresholds), args.config.as_ref())?),
        false => None,
    };
    let dockerfile = match &args.lint {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            lint::check_target(&text, args.target.as_deref())?;
            Some(text)
        }
        None => None,
    };
    let page = args.html.as_deref().map(PageFile::open).transpose()?;
    let client = {
        let images = Images { destination: args.other.as_deref(), ..Images::one(&args.image) };
        args.connection.client_for(&args.places, images, Needs::of(&args.limits.limits(), true))?
    };
    if let Some(other) = &args.other {
        return difference(settings, &client, &args, other, json).await;
    }
    let mut request = args.request(&args.image, json);
    if page.is_some() {
        request.top = request.top.map(|top| top.max(unbloat_report::PATHS));
    }
    let mut analysis = run(settings, &client, &request).await?;
    if let Some(page) = page {
        page.write(&analysis)?;
    }
    analysis.paths.truncate(args.top(json).unwrap_or(usize::MAX));
    let checks = thresholds.map(|thresholds| thresholds.checks(&analysis));
    let findings = dockerfile.map(|text| lint::lint(&text, args.target.as_deref(), &analysis)).transpose()?;
    if let Some(path) = &args.junit {
        summary::write(path, &summary::junit(&analysis, checks.as_deref().unwrap_or_default()))?;
    }
    if let Some(path) = &args.markdown {
        summary::write(path, &summary::page(&analysis, checks.as_deref().unwrap_or_default()))?;
    }
    if json {
        let (checks, lint) = (checks.as_deref(), findings.as_deref());
        print_json(&Printed { analysis: &analysis, checks, lint })?;
    } else {
        let location = args.image.parse::<Location>()?;
        let mut squash = squash_of(&args.image, &location, args.platform.as_deref(), &args.connection);
        squash.options.extend(args.places.source_options());
        print(&as_text(&args, &analysis, &squash, checks.as_deref(), findings.as_deref()))?;
    }
    match checks {
        Some(checks) if checks.iter().any(|check| !check.passed) => Err(CheckFailed.into()),
        _ => Ok(()),
    }
}

fn as_text(
    args: &AnalyzeArgs,
    analysis: &Analysis,
    squash: &SquashCommand,
    checks: Option<&[Check]>,
    findings: Option<&[Finding]>,
) -> String {
    let page = Page(width());
    let mut parts = vec![page.analysis(analysis, squash)];
    if let Some(findings) = findings {
        let file = args.lint.as_ref().map_or(String::new(), |path| path.display().to_string());
        parts.push(lint::text(&file, findings));
    }
    parts.extend(checks.map(|checks| page.checks(checks)));
    parts.join("\n\n")
}

/// Columns of the terminal that the output goes to.
fn width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0).max(40))
}

async fn run(settings: &Settings, client: &Client, request: &AnalyzeRequest) -> anyhow::Result<Analysis> {
    let progress = Arc::new(Progress::default());
    let work = unbloat_squash::analyze(client, request, &progress);
    Ok(watch(&progress, settings.progress, work).await?)
}

async fn difference(
    settings: &Settings,
    client: &Client,
    args: &AnalyzeArgs,
    other: &str,
    json: bool,
) -> anyhow::Result<()> {
    let all = |image: &str| AnalyzeRequest { top: None, ..args.request(image, json) };
    let before = run(settings, client, &all(&args.image)).await?;
    let after = run(settings, client, &all(other)).await?;
    let compared = compare(&before, &after, args.request(other, json).top);
    if let Some(path) = &args.markdown {
        summary::write(path, &difference::report(&compared))?;
    }
    if json { print_json(&compared) } else { print(&difference::text(&compared, &Page(width()))) }
}
