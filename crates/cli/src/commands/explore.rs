//! `explore`: reads an image's layers once and shows them in the terminal.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use unbloat_explore::{App, Catalogue, Image, Layer, Limits};
use unbloat_layers::LayerSource as _;
use unbloat_squash::{Error, OpenedImage, Progress};
use unbloat_text::terminal;

use crate::args::ExploreArgs;
use crate::commands::suggestion::squash_of;
use crate::connection::{Images, Needs};
use crate::error::Usage;
use crate::progress::watch;
use crate::settings::Settings;

pub(crate) async fn explore(settings: &Settings, args: ExploreArgs) -> anyhow::Result<()> {
    if settings.is_json() {
        return Err(Usage("explore prints no JSON; `unbloat analyze --output json` does".into()).into());
    }
    // Before anything is read: a layer may take minutes.
    unbloat_explore::require_terminal().map_err(|error| Usage(error.to_string()))?;
    let client = args.connection.client(Images::one(&args.image), Needs::small())?;
    let progress = Arc::new(Progress::default());
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let limits = Limits {
        jobs: args.jobs.map_or_else(cores, usize::from),
        max_unpacked_bytes: args.max_unpacked,
        max_paths: args.max_paths,
    };
    let reading = async {
        let opened = OpenedImage::open(&client, &args.image, args.platform.as_deref(), &progress).await?;
        let opened = Arc::new(opened);
        catalogue(&opened, limits).await.map(|catalogue| (opened, catalogue))
    };
    let (opened, catalogue) = watch(&progress, settings.progress, reading).await?;
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut app = App::new(catalogue, image(&args, &opened), colour);
    let warnings = opened.warnings();
    if let Some(first) = warnings.first() {
        app.say(format!("warning: {first}"));
    }
    let stop = stop_on_signals()?;
    // The browser's progress is its own: what Ctrl-C means while layers are read must not end an extraction.
    let again = opened.with_progress(&Arc::new(Progress::default()));
    let shown =
        tokio::task::spawn_blocking(move || unbloat_explore::run(app, |layer| again.open_one(layer), &stop));
    let ended = shown.await??;
    // What the screen has shown for a moment stays readable.
    for warning in warnings {
        eprintln!("warning: {}", terminal(&warning));
    }
    ended.print()?;
    Ok(())
}

async fn catalogue(opened: &Arc<OpenedImage>, limits: Limits) -> Result<Catalogue, Error> {
    let layers = opened.facts().layers.len();
    let source = Arc::clone(opened);
    let read = tokio::task::spawn_blocking(move || {
        loop {
            match unbloat_explore::read(&*source, layers, &limits) {
                Err(unbloat_layers::Error::Layer { layer, source: cause })
                    if source.misread(layer, &cause) => {}
                ended => return ended,
            }
        }
    })
    .await;
    let read = read.map_err(|panic| Error::Internal(panic.to_string()))?;
    read.map_err(|error| opened.error(error))
}

/// A flag that is raised when the process shall end: the terminal has to be given back first.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut told = signal(kind)?;
        let raised = Arc::clone(&stop);
        tokio::spawn(async move {
            if told.recv().await.is_some() {
                raised.store(true, Ordering::Relaxed);
            }
        });
    }
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        if hangups.recv().await.is_some() {
            // There is no terminal to give back, and waiting for a key of one that is gone never ends.
            std::process::exit(HUNG_UP);
        }
    });
    Ok(stop)
}

/// What a shell says of a process that SIGHUP ended.
const HUNG_UP: i32 = 128 + 1;

fn image(args: &ExploreArgs, opened: &OpenedImage) -> Image {
    let facts = opened.facts();
    let layers = facts.layers.iter().map(|layer| Layer {
        digest: layer.digest.clone(),
        compressed_bytes: layer.compressed_bytes,
        created_by: layer.created_by.clone(),
    });
    Image {
        reference: args.image.clone(),
        digest: facts.digest.clone(),
        platform: facts.platform.clone(),
        layers: layers.collect(),
        squash: squash_of(&args.image, opened.location(), args.platform.as_deref(), &args.connection),
    }
}
