//! What is known of a kept layer from an earlier read: its headers, without content.
//!
//! They are kept as a tar of the same records in the same order whose files are empty; the size that a file
//! really has stands in a PAX record of its own. So the reader that reads layers reads them too.

use crate::chunk::ChunkSource;
use crate::error::LayerError;
use crate::tar::{BLOCK, Header, Kind, encode};

/// A kept layer that need not be read.
pub struct Known {
    /// The headers, as [`HeaderSink`] got them.
    pub headers: Box<dyn ChunkSource + Send>,
    /// Decoded bytes of the layer itself.
    pub unpacked_bytes: u64,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({} bytes)", self.unpacked_bytes)
    }
}

/// Takes the headers of a kept layer while it is read. What it cannot keep is not known next time; a merge
/// never fails for it.
pub trait HeaderSink: Send {
    /// The next bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// The layer was read to its verified end; without this call, what came is void. `unpacked_bytes` are its
    /// decoded bytes.
    fn finish(self: Box<Self>, unpacked_bytes: u64);
}

const SIZE: &[u8] = b"UNBLOAT.size";

/// The blocks that stand for one record.
pub(crate) fn blocks(header: &Header) -> Vec<u8> {
    if header.kind != Kind::Regular {
        return encode(header, &header.path, header.kind, &header.link, 0);
    }
    let mut header = header.clone();
    header.records.set(SIZE, header.size.to_string().as_bytes());
    encode(&header, &header.path, Kind::Regular, b"", 0)
}

/// Makes a header that was read back what it was.
pub(crate) fn restore(header: &mut Header) -> Result<(), LayerError> {
    if header.kind != Kind::Regular {
        return Ok(());
    }
    let size = header.records.get(SIZE).and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
    header.size = size.ok_or_else(|| LayerError::Header {
        offset: header.offset,
        reason: "what was kept of its layer has no size".into(),
    })?;
    header.records.0.retain(|record| record.key != SIZE);
    Ok(())
}

/// Whether a header is too large to be kept in this form: its extended records are near what a reader takes.
pub(crate) fn is_too_large(blocks: &[u8]) -> bool {
    blocks.len() > (1 << 20) - 2 * BLOCK
}
