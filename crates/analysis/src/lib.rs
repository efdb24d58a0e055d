//! Where an image's bytes are, which of them nobody can see, why, and what would help.
//!
//! # Expected flow
//! Threads read the layers side by side, each blob once, and hand on names and a digest of each content
//! ([`feed`]). One thread applies them in order, lowest layer first ([`apply`]), with the merge's own reading
//! of each layer. What is left is turned into an [`Analysis`] ([`report`]), with a cause for every path that
//! wastes bytes ([`causes`]).
//!
//! # Guarantees
//! - Wasted bytes are exact: the content of regular files in all layers, less that of the inodes that the
//!   merged image shows.
//! - Content is never held. Memory is bounded by the number of paths, whatever the number and the size of the
//!   layers.
//! - The result depends on the layers and the options alone, never on threads.
//!
//! # Errors
//! Those of a merge, for the same layers; only links that a merge of the same image would repair lead nowhere
//! in neither.
//!
//! # Example
//! ```
//! use unbloat_analysis::{AnalysisOptions, ImageFacts, LayerFacts, analyze};
//! use unbloat_layers::{MemoryLayers, tar};
//!
//! // A log of 1000 bytes that two commits copied up.
//! let layer = || {
//!     let mut layer = tar::simple_header(b"var/log/btmp", b'0', 0o600, 1000);
//!     layer.resize(512 + 1024 + 1024, 0);
//!     layer
//! };
//! let layers = MemoryLayers { layers: vec![layer().into(), layer().into()], chunk_bytes: 1 << 20 };
//! let facts = ImageFacts { layers: vec![LayerFacts::default(); 2], ..ImageFacts::default() };
//!
//! let analysis = analyze(&layers, &facts, &AnalysisOptions::default())?;
//! assert_eq!(analysis.totals.wasted_bytes, 1000);
//! assert_eq!(analysis.paths[0].path, "/var/log/btmp");
//! # Ok::<(), unbloat_layers::Error>(())
//! ```

mod apply;
mod causes;
mod chunked;
mod collections;
mod compare;
mod content;
mod feed;
mod places;
mod report;
mod result;

pub use causes::{Rule, TABLE as CAUSES};
pub use compare::{Comparison, LayerChange, PathChange, Side, compare};
pub use result::{
    Analysis, Attributes, CauseReport, Change, DuplicateReport, EntryKind, Estimate, Evidence, LayerReport,
    PathReport, PathVersion, RiskReport, Tally, Totals, WhiteoutReport,
};

use unbloat_layers::tree::Tree;
use unbloat_layers::{Error, LayerSource, MAX_LAYERS, Patterns};

use apply::Applier;
use feed::{Feed, Step};
use report::Reporter;

/// How to analyse.
#[derive(Clone, Debug)]
pub struct AnalysisOptions {
    /// Paths to list, the worst first; `None` lists all of them, in memory too.
    pub top: Option<usize>,
    /// Keep what each layer did to each path, with mode, owner and link target; without it only as far as
    /// memory is bounded.
    pub detailed: bool,
    /// Threads that read layers.
    pub jobs: usize,
    /// Bytes that all layers together may unpack to.
    pub max_unpacked_bytes: u64,
    /// Paths that all layers together may name.
    pub max_paths: u64,
}

impl Default for AnalysisOptions {
    fn default() -> Self {
        Self { top: Some(100), detailed: false, jobs: 1, max_unpacked_bytes: 16 << 40, max_paths: 20_000_000 }
    }
}

/// What the image's documents say, for the result.
#[derive(Clone, Debug, Default)]
pub struct ImageFacts {
    /// The image as given.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: String,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// Its layers, lowest first.
    pub layers: Vec<LayerFacts>,
}

/// What the image's documents say of a layer.
#[derive(Clone, Debug, Default)]
pub struct LayerFacts {
    /// Digest of the blob.
    pub digest: String,
    /// Digest of the decoded stream.
    pub diff_id: String,
    /// Media type of the blob.
    pub media_type: String,
    /// Size of the blob.
    pub compressed_bytes: u64,
    /// The command that made it.
    pub created_by: Option<String>,
    /// When, as written.
    pub created: Option<String>,
}

/// Analyses the layers of `source`, of which there are as many as `facts` tells of. They are opened from the
/// lowest up.
///
/// The result's `estimate.seconds` is 0: how long a squash takes is for the caller to say, who has a clock.
///
/// # Errors
/// See [`Error`].
pub fn analyze<S: LayerSource>(
    source: &S,
    facts: &ImageFacts,
    options: &AnalysisOptions,
) -> Result<Analysis, Error> {
    let layers = facts.layers.len();
    if layers > MAX_LAYERS {
        return Err(Error::TooManyLayers(layers));
    }
    let tree = Tree::new(options.max_paths, Patterns::new(&[])?, Patterns::new(&[])?, false);
    let mut applier = Applier::new(tree, options.detailed);
    let feed = Feed::new(source, layers, options.max_unpacked_bytes);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, layers.max(1)) {
            scope.spawn(|| feed.work());
        }
        feed.drain(|layer, step| match step {
            Step::Record(seen) => applier.record(layer, seen),
            Step::End(bytes) => applier.end(layer, bytes),
        })
    })?;
    applier.finish()?;
    let mut analysis = Reporter::new(&applier).report(facts, options);
    let (warnings, more) = applier.warnings.into_parts();
    analysis.warnings = warnings.iter().map(ToString::to_string).collect();
    if more > 0 {
        analysis.warnings.push(format!("and {more} more warnings"));
    }
    Ok(analysis)
}
