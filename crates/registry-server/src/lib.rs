//! An OCI distribution server in this process: real HTTP on a free loopback port.
//!
//! What happens here: pull, push (in one piece, in chunks, mounts), tags, referrers, catalog, deletion, as
//! the distribution spec 1.1 says; Docker, skopeo and crane work with it; a record of every request
//! ([`Recorded`]). With the feature `faults`, for tests: faults on demand (`Faults`), the quirks of real
//! registries (`Quirk`), and TLS. What does not: persistence (blobs may be in a folder, the catalog is in
//! memory), quotas.
//!
//! Invariants:
//! - a blob that can be read has the digest it is named by (unless a fault says otherwise);
//! - a manifest that can be read has all its blobs in its repository.
//!
//! # Where to look
//! A new quirk: a variant of `Quirk` in `quirks`, its effect in `quirks::{upload, reading, tokens, links}`, a
//! test in `crates/registry/tests`, and a line in `docs/registries.md`, the table that users read. Faults on
//! demand: `faults`. What one request meets of both: `behaviour`.
//!
//! # Example
//! ```
//! use unbloat_registry_server::{Options, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = Server::start(Options::default()).await?;
//! let reference = format!("{}/team/app:v1", server.host());
//! assert!(reference.starts_with("127.0.0.1:"));
//! // Push there with anything; then look at what was asked and what there is.
//! assert_eq!(server.requests().len(), 0);
//! assert_eq!(server.tag("team/app", "v1"), None);
//! # Ok(())
//! # }
//! ```

mod access;
#[cfg(feature = "faults")]
mod behaviour;
#[cfg(not(feature = "faults"))]
#[path = "faithful.rs"]
mod behaviour;
mod blobs;
mod catalog;
mod deviation;
#[cfg(feature = "faults")]
mod faults;
mod manifests;
#[cfg(feature = "faults")]
mod quirks;
mod record;
mod reply;
mod server;
mod store;
#[cfg(feature = "faults")]
mod tls;
mod uploads;

pub use access::Access;
#[cfg(feature = "faults")]
pub use faults::{Fault, Faults, Rule};
#[cfg(feature = "faults")]
pub use quirks::{LinkForm, LocationForm, Naming, Quirk, RangeForm, RetryForm};
pub use record::Recorded;
pub use server::{Options, Server};
pub use store::Storage;
#[cfg(feature = "faults")]
pub use tls::{Authority, Identity, PlainOnTls, Tls};
