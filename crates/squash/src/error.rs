//! What can go wrong with a squash, told by what its caller can do about it.

use unbloat_contract::FailureKind;
use unbloat_oci::Digest;
use unbloat_registry::{Category, ErrorKind};

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
    #[error("layer {index} ({digest}, {media_type}): {reason}")]
    Layer {
        /// Index, 0 at the lowest.
        index: usize,
        /// The blob.
        digest: Digest,
        /// Its media type as announced.
        media_type: String,
        /// What is wrong, from the innermost cause.
        reason: String,
        /// The registry's error, when reading the blob failed.
        #[source]
        source: Option<Box<unbloat_registry::Error>>,
        /// A limit was hit, not a fault found.
        limit: bool,
    },
    /// The request asks for what cannot be.
    #[error("{0}")]
    Request(String),
    /// The image is of a kind that cannot be squashed.
    #[error("{0}")]
    Unsupported(String),
    /// The result, read back, is not the source's tree.
    #[error("the result differs from the source, and no tag was moved: {0}")]
    Verification(String),
    /// Writing the merged layer failed for a reason of ours.
    #[error("the merged layer could not be made: {0}")]
    Output(String),
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
            Self::Location(_) | Self::Request(_) => FailureKind::InvalidSpec,
            Self::Document { .. } | Self::Unsupported(_) => FailureKind::InvalidImage,
            Self::Verification(_) => FailureKind::VerifyFailed,
            Self::Layer { limit: true, .. } => FailureKind::LimitExceeded,
            Self::Layer { source: Some(error), .. } => kind_of_registry(error),
            Self::Layer { .. } => FailureKind::InvalidImage,
            Self::Cancelled => FailureKind::Cancelled,
            Self::Output(_) | Self::Internal(_) => FailureKind::Internal,
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_retryable(),
            Self::Layer { source: Some(error), .. } => error.is_retryable(),
            _ => false,
        }
    }

    /// The exit code of the command and of the worker.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.kind().exit_code()
    }
}

/// What a caller can do about a registry's error. Its operation tells source from target where both are on one host.
#[must_use]
pub fn kind_of_registry(error: &unbloat_registry::Error) -> FailureKind {
    let is_write = error.operation().writes();
    match (error.category(), is_write) {
        (Category::Usage, _) => FailureKind::InvalidSpec,
        (Category::Unauthorized, true) => FailureKind::PushUnauthorized,
        (Category::Unauthorized, false) => FailureKind::PullUnauthorized,
        // Its store shows late what it took: that passes.
        (Category::NotFound, true) if error.is_retryable() => FailureKind::RegistryUnavailable,
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
