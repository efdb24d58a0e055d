//! What was being done when something went wrong.

use std::fmt;

/// A step of reading or writing an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Parsing a location.
    Parsing,
    /// Opening a folder or an archive.
    Opening,
    /// Making a folder ready for what will be written.
    Preparing,
    /// Preparing connections: certificates, proxies.
    Connecting,
    /// Reading a file with credentials.
    ReadingCredentials,
    /// Writing a file with credentials.
    WritingCredentials,
    /// Reading a file of settings or certificates.
    ReadingSettings,
    /// Asking a cloud for its identity's credentials.
    AskingForIdentity,
    /// Trying credentials.
    LoggingIn,
    /// Running a credential helper.
    RunningHelper,
    /// Running a credential provider plugin of kubelet's.
    RunningProvider,
    /// Asking a token server.
    AskingForToken {
        /// Whether the token is to write with.
        push: bool,
    },
    /// Asking what a name stands for.
    Resolving,
    /// Reading a manifest or an index.
    ReadingManifest,
    /// Reading a layout's `index.json`.
    ReadingIndex,
    /// Reading an image's config.
    ReadingConfig,
    /// Reading a blob.
    ReadingBlob,
    /// Listing tags.
    ListingTags,
    /// Listing what refers to an image.
    ListingReferrers,
    /// Choosing an image by its platform.
    Choosing,
    /// Copying an image.
    Copying,
    /// Asking whether a blob is there already.
    LookingForBlob,
    /// Taking a blob from another repository of the registry.
    MountingBlob,
    /// Sending a blob to a registry.
    UploadingBlob,
    /// Closing an upload.
    CancellingUpload,
    /// Making a scratch file.
    MakingScratchFile,
    /// Writing a scratch file.
    WritingScratchFile,
    /// Writing a blob into a folder.
    WritingBlob,
    /// Writing a manifest or an index.
    WritingManifest,
    /// Making an image visible.
    Publishing,
    /// Deleting a manifest or an index.
    DeletingManifest,
}

impl Operation {
    /// Whether it changes the place that it is done at. Tells source from target where both are one host.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::AskingForToken { push } => push,
            Self::Copying
            | Self::Preparing
            | Self::MountingBlob
            | Self::UploadingBlob
            | Self::CancellingUpload
            | Self::WritingBlob
            | Self::MakingScratchFile
            | Self::WritingScratchFile
            | Self::WritingManifest
            | Self::Publishing
            | Self::DeletingManifest => true,
            Self::Parsing
            | Self::Opening
            | Self::Connecting
            | Self::ReadingCredentials
            | Self::WritingCredentials
            | Self::ReadingSettings
            | Self::LoggingIn
            | Self::AskingForIdentity
            | Self::RunningHelper
            | Self::RunningProvider
            | Self::Resolving
            | Self::ReadingManifest
            | Self::ReadingIndex
            | Self::ReadingConfig
            | Self::ReadingBlob
            | Self::ListingTags
            | Self::ListingReferrers
            | Self::Choosing
            | Self::LookingForBlob => false,
        }
    }

    /// Words that a subject follows, such as `reading blob`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Parsing => "parsing",
            Self::Opening => "opening",
            Self::Preparing => "preparing to write",
            Self::Connecting => "preparing connections",
            Self::ReadingCredentials => "reading credentials",
            Self::WritingCredentials => "writing credentials",
            Self::ReadingSettings => "reading settings",
            Self::AskingForIdentity => "asking for the cloud's credentials",
            Self::LoggingIn => "logging in",
            Self::RunningHelper => "running credential helper",
            Self::RunningProvider => "running credential provider",
            Self::AskingForToken { .. } => "asking for a token for",
            Self::Resolving => "resolving",
            Self::ReadingManifest => "reading manifest",
            Self::ReadingIndex => "reading index.json",
            Self::ReadingConfig => "reading config",
            Self::ReadingBlob => "reading blob",
            Self::ListingTags => "listing tags",
            Self::ListingReferrers => "listing referrers",
            Self::Choosing => "choosing platform",
            Self::Copying => "copying",
            Self::LookingForBlob => "looking for blob",
            Self::MountingBlob => "mounting blob",
            Self::UploadingBlob => "uploading blob",
            Self::CancellingUpload => "cancelling upload",
            Self::MakingScratchFile => "making scratch file",
            Self::WritingScratchFile => "writing scratch file",
            Self::WritingBlob => "writing blob",
            Self::WritingManifest => "writing manifest",
            Self::Publishing => "publishing",
            Self::DeletingManifest => "deleting manifest",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
