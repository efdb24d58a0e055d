//! The codecs of the new layer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use unbloat_deflate::{ChunkBlocks, GzipOptions, GzipWriter, Origin, ZstdOptions, ZstdWriter};
use unbloat_oci::Codec;

use crate::error::{LevelError, OutputError};
use crate::segment::Segment;

/// Where compressed buffers go.
pub(crate) type Sink = Box<dyn FnMut(Bytes) -> io::Result<()> + Send>;

/// How to compress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    codec: Codec,
    level: u8,
    threads: usize,
}

impl Settings {
    /// Levels are the codec's own: gzip 1 to 12 (default 5, which makes less than zlib's 6), zstd 1 to 19
    /// (default 3).
    ///
    /// # Errors
    /// There is no such level.
    pub(crate) fn new(codec: Codec, level: Option<i32>, threads: usize) -> Result<Self, LevelError> {
        let (default, highest) = match codec {
            Codec::None => (0, 0),
            Codec::Gzip => (5, 12),
            Codec::Zstd => (3, 19),
        };
        let level = level.unwrap_or(default);
        if codec != Codec::None && !(1..=highest).contains(&level) {
            return Err(LevelError { codec, level, highest });
        }
        Ok(Self { codec, level: level as u8, threads })
    }
}

/// Bytes that are not compressed go out in buffers of this size; those that fill the better part of their
/// chunk go as they are. Whoever sends them may keep many, and a small part of a chunk would keep all of it.
const PLAIN_BUFFER: usize = 128 << 10;

/// No codec: bytes on their way out.
pub(crate) struct Plain {
    sink: Sink,
    buffer: Vec<u8>,
}

impl Plain {
    fn write(&mut self, segment: Segment) -> io::Result<()> {
        let chunk = segment.piece().map_or(0, |piece| piece.chunk().data.len());
        let bytes = segment.into_bytes();
        if bytes.len() >= PLAIN_BUFFER && bytes.len() >= chunk / 2 {
            self.flush()?;
            return (self.sink)(bytes);
        }
        self.buffer.extend_from_slice(&bytes);
        if self.buffer.len() >= PLAIN_BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        (self.sink)(std::mem::take(&mut self.buffer).into())
    }
}

/// One codec, fed in order.
pub(crate) enum Encoder {
    Plain(Plain),
    Gzip(Box<GzipWriter<Sink>>),
    Zstd(Box<ZstdWriter<Sink>>),
}

impl Encoder {
    pub(crate) fn new(settings: Settings, sink: Sink) -> Result<Self, OutputError> {
        let Settings { codec, level, threads } = settings;
        Ok(match codec {
            Codec::None => Self::Plain(Plain { sink, buffer: Vec::new() }),
            Codec::Gzip => Self::Gzip(Box::new(GzipWriter::new(GzipOptions { level, threads }, sink)?)),
            Codec::Zstd => {
                let threads = threads as u32;
                Self::Zstd(Box::new(ZstdWriter::new(ZstdOptions { level, threads }, sink)?))
            }
        })
    }

    pub(crate) fn write(&mut self, segment: Segment) -> Result<(), OutputError> {
        match self {
            Self::Plain(plain) => plain.write(segment)?,
            Self::Zstd(encoder) => encoder.write(segment.bytes())?,
            Self::Gzip(encoder) => {
                let origin = segment.piece().and_then(|piece| {
                    let blocks = Arc::clone(piece.chunk().origin.as_ref()?).downcast::<ChunkBlocks>().ok()?;
                    Some(Origin { stream: u64::from(piece.layer()), offset: piece.offset(), blocks })
                });
                encoder.write(segment.into_bytes(), origin)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), OutputError> {
        match self {
            Self::Plain(mut plain) => plain.flush()?,
            Self::Gzip(encoder) => drop(encoder.finish()?),
            Self::Zstd(encoder) => drop(encoder.finish()?),
        }
        Ok(())
    }
}
