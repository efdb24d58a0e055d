//! Where the blobs of a layout or archive are: files of a folder, or ranges of one file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use unbloat_oci::Digest;

use crate::local::compressed::plain;

/// More members than any image's archive has; a scan of a hostile one ends here.
const MAX_MEMBERS: usize = 1_000_000;

/// A range of a file.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Extent {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Up to `length` bytes from `at` on; fewer only at the end of the range or of a truncated file.
    pub(crate) fn read_at(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; length.min(left)];
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], self.offset + at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(buffer.into())
    }

    /// All of it, if it has at most `limit` bytes.
    pub(crate) fn read_all(&self, limit: u64) -> io::Result<Bytes> {
        if self.size > limit {
            return Err(io::Error::other(format!("it has {} bytes; at most {limit} are read", self.size)));
        }
        self.read_at(0, usize::try_from(self.size).unwrap_or(usize::MAX))
    }
}

/// The archive as a file that can be read anywhere. Standard input is kept in a file without a name, once for
/// the process.
fn stored(path: &Path) -> io::Result<Arc<File>> {
    static STANDARD_INPUT: Mutex<Option<Arc<File>>> = Mutex::new(None);
    if path != Path::new("-") {
        return File::open(path).map(Arc::new);
    }
    let mut kept = STANDARD_INPUT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = &*kept {
        return Ok(Arc::clone(file));
    }
    let mut file = unnamed_file()?;
    io::copy(&mut io::stdin().lock(), &mut file).map_err(|error| in_temporary_folder(&error))?;
    Ok(Arc::clone(kept.insert(Arc::new(file))))
}

/// A file without a name for what has to be read anywhere.
pub(super) fn unnamed_file() -> io::Result<File> {
    tempfile::tempfile().map_err(|error| in_temporary_folder(&error))
}

/// Says of an error that it is about the temporary folder, and which that is.
pub(super) fn in_temporary_folder(error: &io::Error) -> io::Error {
    let folder = std::env::temp_dir();
    let words = format!("{error}; it is kept in {} meanwhile, TMPDIR names another folder", folder.display());
    io::Error::new(error.kind(), words)
}

/// The members of a tar, by name, without their content.
#[derive(Debug)]
pub(crate) struct Members {
    file: Arc<File>,
    entries: HashMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Members {
    /// Reads the headers of an archive.
    pub(crate) fn scan(path: &Path) -> io::Result<Self> {
        let file = plain(stored(path)?)?;
        (&*file).seek(SeekFrom::Start(0))?;
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(&*file);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let Ok(name) = std::str::from_utf8(&entry.path_bytes()).map(clean) else { continue };
            let kind = entry.header().entry_type();
            let member = if kind.is_file() {
                Member::File { offset: entry.raw_file_position(), size: entry.size() }
            } else if let (true, Some(target)) =
                (kind.is_symlink() || kind.is_hard_link(), entry.link_name_bytes())
            {
                let Ok(target) = std::str::from_utf8(&target) else { continue };
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let joined = if kind.is_symlink() { format!("{folder}/{target}") } else { target.to_owned() };
                Member::Link(clean(&joined))
            } else {
                continue;
            };
            entries.insert(name, member);
            if entries.len() > MAX_MEMBERS {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the archive has too many members"));
            }
        }
        Ok(Self { file, entries })
    }

    /// A member's content, links followed.
    pub(crate) fn get(&self, name: &str) -> Option<Extent> {
        let mut name = clean(name);
        for _ in 0..8 {
            match self.entries.get(&name)? {
                Member::File { offset, size } => {
                    return Some(Extent { file: Arc::clone(&self.file), offset: *offset, size: *size });
                }
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// A name without `./`, `//` and leading `/`; `..` is resolved inside the archive.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The blobs of a layout.
#[derive(Debug)]
pub(crate) enum Blobs {
    /// `blobs/ALGORITHM/HEX` below a folder.
    Folder(PathBuf),
    /// The same inside a tar.
    Archive(Members),
    /// By digest: what a `docker save` archive holds under other names.
    Listed(HashMap<Digest, Stored>),
}

/// A blob of [`Blobs::Listed`].
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    InFile(Extent),
    InMemory(Bytes),
}

impl Stored {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::InFile(extent) => extent.size(),
            Self::InMemory(bytes) => bytes.len() as u64,
        }
    }

    pub(crate) fn read_at(&self, at: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::InFile(extent) => extent.read_at(at, length),
            Self::InMemory(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..bytes.len().min(start.saturating_add(length))))
            }
        }
    }
}

/// Path of a blob in a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

impl Blobs {
    pub(crate) fn open(&self, digest: &Digest) -> io::Result<Option<Stored>> {
        match self {
            Self::Listed(blobs) => Ok(blobs.get(digest).cloned()),
            Self::Archive(members) => Ok(members.get(&blob_path(digest)).map(Stored::InFile)),
            Self::Folder(root) => match File::open(root.join(blob_path(digest))) {
                Ok(file) => {
                    let metadata = file.metadata()?;
                    if !metadata.is_file() {
                        return Err(io::Error::other("the blob is not a regular file"));
                    }
                    let extent = Extent { file: Arc::new(file), offset: 0, size: metadata.len() };
                    Ok(Some(Stored::InFile(extent)))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }
}
