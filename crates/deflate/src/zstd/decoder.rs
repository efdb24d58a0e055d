//! Zstandard to chunks of uncompressed bytes.

use super::frame::{self, Start};
use crate::decoder::Chunk;
use crate::inflate::WINDOW;
use crate::pool::{Buffer, BufferPool, CHUNK_SIZE};
use ::zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
use std::io;
use std::sync::Arc;
use thiserror::Error;

/// Why a zstd stream cannot be read. Offsets are bytes from the start of the compressed stream.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ZstdError {
    /// The decoder could not be set up.
    #[error("setting up the zstd decoder")]
    Setup(#[source] io::Error),
    /// The data is invalid: a bad magic number (also of what follows the last frame), block or checksum, or a
    /// window larger than what is accepted.
    #[error("corrupt zstd data near offset {offset}: {cause}")]
    Corrupt {
        /// Near where.
        offset: u64,
        /// In the words of the zstd library.
        cause: io::Error,
    },
    /// The stream ends inside a frame, or is empty.
    #[error("zstd data is truncated: it ends inside a frame, at offset {offset}")]
    Truncated {
        /// Where the stream ends.
        offset: u64,
    },
}

impl ZstdError {
    /// Whether reading the same bytes again can help: it cannot.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// An incremental zstd decoder: all frames, skippable frames before, between and after them, checksums where
/// there are any. Anything else after a frame is an error. Used like [`GzipDecoder`](crate::GzipDecoder).
///
/// Memory is one chunk and the frame's window, whose size the data itself asks for: see
/// [`ZstdDecoder::before_frames`].
pub struct ZstdDecoder {
    decoder: Decoder<'static>,
    pool: BufferPool,
    buffer: Buffer,
    at: usize,
    /// Bytes of the uncompressed stream before the buffer.
    offset: u64,
    /// Bytes of the compressed stream that were used.
    used: u64,
    /// Whether a frame has begun that has not ended. True at first: a stream has at least one frame.
    inside: bool,
    /// The header of the next frame, as far as it is here; `None` inside a frame.
    header: Option<Vec<u8>>,
    before_frame: Option<Box<dyn FnMut(u64) + Send>>,
}

impl ZstdDecoder {
    /// The largest window that the format's own tool reads by default: 128 MiB.
    pub const DEFAULT_WINDOW_LOG: u32 = 27;

    /// A decoder at the start of a stream, which refuses frames with a window of more than 2^`window_log`
    /// bytes.
    ///
    /// # Errors
    /// [`ZstdError::Setup`] when memory is short or `window_log` is not among 10 to 31.
    pub fn new(pool: &BufferPool, window_log: u32) -> Result<Self, ZstdError> {
        let mut decoder = Decoder::new().map_err(ZstdError::Setup)?;
        decoder.set_parameter(DParameter::WindowLogMax(window_log)).map_err(ZstdError::Setup)?;
        let (buffer, pool) = (pool.take(), pool.clone());
        Ok(Self {
            decoder,
            pool,
            buffer,
            at: WINDOW,
            offset: 0,
            used: 0,
            inside: true,
            header: Some(Vec::new()),
            before_frame: None,
        })
    }

    /// Calls `before_frame` before each frame with the bytes of its window, or of its content where that is
    /// less, which are allocated when it returns. It may wait until that much memory is free.
    #[must_use]
    pub fn before_frames(mut self, before_frame: impl FnMut(u64) + Send + 'static) -> Self {
        self.before_frame = Some(Box::new(before_frame));
        self
    }

    /// Decodes from the front of `input`, which is advanced, until a chunk is full (call again) or `input` is
    /// empty (`None`).
    ///
    /// # Errors
    /// [`ZstdError`]; the decoder is then of no more use.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Chunk>, ZstdError> {
        loop {
            let full = self.at == WINDOW + CHUNK_SIZE;
            if full {
                return Ok(Some(self.emit()));
            }
            if input.is_empty() {
                return Ok(None);
            }
            match self.header.take() {
                None => self.run(input)?,
                Some(header) => self.begin(header, input)?,
            }
        }
    }

    /// Reads the header of a frame, and decodes it when it is whole.
    fn begin(&mut self, mut header: Vec<u8>, input: &mut &[u8]) -> Result<(), ZstdError> {
        let keeps = loop {
            let needs = match frame::start(&header) {
                Start::Keeps(bytes) => break bytes,
                Start::Needs(bytes) => bytes,
            };
            let part = input.split_off(..input.len().min(needs - header.len())).unwrap_or_default();
            header.extend_from_slice(part);
            if header.len() < needs {
                self.header = Some(header);
                return Ok(());
            }
        };
        if let Some(before_frame) = &mut self.before_frame {
            before_frame(keeps);
        }
        self.run_all(&header)
    }

    fn run_all(&mut self, mut input: &[u8]) -> Result<(), ZstdError> {
        while !input.is_empty() {
            self.run(&mut input)?;
        }
        Ok(())
    }

    /// Says that the stream is complete, and returns what is left: call it until it returns `None`, which
    /// means that the stream was whole.
    ///
    /// # Errors
    /// [`ZstdError`].
    pub fn finish(&mut self) -> Result<Option<Chunk>, ZstdError> {
        // A header that is cut off.
        let header = self.header.take().unwrap_or_default();
        self.run_all(&header)?;
        while self.inside && self.at < WINDOW + CHUNK_SIZE {
            // The decoder may hold output that had no room.
            let before = self.at;
            self.run(&mut &[][..])?;
            if self.at == before && self.inside {
                return Err(ZstdError::Truncated { offset: self.used });
            }
        }
        Ok((self.at > WINDOW).then(|| self.emit()))
    }

    /// Bytes of the uncompressed stream so far, those not yet returned included.
    #[must_use]
    pub fn uncompressed(&self) -> u64 {
        self.offset + (self.at - WINDOW) as u64
    }

    fn run(&mut self, input: &mut &[u8]) -> Result<(), ZstdError> {
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around(&mut self.buffer.bytes_mut()[self.at..WINDOW + CHUNK_SIZE]);
        let hint = self.decoder.run(&mut source, &mut target);
        let (read, written) = (source.pos(), target.pos());
        self.used += read as u64;
        let hint = hint.map_err(|cause| ZstdError::Corrupt { offset: self.used, cause })?;
        self.inside = hint != 0;
        self.header = (!self.inside).then(Vec::new);
        self.at += written;
        *input = &input[read..];
        Ok(())
    }

    fn emit(&mut self) -> Chunk {
        let full = std::mem::replace(&mut self.buffer, self.pool.take());
        let chunk = Chunk { data: full.share(WINDOW..self.at), offset: self.offset, blocks: Arc::default() };
        self.offset += chunk.data.len() as u64;
        self.at = WINDOW;
        chunk
    }
}
