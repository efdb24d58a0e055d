//! Pull and push: registries, OCI layout folders, archives.
//!
//! What happens here: finding credentials, reading manifests and blobs from where they are, writing them
//! where they go. What does not: merging, choosing platforms for a squash, compressing (but for what a docker
//! archive has plain, `packing`).
//!
//! Invariants:
//! - every byte of a blob that a caller gets is hashed; a stream that ended without error was the blob of its
//!   descriptor;
//! - memory is bounded by the chunks in flight, whatever a server sends;
//! - nothing is published before [`Destination::publish`]; a dropped [`BlobUpload`] is cancelled on the
//!   server;
//! - a secret is never in an error, a log line or a `Debug` text, and never goes to another host than the one
//!   it is for.
//!
//! # Where to look
//! - sending a blob: `upload` (`chunked` asks how far the server got and resumes there, `mount` takes a blob
//!   from another repository); what a refusal means: `upload::failure`, and that another way is tried then:
//!   `upload::remote`, in the order that `transport::way` has and remembers;
//! - reading one, with ranges after a break: `remote::reading`; folders and archives: `local`;
//! - how often something is tried and how long is waited: `http::attempts`; where a redirect may lead:
//!   `http::redirect`;
//! - whose credentials, and which token: `auth`; which request they go with: `transport`.
//!
//! From the lowest to the highest, each knowing only those before it: `settings` (how each registry is
//! reached), `http` (one exchange with one server), `auth`, `transport` (a request until its answer is
//! known), `remote` (one repository), `upload`; `local` stands beside them, and `source`, `destination`,
//! `copy` and `client` use both.
//!
//! # Example
//! ```
//! use unbloat_oci::{Family, Manifest};
//! use unbloat_registry::{Client, ClientOptions, Location};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! // `registry.example/team/app:v1` and `oci-archive:FILE` go the same way as a folder.
//! let location: Location = format!("oci:{}:v1", folder.path().join("layout").display()).parse()?;
//! let client = Client::new(ClientOptions::default());
//!
//! let destination = client.destination(&location).await?;
//! let config = destination.put_blob(Family::Oci.config(), b"{}".as_slice().into()).await?;
//! let manifest = Manifest::new(Family::Oci, config, Vec::new());
//! destination.publish(manifest.media_type(), manifest.to_bytes().into(), None).await?;
//!
//! let found = client.source(&location).await?.resolve().await?;
//! assert_eq!(found.bytes, manifest.to_bytes());
//! # Ok(())
//! # }
//! ```

mod auth;
mod client;
mod copy;
mod destination;
mod error;
mod fetched;
mod http;
mod local;
mod location;
mod login;
mod names;
mod operation;
mod options;
mod origins;
mod packing;
mod readings;
mod referrers;
mod remote;
pub mod scratch;
mod secret;
mod settings;
mod source;
mod stream;
mod transport;
mod upload;
mod upload_policy;

pub use auth::{Cloud, Credential, Keyring, login_file};
pub use client::Client;
pub use copy::{CopyReport, copy, copy_with_referrers};
pub use destination::{BlobCopy, Destination, Published, Unchanged};
pub use error::{Category, CertificateFault, Error, ErrorKind};
pub use fetched::Fetched;
pub use http::attempts::Retry;
pub use http::clients::install_tls_provider;
pub use http::guard::{Guard, Network, NetworkError};
pub use http::timeouts::Timeouts;
pub use http::troubles::Troubles;
pub use location::{LayoutName, Location, LocationError, local_spelling};
pub use login::{LoginStore, remove_login, store_login};
pub use operation::Operation;
pub use options::ClientOptions;
pub use referrers::Referrers;
pub use secret::Secret;
pub use settings::{HostSettings, Registries};
pub use source::Source;
pub use stream::{BlobReader, BlobStream};
pub use upload::{BlobUpload, Remakes, UploadOptions};
pub use upload_policy::{UploadMode, UploadPolicy};

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
