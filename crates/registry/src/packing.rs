//! Plain layers of docker archives on their way to a registry.
//!
//! `docker save` compresses nothing, which says nothing of how the image's owner wants it: registries are
//! sent gzip, as every other client does, and one of them refuses the plain type (`docs/registries.md`).

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, GzBuilder, write::GzEncoder};
use tokio::sync::mpsc;
use unbloat_oci::{Codec, Descriptor, MediaType};

use crate::destination::{Backend, Destination};
use crate::error::{Error, ErrorKind};
use crate::location::Location;
use crate::operation::Operation;
use crate::source::Source;

/// Compressed bytes that are handed on at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the network.
const AHEAD: usize = 4;

/// The type of the layer at the destination, where it is compressed on its way; `None` where it goes as it
/// is.
pub(crate) fn packed_type(from: &Source, to: &Destination, layer: &Descriptor) -> Option<MediaType> {
    let from_docker = matches!(from.location(), Location::DockerArchive { .. });
    let to_registry = matches!(to.backend(), Backend::Remote(..));
    let kind = layer.media_type().layer().ok()?;
    let is_plain = kind.codec == Codec::None && !kind.foreign;
    (from_docker && to_registry && is_plain).then(|| layer.media_type().family()?.layer(Codec::Gzip))?
}

/// A layer's bytes as gzip; the same ones each time. They are made on a thread of their own.
pub(crate) fn pack(from: &Source, layer: &Descriptor) -> Packed {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (blob, place, name) = (from.blob(layer), from.place(), layer.digest().to_string());
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let fault = |source| Error::new(place.clone(), Operation::ReadingBlob, &name, ErrorKind::Io(source));
        let mut reader = blob.into_reader(runtime);
        // Neither time nor operating system: the same bytes on every machine.
        let mut gzip = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::new(6));
        loop {
            let (made, ended) = match reader.next_chunk() {
                Ok(Some(bytes)) => (gzip.write_all(&bytes).map_err(fault), false),
                Ok(None) => (gzip.try_finish().map_err(fault), true),
                Err(error) => (Err(error), true),
            };
            let piece = made.map(|()| take(&mut gzip, ended));
            let failed = piece.is_err();
            let is_empty = piece.as_ref().is_ok_and(Bytes::is_empty);
            // Whoever reads no more wants no more.
            if !is_empty && sender.blocking_send(piece).is_err() || failed || ended {
                return;
            }
        }
    });
    Packed { receiver }
}

/// What is worth sending.
fn take(gzip: &mut GzEncoder<Vec<u8>>, ended: bool) -> Bytes {
    if !ended && gzip.get_ref().len() < PIECE {
        return Bytes::new();
    }
    std::mem::take(gzip.get_mut()).into()
}

/// A stream of compressed bytes.
pub(crate) struct Packed {
    receiver: mpsc::Receiver<Result<Bytes, Error>>,
}

impl Packed {
    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.receiver.recv().await.transpose()
    }
}
