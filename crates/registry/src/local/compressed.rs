//! Archives that are compressed as a whole, as `docker save | gzip` and its like leave them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::local::extents::{in_temporary_folder, unnamed_file};

/// How an archive is compressed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    /// Read by nobody here; the name and the program that unpacks it.
    Other(&'static str, &'static str),
}

impl Compression {
    fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or a skippable one before it, which parallel compressors write.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Self::Other("xz", "unxz")),
            [b'B', b'Z', b'h', ..] => Some(Self::Other("bzip2", "bunzip2")),
            _ => None,
        }
    }

    fn of_file(file: &File) -> io::Result<Option<Self>> {
        let mut magic = [0; 6];
        let read = file.read_at(&mut magic, 0)?;
        Ok(Self::of(&magic[..read]))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Other(name, _) => name,
        }
    }
}

/// The archive itself, or what it unpacks to, in a file without a name.
pub(super) fn plain(file: Arc<File>) -> io::Result<Arc<File>> {
    let Some(compression) = Compression::of_file(&file)? else { return Ok(file) };
    (&*file).seek(SeekFrom::Start(0))?;
    let input = io::BufReader::with_capacity(1 << 20, &*file);
    let mut decoder: Box<dyn Read + '_> = match compression {
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        #[cfg(feature = "zstd")]
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => return Err(unpack_first("zstd", "unzstd")),
        Compression::Other(name, program) => return Err(unpack_first(name, program)),
    };
    let mut unpacked = unnamed_file()?;
    copy(&mut decoder, &mut unpacked, compression)?;
    drop(decoder);
    Ok(Arc::new(unpacked))
}

/// Whether a file is compressed in a way that is known here.
pub(super) fn is_compressed(file: &File) -> io::Result<bool> {
    Ok(Compression::of_file(file)?.is_some())
}

fn unpack_first(name: &str, program: &str) -> io::Error {
    let words = format!("the archive is compressed with {name}; unpack it first ({program})");
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// As [`io::copy`], told apart: what the decoder finds wrong is wrong with the archive, and a disk that is
/// full is not.
fn copy(decoder: &mut dyn Read, to: &mut dyn io::Write, compression: Compression) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The file is local: an error of reading it has a number of the system, and one of the codec has
            // none.
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(error) => {
                let words = format!("the archive's {} is broken: {error}", compression.name());
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
        };
        to.write_all(&buffer[..read]).map_err(|error| in_temporary_folder(&error))?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let plain = plain(Arc::new(file))?;
        let mut found = Vec::new();
        (&*plain).seek(SeekFrom::Start(0)).unwrap();
        (&*plain).read_to_end(&mut found).unwrap();
        Ok(found)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn all_members_of_gzip_are_the_archive_and_what_has_no_compression_is_itself() {
        assert_eq!(unpacked(b"").unwrap(), b"");
        assert_eq!(unpacked(b"plain").unwrap(), b"plain");
        assert_eq!(unpacked(&[gzip(b"one "), gzip(b"two")].concat()).unwrap(), b"one two");
        let broken = unpacked(&gzip(&[b'x'; 5000])[..20]).unwrap_err();
        assert!(broken.to_string().starts_with("the archive's gzip is broken"), "{broken}");
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn all_frames_of_zstd_are_the_archive_and_skippable_ones_may_come_first() {
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(
            unpacked(&[frame(b"one "), skippable.clone(), frame(b"two")].concat()).unwrap(),
            b"one two"
        );
        assert_eq!(unpacked(&[skippable, frame(b"one")].concat()).unwrap(), b"one");
        let broken = unpacked(&frame(&[b'x'; 5000])[..15]).unwrap_err();
        assert!(broken.to_string().starts_with("the archive's zstd is broken"), "{broken}");
    }

    #[test]
    fn what_nobody_here_unpacks_is_named_with_the_program_that_does() {
        for (bytes, program) in [(&[0xfd, b'7', b'z', b'X', b'Z', 0, 0][..], "unxz"), (b"BZh91AY", "bunzip2")]
        {
            let error = unpacked(bytes).unwrap_err();
            assert!(error.to_string().contains(program), "{error}");
        }
    }
}
