//! What a panic leaves of the terminal: a browser of one file whose extraction panics.
//! `tests/proof/tests/explore.rs` runs it.

use std::sync::atomic::AtomicBool;

use unbloat_explore::{App, Image, Layer, Limits, read, require_terminal, run};
use unbloat_layers::{LayerSource, MemoryLayers, tar};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    require_terminal()?;
    let layer = [tar::simple_header(b"file", b'0', 0o644, 0), tar::TRAILER.to_vec()].concat();
    let layers = MemoryLayers { layers: vec![layer.into()], chunk_bytes: 1 << 16 };
    let catalogue = read(&layers, 1, &Limits::default())?;
    let image = Image { layers: vec![Layer::default()], ..Image::default() };
    let open = |layer: usize| {
        assert!(layer > 0, "a panic on purpose");
        layers.open(layer)
    };
    run(App::new(catalogue, image, true), open, &AtomicBool::new(false))?;
    Ok(())
}
