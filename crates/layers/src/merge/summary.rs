//! What a merge did.

use std::collections::BTreeSet;

use crate::warning::Warning;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries, links and whiteouts among them.
    pub entries: u64,
    /// Content bytes of regular files, an inode counted once.
    pub content_bytes: u64,
    /// Bytes of the tar stream with headers, padding and trailer.
    pub tar_bytes: u64,
}

/// What a merge did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What was written.
    pub written: Written,
    /// Decoded bytes of each layer, lowest first.
    pub unpacked_bytes: Vec<u64>,
    /// Records of each layer, lowest first.
    pub records: Vec<u32>,
    /// Distinct paths that the layers name.
    pub paths: u64,
    /// In order of layer and path.
    pub warnings: Vec<Warning>,
    /// Warnings beyond those listed.
    pub more_warnings: usize,
    /// Layers that were opened more than once.
    pub read_again: BTreeSet<usize>,
}
