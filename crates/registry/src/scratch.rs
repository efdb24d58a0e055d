//! Temporary files and folders, each of which is known until it is gone or has its last name; and folders
//! that were made for an image, until it is published there.
//!
//! Guarantees:
//! - dropping one removes it, as long as the process ends by itself;
//! - a folder where anything is published, or where somebody else writes, stays;
//! - [`discard_all`] removes what is left of them for a process that ends while its threads still work, and
//!   from then on nothing gets its last name: what was not published stays unpublished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile, TempDir};

static KNOWN: Mutex<Known> =
    Mutex::new(Known { paths: BTreeSet::new(), layouts: BTreeMap::new(), closed: false });

struct Known {
    paths: BTreeSet<PathBuf>,
    /// Folders that were made for a layout.
    layouts: BTreeMap<PathBuf, MadeFolder>,
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

/// The folder of a layout while somebody writes to it. One that was made for that goes again unless an image
/// is published in it.
#[derive(Debug)]
pub(crate) struct LayoutFolder {
    root: PathBuf,
    /// Tells others that it is in use; nothing where it cannot be locked.
    _lock: Option<Arc<File>>,
}

#[derive(Debug)]
struct MadeFolder {
    /// The topmost folder that was made.
    top: PathBuf,
    lock: Arc<File>,
}

impl LayoutFolder {
    /// Takes a folder, made with those above where it is not there.
    ///
    /// # Errors
    /// It cannot be made, or the process is about to end.
    pub(crate) fn take(root: &Path) -> io::Result<Self> {
        let mut known = known();
        if known.closed {
            return Err(ended());
        }
        let top = root.ancestors().take_while(|path| is_new(path)).last().map(Path::to_owned);
        fs::create_dir_all(root)?;
        let lock = File::open(root).ok().filter(|folder| folder.try_lock_shared().is_ok()).map(Arc::new);
        if let (Some(top), Some(lock)) = (top, &lock) {
            known.layouts.insert(root.to_owned(), MadeFolder { top, lock: Arc::clone(lock) });
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
    }
}

fn is_new(path: &Path) -> bool {
    !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err()
}

impl Drop for LayoutFolder {
    fn drop(&mut self) {
        let made = known().layouts.remove(&self.root);
        if let Some(made) = made {
            made.discard(&self.root);
        }
    }
}

impl MadeFolder {
    fn discard(&self, root: &Path) {
        // Whoever else writes here holds it too.
        if root.join("index.json").exists() || self.lock.try_lock().is_err() {
            return;
        }
        remove(root);
        // Those above only as long as nobody put anything else there.
        for above in root.ancestors().skip(1).take_while(|above| above.starts_with(&self.top)) {
            if fs::remove_dir(above).is_err() {
                return;
            }
        }
    }
}

/// Removes every temporary file and folder, and lets none be made or get its name any more: the last thing
/// that a process does.
pub fn discard_all() {
    let (paths, layouts) = {
        let mut known = known();
        known.closed = true;
        (std::mem::take(&mut known.paths), std::mem::take(&mut known.layouts))
    };
    for path in paths {
        remove(&path);
    }
    for (root, made) in layouts {
        made.discard(&root);
    }
}

fn remove(path: &Path) {
    // Somebody may still write into a folder while it goes.
    for _ in 0..3 {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if removed.is_ok() || !path.exists() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_made_goes_with_those_above_unless_it_was_used() {
        let ground = tempfile::tempdir().unwrap();
        let root = ground.path().join("a/b");
        let write = |name: &str| fs::write(root.join(name), "x").unwrap();

        drop(LayoutFolder::take(&root).map(|folder| (write("oci-layout"), folder)).unwrap());
        assert!(!ground.path().join("a").exists());

        drop(LayoutFolder::take(&root).map(|folder| (write("index.json"), folder)).unwrap());
        assert!(root.join("index.json").exists());
        fs::remove_file(root.join("index.json")).unwrap();
        drop(LayoutFolder::take(&root).unwrap());
        assert!(root.exists(), "it was there before");

        let other = ground.path().join("c/d");
        let (first, second) = (LayoutFolder::take(&other).unwrap(), LayoutFolder::take(&other).unwrap());
        drop(first);
        assert!(other.exists(), "somebody else writes there");
        drop(second);

        let third = ground.path().join("e/f");
        let folder = LayoutFolder::take(&third).unwrap();
        fs::write(ground.path().join("e/mine"), "x").unwrap();
        drop(folder);
        assert!(!third.exists() && ground.path().join("e/mine").exists());
    }
}
