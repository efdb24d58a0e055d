//! What the server holds: blobs by digest, and for each repository its blobs, manifests and tags.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use unbloat_oci::{Descriptor, Digest, Hasher};

/// Bytes of one read of a file.
pub(crate) const PIECE: usize = 256 << 10;

/// Where blobs are.
#[derive(Clone, Debug, Default)]
pub enum Storage {
    /// In memory.
    #[default]
    Memory,
    /// In files of this folder, which is made when missing.
    Folder(PathBuf),
}

/// A stored blob.
#[derive(Clone, Debug)]
pub(crate) enum Blob {
    Memory { pieces: Vec<Bytes>, size: u64 },
    File { path: PathBuf, size: u64 },
}

impl Blob {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Memory { size, .. } | Self::File { size, .. } => *size,
        }
    }
}

/// A stored manifest.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
    /// What it refers to, and how it is listed there.
    pub(crate) subject: Option<(Digest, Descriptor)>,
}

#[derive(Debug, Default)]
pub(crate) struct Repository {
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) manifests: BTreeMap<Digest, Stored>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

/// Everything but running uploads.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) storage: Storage,
    pub(crate) blobs: HashMap<Digest, Blob>,
    pub(crate) repositories: BTreeMap<String, Repository>,
}

/// Bytes on their way to be a blob.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) repository: String,
    pub(crate) size: u64,
    /// What it says it has; another number only where something is lost on purpose.
    pub(crate) claimed: u64,
    hasher: Hasher,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Memory(Vec<Bytes>),
    File(File, PathBuf),
}

impl Incoming {
    pub(crate) fn new(storage: &Storage, repository: &str, id: &str) -> io::Result<Self> {
        let data = match storage {
            Storage::Memory => Data::Memory(Vec::new()),
            Storage::Folder(folder) => {
                fs::create_dir_all(folder)?;
                let path = folder.join(format!("upload-{id}"));
                Data::File(File::create(&path)?, path)
            }
        };
        Ok(Self { repository: repository.to_owned(), size: 0, claimed: 0, hasher: Hasher::default(), data })
    }

    pub(crate) fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.hasher.update(&bytes);
        self.size += bytes.len() as u64;
        match &mut self.data {
            Data::Memory(pieces) => pieces.push(bytes),
            Data::File(file, _) => file.write_all(&bytes)?,
        }
        Ok(())
    }

    /// The digest of what came so far.
    pub(crate) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    pub(crate) fn discard(self) {
        if let Data::File(_, path) = self.data {
            let _ = fs::remove_file(path);
        }
    }

    fn into_blob(self, storage: &Storage, digest: &Digest) -> io::Result<Blob> {
        let size = self.size;
        match (self.data, storage) {
            (Data::File(_, path), Storage::Folder(folder)) => {
                let target = folder.join(digest.hex());
                fs::rename(path, &target)?;
                Ok(Blob::File { path: target, size })
            }
            (Data::Memory(pieces), _) => Ok(Blob::Memory { pieces, size }),
            (Data::File(_, path), Storage::Memory) => Ok(Blob::File { path, size }),
        }
    }
}

impl Store {
    pub(crate) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// A blob of a repository.
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<&Blob> {
        self.repositories.get(repository).filter(|repository| repository.blobs.contains(digest))?;
        self.blobs.get(digest)
    }

    pub(crate) fn commit(&mut self, incoming: Incoming, digest: &Digest) -> io::Result<()> {
        let repository = incoming.repository.clone();
        if self.blobs.get(digest).is_some_and(|have| have.size() == incoming.size) {
            incoming.discard();
        } else {
            let blob = incoming.into_blob(&self.storage, digest)?;
            self.blobs.insert(digest.clone(), blob);
        }
        self.repository(&repository).blobs.insert(digest.clone());
        Ok(())
    }
}
