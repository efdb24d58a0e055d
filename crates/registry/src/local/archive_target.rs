//! Where an archive is written to. A file is replaced as a whole, by a rename; anything else (a device, a
//! fifo, standard output) is written into, and never replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::scratch::TemporaryFile;

/// The target of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveTarget {
    /// A file that is there, or a name that nothing has. Links are followed: they stay, and what they lead to
    /// is replaced.
    File(PathBuf),
    /// Something that takes bytes and is no file.
    Stream(PathBuf),
    /// `-`
    StandardOutput,
}

impl ArchiveTarget {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::StandardOutput);
        }
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::File(
                    fs::read_link(path).map_or_else(|_| path.to_owned(), |to| beside(path, &to)),
                ));
            }
            metadata => metadata?,
        };
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Descriptors of a process are links to whatever it has open, which stays open whatever its name is.
        let is_descriptor = path.starts_with("/dev") || path.starts_with("/proc");
        if !metadata.is_file() || is_descriptor {
            return Ok(Self::Stream(path.to_owned()));
        }
        Ok(Self::File(match fs::symlink_metadata(path)?.is_symlink() {
            true => fs::canonicalize(path)?,
            false => path.to_owned(),
        }))
    }

    /// A folder for what becomes the archive: the file's own disk.
    pub(crate) fn folder(&self) -> PathBuf {
        match self {
            Self::File(path) => folder_of(path).to_owned(),
            Self::Stream(_) | Self::StandardOutput => std::env::temp_dir(),
        }
    }

    /// Writes the archive.
    pub(crate) fn write(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::File(path) => {
                let mut output = TemporaryFile::new(folder_of(path), ".unbloat-")?;
                fill(output.as_file_mut())?;
                output.persist(path)
            }
            Self::Stream(path) => {
                let mut output: File = OpenOptions::new().write(true).open(path)?;
                fill(&mut output)
            }
            Self::StandardOutput => fill(&mut io::stdout().lock()),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(link: &Path, to: &Path) -> PathBuf {
    folder_of(link).join(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_replaced_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "old").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::os::unix::fs::symlink("new", path("dangling")).unwrap();
        for name in ["file", "link", "dangling"] {
            let target = ArchiveTarget::of(&path(name)).unwrap();
            target.write(|output| output.write_all(name.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(path(name)).unwrap(), name);
        }
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        assert!(fs::symlink_metadata(path("dangling")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(path("new")).unwrap(), "dangling");
        assert!(ArchiveTarget::of(folder.path()).is_err(), "a folder");
    }

    #[test]
    fn what_is_no_file_is_written_into() {
        for device in ["/dev/null", "/dev/stdout"] {
            let target = ArchiveTarget::of(Path::new(device)).unwrap();
            assert_eq!(target, ArchiveTarget::Stream(device.into()), "{device}");
        }
        ArchiveTarget::of(Path::new("/dev/null")).unwrap().write(|output| output.write_all(b"x")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert_eq!(ArchiveTarget::of(Path::new("-")).unwrap(), ArchiveTarget::StandardOutput);
    }
}
