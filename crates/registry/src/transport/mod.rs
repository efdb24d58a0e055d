//! Requests to one registry, with the right credentials, until there is an answer that the caller knows.
//!
//! What happens here: `call` (one request), `host` (what is known of one registry; `way` of how it takes
//! blobs), `sending`. What does not: which requests make a pull or a push (`remote`, `upload`).
//!
//! Invariant: credentials go to the registry's own origin and nowhere else; each redirect is decided here,
//! none by the HTTP library.

pub(crate) mod call;
pub(crate) mod host;
mod sending;
pub(crate) mod way;

pub(crate) use sending::Transport;
