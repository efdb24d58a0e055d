//! Scratch space for a blob that has to go in one piece before its digest is known. Never more than the blob
//! is on disk.

use std::io::Write;

use bytes::Bytes;

use crate::error::{Error, ErrorKind};
use crate::http::body::Body;
use crate::operation::Operation;
use crate::remote::Repository;
use crate::scratch::TemporaryFile;
use crate::upload::session::length;

/// The scratch file of one upload.
#[derive(Debug)]
pub(crate) struct Spool {
    repository: Repository,
    file: TemporaryFile,
    size: u64,
}

impl Spool {
    pub(crate) fn new(repository: Repository) -> Result<Self, Error> {
        let folder = repository.transport.options().scratch.clone().unwrap_or_else(std::env::temp_dir);
        let file = TemporaryFile::new(&folder, "unbloat-upload-").map_err(|error| {
            Error::new(folder.display().to_string(), Operation::MakingScratchFile, "", error)
        })?;
        Ok(Self { repository, file, size: 0 })
    }

    pub(crate) async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        let length = length(&pieces);
        let place = self.file.path().display().to_string();
        let fault = |kind: ErrorKind| Error::new(place.clone(), Operation::WritingScratchFile, "", kind);
        if !self.repository.transport.take_scratch(length) {
            let limit = self.repository.transport.options().scratch_limit;
            return Err(fault(ErrorKind::LimitExceeded { what: "the upload's scratch space", limit }));
        }
        self.size += length;
        let mut file = self.file.as_file().try_clone().map_err(|error| fault(error.into()))?;
        let writing =
            tokio::task::spawn_blocking(move || pieces.iter().try_for_each(|piece| file.write_all(piece)));
        match writing.await {
            Ok(outcome) => outcome.map_err(|error| fault(error.into())),
            Err(panic) => Err(fault(ErrorKind::Internal(panic.to_string()))),
        }
    }

    /// What was written, as often as it is needed while this is here.
    pub(crate) fn body(&self) -> Body {
        Body::File(self.file.path().to_owned(), self.size)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.repository.transport.give_scratch(self.size);
    }
}
