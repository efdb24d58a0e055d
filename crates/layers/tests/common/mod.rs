//! Small layers for tests.

use std::sync::Arc;

use unbloat_layers::tar::{Meter, TarReader};
use unbloat_layers::{LayerSource, MemoryLayers};

/// A layer, record by record, in plain ustar.
#[derive(Default)]
pub(crate) struct Builder(Vec<u8>);

impl Builder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn record(mut self, name: &str, kind: u8, link: &str, content: &[u8]) -> Self {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        block[136..148].copy_from_slice(b"00000000000\0");
        block[148..156].copy_from_slice(b"        ");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.record(name, b'0', "", content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.record(name, b'5', "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.record(name, b'2', target, b"")
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// The sorted paths of a tar.
pub(crate) fn paths(tar: &[u8]) -> Vec<String> {
    let layers = MemoryLayers { layers: vec![tar.to_vec().into()], chunk_bytes: 1 << 20 };
    let mut reader = TarReader::new(layers.open(0).unwrap(), 0, Arc::new(Meter::new(u64::MAX)));
    let mut raw = Vec::new();
    let mut found = Vec::new();
    while let Some(header) = reader.next(&mut raw).unwrap() {
        let path = String::from_utf8(header.path).unwrap();
        found.push(path.trim_end_matches('/').to_owned());
    }
    found.sort();
    found
}
