//! The page as a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use unbloat_analysis::Analysis;

use crate::page::page;

/// The page cannot be written. Trying again helps once the folder or the disk is mended.
#[derive(Debug, thiserror::Error)]
#[error("the page {path} cannot be written")]
pub struct PageError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// A file for a page, opened before the analysis begins: a locked folder is found at once, not after minutes.
///
/// # Guarantees
/// A file that was there keeps its content until the page is written; one that was not is taken away again if
/// no page is.
#[derive(Debug)]
pub struct PageFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl PageFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn open(path: &Path) -> Result<Self, PageError> {
        let failed = |source| PageError { path: path.to_owned(), source };
        let is_new = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, is_new })
    }

    /// Writes the page.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn write(mut self, analysis: &Analysis) -> Result<(), PageError> {
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all(page(analysis).as_bytes()))
            .and_then(|()| self.file.sync_all());
        self.is_new &= written.is_err();
        written.map_err(|source| PageError { path: self.path.clone(), source })
    }
}

impl Drop for PageFile {
    fn drop(&mut self) {
        if self.is_new {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = PageFile::open(Path::new("/nowhere/page.html")).unwrap_err();
        assert_eq!(error.to_string(), "the page /nowhere/page.html cannot be written");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("No such file"), "{cause}");
    }

    #[test]
    fn a_page_that_was_not_made_leaves_no_file_and_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        drop(PageFile::open(&path).unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "an older page that is longer than nothing").unwrap();
        drop(PageFile::open(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "an older page that is longer than nothing");
        PageFile::open(&path).unwrap().write(&Analysis::default()).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("</html>\n"));
    }
}
