//! How often the bytes of a blob are made again.

use crate::error::{Error, ErrorKind};
use crate::http::attempts::Attempts;
use crate::http::attempts::Retry;

/// Beginnings beyond the attempts at anything else: a registry may refuse two ways, each only after some
/// chunks.
const WAYS: u32 = 3;

/// For whoever makes the bytes of a blob: whether to make them again after a registry lost them or refused,
/// in the middle, the way they came.
#[derive(Debug)]
pub struct Remakes(Attempts);

impl Remakes {
    pub(crate) fn new(retry: Retry) -> Self {
        Self(Attempts::new(Retry { attempts: retry.attempts + WAYS, ..retry }))
    }

    /// For a place that loses nothing.
    pub(crate) fn none() -> Self {
        Self(Attempts::new(Retry { attempts: 1, ..Retry::default() }))
    }

    /// Whether to begin again after this error; waits as long as it takes for that to be worth it.
    pub async fn again(&mut self, error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::UploadLost { .. }) && self.0.again(error.retry_after()).await
    }
}
