//! What is known of kept layers, in a folder by digest: their headers, compressed.
//!
//! # Expected flow
//! The first squash above a base reads its layers and writes their headers here, each layer to a file of its
//! own that gets its name when it is complete. The next one finds them and opens none of these blobs.
//!
//! # Guarantees
//! - A file that is cut, damaged or of another version is taken away, and the layer is read as if there had
//!   been none.
//! - A folder that cannot be written to costs the speed-up and nothing else.
//!
//! # Caveats
//! The content is believed. Whoever can write to the folder can change what a squash does.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use unbloat_layers::{BoxError, Chunk, ChunkSource, HeaderSink, Known};
use unbloat_oci::Digest;
use unbloat_registry::scratch::TemporaryFile;

/// In front of each file: the format and its version.
const MAGIC: [u8; 8] = *b"unbldh01";

/// A folder of headers.
#[derive(Clone, Debug)]
pub(crate) struct HeaderCache {
    folder: PathBuf,
}

impl HeaderCache {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Whether headers can be written down: a folder that cannot be used is said once, and done without.
    pub(crate) fn try_writing(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        TemporaryFile::new(&self.folder, ".unbloat-").map(drop)
    }

    /// A digest is an algorithm and hexadecimal digits, so it names a file in the folder and nowhere else.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string().replace(':', "-"))
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// The headers of a layer, when they are all there.
    pub(crate) fn open(&self, digest: &Digest) -> Option<Known> {
        let path = self.path(digest);
        let opened = check(&path).and_then(|()| Headers::open(&path));
        match opened {
            Ok((headers, unpacked_bytes)) => Some(Known { headers: Box::new(headers), unpacked_bytes }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => {
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Somebody who writes the headers of a layer down; `None` where nothing can be written.
    pub(crate) fn record(&self, digest: &Digest) -> Option<Recorder> {
        Recorder::create(&self.folder, self.path(digest)).ok()
    }
}

/// Reads a file to its end, so that damage is found before anything is made of it.
fn check(path: &Path) -> io::Result<()> {
    let (mut headers, _) = Headers::open(path)?;
    io::copy(&mut headers.decoder, &mut io::sink()).map(drop)
}

/// The headers of one layer, being read.
struct Headers {
    decoder: zstd::Decoder<'static, BufReader<File>>,
    offset: u64,
}

impl Headers {
    /// The headers, and the decoded bytes of the layer itself.
    fn open(path: &Path) -> io::Result<(Self, u64)> {
        let mut file = File::open(path)?;
        let mut start = [0; 16];
        file.read_exact(&mut start)?;
        let (magic, unpacked) = start.split_at(8);
        if magic != MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let unpacked = u64::from_le_bytes(unpacked.try_into().map_err(io::Error::other)?);
        Ok((Self { decoder: zstd::Decoder::new(file)?, offset: 0 }, unpacked))
    }
}

impl ChunkSource for Headers {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        let mut data = Vec::with_capacity(64 << 10);
        self.decoder.by_ref().take(64 << 10).read_to_end(&mut data)?;
        let offset = self.offset;
        self.offset += data.len() as u64;
        Ok((!data.is_empty()).then(|| Chunk { data: Bytes::from(data), offset, origin: None }))
    }
}

/// The headers of one layer, being written.
pub(crate) struct Recorder {
    /// `None` after a failure.
    encoder: Option<zstd::Encoder<'static, BufWriter<TemporaryFile>>>,
    path: PathBuf,
}

impl Recorder {
    fn create(folder: &Path, path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut file = TemporaryFile::new(folder, ".unbloat-")?;
        // Without the magic a file is no cache; it comes last.
        file.write_all(&[0; 16])?;
        let mut encoder = zstd::Encoder::new(BufWriter::new(file), 1)?;
        encoder.include_checksum(true)?;
        Ok(Self { encoder: Some(encoder), path })
    }

    fn complete(&mut self, unpacked_bytes: u64) -> io::Result<()> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        let mut file = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&MAGIC)?;
        file.write_all(&unpacked_bytes.to_le_bytes())?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl HeaderSink for Recorder {
    fn bytes(&mut self, bytes: &[u8]) {
        let written = self.encoder.as_mut().map(|encoder| encoder.write_all(bytes));
        if matches!(written, Some(Err(_))) {
            self.encoder = None;
        }
    }

    fn finish(mut self: Box<Self>, unpacked_bytes: u64) {
        // What cannot be written is not known next time.
        let _ = self.complete(unpacked_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::sha256_of(b"a layer")
    }

    fn record(cache: &HeaderCache, bytes: &[u8]) {
        let mut recorder = Box::new(cache.record(&digest()).expect("the folder can be written to"));
        recorder.bytes(bytes);
        recorder.finish(77);
    }

    fn read(known: Known) -> Vec<u8> {
        let Known { mut headers, .. } = known;
        let mut all = Vec::new();
        while let Some(chunk) = headers.next().expect("it was checked") {
            assert_eq!(chunk.offset, all.len() as u64);
            all.extend_from_slice(&chunk.data);
        }
        all
    }

    #[test]
    fn what_was_written_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = HeaderCache::new(&folder.path().join("made"));
        assert!(cache.open(&digest()).is_none());
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at / 7) as u8).collect();
        record(&cache, &bytes);
        let known = cache.open(&digest()).expect("it is known");
        assert_eq!(known.unpacked_bytes, 77);
        assert_eq!(read(known), bytes);
    }

    #[test]
    fn a_layer_that_was_not_read_to_its_end_is_not_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = HeaderCache::new(folder.path());
        let mut recorder = cache.record(&digest()).expect("the folder can be written to");
        recorder.bytes(b"half");
        drop(recorder);
        assert!(!cache.has(&digest()));
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn a_damaged_file_is_taken_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = HeaderCache::new(folder.path());
        for damage in ["cut", "bit", "version"] {
            record(&cache, &[7; 5000]);
            let path = cache.path(&digest());
            let mut bytes = fs::read(&path).expect("the file");
            match damage {
                "cut" => bytes.truncate(bytes.len() - 3),
                "bit" => *bytes.last_mut().expect("it is not empty") ^= 1,
                _ => bytes[7] += 1,
            }
            fs::write(&path, bytes).expect("the file can be written to");
            assert!(cache.open(&digest()).is_none(), "{damage}");
            assert!(!path.exists(), "{damage}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        assert!(HeaderCache::new(&file).record(&digest()).is_none());
    }
}
