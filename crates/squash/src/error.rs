//! What can go wrong with a squash, told by what its caller can do about it.

use unbloat_oci::Digest;

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

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Mend the request.
    Usage,
    /// Name something that exists.
    NotFound,
    /// Give credentials that are allowed to.
    Unauthorized,
    /// Try again, or mend the network or the registry.
    Network,
    /// Mend the image.
    InvalidImage,
    /// Look at the source again: someone pushed meanwhile.
    SourceChanged,
    /// Raise a limit, if the image is trusted.
    LimitExceeded,
    /// Mend the local disk.
    Io,
    /// It was asked to end.
    Cancelled,
    /// Report it.
    Internal,
}

impl Error {
    /// What a caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(error) => registry_kind(error),
            Self::Location(_) | Self::Request(_) => ErrorKind::Usage,
            Self::Document { .. } | Self::Unsupported(_) | Self::Verification(_) => ErrorKind::InvalidImage,
            Self::Layer { limit: true, .. } => ErrorKind::LimitExceeded,
            Self::Layer { source: Some(error), .. } => registry_kind(error),
            Self::Layer { .. } => ErrorKind::InvalidImage,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Output(_) | Self::Internal(_) => ErrorKind::Internal,
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

impl ErrorKind {
    /// The exit code of the command and of the worker.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Unauthorized => 4,
            Self::Network => 5,
            Self::InvalidImage => 6,
            Self::SourceChanged => 7,
            Self::LimitExceeded => 8,
            Self::Io => 9,
            Self::Internal => 70,
            Self::Cancelled => 130,
        }
    }
}

fn registry_kind(error: &unbloat_registry::Error) -> ErrorKind {
    use unbloat_registry::Category;
    match error.category() {
        Category::Usage => ErrorKind::Usage,
        Category::NotFound => ErrorKind::NotFound,
        Category::Unauthorized => ErrorKind::Unauthorized,
        Category::SourceChanged => ErrorKind::SourceChanged,
        Category::Limit => ErrorKind::LimitExceeded,
        Category::Image => ErrorKind::InvalidImage,
        Category::Io => ErrorKind::Io,
        Category::Registry => ErrorKind::Network,
    }
}

/// The exit code for a registry's error.
#[must_use]
pub fn registry_exit_code(error: &unbloat_registry::Error) -> u8 {
    registry_kind(error).exit_code()
}
