//! The merge engine, called in process: the one place where the proof touches it.

use unbloat_layers::{MemoryLayers, Options};

/// The layer that stands for the ones above the first `base_layers`, as tar.
pub(crate) fn flatten(tars: &[Vec<u8>], options: &Options, chunk_bytes: usize) -> Result<Vec<u8>, String> {
    let layers = tars.iter().map(|tar| tar.clone().into()).collect();
    unbloat_layers::flatten(&MemoryLayers { layers, chunk_bytes }, options)
        .map(|(tar, _)| tar)
        .map_err(|error| error.to_string())
}
