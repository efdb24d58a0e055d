//! The pipeline: source -> layers -> destination, with progress and one result type.
//!
//! What happens here: one [`SquashRequest`](unbloat_contract::SquashRequest) becomes one
//! [`SquashResult`](unbloat_contract::SquashResult); an image is analysed ([`analyze()`]); two images are
//! compared ([`verify()`]); an image gets a whiteout layer or another base. What does not: parsing arguments,
//! Kubernetes, drawing progress bars.
//!
//! Invariants:
//! - the digest of a result depends on the source and the request alone;
//! - nothing is published before all of it was made, read to its verified end, and (if asked) read back;
//! - memory is bounded by [`Limits::memory_bytes`](unbloat_contract::Limits::memory_bytes) and the number of
//!   paths; disk is used only for a registry that takes a blob in one piece, and where the request names a
//!   cache.
//!
//! # Where to look
//! - whether a squash has anything to do, and what becomes of an image: `squash::plan`; the new layer, and
//!   making it again when a registry lost it: `squash::encode`, which runs merge, codec and upload (the bytes
//!   are made in `output`, by `codec`); config and manifest: `squash::place`; an index around them:
//!   `assemble`; its name: `squash::publish`; reading it back: `squash::prove`;
//! - what another base would mean for the layers above it: `conflicts`; whether layers are what a config says
//!   of them: `diff_ids`;
//! - which layers are kept: `base`; a layer on its way in: `source` and `decode`; out: `output` and `codec`;
//! - which failure is whose fault, and whether a retry helps: [`Error::kind`].
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use unbloat_contract::SquashRequest;
//! use unbloat_registry::{Client, ClientOptions};
//! use unbloat_squash::{Progress, squash};
//!
//! # use unbloat_oci::{Codec, Digest, Family, Manifest};
//! # use unbloat_registry::Location;
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let place = |tag: &str| format!("oci:{}:{tag}", folder.path().join("layout").display());
//! let client = Client::new(ClientOptions::default());
//! // An image of three layers stands at `oci:DIR:today`.
//! # let to = client.destination(&place("today").parse::<Location>()?).await?;
//! # let (mut layers, mut ids) = (Vec::new(), Vec::new());
//! # for name in [b"a".as_slice(), b"b", b".wh.a"] {
//! #     let tar = unbloat_layers::tar::empty_files(std::iter::once(name));
//! #     ids.push(Digest::sha256_of(&tar).to_string());
//! #     let media_type = Family::Oci.layer(Codec::None).expect("OCI has plain layers");
//! #     layers.push(to.put_blob(media_type, tar.into()).await?);
//! # }
//! # let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
//! # let config = to.put_blob(Family::Oci.config(), serde_json::to_vec(&config)?.into()).await?;
//! # let manifest = Manifest::new(Family::Oci, config, layers);
//! # to.publish(manifest.media_type(), manifest.to_bytes().into(), None).await?;
//! let request = SquashRequest::new(&place("today"), &place("flat"));
//! let result = squash(&client, &request, &Arc::new(Progress::default())).await?;
//! assert_eq!((result.figures.layers_before, result.figures.layers_after), (3, 1));
//! # Ok(())
//! # }
//! ```

mod analyze;
mod assemble;
mod base;
mod cache;
mod codec;
mod conflicts;
mod decode;
mod diff_ids;
mod error;
mod heap;
mod history;
mod image;
mod listing;
mod open;
mod opened;
mod output;
mod progress;
mod rebase;
mod remove;
mod segment;
mod source;
mod squash;
mod tree;
mod verify;
mod windows;

pub use analyze::analyze;
pub use decode::LayerStream;
pub use error::{Error, LayerFault, LevelError, OutputError, kind_of_registry};
pub use heap::share_one_heap;
pub use history::{ImageHistory, Step, history};
pub use listing::Difference;
pub use opened::OpenedImage;
pub use progress::Progress;
pub use rebase::rebase;
pub use remove::remove;
pub use squash::squash;
pub use verify::{VerifyResult, verify};
