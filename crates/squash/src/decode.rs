//! A blob of a registry as the decoded stream of a layer: sniffed by magic, inflated, handed out in chunks.

use std::sync::Arc;

use bytes::Bytes;
use unbloat_deflate::{BufferPool, GzipDecoder, ZstdDecoder};
use unbloat_layers::{BoxError, Chunk, ChunkSource};
use unbloat_registry::BlobReader;

use crate::diff_ids::DiffIdCheck;
use crate::progress::Progress;
use crate::windows::Share;

/// The codec that a blob's first bytes show, whatever its media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    Gzip,
    Zstd,
    Plain,
}

/// Tells the codec by magic (`docs/layer-semantics.md#rule-1`). Fewer than 4 bytes can only be plain.
pub(crate) fn sniff(start: &[u8]) -> Sniffed {
    match start {
        [0x1f, 0x8b, ..] => Sniffed::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Sniffed::Zstd,
        _ => Sniffed::Plain,
    }
}

/// Bytes of a chunk from a decoder that has no buffers of its own.
const CHUNK: usize = 256 << 10;

/// Compressed bytes are decoded in pieces of this size, counted from the blob's beginning, however they
/// arrive: what a decoder has taken when it hands out a chunk depends on the blob alone then, and so does
/// what an analysis makes of it. Another reader of the same blob gets the same numbers.
const PIECE: usize = 64 << 10;

/// A layer on its way from the source.
pub struct LayerStream {
    blob: BlobReader,
    decoder: Decoder,
    /// Compressed bytes that arrived and are in no piece yet.
    arrived: Bytes,
    /// The rest of the piece that the decoder takes.
    input: Bytes,
    /// Compressed bytes of all pieces so far.
    pieces: u64,
    offset: u64,
    ended: bool,
    pool: BufferPool,
    record: bool,
    progress: Arc<Progress>,
    diff_id: Option<DiffIdCheck>,
}

enum Decoder {
    /// The first bytes decide; only zstd needs a share.
    Unknown(Option<Share>),
    Gzip(Box<GzipDecoder>),
    Zstd(Box<ZstdDecoder>),
    Plain,
}

impl LayerStream {
    pub(crate) fn new(
        blob: BlobReader,
        pool: &BufferPool,
        record: bool,
        progress: &Arc<Progress>,
        share: Share,
    ) -> Self {
        Self {
            blob,
            decoder: Decoder::Unknown(Some(share)),
            arrived: Bytes::new(),
            input: Bytes::new(),
            pieces: 0,
            offset: 0,
            ended: false,
            pool: pool.clone(),
            record,
            progress: Arc::clone(progress),
            diff_id: None,
        }
    }

    /// The same stream, whose content is compared with what the config says of it.
    pub(crate) fn checking(self, diff_id: Option<DiffIdCheck>) -> Self {
        Self { diff_id, ..self }
    }

    /// The next compressed bytes; `false` at the verified end of the blob.
    fn refill(&mut self) -> Result<bool, BoxError> {
        let Some(piece) = self.next_piece()? else { return Ok(false) };
        self.pieces += piece.len() as u64;
        self.input = if self.input.is_empty() { piece } else { [&self.input[..], &piece].concat().into() };
        Ok(true)
    }

    /// The next [`PIECE`], the last one being shorter. What arrives in larger ones is not copied.
    fn next_piece(&mut self) -> Result<Option<Bytes>, BoxError> {
        let mut piece = Vec::new();
        while piece.len() < PIECE {
            if self.progress.is_cancelled() {
                return Err(Box::new(crate::Error::Cancelled));
            }
            if self.arrived.is_empty() {
                let Some(bytes) = self.blob.next_chunk()? else { break };
                self.progress.read(bytes.len());
                self.arrived = bytes;
                continue;
            }
            if piece.is_empty() && self.arrived.len() >= PIECE {
                return Ok(Some(self.arrived.split_to(PIECE)));
            }
            let more = (PIECE - piece.len()).min(self.arrived.len());
            piece.extend_from_slice(&self.arrived.split_to(more));
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    fn begin(&mut self, share: Option<Share>) -> Result<(), BoxError> {
        while self.input.len() < 4 {
            if !self.refill()? {
                self.ended = true;
                break;
            }
        }
        self.decoder = match sniff(&self.input) {
            Sniffed::Gzip => Decoder::Gzip(Box::new(GzipDecoder::new(&self.pool, self.record))),
            Sniffed::Zstd => {
                let decoder = ZstdDecoder::new(&self.pool, ZstdDecoder::DEFAULT_WINDOW_LOG)?;
                Decoder::Zstd(Box::new(decoder.before_frames(move |bytes| {
                    if let Some(share) = &share {
                        share.grow_to(bytes);
                    }
                })))
            }
            Sniffed::Plain => Decoder::Plain,
        };
        Ok(())
    }

    fn hand_out(&self, chunk: unbloat_deflate::Chunk) -> Chunk {
        let unbloat_deflate::Chunk { data, blocks, .. } = chunk;
        Chunk { data, offset: 0, origin: self.record.then_some(blocks as _) }
    }

    fn next_data(&mut self) -> Result<Option<Chunk>, BoxError> {
        loop {
            match &mut self.decoder {
                Decoder::Unknown(share) => {
                    let share = share.take();
                    self.begin(share)?;
                }
                Decoder::Plain => {
                    // Nothing is decoded, so that what arrives is handed out as it is.
                    if self.input.is_empty() && !self.arrived.is_empty() {
                        self.input = std::mem::take(&mut self.arrived);
                        self.pieces += self.input.len() as u64;
                    }
                    if self.input.is_empty() && !self.refill()? {
                        return Ok(None);
                    }
                    let data = self.input.split_to(self.input.len().min(CHUNK));
                    return Ok(Some(Chunk { data, offset: 0, origin: None }));
                }
                Decoder::Gzip(decoder) => {
                    let chunk = step(&mut self.input, self.ended, decoder.as_mut());
                    match chunk? {
                        Some(chunk) => return Ok(Some(self.hand_out(chunk))),
                        None if self.ended => return Ok(None),
                        None => self.ended = !self.refill()?,
                    }
                }
                Decoder::Zstd(decoder) => {
                    let chunk = step(&mut self.input, self.ended, decoder.as_mut());
                    match chunk? {
                        Some(chunk) => return Ok(Some(self.hand_out(chunk))),
                        None if self.ended => return Ok(None),
                        None => self.ended = !self.refill()?,
                    }
                }
            }
        }
    }
}

/// The two codecs' decoders, which work alike.
trait Step {
    type Error: std::error::Error + Send + Sync + 'static;
    fn decode(&mut self, input: &mut &[u8]) -> Result<Option<unbloat_deflate::Chunk>, Self::Error>;
    fn finish(&mut self) -> Result<Option<unbloat_deflate::Chunk>, Self::Error>;
}

impl Step for GzipDecoder {
    type Error = unbloat_deflate::GzipError;

    fn decode(&mut self, input: &mut &[u8]) -> Result<Option<unbloat_deflate::Chunk>, Self::Error> {
        Self::decode(self, input)
    }

    fn finish(&mut self) -> Result<Option<unbloat_deflate::Chunk>, Self::Error> {
        Self::finish(self)
    }
}

impl Step for ZstdDecoder {
    type Error = unbloat_deflate::ZstdError;

    fn decode(&mut self, input: &mut &[u8]) -> Result<Option<unbloat_deflate::Chunk>, Self::Error> {
        Self::decode(self, input)
    }

    fn finish(&mut self) -> Result<Option<unbloat_deflate::Chunk>, Self::Error> {
        Self::finish(self)
    }
}

/// Decodes from the front of `input`; `None` when more input is needed, or at the end of the stream.
fn step(
    input: &mut Bytes,
    ended: bool,
    decoder: &mut impl Step,
) -> Result<Option<unbloat_deflate::Chunk>, BoxError> {
    // The end is known only when nothing is left; before it, a decoder must not be told of one.
    if ended && input.is_empty() {
        return Ok(decoder.finish()?);
    }
    let mut rest = &input[..];
    let chunk = decoder.decode(&mut rest)?;
    let taken = input.len() - rest.len();
    let _ = input.split_to(taken);
    if chunk.is_none() && ended {
        return Ok(decoder.finish()?);
    }
    Ok(chunk)
}

impl ChunkSource for LayerStream {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        let Some(mut chunk) = self.next_data()? else {
            // The end of the codec's data is the end of the blob as well, whose digest is checked with its
            // last byte.
            if let Some(check) = self.diff_id.take() {
                check.finish()?;
            }
            self.progress.layer_done();
            return Ok(None);
        };
        if let Some(check) = &mut self.diff_id {
            check.update(&chunk.data);
        }
        chunk.offset = self.offset;
        self.offset += chunk.data.len() as u64;
        self.progress.unpacked(chunk.data.len());
        Ok(Some(chunk))
    }

    fn compressed_position(&self) -> Option<u64> {
        Some(self.pieces - self.input.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codec_is_told_by_magic_and_not_by_label() {
        assert_eq!(sniff(&[0x1f, 0x8b, 8, 0]), Sniffed::Gzip);
        assert_eq!(sniff(&[0x28, 0xb5, 0x2f, 0xfd]), Sniffed::Zstd);
        assert_eq!(sniff(&[0x5a, 0x2a, 0x4d, 0x18]), Sniffed::Zstd);
        assert_eq!(sniff(b"etc/"), Sniffed::Plain);
        assert_eq!(sniff(b""), Sniffed::Plain);
    }
}
