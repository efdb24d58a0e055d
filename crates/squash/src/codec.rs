//! The codecs of the new layer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use unbloat_deflate::{ChunkBlocks, GzipOptions, GzipWriter, Origin, ZstdOptions, ZstdWriter};
use unbloat_oci::Compression;

use crate::output::Segment;

/// Where compressed buffers go.
pub(crate) type Sink = Box<dyn FnMut(Bytes) -> io::Result<()> + Send>;

/// How to compress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    compression: Compression,
    level: u8,
    threads: usize,
}

impl Settings {
    /// Levels are the codec's own: gzip 1 to 12 (default 5, which makes less than zlib's 6), zstd 1 to 19 (default 3).
    ///
    /// # Errors
    /// A text for people, if there is no such level.
    pub(crate) fn new(compression: Compression, level: Option<i32>, threads: usize) -> Result<Self, String> {
        let (default, highest) = match compression {
            Compression::None => (0, 0),
            Compression::Gzip => (5, 12),
            Compression::Zstd => (3, 19),
        };
        let level = level.unwrap_or(default);
        if compression != Compression::None && !(1..=highest).contains(&level) {
            return Err(format!("there is no level {level}: {compression:?} has 1 to {highest}"));
        }
        Ok(Self { compression, level: level as u8, threads })
    }
}

/// Bytes that are not compressed go out in buffers of this size; those that fill the better part of their chunk go as they
/// are. Whoever sends them may keep many, and a small part of a chunk would keep all of it.
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
    pub(crate) fn new(settings: Settings, sink: Sink) -> Result<Self, String> {
        let Settings { compression, level, threads } = settings;
        let text = |error: unbloat_deflate::EncodeError| error.to_string();
        Ok(match compression {
            Compression::None => Self::Plain(Plain { sink, buffer: Vec::new() }),
            Compression::Gzip => {
                Self::Gzip(Box::new(GzipWriter::new(GzipOptions { level, threads }, sink).map_err(text)?))
            }
            Compression::Zstd => {
                let threads = threads as u32;
                Self::Zstd(Box::new(ZstdWriter::new(ZstdOptions { level, threads }, sink).map_err(text)?))
            }
        })
    }

    pub(crate) fn write(&mut self, segment: Segment) -> Result<(), String> {
        let text = |error: unbloat_deflate::EncodeError| error.to_string();
        match self {
            Self::Plain(plain) => plain.write(segment).map_err(|error| error.to_string()),
            Self::Zstd(encoder) => encoder.write(segment.bytes()).map_err(text),
            Self::Gzip(encoder) => {
                let origin = segment.piece().and_then(|piece| {
                    let blocks = Arc::clone(piece.chunk().origin.as_ref()?).downcast::<ChunkBlocks>().ok()?;
                    Some(Origin { stream: u64::from(piece.layer()), offset: piece.offset(), blocks })
                });
                encoder.write(segment.into_bytes(), origin).map_err(text)
            }
        }
    }

    pub(crate) fn finish(self) -> Result<(), String> {
        let text = |error: unbloat_deflate::EncodeError| error.to_string();
        match self {
            Self::Plain(mut plain) => plain.flush().map_err(|error| error.to_string()),
            Self::Gzip(encoder) => encoder.finish().map(|_| ()).map_err(text),
            Self::Zstd(encoder) => encoder.finish().map(|_| ()).map_err(text),
        }
    }
}
