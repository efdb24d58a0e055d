//! An OCI distribution server in this process: real HTTP on a free loopback port.
//!
//! What happens here: pull, push (in one piece, in chunks, mounts), tags, referrers, catalog, deletion, as the distribution
//! spec 1.1 says; Docker, skopeo and crane work with it. And, for tests, faults on demand ([`Faults`]) and a record of every
//! request ([`Recorded`]). What does not: TLS, persistence (blobs may be in a folder, the catalog is in memory), quotas.
//!
//! Invariants:
//! - a blob that can be read has the digest it is named by (unless a fault says otherwise);
//! - a manifest that can be read has all its blobs in its repository.

mod access;
mod blobs;
mod catalog;
mod faults;
mod manifests;
mod record;
mod reply;
mod server;
mod store;
mod uploads;

pub use access::Access;
pub use faults::{Fault, Faults, Rule};
pub use record::Recorded;
pub use server::{Options, Server};
pub use store::Storage;
