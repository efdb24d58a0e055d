//! The merge of all layers of an image into one tar stream.
//!
//! # The algorithm
//! What a record does can only be undone by a *later* one, so an entry survives exactly when nothing later
//! hides it, and it is enough to know for each path when the latest event of each kind happened
//! ([`visibility`](crate::visibility)). A maximum does not depend on the order in which it is learnt. So:
//!
//! 1. Threads take layers from the highest down and read them side by side ([`layer_pass`], [`scheduler`]).
//!    Each record is placed by the rules within its layer ([`crate::layer`]) and its events are noted in the
//!    one [`Tree`] ([`layer_state`]). What is known to be hidden is dropped at once; the rest is held.
//! 2. The highest layer that is not finished is the *front*. Everything above it is known, so what it holds
//!    can be judged and written, by the one [`Writer`]. A layer that is read to its end before it is the
//!    front is parked. A front that can hold no more writes as it reads ("streaming").
//! 3. At a layer's end come the inodes whose own name is hidden and that other names still want, and its
//!    links to lower layers are handed down ([`layer_end`], [`hard_links`]).
//! 4. Last come the directories that no layer names and, above a kept base, whiteouts for what the base must
//!    lose ([`directories`]).
//!
//! One such pass is a *round* ([`round`]). A round may find out that something it already wrote must be
//! otherwise: a streaming layer may contradict itself (a duplicate name, a link with other metadata); above a
//! kept base, a directory may turn out to stand where the base has a file, after things below it were
//! written, which unpackers refuse; a lower layer may show that a hard link of a higher one is a symlink, and
//! that paths below it were taken wrongly. Its result is then void, and the next round starts with what was
//! found out ([`discoveries`]): a layer to be read once for its names and once for its content, directories
//! to be written first, attributes that come from lower directories, where links lead. Layers that fit in
//! what may be held never need it for the first.
//!
//! # Guarantees
//! - The result depends on the layers and the options alone, never on threads or on how much memory there is.
//! - Each layer is opened once in a round; a second time only for content whose own name is hidden, and after
//!   a conflict.
//! - What is held never exceeds [`Options::hold_bytes`] by more than a chunk for each thread: a layer that
//!   needs more waits until it is the front.

mod directories;
mod directory_attributes;
mod discoveries;
mod followed_parents;
mod hard_links;
mod known;
mod layer_end;
mod layer_pass;
mod layer_state;
mod mark_warnings;
mod options;
mod output;
mod round;
mod scheduler;
mod source;
mod stop;
mod summary;
mod truncation;
mod writer;

pub use known::{HeaderSink, Known};
pub use layer_state::{LayerState, MarkedDirectory, Registered};
pub use mark_warnings::warnings_of_marks;
pub use options::Options;
pub use output::Output;
pub use source::LayerSource;
pub use summary::{Summary, Written};

use crate::error::Error;
use crate::visibility::MAX_LAYERS;
use discoveries::Discoveries;
use round::{Ended, Round};
#[cfg(doc)]
use {crate::tree::Tree, writer::Writer};

/// Merges the layers of `source` into `output`, in as many rounds as it takes; each but the first begins with
/// [`Output::restart`].
///
/// # Errors
/// See [`Error`]; what was written is then void.
///
/// # Example
/// ```
/// use unbloat_layers::{MemoryLayers, Options, flatten, tar};
/// // A file, and above it a layer that whites it out.
/// let layers = [b"motd".as_slice(), b".wh.motd"].map(|name| tar::empty_files([name].into_iter()).into());
/// let layers = MemoryLayers { layers: layers.into(), chunk_bytes: 4096 };
/// let (tar, summary) = flatten(&layers, &Options::default())?;
/// assert_eq!((tar, summary.written.entries), (tar::TRAILER.to_vec(), 0));
/// # Ok::<_, unbloat_layers::Error>(())
/// ```
pub fn merge<S: LayerSource>(
    source: &S,
    layers: usize,
    options: &Options,
    output: &mut (dyn Output + Send),
) -> Result<Summary, Error> {
    if layers > MAX_LAYERS {
        return Err(Error::TooManyLayers(layers));
    }
    let mut discoveries = Discoveries::default();
    loop {
        match Round::new(source, layers, options, &discoveries, output)?.run() {
            Ok(Ended::Done(summary)) => return Ok(summary),
            Ok(Ended::Again(next)) => discoveries = next,
            // What was made of bytes that were not the layer's is void as well.
            Err(Error::Layer { layer, source: cause }) if source.misread(layer, &cause) => {}
            Err(error) => return Err(error),
        }
        output.restart().map_err(Error::Output)?;
    }
}
