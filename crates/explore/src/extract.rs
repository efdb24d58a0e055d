//! One file out of a layer: the layer is read once more, to its end, so that what was written is what its
//! digest says.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use unbloat_layers::tar::{Kind, Meter, TarReader};
use unbloat_layers::{BoxError, ChunkSource, LayerError};

use crate::catalogue::Content;

/// Why a file was not extracted. Nothing is left of it then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The file cannot be made or written.
    #[error("{path} cannot be written")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The layer cannot be read again.
    #[error("layer {layer} cannot be read again")]
    Layer {
        /// 0 at the lowest.
        layer: usize,
        /// Why not.
        #[source]
        source: LayerError,
    },
    /// It was asked to end.
    #[error("stopped; nothing was written")]
    Stopped,
}

/// Writes the content of a record to `to`. `read` counts the layer's decoded bytes up; `stop` ends it.
///
/// # Errors
/// See [`ExtractError`]; the error of writing names `path`.
pub fn copy_content<S: ChunkSource>(
    stream: S,
    content: Content,
    path: &Path,
    to: &mut dyn Write,
    extraction: &Extraction,
) -> Result<(), ExtractError> {
    let wrong = |source| ExtractError::Layer { layer: content.layer, source };
    let mut reader = TarReader::new(stream, content.layer, Arc::new(Meter::new(u64::MAX)));
    let mut raw = Vec::new();
    let mut found = false;
    let mut record = 0;
    while let Some(header) = reader.next(&mut raw).map_err(wrong)? {
        extraction.note(reader.position())?;
        if record == content.record {
            if header.kind != Kind::Regular || header.size != content.bytes {
                return Err(wrong(LayerError::Changed));
            }
            found = true;
            let mut left = header.size;
            reader
                .content(|piece| {
                    let bytes =
                        &piece.bytes()[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                    left -= bytes.len() as u64;
                    extraction.note(piece.offset()).map_err(Failed::Extract)?;
                    let failed = |source| ExtractError::File { path: path.to_owned(), source };
                    to.write_all(bytes).map_err(|error| Failed::Extract(failed(error)))
                })
                .map_err(|failed| match failed {
                    Failed::Extract(error) => error,
                    Failed::Layer(source) => wrong(source),
                })?;
        }
        record += 1;
    }
    if found { Ok(()) } else { Err(wrong(LayerError::Changed)) }
}

enum Failed {
    Extract(ExtractError),
    Layer(LayerError),
}

impl From<LayerError> for Failed {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

/// One extraction on its way: how far it is, and whether it shall end.
#[derive(Debug, Default)]
pub struct Extraction {
    position: AtomicU64,
    stop: AtomicBool,
}

impl Extraction {
    fn note(&self, position: u64) -> Result<(), ExtractError> {
        self.position.store(position, Ordering::Relaxed);
        if self.stop.load(Ordering::Relaxed) { Err(ExtractError::Stopped) } else { Ok(()) }
    }

    /// Decoded bytes of the layer that were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Makes the file, which must not exist yet, writes `content` of the layer that `open` gives, and takes it
/// away again on an error.
pub(crate) fn to_file<S: ChunkSource>(
    open: impl FnOnce(usize) -> Result<S, BoxError>,
    content: Content,
    path: &Path,
    extraction: &Extraction,
) -> Result<(), ExtractError> {
    let failed = |source| ExtractError::File { path: path.to_owned(), source };
    // Readable by nobody else: whoever may read the image is not everybody on this machine.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = open(content.layer)
        .map_err(|error| ExtractError::Layer { layer: content.layer, source: LayerError::Stream(error) })
        .and_then(|stream| {
            let mut to = BufWriter::with_capacity(256 << 10, &file);
            copy_content(stream, content, path, &mut to, extraction)?;
            to.flush().map_err(failed)
        })
        .and_then(|()| File::sync_all(&file).map_err(failed));
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}
