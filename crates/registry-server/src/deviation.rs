//! How the handling of one request departs from what was asked. The default departs in nothing.

use crate::reply::Harm;

/// What the handlers do differently.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deviation {
    /// What happens to the body of a blob.
    pub(crate) harm: Harm,
    /// A `Range` is not looked at.
    pub(crate) ignore_range: bool,
    /// A `Range` is answered from so many bytes later.
    pub(crate) later_range: u64,
    /// The upload session is forgotten.
    pub(crate) lose_session: bool,
    /// Most bytes of a chunk that are kept.
    pub(crate) keep: Option<u64>,
    /// The connection is closed once the chunk was read.
    pub(crate) reset_after_chunk: bool,
    /// A chunk takes the place of what was there.
    pub(crate) keep_last_chunk: bool,
    /// A commit's digest is believed.
    pub(crate) believe: bool,
}
