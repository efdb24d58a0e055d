//! The merge engine, called in process: the one place where the proof touches it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use unbloat_layers::{
    BoxError, Chunk, ChunkSource, HeaderSink, Known, LayerSource, MemoryLayers, MemoryStream, Options,
    Output, Piece, Warning, merge,
};

use crate::{
    model::{self, EntryKind, Mask, TarReader, Tree},
    stack::Stack,
};

/// The layer that stands for the ones above `options.base_layers`, as tar.
///
/// # Errors
/// The engine's own words.
pub fn flatten(tars: &[Vec<u8>], options: &Options, chunk_bytes: usize) -> Result<Vec<u8>, String> {
    let layers = tars.iter().map(|tar| tar.clone().into()).collect();
    unbloat_layers::flatten(&MemoryLayers { layers, chunk_bytes }, options)
        .map(|(tar, _)| tar)
        .map_err(|error| error.to_string())
}

/// What the engine says that a user should know of the merged layers.
///
/// # Errors
/// The engine's own words.
pub fn warnings(tars: &[Vec<u8>]) -> Result<Vec<Warning>, String> {
    let layers = tars.iter().map(|tar| tar.clone().into()).collect();
    unbloat_layers::flatten(&MemoryLayers { layers, chunk_bytes: 1 << 20 }, &Options::default())
        .map(|(_, summary)| summary.warnings)
        .map_err(|error| error.to_string())
}

/// Headers of layers by index, and the decoded bytes of each layer.
type Headers = Arc<Mutex<BTreeMap<usize, (Vec<u8>, u64)>>>;

/// Layers in memory whose headers are remembered, as the command's cache remembers them.
struct Remembering {
    layers: MemoryLayers,
    headers: Headers,
}

struct Learning {
    bytes: Vec<u8>,
    layer: usize,
    headers: Headers,
}

impl HeaderSink for Learning {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn finish(self: Box<Self>, unpacked_bytes: u64) {
        let Self { bytes, layer, headers } = *self;
        headers.lock().expect("nobody panicked").insert(layer, (bytes, unpacked_bytes));
    }
}

struct Whole(Option<Vec<u8>>);

impl ChunkSource for Whole {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        Ok(self.0.take().map(|data| Chunk { data: data.into(), offset: 0, origin: None }))
    }
}

impl LayerSource for Remembering {
    type Stream = MemoryStream;

    fn open(&self, layer: usize) -> Result<MemoryStream, BoxError> {
        self.layers.open(layer)
    }

    fn known(&self, layer: usize) -> Result<Option<Known>, BoxError> {
        let headers = self.headers.lock().expect("nobody panicked");
        Ok(headers.get(&layer).map(|(bytes, unpacked_bytes)| Known {
            headers: Box::new(Whole(Some(bytes.clone()))),
            unpacked_bytes: *unpacked_bytes,
        }))
    }

    fn learn(&self, layer: usize) -> Option<Box<dyn HeaderSink>> {
        Some(Box::new(Learning { bytes: Vec::new(), layer, headers: Arc::clone(&self.headers) }))
    }
}

struct Collect(Vec<u8>);

impl Output for Collect {
    fn restart(&mut self) -> Result<(), BoxError> {
        self.0.clear();
        Ok(())
    }

    fn fresh(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn copy(&mut self, piece: Piece) -> Result<(), BoxError> {
        self.0.extend_from_slice(piece.bytes());
        Ok(())
    }
}

/// As [`flatten`] above a base whose layers are known by their headers from an earlier read.
///
/// # Errors
/// The engine's own words, or that the base was not known after all.
pub fn flatten_above_a_known_base(tars: &[Vec<u8>], options: &Options) -> Result<Vec<u8>, String> {
    let layers =
        MemoryLayers { layers: tars.iter().map(|tar| tar.clone().into()).collect(), chunk_bytes: 1 << 20 };
    let source = Remembering { layers, headers: Headers::default() };
    let run = || {
        let mut collect = Collect(Vec::new());
        let summary = merge(&source, tars.len(), options, &mut collect).map_err(|error| error.to_string())?;
        Ok::<_, String>((collect.0, summary.unpacked_bytes, summary.records))
    };
    let read = run()?;
    let known = source.headers.lock().expect("nobody panicked").len();
    if known != options.base_layers {
        return Err(format!("{known} of {} layers are known", options.base_layers));
    }
    let (tar, unpacked, records) = run()?;
    if (&unpacked, &records) != (&read.1, &read.2) {
        return Err("other sizes above a known base".to_owned());
    }
    Ok(tar)
}

/// What is wrong with the engine's result for a stack, or nothing. A stack that the model refuses is no
/// stack.
pub fn wrong(stack: &Stack) -> Option<String> {
    let tars = stack.tars();
    let expected = model::merge(&tars).ok()?;
    let output = match flatten(&tars, &Options::default(), 1 << 20) {
        Ok(output) => output,
        Err(error) => return Some(format!("refused: {error}")),
    };
    if let Some(broken) = breaks_a_rule_of_writing(&output) {
        return Some(broken);
    }
    let times = unnamed_directories(stack);
    if let Some(differs) =
        differs(&expected, std::slice::from_ref(&output), &Mask { times: times.clone(), ..Mask::default() })
    {
        return Some(differs);
    }
    let little = Options { jobs: 2, hold_bytes: 0, ..Options::default() };
    match flatten(&tars, &little, 100) {
        Ok(other) if other == output => {}
        Ok(_) => return Some("other bytes with two jobs, no memory and small chunks".to_owned()),
        Err(error) => return Some(format!("refused with two jobs, no memory and small chunks: {error}")),
    }
    let is_taken = model::refused_parent(&tars).ok()?.is_none();
    for base_layers in 1..tars.len() {
        let options = Options { base_layers, ..Options::default() };
        let layer = match flatten(&tars, &options, 1 << 20) {
            Ok(layer) => layer,
            Err(error) => return Some(format!("{base_layers} kept: refused: {error}")),
        };
        match flatten_above_a_known_base(&tars, &options) {
            Ok(other) if other == layer => {}
            Ok(_) => return Some(format!("{base_layers} kept: other bytes when the base is known")),
            Err(error) => return Some(format!("{base_layers} kept and known: {error}")),
        }
        let base = &tars[..base_layers];
        let mut mask = Mask { times: times.clone(), ..Mask::default() };
        model::mask_split_links(&mut mask, &tars, base_layers).ok()?;
        let rebuilt: Vec<Vec<u8>> = base.iter().cloned().chain([layer]).collect();
        if let Some(differs) = differs(&expected, &rebuilt, &mask) {
            return Some(format!("{base_layers} kept: {differs}"));
        }
        if is_taken && let Some(refused) = model::refused_parent(&rebuilt).expect("just merged") {
            return Some(format!(
                "{base_layers} kept: containerd takes the original and not this: {refused}"
            ));
        }
    }
    None
}

fn differs(expected: &Tree, layers: &[Vec<u8>], mask: &Mask) -> Option<String> {
    let found = match model::merge(layers) {
        Ok(found) => found,
        Err(error) => return Some(format!("the result cannot be read: {error}")),
    };
    let differences = model::diff_masked(expected, &found, mask);
    (!differences.is_empty()).then(|| differences.join("\n  "))
}

/// Directories that no layer names have no time of their own.
fn unnamed_directories(stack: &Stack) -> BTreeSet<Vec<u8>> {
    let mut tree = model::empty();
    let mut named = BTreeSet::new();
    for tar in stack.tars() {
        let layer = model::add_layer(&mut tree, &tar).expect("the model merged it");
        named.extend(
            layer.nodes.into_iter().filter(|(_, node)| *node != model::Node::Implied).map(|(path, _)| path),
        );
    }
    tree.paths.into_keys().filter(|path| !named.contains(path)).collect()
}

/// Rule 15: one entry for a path, a link after its target, no whiteout.
fn breaks_a_rule_of_writing(output: &[u8]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut reader = TarReader::new(output);
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return None,
            Err(error) => return Some(format!("the result is no tar: {error}")),
        };
        let name = trimmed(&entry.name);
        let shown = model::display(&name);
        if name.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh.")) {
            return Some(format!("{shown}: a whiteout in a full squash"));
        }
        if let EntryKind::HardLink(target) = &entry.kind
            && !seen.contains(&trimmed(target))
        {
            return Some(format!("{shown}: a link before its target {}", model::display(target)));
        }
        if !seen.insert(name) {
            return Some(format!("{shown}: two entries for one path"));
        }
    }
}

fn trimmed(name: &[u8]) -> Vec<u8> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.collect::<Vec<_>>().join(&b'/')
}
