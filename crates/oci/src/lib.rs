//! References, digests, descriptors, media types and documents of container images.
//!
//! What happens here: parsing and printing what the OCI image and distribution specs (and Docker's schema 2)
//! define, and editing manifests, indexes and configs *as documents*: a field nobody asked to change keeps
//! its bytes, known or not. What does not: reading, writing, networks, threads.
//!
//! Invariants:
//! - a [`Reference`], [`Digest`] or [`Platform`] that exists is valid; an error says at which byte it is not;
//! - a document that was not edited serialises to exactly the bytes it was parsed from;
//! - sizes are bounded before parsing ([`MAX_MANIFEST_BYTES`], [`MAX_CONFIG_BYTES`]).
//!
//! # Where to look
//! What a squash changes in a config (history, diffIDs, labels): `config`; in a manifest and an index:
//! `manifest`, `index`; how a field that nobody asked to change keeps its bytes: `document`.
//!
//! # Example
//! ```
//! use unbloat_oci::{Digest, Manifest, Reference};
//!
//! let reference: Reference = "registry.example/team/devbox:today".parse()?;
//! assert_eq!((reference.registry(), reference.tag()), ("registry.example", Some("today")));
//! let pinned = reference.with_digest(Digest::sha256_of(b"a manifest"));
//! assert!(pinned.to_string().contains("@sha256:"));
//!
//! // A document that nobody edits keeps its bytes, and fields that nobody here knows.
//! let bytes = br#"{ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "x": 1,
//!   "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
//!     "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" }, "layers": [] }"#;
//! assert_eq!(Manifest::parse(None, bytes)?.to_bytes(), bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod descriptor;
mod digest;
mod document;
mod error;
mod index;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use config::{HistoryEntry, ImageConfig, NewLayer};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher, Verifier, VerifyError};
pub use document::Document;
pub use error::DocumentError;
pub use index::{EntryKind, Index};
pub use manifest::{AnyManifest, Manifest};
pub use media_type::{Codec, Family, LayerKind, MediaType, Refusal};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, Target};

/// Largest manifest or index that is read: 4 MiB, the size that the distribution spec asks registries to
/// accept.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Largest image config that is read: 8 MiB. The largest seen in the wild are a few hundred kB (thousands of
/// history entries), so this only stops a hostile one.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;
