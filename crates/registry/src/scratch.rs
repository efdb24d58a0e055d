//! Temporary files and folders, each of which is known until it is gone or has its last name.
//!
//! Guarantees:
//! - dropping one removes it, as long as the process ends by itself;
//! - [`discard_all`] removes what is left of them for a process that ends while its threads still work, and
//!   from then on nothing gets its last name: what was not published stays unpublished.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile, TempDir};

static KNOWN: Mutex<Known> = Mutex::new(Known { paths: BTreeSet::new(), closed: false });

struct Known {
    paths: BTreeSet<PathBuf>,
    closed: bool,
}

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "the process was told to end")
}

/// A path that is forgotten when this is dropped.
#[derive(Debug)]
struct Entry(PathBuf);

impl Entry {
    fn new(known: &mut Known, path: &Path) -> Self {
        known.paths.insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        known().paths.remove(&self.0);
    }
}

/// A temporary file.
#[derive(Debug)]
pub struct TemporaryFile {
    // In this order: the file goes before it is forgotten.
    file: NamedTempFile,
    _entry: Entry,
}

impl TemporaryFile {
    /// Makes one in a folder.
    ///
    /// # Errors
    /// It cannot be made, or the process is about to end.
    pub fn new(folder: &Path, prefix: &str) -> io::Result<Self> {
        let mut known = known();
        if known.closed {
            return Err(ended());
        }
        let file = Builder::new().prefix(prefix).tempfile_in(folder)?;
        let entry = Entry::new(&mut known, file.path());
        Ok(Self { file, _entry: entry })
    }

    /// The file.
    #[must_use]
    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// The file, to be written to.
    pub(crate) fn as_file_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Gives it its last name, with the mode of any new file.
    ///
    /// # Errors
    /// It cannot be renamed, or the process is about to end.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let Self { file, _entry } = self;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        let known = known();
        let persisted =
            if known.closed { Err(ended()) } else { file.persist(path).map_err(|error| error.error) };
        drop(known);
        persisted.map(drop)
    }
}

impl io::Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl io::Seek for TemporaryFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A temporary folder with what is in it.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    _entry: Entry,
}

impl TemporaryFolder {
    /// Makes one in a folder.
    ///
    /// # Errors
    /// It cannot be made, or the process is about to end.
    pub fn new(parent: &Path, prefix: &str) -> io::Result<Self> {
        let mut known = known();
        if known.closed {
            return Err(ended());
        }
        let folder = Builder::new().prefix(prefix).tempdir_in(parent)?;
        let entry = Entry::new(&mut known, folder.path());
        Ok(Self { folder, _entry: entry })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes every temporary file and folder, and lets none be made or get its name any more: the last thing
/// that a process does.
pub fn discard_all() {
    let paths = {
        let mut known = known();
        known.closed = true;
        std::mem::take(&mut known.paths)
    };
    for path in paths {
        // Somebody may still write into a folder while it goes.
        for _ in 0..3 {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if removed.is_ok() || !path.exists() {
                break;
            }
        }
    }
}
