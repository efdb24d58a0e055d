//! How to merge.

/// How to merge.
#[derive(Clone, Debug)]
pub struct Options {
    /// Patterns of paths to drop.
    pub remove: Vec<String>,
    /// Patterns of regular files to empty.
    pub truncate: Vec<String>,
    /// A pattern that matches nothing is an error.
    pub strict: bool,
    /// A path below a lower layer's symlink goes through the link; every layer is then read once more, for
    /// its names.
    pub follow_symlinked_parents: bool,
    /// The lowest layers that are kept; the result then goes on top of them.
    pub base_layers: usize,
    /// Threads that read layers.
    pub jobs: usize,
    /// Bytes of content that may wait in memory.
    pub hold_bytes: usize,
    /// Bytes that all layers together may unpack to.
    pub max_unpacked_bytes: u64,
    /// Paths that all layers together may name.
    pub max_paths: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            remove: Vec::new(),
            truncate: Vec::new(),
            strict: false,
            follow_symlinked_parents: false,
            base_layers: 0,
            jobs: 1,
            hold_bytes: 16 << 20,
            max_unpacked_bytes: 16 << 40,
            max_paths: 20_000_000,
        }
    }
}
