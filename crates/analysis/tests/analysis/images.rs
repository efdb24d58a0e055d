//! Small images for tests, and their analysis.

use unbloat_analysis::{Analysis, AnalysisOptions, ImageFacts, LayerFacts, PathReport, analyze};
use unbloat_layers::tar::simple_header;
use unbloat_layers::{Error, MemoryLayers};

/// A layer, record by record.
#[derive(Clone, Default)]
pub(crate) struct Layer(pub(crate) Vec<u8>);

impl Layer {
    fn record(self, name: &str, kind: u8, link: &str, owner: u64, content: &[u8]) -> Self {
        self.dated(name, kind, link, owner, 0, content)
    }

    fn dated(mut self, name: &str, kind: u8, link: &str, owner: u64, time: u64, content: &[u8]) -> Self {
        let mut block = simple_header(name.as_bytes(), kind, 0o644, content.len() as u64);
        block[108..116].copy_from_slice(format!("{owner:07o}\0").as_bytes());
        block[136..148].copy_from_slice(format!("{time:011o}\0").as_bytes());
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, size: usize) -> Self {
        self.content(name, &vec![b'a' + (size % 23) as u8; size])
    }

    pub(crate) fn content(self, name: &str, content: &[u8]) -> Self {
        self.record(name, b'0', "", 0, content)
    }

    pub(crate) fn owned(self, name: &str, owner: u64, size: usize) -> Self {
        self.record(name, b'0', "", owner, &vec![b'a' + (size % 23) as u8; size])
    }

    /// The file as [`Self::file`] makes it, at another time.
    pub(crate) fn touched(self, name: &str, time: u64, size: usize) -> Self {
        self.dated(name, b'0', "", 0, time, &vec![b'a' + (size % 23) as u8; size])
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.record(name, b'5', "", 0, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.record(name, b'2', target, 0, b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.record(name, b'1', target, 0, b"")
    }
}

pub(crate) fn layer() -> Layer {
    Layer::default()
}

pub(crate) fn facts(layers: usize) -> ImageFacts {
    ImageFacts {
        layers: (0..layers)
            .map(|_| LayerFacts { compressed_bytes: 1 << 20, ..LayerFacts::default() })
            .collect(),
        ..ImageFacts::default()
    }
}

pub(crate) fn try_analyze(layers: &[Layer]) -> Result<Analysis, Error> {
    let layers: Vec<_> = layers.iter().map(|layer| layer.0.clone().into()).collect();
    let count = layers.len();
    let options = AnalysisOptions { jobs: 2, ..AnalysisOptions::default() };
    analyze(&MemoryLayers { layers, chunk_bytes: 9000 }, &facts(count), &options)
}

pub(crate) fn analysis_of(layers: &[Layer]) -> Analysis {
    let analysis = try_analyze(layers).unwrap();
    let causes: u64 = analysis.causes.iter().map(|cause| cause.wasted_bytes).sum();
    assert_eq!(causes, analysis.totals.wasted_bytes, "every wasted byte has one cause");
    let paths: u64 = analysis.paths.iter().map(|path| path.wasted_bytes).sum();
    assert_eq!(paths, analysis.totals.wasted_bytes, "every wasted byte has one path");
    for path in &analysis.paths {
        let versions: u64 = path.versions.iter().map(|version| version.wasted_bytes).sum();
        assert_eq!(versions, path.wasted_bytes, "{}: every wasted byte has one version", path.path);
    }
    analysis
}

pub(crate) fn path<'a>(analysis: &'a Analysis, name: &str) -> &'a PathReport {
    analysis.paths.iter().find(|path| path.path == name).unwrap_or_else(|| panic!("{name}: {analysis:#?}"))
}
