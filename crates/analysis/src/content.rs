//! What is kept of a file's content: 96 bits of a digest to tell equal content, how much of it is zeros, how
//! well it compressed.
//!
//! XXH3-128 (the `xxhash-rust` crate) and no cryptographic hash: it runs at memory speed also without vector
//! instructions chosen at build time, where BLAKE3 would cost as much as inflating. Somebody who makes two
//! files collide gets wrong advice about them and nothing else: no byte is ever counted or dropped because of
//! this digest.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use unbloat_layers::tar::{Header, Kind, TarReader};
use unbloat_layers::{BoxError, LayerError};
use unbloat_layers::{Chunk, ChunkSource};

/// Content of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) print: [u32; 3],
    /// Bytes in stretches of [`ZERO_STRETCH`] that hold zeros only.
    pub(super) zeros: u64,
    /// Compressed bytes that the record took up in the blob, about.
    pub(super) compressed: u64,
}

/// Block size of usual file systems: shorter runs of zeros take space on disk anyway.
const ZERO_STRETCH: usize = 4096;
const ZEROS: &[u8; ZERO_STRETCH] = &[0; ZERO_STRETCH];

/// A layer's stream that knows how far into the blob each of its bytes lies.
pub(super) struct Gauged<S> {
    stream: S,
    /// Offset and compressed bytes at the start and at the end of the latest chunk.
    start: (u64, u64),
    end: (u64, u64),
}

impl<S: ChunkSource> Gauged<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, start: (0, 0), end: (0, 0) }
    }

    /// Compressed bytes up to `offset`, which lies in the latest chunk or at its end. Inside a chunk they are
    /// taken to be spread evenly.
    fn compressed_at(&self, offset: u64) -> u64 {
        let (length, bytes) = (self.end.0 - self.start.0, self.end.1.saturating_sub(self.start.1));
        let inside = offset.saturating_sub(self.start.0).min(length);
        if length == 0 {
            return self.end.1;
        }
        self.start.1 + (u128::from(bytes) * u128::from(inside) / u128::from(length)) as u64
    }
}

impl<S: ChunkSource> ChunkSource for Gauged<S> {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        let chunk = self.stream.next()?;
        if let Some(chunk) = &chunk {
            self.start = (chunk.offset, self.end.1);
            let end = chunk.offset + chunk.data.len() as u64;
            self.end = (end, self.stream.compressed_position().unwrap_or(end));
        }
        Ok(chunk)
    }

    fn compressed_position(&self) -> Option<u64> {
        self.stream.compressed_position()
    }
}

/// Reads contents one after the other.
pub(super) struct ContentReader {
    state: Box<Xxh3>,
    compressed: u64,
}

impl ContentReader {
    pub(super) fn new() -> Self {
        Self { state: Box::new(Xxh3::new()), compressed: 0 }
    }

    /// Reads the content of the record at hand.
    pub(super) fn read<S: ChunkSource>(
        &mut self,
        reader: &mut TarReader<Gauged<S>>,
        header: &Header,
    ) -> Result<Content, LayerError> {
        let mut content = Content::default();
        match header.kind {
            Kind::Regular => self.digest(reader, header.size, &mut content)?,
            Kind::Symlink => content.print = parts(xxh3_128(&header.link)),
            Kind::CharDevice | Kind::BlockDevice => {
                let (major, minor) = header.device;
                content.print = parts(xxh3_128(&[major.to_le_bytes(), minor.to_le_bytes()].concat()));
            }
            _ => {}
        }
        let compressed = reader.source().compressed_at(reader.position());
        content.compressed = compressed.saturating_sub(self.compressed);
        self.compressed = compressed;
        Ok(content)
    }

    fn digest<S: ChunkSource>(
        &mut self,
        reader: &mut TarReader<Gauged<S>>,
        size: u64,
        content: &mut Content,
    ) -> Result<(), LayerError> {
        let mut left = size;
        let mut whole = None;
        let state = &mut self.state;
        reader.content(|piece| {
            let take = left.min(piece.len() as u64) as usize;
            let bytes = &piece.bytes()[..take];
            content.zeros += bytes.chunks_exact(ZERO_STRETCH).filter(|part| *part == ZEROS).count() as u64
                * ZERO_STRETCH as u64;
            // Most files lie in one piece, for which there is a short way.
            if left == size && take as u64 == size {
                whole = Some(xxh3_128(bytes));
            } else if take > 0 {
                if left == size {
                    state.reset();
                }
                state.update(bytes);
            }
            left -= take as u64;
            Ok::<_, LayerError>(())
        })?;
        content.print = parts(match whole {
            Some(digest) => digest,
            None if size == 0 => xxh3_128(&[]),
            None => self.state.digest128(),
        });
        Ok(())
    }
}

fn parts(digest: u128) -> [u32; 3] {
    [digest as u32, (digest >> 32) as u32, (digest >> 64) as u32]
}

/// How many bytes of content one compressed byte stands for, on a logarithmic scale of 16 steps to the factor
/// of two: what an estimate needs, in one byte a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ratio(u8);

impl Ratio {
    pub(super) fn of(compressed: u64, size: u64) -> Self {
        if size == 0 || compressed >= size {
            return Self(0);
        }
        let factor = size as f64 / compressed.max(1) as f64;
        Self((factor.log2() * 16.0).round().min(255.0) as u8)
    }

    pub(super) fn compressed(self, size: u64) -> f64 {
        size as f64 / (f64::from(self.0) / 16.0).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_right_to_a_few_percent() {
        for (compressed, size) in [(50, 100), (1, 1000), (99, 100), (1_000_000, 80_000_000_000_u64)] {
            let found = Ratio::of(compressed, size).compressed(size);
            assert!(
                (found / compressed as f64 - 1.0).abs() < 0.06 || found > size as f64 / 65_536.0,
                "{found}"
            );
        }
    }

    #[test]
    fn what_does_not_shrink_counts_in_full() {
        assert!((Ratio::of(120, 100).compressed(100) - 100.0).abs() < f64::EPSILON);
    }
}
