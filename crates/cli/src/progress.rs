//! A squash's counters as a bar, lines or JSON on standard error.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as Style};
use unbloat_contract::{Snapshot, Stage};
use unbloat_squash::Progress;

use crate::report::bytes;
use crate::settings::ProgressStyle;
use crate::signals;

/// Shows `progress` until `work` is done. A signal cancels the work, which then ends by itself.
pub(crate) async fn watch<T>(
    progress: &Arc<Progress>,
    style: ProgressStyle,
    work: impl Future<Output = T>,
) -> T {
    let style = match style {
        ProgressStyle::Auto if std::io::stderr().is_terminal() => Shown::Bar(bar()),
        ProgressStyle::Auto | ProgressStyle::None => Shown::Nothing,
        ProgressStyle::Plain => Shown::Lines,
        ProgressStyle::Json => Shown::Json,
    };
    let every =
        if matches!(style, Shown::Bar(_)) { Duration::from_millis(100) } else { Duration::from_secs(1) };
    let mut ticks = tokio::time::interval(every);
    let started = Instant::now();
    signals::stops(progress);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                style.show(&progress.snapshot(), started);
                style.clear();
                return done;
            }
            _ = ticks.tick() => style.show(&progress.snapshot(), started),
        }
    }
}

enum Shown {
    Bar(ProgressBar),
    Lines,
    Json,
    Nothing,
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "{prefix:<10} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta} {msg}";
    bar.set_style(
        Style::with_template(template).unwrap_or_else(|_| Style::default_bar()).progress_chars("=> "),
    );
    bar
}

impl Shown {
    fn show(&self, now: &Snapshot, started: Instant) {
        match self {
            Self::Nothing => {}
            Self::Bar(bar) => {
                bar.set_length(now.bytes_total);
                bar.set_position(now.bytes_read);
                bar.set_prefix(stage(now.stage));
                bar.set_message(format!("layers {}/{}", now.layers_done, now.layers_total));
            }
            Self::Lines => eprintln!(
                "{:<10} {} of {} read, {} of {} layers, {} written, {:.0} s",
                stage(now.stage),
                bytes(now.bytes_read),
                bytes(now.bytes_total),
                now.layers_done,
                now.layers_total,
                bytes(now.bytes_written),
                started.elapsed().as_secs_f64(),
            ),
            Self::Json => {
                if let Ok(line) = serde_json::to_string(now) {
                    eprintln!("{line}");
                }
            }
        }
    }

    fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Resolving => "resolving",
        Stage::Merging => "merging",
        Stage::Analyzing => "analysing",
        Stage::CopyingBase => "base",
        Stage::Verifying => "verifying",
        Stage::Publishing => "publishing",
        Stage::Finished => "finished",
        Stage::Unknown => "working",
    }
}
