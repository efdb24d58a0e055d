//! What can go wrong between here and an image, in one type that says where, doing what, and what to check.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use unbloat_oci::{Digest, DocumentError, VerifyError};

use crate::location::LocationError;
use crate::names::Names;
use crate::operation::Operation;

/// A failed operation on a registry, folder or archive.
///
/// Displays as `OPERATION SUBJECT at PLACE: what happened; what to check`. Never holds a secret: URLs are
/// kept without their query and user, and the server's words are bounded and stripped of control characters.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    place: String,
    operation: Operation,
    subject: String,
    kind: ErrorKind,
    answer: Answer,
}

/// What a server's answer said in a form for programs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The codes of its `errors`.
    pub(crate) codes: Vec<String>,
    /// The digests that those name.
    pub(crate) digests: Vec<Digest>,
    /// How long it asked to wait.
    pub(crate) retry_after: Option<Duration>,
    /// Names that are there, where the one that was asked for is not.
    pub(crate) names: Option<Names>,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A location or reference that cannot be parsed.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// There is no such thing there.
    #[error("not found{}", said(.message))]
    NotFound {
        /// The server's words.
        message: String,
    },
    /// Not logged in, or not allowed.
    #[error("access denied (status {status}){}", said(.message))]
    Unauthorized {
        /// HTTP status, 401 or 403.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// 429 until the attempts were used up.
    #[error("too many requests{}", said(.message))]
    RateLimited {
        /// The server's words.
        message: String,
        /// What it asked for.
        retry_after: Option<Duration>,
    },
    /// Another status than the operation allows.
    #[error("unexpected status {status}{}", said(.message))]
    Status {
        /// HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// An answer that is against the protocol.
    #[error("the answer is against the distribution protocol: {0}")]
    Protocol(String),
    /// An address that must not be connected to, by the settings of this client.
    #[error("it is at an address that must not be connected to from here")]
    RefusedAddress,
    /// No connection, or a broken one.
    #[error("network failure: {0}")]
    Network(String),
    /// The server's certificate is not trusted.
    #[error("the server's certificate is not trusted: {message}")]
    Certificate {
        /// What is wrong with it.
        fault: CertificateFault,
        /// The same in the words of the TLS library.
        message: String,
    },
    /// What answers does not speak TLS.
    #[error("it does not speak TLS")]
    NotTls,
    /// Nothing came for this long.
    #[error("no answer for {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The bytes are not those of the descriptor.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A local blob that is shorter than its descriptor says: it stays so, and nothing is gained by reading
    /// it again.
    #[error(transparent)]
    CutShort(VerifyError),
    /// A manifest, index or config that cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An upload cannot be continued: the server lost bytes that are no longer in memory.
    #[error("the upload was lost after {sent} bytes: {reason}")]
    UploadLost {
        /// Bytes that had been acknowledged.
        sent: u64,
        /// Why it cannot go on.
        reason: String,
    },
    /// A tag points elsewhere than when it was read.
    #[error("the source changed meanwhile: {tag} was {expected} and is {}", .found.as_ref().map_or("gone", Digest::as_str))]
    SourceChanged {
        /// The tag.
        tag: String,
        /// Its digest when it was read.
        expected: Digest,
        /// Its digest now.
        found: Option<Digest>,
    },
    /// A bound of the caller was hit.
    #[error("{what} needs more than {limit} bytes")]
    LimitExceeded {
        /// What.
        what: &'static str,
        /// The bound in bytes.
        limit: u64,
    },
    /// A credential helper that does not work, or credentials that cannot be sent.
    #[error("credentials: {0}")]
    Credentials(String),
    /// A file of credentials, certificates or settings that is missing or malformed.
    #[error("{0}")]
    LocalFile(String),
    /// An archive or layout that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// Well understood, and not possible there.
    #[error("{0}")]
    Unsupported(String),
    /// A fault of this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
    /// A file or folder.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateFault {
    /// Nobody who is trusted has signed it.
    UnknownAuthority,
    /// It is for another host.
    WrongHost,
    /// Its time is over.
    Expired,
    /// Its time has not come; often a clock that is wrong.
    NotYetValid,
    /// Anything else.
    Other,
}

/// Errors by what a user does about them; a program's exit codes follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// A location that cannot be parsed or used.
    Usage,
    /// Unknown image, tag, blob or file.
    NotFound,
    /// Credentials are missing or not enough.
    Unauthorized,
    /// Network or registry failure; retrying can help.
    Registry,
    /// Corrupt, hostile or unsupported image.
    Image,
    /// The source changed meanwhile.
    SourceChanged,
    /// A limit was hit.
    Limit,
    /// Local files.
    Io,
    /// A fault of this program.
    Internal,
}

impl Error {
    pub(crate) fn new(
        place: impl Into<String>,
        operation: Operation,
        subject: impl fmt::Display,
        kind: impl Into<ErrorKind>,
    ) -> Self {
        let inner = Inner {
            place: place.into(),
            operation,
            subject: subject.to_string(),
            kind: kind.into(),
            answer: Answer::default(),
        };
        Self(Box::new(inner))
    }

    pub(crate) fn with_answer(mut self, answer: Answer) -> Self {
        self.0.answer = answer;
        self
    }

    /// With the names that are there.
    pub(crate) fn with_names(mut self, names: Names) -> Self {
        self.0.answer.names = Some(names);
        self
    }

    /// With how long to wait before the next attempt.
    pub(crate) fn with_wait(mut self, wait: Option<Duration>) -> Self {
        self.0.answer.retry_after = wait;
        self
    }

    pub(crate) fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// How long the server asked to wait before the next attempt.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.answer.retry_after
    }

    /// Whether the server's answer has this error code of the distribution specification, such as
    /// `BLOB_UNKNOWN`.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.0.answer.codes.iter().any(|have| have == code)
    }

    /// A registry missed blobs of a manifest. It has confirmed them before: its store shows them late,
    /// several pushed the same ones at once, or it said so without having them.
    #[must_use]
    pub fn is_about_blobs_of_a_manifest(&self) -> bool {
        self.operation() == Operation::WritingManifest
            && ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"]
                .iter()
                .any(|code| self.has_code(code))
            && matches!(self.kind(), ErrorKind::NotFound { .. } | ErrorKind::Status { status: 400..500, .. })
    }

    /// The digests that the server's answer names.
    pub(crate) fn named_digests(&self) -> &[Digest] {
        &self.0.answer.digests
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Registry host, folder or archive.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// To what: a reference, a digest.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The group of the error.
    #[must_use]
    pub fn category(&self) -> Category {
        match &self.0.kind {
            _ if self.is_about_blobs_of_a_manifest() => Category::Registry,
            ErrorKind::Location(_) | ErrorKind::Unsupported(_) | ErrorKind::RefusedAddress => Category::Usage,
            ErrorKind::NotFound { .. } => Category::NotFound,
            ErrorKind::Unauthorized { .. } | ErrorKind::Credentials(_) => Category::Unauthorized,
            ErrorKind::RateLimited { .. }
            | ErrorKind::Status { .. }
            | ErrorKind::Protocol(_)
            | ErrorKind::Network(_)
            | ErrorKind::Certificate { .. }
            | ErrorKind::NotTls
            | ErrorKind::Timeout(_)
            | ErrorKind::UploadLost { .. } => Category::Registry,
            ErrorKind::Verify(VerifyError::Truncated { .. }) => Category::Registry,
            ErrorKind::Verify(_)
            | ErrorKind::CutShort(_)
            | ErrorKind::Document(_)
            | ErrorKind::Invalid(_) => Category::Image,
            ErrorKind::Internal(_) => Category::Internal,
            ErrorKind::SourceChanged { .. } => Category::SourceChanged,
            ErrorKind::LimitExceeded { .. } => Category::Limit,
            ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Category::NotFound,
            ErrorKind::Io(_) | ErrorKind::LocalFile(_) => Category::Io,
        }
    }

    /// Whether the same call can succeed later. What could be retried here already was.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.0.kind {
            _ if self.is_about_blobs_of_a_manifest() => true,
            ErrorKind::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425),
            ErrorKind::RateLimited { .. }
            | ErrorKind::Network(_)
            | ErrorKind::Timeout(_)
            | ErrorKind::UploadLost { .. }
            | ErrorKind::Verify(VerifyError::Truncated { .. }) => true,
            _ => false,
        }
    }

    /// What to check, where there is something.
    fn advice(&self) -> Cow<'static, str> {
        let words = match &self.0.kind {
            _ if self.is_about_blobs_of_a_manifest() => {
                "it has confirmed these blobs before: see what the registry and its storage log"
            }
            ErrorKind::NotFound { .. } if self.0.answer.names.is_some() => {
                return self.0.answer.names.as_ref().map(ToString::to_string).unwrap_or_default().into();
            }
            ErrorKind::NotFound { .. } if self.operation() == Operation::Opening => "check the path",
            ErrorKind::NotFound { .. } => "check the name; a registry may also say this of a private image",
            ErrorKind::Unauthorized { .. } => "log in to this registry or check that the account may do this",
            ErrorKind::RateLimited { .. } => "wait, or log in for a higher limit",
            ErrorKind::Network(_) | ErrorKind::Timeout(_) => {
                "check the host name, the port, the network and any proxy"
            }
            ErrorKind::Certificate { fault, .. } => match fault {
                CertificateFault::WrongHost => "use a name that is in the certificate",
                CertificateFault::Expired => {
                    "the registry needs a new certificate; check this machine's clock too"
                }
                CertificateFault::NotYetValid => "check the clocks of this machine and of the registry",
                CertificateFault::UnknownAuthority | CertificateFault::Other => {
                    "give its certificate authority, or the certificate itself, with --ca-file; in a cluster, with the \
                     operator's worker.caConfigMap"
                }
            },
            ErrorKind::NotTls => {
                // The name is the option's value as it stands: a port belongs to it.
                let place = &self.0.place;
                return format!(
                    "if this registry may be spoken to without encryption, say --plain-http {place}; in a cluster, plainHTTP beside \
                     the image"
                )
                .into();
            }
            ErrorKind::UploadLost { .. } => "see what the registry and any proxy before it log",
            ErrorKind::Status { status: 413, .. } => {
                "a proxy before the registry limits the size of a request (nginx: client_max_body_size; others name it \
                 body or upload limit): raise it there"
            }
            ErrorKind::Verify(VerifyError::Truncated { .. }) => {
                "run it again; if it stays, push the image again"
            }
            ErrorKind::Verify(_) | ErrorKind::CutShort(_) => {
                "the stored blob is corrupt: push the image again"
            }
            ErrorKind::LimitExceeded { .. } => "raise the limit",
            _ => "",
        };
        words.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ErrorKind::Location(error) = &self.0.kind {
            return error.fmt(f);
        }
        let Inner { place, operation, subject, kind, answer: _ } = &*self.0;
        f.write_str(operation.text())?;
        if !subject.is_empty() {
            write!(f, " {subject}")?;
        }
        // What is about no host in particular has no place.
        if !place.is_empty() {
            write!(f, " at {place}")?;
        }
        write!(f, ": {kind}")?;
        match &*self.advice() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            ErrorKind::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<LocationError> for Error {
    fn from(error: LocationError) -> Self {
        Self::new("", Operation::Parsing, "", error)
    }
}

/// `: "words"` or nothing.
fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(", the server says: {message}") }
}

/// A server's words, fit to be printed: one line, no control characters, bounded.
pub(crate) fn sanitize(text: &str) -> String {
    const LONGEST: usize = 300;
    let clean = unbloat_text::sanitize(text);
    let words: Vec<&str> = clean.split_whitespace().collect();
    unbloat_text::bounded(&words.join(" "), LONGEST)
}
