//! Layers for tests, made of a few words.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part")]

use tar::EntryType;
use unbloat_explore::{Catalogue, Limits, read};
use unbloat_layers::{BoxError, Chunk, ChunkSource, LayerSource, MemoryLayers};

/// A layer on its way.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn entry(
        mut self,
        path: &[u8],
        kind: EntryType,
        link: &str,
        content: &[u8],
        mode: u32,
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        assert!(path.len() <= 100 && link.len() <= 100, "names of tests are short");
        let bytes = header.as_mut_bytes();
        bytes[..path.len()].copy_from_slice(path);
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path.as_bytes(), EntryType::Regular, "", content, 0o644)
    }

    /// A file of zeroes.
    pub(crate) fn sized(self, path: &str, bytes: usize) -> Self {
        self.file(path, &vec![0; bytes])
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(format!("{path}/").as_bytes(), EntryType::Directory, "", b"", 0o755)
    }

    pub(crate) fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(path.as_bytes(), EntryType::Symlink, to, b"", 0o777)
    }

    pub(crate) fn hard_link(self, path: &str, to: &str) -> Self {
        self.entry(path.as_bytes(), EntryType::Link, to, b"", 0o644)
    }

    pub(crate) fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let slash = if folder.is_empty() { "" } else { "/" };
        self.file(&format!("{folder}{slash}.wh.{name}"), b"")
    }

    pub(crate) fn opaque(self, path: &str) -> Self {
        self.file(&format!("{path}/.wh..wh..opq"), b"")
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Layers, lowest first.
pub(crate) fn source(layers: Vec<Vec<u8>>) -> MemoryLayers {
    MemoryLayers { layers: layers.into_iter().map(Into::into).collect(), chunk_bytes: 1 << 16 }
}

/// Their catalogue.
pub(crate) fn catalogue(layers: Vec<Vec<u8>>) -> Catalogue {
    let count = layers.len();
    read(&source(layers), count, &Limits::default()).expect("the layers are sound")
}

/// Files of the large image.
pub(crate) const PATHS: usize = 300_000;
/// Its layers.
pub(crate) const LAYERS: usize = 40;

/// Layers that are made when they are opened, so that the tests' own memory is one layer.
struct Many;

struct Once(Option<Vec<u8>>);

impl ChunkSource for Once {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        Ok(self.0.take().map(|data| Chunk { data: data.into(), offset: 0, origin: None }))
    }
}

impl LayerSource for Many {
    type Stream = Once;

    fn open(&self, layer: usize) -> Result<Once, BoxError> {
        let file = |at: usize| {
            let (package, module, part) = (at / 1000, at / 100 % 10, at / 10 % 10);
            (format!("usr/lib/package-{package:03}/module_{module:02}/part{part}"), format!("file-{at}.py"))
        };
        let mut tar = Tar::default();
        for at in (layer * PATHS / LAYERS)..((layer + 1) * PATHS / LAYERS) {
            let (folder, name) = file(at);
            tar = tar.sized(&format!("{folder}/{name}"), at * 7919 % 500);
        }
        // Every layer but the lowest writes some of its files again, and takes a few away.
        for again in (0..500).filter(|_| layer > 0) {
            let (folder, name) = file(again * 13 % (PATHS / LAYERS));
            tar = if again % 50 == 7 {
                tar.whiteout(&format!("{folder}/{name}"))
            } else {
                tar.sized(&format!("{folder}/{name}"), 100)
            };
        }
        Ok(Once(Some(tar.sized("var/log/btmp", 4096).end())))
    }
}

/// Three hundred thousand files in thirty thousand folders, in forty layers.
pub(crate) fn many_paths() -> Catalogue {
    read(&Many, LAYERS, &Limits { jobs: 2, ..Limits::default() }).expect("the layers are sound")
}
