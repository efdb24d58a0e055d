//! What can go wrong with a squash, told by what its caller can do about it.

use std::io;

use unbloat_contract::FailureKind;
use unbloat_deflate::EncodeError;
use unbloat_layers::{BoxError, LayerError};
use unbloat_oci::{Codec, Descriptor, Digest};
use unbloat_registry::{Category, ErrorKind};

use crate::progress::Progress;

/// A failed squash, verification or edit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A registry, folder or archive could not be read or written.
    #[error(transparent)]
    Registry(#[from] unbloat_registry::Error),
    /// A location cannot be parsed.
    #[error(transparent)]
    Location(#[from] unbloat_registry::LocationError),
    /// A manifest, index or config is not what it should be.
    #[error("{what}: {source}")]
    Document {
        /// Which document of which image.
        what: String,
        /// What is wrong.
        #[source]
        source: unbloat_oci::DocumentError,
    },
    /// A layer that cannot be read as one.
    #[error("layer {index} ({digest}, {media_type}): {source}")]
    Layer {
        /// Index, 0 at the lowest.
        index: usize,
        /// The blob.
        digest: Digest,
        /// Its media type as announced.
        media_type: String,
        /// What is wrong.
        source: LayerFault,
    },
    /// The request asks for what cannot be.
    #[error("{0}")]
    Request(String),
    /// The request asks for a level that the codec does not have.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The image is of a kind that cannot be squashed.
    #[error("{0}")]
    Unsupported(String),
    /// The result, read back, is not the source's tree.
    #[error("the result differs from the source, and no tag was moved: {0}")]
    Verification(String),
    /// Writing the merged layer failed for a reason of ours.
    #[error("the merged layer could not be made: {0}")]
    Output(#[source] OutputError),
    /// It was asked to end.
    #[error("interrupted; nothing was published")]
    Cancelled,
    /// A fault of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// What a caller can do.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Registry(error) => kind_of_registry(error),
            Self::Location(_) | Self::Request(_) | Self::Level(_) => FailureKind::InvalidSpec,
            Self::Document { .. } | Self::Unsupported(_) => FailureKind::InvalidImage,
            Self::Verification(_) => FailureKind::VerifyFailed,
            Self::Layer { source, .. } => source.kind(),
            Self::Cancelled => FailureKind::Cancelled,
            Self::Output(_) | Self::Internal(_) => FailureKind::Internal,
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_retryable(),
            Self::Layer { source: LayerFault::Registry(error), .. } => error.is_retryable(),
            _ => false,
        }
    }

    /// The exit code of the command and of the worker.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.kind().exit_code()
    }
}

/// Why a layer cannot be read as one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerFault {
    /// Reading the blob failed.
    #[error(transparent)]
    Registry(Box<unbloat_registry::Error>),
    /// Its bytes cannot be decoded: an error of gzip, of zstd, or of what was expected of the content.
    #[error(transparent)]
    Stream(BoxError),
    /// It is no layer, or none that can stand where it does.
    #[error(transparent)]
    Entries(LayerError),
    /// Its media type is of no layer.
    #[error(transparent)]
    MediaType(unbloat_oci::Refusal),
}

impl LayerFault {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Registry(error) => kind_of_registry(error),
            Self::Entries(LayerError::UnpackedLimit { .. } | LayerError::PathLimit { .. }) => {
                FailureKind::LimitExceeded
            }
            Self::Stream(_) | Self::Entries(_) | Self::MediaType(_) => FailureKind::InvalidImage,
        }
    }
}

impl From<LayerError> for LayerFault {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Stream(cause) => cause.downcast().map_or_else(Self::Stream, Self::Registry),
            error => Self::Entries(error),
        }
    }
}

/// Why the merged layer could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The codec failed, or what takes its output.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What takes bytes that are not compressed failed.
    #[error(transparent)]
    Plain(#[from] io::Error),
    /// The upload went away; its own error tells why.
    #[error("the upload stopped")]
    UploadStopped,
    /// What the merge hands its bytes to went away; its own error tells why.
    #[error("the codec or the upload stopped")]
    Stopped,
    /// The merge failed for a reason that no layer has.
    #[error(transparent)]
    Merge(unbloat_layers::Error),
    /// Something else that takes the merge's bytes failed.
    #[error(transparent)]
    Other(BoxError),
}

impl OutputError {
    /// What a merge's output said.
    pub(crate) fn of(cause: BoxError) -> Self {
        cause.downcast().map_or_else(Self::Other, |own| *own)
    }
}

/// A compression level that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no level {level}: {codec:?} has 1 to {highest}")]
pub struct LevelError {
    /// Whose levels.
    pub codec: Codec,
    /// The one that was asked for.
    pub level: i32,
    /// The highest that there is.
    pub highest: i32,
}

/// What a caller can do about a registry's error. Its operation tells source from target where both are on
/// one host.
#[must_use]
pub fn kind_of_registry(error: &unbloat_registry::Error) -> FailureKind {
    let is_write = error.operation().writes();
    match (error.category(), is_write) {
        (Category::Usage, _) => FailureKind::InvalidSpec,
        (Category::Unauthorized, true) => FailureKind::PushUnauthorized,
        (Category::Unauthorized, false) => FailureKind::PullUnauthorized,
        // A folder that is not there.
        (Category::NotFound, true) if matches!(error.kind(), ErrorKind::Io(_)) => FailureKind::LocalFile,
        (Category::NotFound, true) => FailureKind::TargetRefused,
        (Category::NotFound, false) => FailureKind::ImageNotFound,
        (Category::Registry, true) => match error.kind() {
            ErrorKind::Status { status, .. } if (400..500).contains(status) && !error.is_retryable() => {
                FailureKind::TargetRefused
            }
            _ => FailureKind::RegistryUnavailable,
        },
        (Category::Registry, false) => FailureKind::RegistryUnavailable,
        (Category::Image, _) => FailureKind::InvalidImage,
        (Category::SourceChanged, _) => FailureKind::SourceChanged,
        (Category::Limit, _) => FailureKind::LimitExceeded,
        (Category::Internal, _) => FailureKind::Internal,
        (Category::Io, _) => FailureKind::LocalFile,
    }
}

/// The merge's error with the layer's name.
pub(crate) fn layer_error(error: unbloat_layers::Error, layers: &[Descriptor], progress: &Progress) -> Error {
    if progress.is_cancelled() {
        return Error::Cancelled;
    }
    let (index, source) = match error {
        unbloat_layers::Error::Layer { layer, source } => (layer, source),
        other @ (unbloat_layers::Error::Pattern { .. }
        | unbloat_layers::Error::PatternUnmatched { .. }
        | unbloat_layers::Error::TruncatedNoFile { .. }
        | unbloat_layers::Error::TooManyLayers(_)) => return Error::Request(other.to_string()),
        other => return Error::Output(OutputError::Merge(other)),
    };
    let Some(layer) = layers.get(index) else { return Error::Internal(source.to_string()) };
    Error::Layer {
        index,
        digest: layer.digest().clone(),
        media_type: layer.media_type().to_string(),
        source: source.into(),
    }
}
