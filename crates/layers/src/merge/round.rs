//! One round of a merge: threads that read layers and write what survives.

use std::sync::{Arc, Mutex, MutexGuard};

use super::discoveries::Discoveries;
use super::followed_parents::{Rewrites, read_symlinks};
use super::options::Options;
use super::output::Output;
use super::scheduler::{Scheduler, Stopped};
use super::source::LayerSource;
use super::stop::Stop;
use super::summary::Summary;
use super::writer::Writer;
use crate::error::{Error, LayerError};
use crate::lock::{into_inner, lock};
use crate::pattern::Patterns;
use crate::tar::{Header, Meter, TarReader};
use crate::tree::Tree;
use crate::warning::{Warning, WarningKind};

/// How a round ended.
pub(super) enum Ended {
    /// The result is whole.
    Done(Summary),
    /// What was written is void.
    Again(Discoveries),
}

/// The writer, while a thread has it.
pub(super) type WriterGuard<'g, 'o> = MutexGuard<'g, Writer<'o>>;

pub(super) struct Round<'a, 'o, S> {
    pub(super) source: &'a S,
    pub(super) layers: usize,
    pub(super) options: &'a Options,
    pub(super) discoveries: &'a Discoveries,
    rewrites: Rewrites,
    pub(super) meter: Arc<Meter>,
    pub(super) tree: Mutex<Tree>,
    pub(super) writer: Mutex<Writer<'o>>,
    pub(super) scheduler: Scheduler,
}

impl<'a, 'o, S: LayerSource> Round<'a, 'o, S> {
    pub(super) fn new(
        source: &'a S,
        layers: usize,
        options: &'a Options,
        discoveries: &'a Discoveries,
        output: &'o mut (dyn Output + Send),
    ) -> Result<Self, Error> {
        let remove = Patterns::new(&options.remove)?;
        let truncate = Patterns::new(&options.truncate)?;
        let tree = Tree::new(options.max_paths, remove, truncate, options.base_layers > 0);
        let rewrites = match options.follow_symlinked_parents {
            true => read_symlinks(source, layers, options)?,
            false => Rewrites::default(),
        };
        Ok(Self {
            source,
            layers,
            options,
            discoveries,
            rewrites,
            meter: Arc::new(Meter::new(options.max_unpacked_bytes)),
            writer: Mutex::new(Writer::new(output, &tree, options.base_layers > 0)),
            tree: Mutex::new(tree),
            scheduler: Scheduler::new(layers, options.jobs, options.hold_bytes),
        })
    }

    pub(super) fn run(self) -> Result<Ended, Error> {
        let begun = lock(&self.writer).begin_with(self.discoveries);
        begun.map_err(Stop::without_layer)?;
        let threads = self.options.jobs.clamp(1, self.layers.max(1));
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        self.finish()
    }

    fn work(&self) {
        while let Some(layer) = self.scheduler.take_layer() {
            let read = self.read(layer).map(|pass| {
                if let Some(pass) = pass {
                    self.scheduler.park(layer, pass);
                }
            });
            if let Err(stop) = read {
                return self.scheduler.stop(layer, stop);
            }
            // All whose turn has come are finished here.
            while let Some((layer, mut pass)) = self.scheduler.unpark() {
                let mut writer = lock(&self.writer);
                let finished = self.finish_parked(&mut writer, layer, &mut pass);
                drop(writer);
                if let Err(stop) = finished {
                    return self.scheduler.stop(layer, stop);
                }
                self.scheduler.release(&mut pass);
                self.scheduler.advance(layer, &pass);
            }
        }
    }

    pub(super) fn open(&self, layer: usize) -> Result<TarReader<S::Stream>, Stop> {
        let stream = self.source.open(layer).map_err(LayerError::Stream)?;
        Ok(TarReader::new(stream, layer, Arc::clone(&self.meter)))
    }

    pub(super) fn is_in_base(&self, layer: usize) -> bool {
        layer < self.options.base_layers
    }

    /// Gives a record the path that it has below the symlinks of lower layers, where that was asked for.
    pub(super) fn rewrite(&self, layer: usize, record: u32, header: &mut Header) {
        if let Some(rewrite) = self.rewrites.get(&(layer as u32, record)) {
            rewrite.apply(header);
        }
    }

    fn finish(self) -> Result<Ended, Error> {
        let discoveries = self.discoveries.clone();
        let summary = match self.scheduler.finish() {
            Ok(summary) => summary,
            Err(Stopped { layer, stop }) => {
                return match stop {
                    Stop::Conflict => discoveries.with_names_first(layer).map(Ended::Again),
                    Stop::Discovered(links) => discoveries.with_linked_symlinks(links).map(Ended::Again),
                    stop => Err(stop.at(layer)),
                };
            }
        };
        let tree = into_inner(self.tree);
        let mut writer = into_inner(self.writer);
        if let Some(error) = writer.refused.take() {
            return Err(error);
        }
        for pending in &writer.pending_links {
            if !pending.names.is_empty() {
                return Err(pending.dangling(&tree).at(pending.layer as usize));
            }
        }
        if let Some(found) = writer.attributes.discovered(&tree) {
            return Ok(Ended::Again(discoveries.with_directory_attributes(found)));
        }
        let base_layers = self.options.base_layers as u32;
        writer.finish(&tree, base_layers).map_err(Stop::without_layer)?;
        let wanted = writer.too_late(&tree, base_layers);
        if !wanted.is_empty() {
            return Ok(Ended::Again(discoveries.with_wanted_directories(wanted)));
        }
        if let Some(found) = writer.found() {
            return Ok(Ended::Again(discoveries.with_first_directories(found)));
        }
        writer.warn_of_marks(&tree);
        for (pattern, kind) in writer.unmatched(&tree) {
            if self.options.strict {
                return Err(match kind {
                    WarningKind::TruncatedNoFile => Error::TruncatedNoFile { pattern },
                    _ => Error::PatternUnmatched { pattern },
                });
            }
            writer.warnings.add(Warning { layer: None, path: pattern.into_bytes(), kind });
        }
        let (warnings, more_warnings) = writer.warnings.into_parts();
        let paths = u64::from(tree.paths());
        Ok(Ended::Done(Summary { written: writer.written, paths, warnings, more_warnings, ..summary }))
    }
}
