//! The merged tar stream on its way to the destination: hashed, compressed and sent while it is made.
//!
//! The merge hands over batches through a bounded queue; one thread hashes and compresses them; what comes
//! out goes through a second bounded queue to the upload. So the merge, the codec and the network work side
//! by side, and none of them gets further ahead than its queue.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use unbloat_layers::{BoxError, Output, Piece};
use unbloat_oci::{Algorithm, Digest, Hasher};

use crate::codec::{Encoder, Settings};
use crate::error::OutputError;
use crate::progress::Progress;
use crate::segment::Segment;

/// Bytes of a batch, and how many wait: 2 MiB between the merge and the codec.
const BATCH: usize = 512 << 10;
/// Bytes of decoders' chunks that a batch keeps alive: a small piece holds the whole of its chunk.
const BATCH_CHUNKS: usize = 2 << 20;
const BATCHES: usize = 3;
/// Compressed buffers that wait for the upload, near 128 KiB each.
const BUFFERS: usize = 8;

enum Message {
    Batch(Vec<Segment>),
    /// What came so far is void.
    Restart,
    /// The stream is whole; without it, what came is void.
    End,
}

/// What the codec's thread hands to the upload.
pub(crate) enum Compressed {
    /// The next bytes of the blob.
    Bytes(Bytes),
    /// What came so far is void: the blob begins anew.
    Restart,
}

/// The merge's side.
pub(crate) struct Batches {
    sender: SyncSender<Message>,
    batch: Vec<Segment>,
    bytes: usize,
    /// Bytes of the chunks that the batch keeps alive.
    chunks: usize,
    progress: Arc<Progress>,
}

impl Batches {
    fn flush(&mut self) -> Result<(), BoxError> {
        if self.progress.is_cancelled() {
            return Err(Box::new(crate::Error::Cancelled));
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        (self.bytes, self.chunks) = (0, 0);
        let batch = std::mem::take(&mut self.batch);
        // The other side tells why it went away.
        self.sender.send(Message::Batch(batch)).map_err(|_| OutputError::Stopped.into())
    }

    /// Says that the stream is whole.
    pub(crate) fn end(mut self) -> Result<(), BoxError> {
        self.flush()?;
        self.sender.send(Message::End).map_err(|_| OutputError::Stopped.into())
    }
}

impl Output for Batches {
    fn restart(&mut self) -> Result<(), BoxError> {
        self.batch.clear();
        (self.bytes, self.chunks) = (0, 0);
        self.sender.send(Message::Restart).map_err(|_| OutputError::Stopped.into())
    }

    fn fresh(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        match self.batch.last_mut() {
            Some(Segment::Fresh(last)) => last.extend_from_slice(bytes),
            _ => self.batch.push(Segment::Fresh(bytes.to_vec())),
        }
        self.bytes += bytes.len();
        if self.bytes >= BATCH { self.flush() } else { Ok(()) }
    }

    fn copy(&mut self, piece: Piece) -> Result<(), BoxError> {
        self.bytes += piece.len();
        let absorbed = match self.batch.last_mut() {
            Some(Segment::Copy(last)) => last.absorb(&piece),
            _ => false,
        };
        if !absorbed {
            let last = self.batch.iter().rev().find_map(Segment::piece);
            if !last.is_some_and(|last| Arc::ptr_eq(last.chunk(), piece.chunk())) {
                self.chunks += piece.chunk().data.len();
            }
            self.batch.push(Segment::Copy(piece));
        }
        if self.bytes >= BATCH || self.chunks >= BATCH_CHUNKS { self.flush() } else { Ok(()) }
    }
}

/// What the codec's thread knows at the end.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// Digest of the plain tar.
    pub(crate) diff_id: Digest,
    /// Digest of the blob.
    pub(crate) digest: Digest,
    /// Bytes of the blob.
    pub(crate) size: u64,
}

/// The codec's thread; its answer is `None` when the stream ended before it was whole.
pub(crate) type CodecThread = std::thread::JoinHandle<Result<Option<Encoded>, OutputError>>;

/// Starts the codec's thread. The buffers that it makes come out of the returned receiver.
pub(crate) fn start(
    settings: Settings,
    progress: &Arc<Progress>,
) -> (Batches, mpsc::Receiver<Compressed>, CodecThread) {
    let (sender, receiver) = sync_channel(BATCHES);
    let (buffers, sent) = mpsc::channel(BUFFERS);
    let batches = Batches { sender, batch: Vec::new(), bytes: 0, chunks: 0, progress: Arc::clone(progress) };
    let thread = std::thread::spawn(move || encode(settings, &receiver, &buffers));
    (batches, sent, thread)
}

/// What left the codec.
struct Sent {
    digest: Hasher,
    size: u64,
}

impl Default for Sent {
    fn default() -> Self {
        Self { digest: Hasher::new(Algorithm::Sha256), size: 0 }
    }
}

impl Sent {
    fn count(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
    }
}

/// One blob on its way through the codec.
struct Blob {
    diff_id: Hasher,
    encoder: Encoder,
    sent: Arc<Mutex<Sent>>,
}

impl Blob {
    fn new(settings: Settings, buffers: mpsc::Sender<Compressed>) -> Result<Self, OutputError> {
        let sent = Arc::new(Mutex::new(Sent::default()));
        let counting = Arc::clone(&sent);
        let sink = move |bytes: Bytes| {
            counting.lock().unwrap_or_else(PoisonError::into_inner).count(&bytes);
            let sent = buffers.blocking_send(Compressed::Bytes(bytes));
            sent.map_err(|_| std::io::Error::other(OutputError::UploadStopped))
        };
        let encoder = Encoder::new(settings, Box::new(sink))?;
        Ok(Self { diff_id: Hasher::new(Algorithm::Sha256), encoder, sent })
    }

    fn write(&mut self, batch: Vec<Segment>) -> Result<(), OutputError> {
        for segment in batch {
            self.diff_id.update(segment.bytes());
            self.encoder.write(segment)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Encoded, OutputError> {
        self.encoder.finish()?;
        let Sent { digest, size } =
            std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Encoded { diff_id: self.diff_id.finish(), digest: digest.finish(), size })
    }
}

/// `None` when the stream ended before it was whole.
fn encode(
    settings: Settings,
    receiver: &Receiver<Message>,
    buffers: &mpsc::Sender<Compressed>,
) -> Result<Option<Encoded>, OutputError> {
    let mut blob = Blob::new(settings, buffers.clone())?;
    loop {
        match receiver.recv() {
            Err(_) => return Ok(None),
            Ok(Message::End) => return blob.finish().map(Some),
            Ok(Message::Batch(batch)) => blob.write(batch)?,
            Ok(Message::Restart) => {
                // The old codec's threads end with it, so that nothing of theirs comes behind the word.
                drop(blob);
                buffers.blocking_send(Compressed::Restart).map_err(|_| OutputError::UploadStopped)?;
                blob = Blob::new(settings, buffers.clone())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use unbloat_layers::{Chunk, ChunkSource, LayerSource, Options, merge, tar};
    use unbloat_oci::Codec;

    use super::*;

    const LAYERS: usize = 1_000;
    const CHUNK: usize = 256 << 10;

    /// Decoders' chunks that somebody keeps alive, and the most of them at once.
    #[derive(Default)]
    struct Alive {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    struct Token(Arc<Alive>);

    impl Drop for Token {
        fn drop(&mut self) {
            self.0.now.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Layers of one small file each, in front of a log that the layer above has too.
    struct Commits(Arc<Alive>);

    struct Commit {
        rest: Bytes,
        offset: u64,
        alive: Arc<Alive>,
    }

    impl LayerSource for Commits {
        type Stream = Commit;

        fn open(&self, layer: usize) -> Result<Commit, BoxError> {
            let log = 2 * CHUNK;
            let mut bytes = tar::simple_header(format!("small-{layer}").as_bytes(), b'0', 0o644, 512);
            bytes.resize(1024, b's');
            bytes.extend(tar::simple_header(b"log", b'0', 0o644, log as u64));
            bytes.resize(bytes.len() + log, b'l');
            bytes.extend(tar::TRAILER);
            Ok(Commit { rest: bytes.into(), offset: 0, alive: Arc::clone(&self.0) })
        }
    }

    impl ChunkSource for Commit {
        fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let data = self.rest.split_to(CHUNK.min(self.rest.len()));
            let offset = self.offset;
            self.offset += data.len() as u64;
            let now = self.alive.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.alive.most.fetch_max(now, Ordering::SeqCst);
            // A buffer of its own, as a decoder's is: what keeps the bytes alive keeps the token.
            let owner = Owned { data, _token: Token(Arc::clone(&self.alive)) };
            Ok(Some(Chunk { data: Bytes::from_owner(owner), offset, origin: None }))
        }
    }

    struct Owned {
        data: Bytes,
        _token: Token,
    }

    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.data
        }
    }

    #[test]
    fn small_files_before_hidden_ones_keep_few_chunks_alive_however_many_layers_there_are() {
        for codec in [Codec::None, Codec::Gzip, Codec::Zstd] {
            let alive = Arc::new(Alive::default());
            let settings = Settings::new(codec, None, 1).unwrap();
            let (mut batches, mut buffers, thread) = start(settings, &Arc::default());
            // An upload that keeps all that it was given.
            let upload = std::thread::spawn(move || {
                let mut kept = Vec::new();
                while let Some(compressed) = buffers.blocking_recv() {
                    if let Compressed::Bytes(bytes) = compressed {
                        kept.push(bytes);
                    }
                }
                kept
            });
            let options = Options { jobs: 2, hold_bytes: 8 << 20, ..Options::default() };
            merge(&Commits(Arc::clone(&alive)), LAYERS, &options, &mut batches).unwrap();
            batches.end().unwrap();
            let encoded = thread.join().unwrap().unwrap().unwrap();
            let kept = upload.join().unwrap();
            assert_eq!(kept.iter().map(|bytes| bytes.len() as u64).sum::<u64>(), encoded.size);
            let most = alive.most.load(Ordering::SeqCst);
            assert!(most < 100, "{codec:?}: {most} chunks of {LAYERS} layers");
        }
    }
}
