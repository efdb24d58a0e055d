//! What can go wrong while layers are read, merged and written.

use crate::name::NameError;

/// An error from a caller's stream or sink, kept as it came.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a merge stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot be merged. `layer` counts from 0 at the lowest.
    #[error("layer {layer}: {source}")]
    Layer {
        /// Index of the layer, 0 at the lowest.
        layer: usize,
        /// What is wrong with it.
        #[source]
        source: LayerError,
    },
    /// The consumer of the merged stream failed.
    #[error("the merged layer could not be written")]
    Output(#[source] BoxError),
    /// A pattern of `--remove` or `--truncate` cannot be parsed.
    #[error("pattern {pattern:?} cannot be parsed: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What the glob parser says.
        reason: String,
    },
    /// With `strict`, a pattern that matches nothing.
    #[error("pattern {pattern:?} matches no path of the image; drop it, or do not ask for --strict")]
    PatternUnmatched {
        /// The pattern as given.
        pattern: String,
    },
    /// With `strict`, a pattern of `--truncate` that matches what is no file.
    #[error(
        "pattern {pattern:?} matches no file: only files are truncated; {pattern}/** means the files in a folder"
    )]
    TruncatedNoFile {
        /// The pattern as given.
        pattern: String,
    },
    /// More layers than can be numbered.
    #[error("the image has {0} layers; at most {max} are supported", max = crate::visibility::MAX_LAYERS)]
    TooManyLayers(usize),
}

/// What is wrong with one layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The stream of the layer's bytes failed (network, decompression, digest).
    #[error("{0}")]
    Stream(#[source] BoxError),
    /// The tar stream ends inside a record.
    #[error("the tar stream is truncated at byte {offset}")]
    Truncated {
        /// Offset in the decompressed stream.
        offset: u64,
    },
    /// A header that is not one, or breaks its format.
    #[error("not a valid tar header at byte {offset}: {reason}")]
    Header {
        /// Offset in the decompressed stream.
        offset: u64,
        /// Which field, and why.
        reason: String,
    },
    /// An entry type that a container layer cannot hold.
    #[error("entry {path:?} has the unsupported tar type {kind:?}")]
    UnsupportedType {
        /// The entry's name.
        path: String,
        /// The type byte.
        kind: char,
    },
    /// A name that cannot be placed below the root.
    #[error("entry {path:?}: {reason}")]
    Name {
        /// The entry's name as written.
        path: String,
        /// The rule it breaks.
        reason: NameError,
    },
    /// A hard link that leads to nothing.
    #[error("hard link {path:?} points to {target:?}, which does not exist at that point")]
    LinkTarget {
        /// The link's path.
        path: String,
        /// Its target.
        target: String,
    },
    /// A hard link to a directory.
    #[error("hard link {path:?} points to {target:?}, which is a directory")]
    LinkToDirectory {
        /// The link's path.
        path: String,
        /// Its target.
        target: String,
    },
    /// Paths that lead through too many hard links to symlinks of lower layers.
    #[error("paths lead through too many hard links to symlinks of lower layers")]
    LinksToSymlinks,
    /// More bytes than allowed.
    #[error("the layers unpack to more than {limit} bytes; raise --max-unpacked if this is no bomb")]
    UnpackedLimit {
        /// The limit in bytes, for all layers together.
        limit: u64,
    },
    /// More paths than allowed.
    #[error("the layers name more than {limit} paths; raise --max-paths if this is no bomb")]
    PathLimit {
        /// The limit, for all layers together.
        limit: u64,
    },
    /// A layer changed between its two reads.
    #[error("the layer was different when it was read again")]
    Changed,
}

impl LayerError {
    /// As the error of an image, of whose layer number `layer` it is.
    #[must_use]
    pub fn at(self, layer: usize) -> Error {
        Error::Layer { layer, source: self }
    }
}

impl Error {
    /// Whether trying again can help: only what a caller's stream or sink reported, and they know better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// A name for people: bytes that are not UTF-8 are replaced.
#[must_use]
pub fn display(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
