//! Writing OCI layouts: a folder, or a folder beside an archive that becomes its content when it is
//! published.
//!
//! Blobs are written under a temporary name and renamed; `index.json` is replaced last, in one rename, under
//! a lock of `oci-layout`. A crash leaves at most files that nothing refers to. Nothing is forced to the disk
//! (`fsync`).

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use unbloat_oci::{Descriptor, Digest, DocumentError, Family, Index, Reference, VerifyError};

use crate::error::{Error, ErrorKind};
use crate::local::archive_target::ArchiveTarget;
use crate::local::contents::{IMAGE_NAME, REF_NAME};
use crate::local::docker_list::manifest_json;
use crate::local::extents::blob_path;
use crate::local::images::LocalImages;
use crate::location::LayoutName;
use crate::operation::Operation;
use crate::scratch::{LayoutFolder, TemporaryFile, TemporaryFolder};

/// What `docker load` reads.
const DOCKER_LIST: &str = "manifest.json";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Bytes that are gathered before a thread writes them.
const GATHER_BYTES: usize = 1 << 20;

/// A layout that is being written.
#[derive(Debug)]
pub(crate) struct LayoutWriter {
    root: PathBuf,
    place: String,
    name: Option<LayoutName>,
    archive: Option<Staged>,
    /// Of a layout that is no archive.
    _folder: Option<LayoutFolder>,
    /// Manifests that were listed beside the image.
    listed: Mutex<HashSet<Digest>>,
}

/// The folder that holds an archive's content until it is published; beside the archive, so that it has its
/// disk.
#[derive(Debug)]
struct Staged {
    folder: TemporaryFolder,
    target: ArchiveTarget,
    kind: ArchiveKind,
}

/// What an archive is beside a layout.
#[derive(Debug)]
enum ArchiveKind {
    Oci,
    /// One that `docker load` takes, and the names that its image gets there.
    Docker(Vec<String>),
}

impl LayoutWriter {
    pub(crate) fn folder(path: &Path, name: Option<LayoutName>) -> Result<Self, Error> {
        let place = format!("oci:{}", path.display());
        let fault = |error: io::Error| Error::new(place.clone(), Operation::Preparing, "", error);
        let folder = Some(LayoutFolder::take(path).map_err(fault)?);
        let root = path.to_owned();
        let writer = Self { root, place, name, archive: None, _folder: folder, listed: Mutex::default() };
        writer.prepare().map_err(|error| writer.fault(Operation::Preparing, "", error))?;
        Ok(writer)
    }

    pub(crate) fn archive(path: &Path, name: Option<LayoutName>) -> Result<Self, Error> {
        Self::staged(path, format!("oci-archive:{}", path.display()), name, ArchiveKind::Oci)
    }

    /// An archive that `docker load` takes as `names`, which have tags.
    pub(crate) fn docker_archive(path: &Path, names: Vec<String>) -> Result<Self, Error> {
        Self::staged(path, format!("docker-archive:{}", path.display()), None, ArchiveKind::Docker(names))
    }

    fn staged(
        path: &Path,
        place: String,
        name: Option<LayoutName>,
        kind: ArchiveKind,
    ) -> Result<Self, Error> {
        let fault = |error: io::Error| Error::new(place.clone(), Operation::Preparing, "", error);
        let target = ArchiveTarget::of(path).map_err(fault)?;
        let folder = TemporaryFolder::new(&target.folder(), ".unbloat-archive-").map_err(fault)?;
        let root = folder.path().to_owned();
        let archive = Some(Staged { folder, target, kind });
        let writer = Self { root, place, name, archive, _folder: None, listed: Mutex::default() };
        writer.prepare().map_err(|error| writer.fault(Operation::Preparing, "", error))?;
        Ok(writer)
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The names that an archive for `docker load` gives its image; `None` for every other place.
    fn docker_names(&self) -> Option<&[String]> {
        match &self.archive.as_ref()?.kind {
            ArchiveKind::Docker(names) => Some(names),
            ArchiveKind::Oci => None,
        }
    }

    /// Whether what is written can be read again: not where it goes through a pipe or to a device.
    pub(crate) fn can_be_read_back(&self) -> bool {
        self.archive.as_ref().is_none_or(|staged| matches!(staged.target, ArchiveTarget::File(_)))
    }

    /// Whether it can hold but one image, and nothing that refers to it.
    pub(crate) fn holds_one_image(&self) -> bool {
        self.docker_names().is_some()
    }

    fn fault(
        &self,
        operation: Operation,
        subject: impl std::fmt::Display,
        kind: impl Into<ErrorKind>,
    ) -> Error {
        Error::new(self.place.clone(), operation, subject, kind)
    }

    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(self.root.join("blobs/sha256"))?;
        let layout = self.root.join("oci-layout");
        if !layout.exists() {
            self.replace("oci-layout", LAYOUT.as_bytes())?;
        }
        Ok(())
    }

    /// Writes a file under a temporary name and renames it.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.temporary()?;
        file.write_all(bytes)?;
        file.persist(&self.root.join(name))
    }

    fn temporary(&self) -> io::Result<TemporaryFile> {
        TemporaryFile::new(&self.root, ".unbloat-")
    }

    pub(crate) fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match fs::metadata(self.root.join(blob_path(digest))) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.fault(Operation::LookingForBlob, digest, error)),
        }
    }

    pub(crate) fn begin(self: Arc<Self>) -> Result<PartialBlob, Error> {
        let file = self.temporary().map_err(|error| self.fault(Operation::WritingBlob, "", error))?;
        Ok(PartialBlob { writer: self, file: Some(file), gathered: Vec::new(), bytes: 0 })
    }

    pub(crate) fn put_manifest(&self, descriptor: &Descriptor, bytes: &Bytes) -> Result<(), Error> {
        let digest = descriptor.digest();
        self.prepare_for(digest)
            .and_then(|()| self.replace(&blob_path(digest), bytes))
            .map_err(|error| self.fault(Operation::WritingManifest, digest, error))
    }

    fn prepare_for(&self, digest: &Digest) -> io::Result<()> {
        fs::create_dir_all(self.root.join("blobs").join(digest.algorithm().name()))
    }

    fn index(&self) -> Result<Index, Error> {
        match fs::read(self.root.join("index.json")) {
            Ok(bytes) => Index::parse(Some(&Family::Oci.index()), &bytes)
                .map_err(|error| self.fault(Operation::ReadingIndex, "", error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::new(Family::Oci, Vec::new())),
            Err(error) => Err(self.fault(Operation::ReadingIndex, "", error)),
        }
    }

    pub(crate) fn current_digest(&self) -> Result<Option<Digest>, Error> {
        if let Some(Staged { target, kind, .. }) = &self.archive {
            let ArchiveTarget::File(path) = target else { return Ok(None) };
            if !path.exists() {
                return Ok(None);
            }
            let path = path.clone();
            let location = match kind {
                ArchiveKind::Oci => crate::Location::OciArchive { path, name: self.name.clone() },
                ArchiveKind::Docker(_) => crate::Location::DockerArchive { path, reference: None },
            };
            let found = LocalImages::open(&location).and_then(|images| images.resolve());
            return Ok(found.ok().map(|fetched| fetched.descriptor.digest().clone()));
        }
        let index = self.index()?;
        let entry = index.manifests().iter().find(|entry| self.replaces(entry));
        Ok(entry.map(|entry| entry.digest().clone()))
    }

    /// Whether publishing takes this entry's place: it has the same tag, or neither has one.
    fn replaces(&self, entry: &Descriptor) -> bool {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.name, entry.annotation(REF_NAME)) {
            (None, None) if listed.contains(entry.digest()) => false,
            (Some(LayoutName::Tag(tag)), Some(name)) => *tag == name,
            (Some(LayoutName::Digest(digest)), None) => entry.digest() == digest,
            (None, None) => true,
            _ => false,
        }
    }

    /// Lists a manifest that refers to an image, beside those that have a name.
    pub(crate) fn list(
        &self,
        descriptor: &Descriptor,
        bytes: &Bytes,
        tag: Option<&str>,
    ) -> Result<(), Error> {
        const OPERATION: Operation = Operation::WritingManifest;
        if self.holds_one_image() {
            let reason = "a docker archive has no place for what refers to an image; write an oci-archive:";
            return Err(self.fault(
                OPERATION,
                descriptor.digest(),
                ErrorKind::Unsupported(reason.to_owned()),
            ));
        }
        self.put_manifest(descriptor, bytes)?;
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(descriptor.digest().clone());
        let io = |error: io::Error| self.fault(OPERATION, descriptor.digest(), error);
        let lock =
            OpenOptions::new().read(true).write(true).open(self.root.join("oci-layout")).map_err(io)?;
        lock.lock().map_err(io)?;
        let mut index = self.index()?;
        let mut entry = descriptor.clone();
        if let Some(tag) = tag {
            entry.set_annotation(REF_NAME, tag).map_err(|error| self.fault(OPERATION, "", error))?;
        }
        let same = |other: &Descriptor| match (tag, other.annotation(REF_NAME)) {
            (Some(tag), Some(name)) => tag == name,
            (None, None) => other.digest() == descriptor.digest(),
            _ => false,
        };
        let mut entries: Vec<Descriptor> =
            index.manifests().iter().filter(|other| !same(other)).cloned().collect();
        entries.push(entry);
        index.set_manifests(entries);
        self.replace("index.json", &index.to_bytes()).map_err(io)
    }

    /// The last step: the manifest's blob, then `index.json`, then (for an archive) the tar. Returns a
    /// location of it.
    pub(crate) fn publish(&self, descriptor: &Descriptor, bytes: &Bytes) -> Result<String, Error> {
        const OPERATION: Operation = Operation::Publishing;
        if let Some(LayoutName::Digest(expected)) = &self.name
            && expected != descriptor.digest()
        {
            let (expected, found) = (expected.clone(), descriptor.digest().clone());
            return Err(self.fault(OPERATION, "", VerifyError::DigestMismatch { expected, found }));
        }
        self.put_manifest(descriptor, bytes)?;
        let io = |error: io::Error| self.fault(OPERATION, descriptor.digest(), error);
        let lock =
            OpenOptions::new().read(true).write(true).open(self.root.join("oci-layout")).map_err(io)?;
        lock.lock().map_err(io)?;
        let mut index = self.index()?;
        let mut entries: Vec<Descriptor> =
            index.manifests().iter().filter(|entry| !self.replaces(entry)).cloned().collect();
        entries.extend(self.named(descriptor).map_err(|error| self.fault(OPERATION, "", error))?);
        index.set_manifests(entries);
        self.replace("index.json", &index.to_bytes()).map_err(io)?;
        drop(lock);
        if let Some(names) = self.docker_names() {
            let list = manifest_json(&self.root, descriptor, bytes, names)
                .map_err(|kind| self.fault(OPERATION, descriptor.digest(), kind))?;
            self.replace(DOCKER_LIST, &list).map_err(io)?;
        }
        if let Some(staged) = &self.archive {
            staged.target.write(|output| pack(staged.folder.path(), output)).map_err(io)?;
        }
        Ok(match self.docker_names() {
            // Such an archive has no further image that a digest could tell from it.
            Some([name, ..]) => format!("{}:{name}", self.place),
            Some([]) => self.place.clone(),
            None => format!("{}@{}", self.place, descriptor.digest()),
        })
    }

    /// The index's entries for the image: one for each of its names.
    fn named(&self, descriptor: &Descriptor) -> Result<Vec<Descriptor>, DocumentError> {
        let entry = |annotations: &[(&str, &str)]| {
            let mut entry = descriptor.clone();
            for (key, value) in annotations {
                entry.set_annotation(key, value)?;
            }
            Ok(entry)
        };
        let docker = |name: &String| {
            let reference = name.parse::<Reference>().ok();
            let tag = reference.as_ref().and_then(Reference::tag).unwrap_or_default();
            // containerd wants it complete, with host and tag.
            let whole = reference.as_ref().map_or_else(|| name.clone(), ToString::to_string);
            entry(&[(IMAGE_NAME, &whole), (REF_NAME, tag)])
        };
        match (self.docker_names(), &self.name) {
            (Some(names), _) if !names.is_empty() => names.iter().map(docker).collect(),
            (_, Some(LayoutName::Tag(tag))) => Ok(vec![entry(&[(REF_NAME, tag)])?]),
            _ => Ok(vec![descriptor.clone()]),
        }
    }
}

/// Writes a folder's layout as a tar: sorted, without times and owners, so that the same image is the same
/// archive. Each blob's file goes away once it is in the tar, so that the disk holds the image once and one
/// blob twice.
fn pack(folder: &Path, output: &mut dyn Write) -> io::Result<()> {
    let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
    names.extend(folder.join(DOCKER_LIST).is_file().then(|| DOCKER_LIST.to_owned()));
    for algorithm in ["sha256", "sha512"] {
        let blobs = folder.join("blobs").join(algorithm);
        let mut found = Vec::new();
        if blobs.is_dir() {
            for entry in fs::read_dir(&blobs)? {
                if let Ok(name) = entry?.file_name().into_string() {
                    found.push(format!("blobs/{algorithm}/{name}"));
                }
            }
        }
        found.sort();
        names.extend(found);
    }
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(GATHER_BYTES, output));
    for name in names {
        let path = folder.join(&name);
        let file = File::open(&path)?;
        let mut header = tar::Header::new_ustar();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, &name, file)?;
        if name.starts_with("blobs/") {
            fs::remove_file(&path)?;
        }
    }
    builder.into_inner()?.flush()
}

/// A blob under its temporary name; dropping it removes it.
#[derive(Debug)]
pub(crate) struct PartialBlob {
    writer: Arc<LayoutWriter>,
    file: Option<TemporaryFile>,
    gathered: Vec<Bytes>,
    bytes: usize,
}

impl PartialBlob {
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.bytes += bytes.len();
        self.gathered.push(bytes);
        if self.bytes >= GATHER_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let fault = |error: io::Error| self.writer.fault(Operation::WritingBlob, "", error);
        let pieces = std::mem::take(&mut self.gathered);
        self.bytes = 0;
        let file = self.file.as_ref().expect("it is there until it is finished");
        let mut file = file.as_file().try_clone().map_err(fault)?;
        match tokio::task::spawn_blocking(move || write_pieces(&mut file, &pieces)).await {
            Ok(outcome) => outcome.map_err(fault),
            Err(panic) => {
                let kind = ErrorKind::Internal(panic.to_string());
                Err(self.writer.fault(Operation::WritingBlob, "", kind))
            }
        }
    }

    pub(crate) async fn finish(&mut self, digest: &Digest) -> Result<(), Error> {
        self.flush().await?;
        let fault = |error: io::Error| self.writer.fault(Operation::WritingBlob, digest, error);
        self.writer.prepare_for(digest).map_err(fault)?;
        if let Some(file) = self.file.take() {
            file.persist(&self.writer.root.join(blob_path(digest))).map_err(fault)?;
        }
        Ok(())
    }
}

fn write_pieces(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let most = rest.len().min(1024);
        let written = file.write_vectored(&rest[..most])?;
        if written == 0 && rest.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
        if written == 0 {
            break;
        }
    }
    Ok(())
}
