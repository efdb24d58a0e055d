//! The way in: options and locations become sources and destinations.

use std::sync::Arc;

use unbloat_oci::{Reference, Target};

use crate::auth::Credential;
use crate::destination::{self, Destination};
use crate::error::{Error, ErrorKind};
use crate::local::images::LocalImages;
use crate::local::layout::LayoutWriter;
use crate::location::Location;
use crate::login;
use crate::operation::Operation;
use crate::options::ClientOptions;
use crate::remote::Repository;
use crate::source::{self, Source};
use crate::transport::Transport;

/// Connections, tokens and credentials, shared by everything that is opened with it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// A client with these options. Nothing is connected yet.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        Self { transport: Arc::new(Transport::new(options)) }
    }

    /// As [`Client::new`], once the files that the options name were read.
    ///
    /// # Errors
    /// [`ErrorKind::LocalFile`] for certificates that are missing or malformed.
    pub fn checked(options: ClientOptions) -> Result<Self, Error> {
        let client = Self::new(options);
        client.transport.clients().check_files()?;
        Ok(client)
    }

    /// Asks a registry whether it accepts a credential.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`] if it does not, network failures.
    pub async fn verify_login(&self, registry: &str, credential: &Credential) -> Result<(), Error> {
        let reference = format!("{registry}/x").parse::<Reference>();
        let loopback = reference.is_ok_and(|reference| reference.is_loopback());
        login::verify(&self.transport, &self.transport.host(registry, loopback), credential).await
    }

    /// Opens a location for reading. For folders and archives, their list of contents is read now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Invalid`] or [`ErrorKind::Io`] for local places. Registries are
    /// not asked yet.
    pub async fn source(&self, location: &Location) -> Result<Source, Error> {
        let backend = match location {
            Location::Registry(reference) => {
                let repository = Repository::to_read(&self.transport, reference)?;
                source::Backend::Remote(repository, reference.target())
            }
            local => {
                let local = local.clone();
                let place = local.to_string();
                let images = tokio::task::spawn_blocking(move || LocalImages::open(&local)).await.map_err(
                    |panic| Error::new(place, Operation::Opening, "", ErrorKind::Internal(panic.to_string())),
                )??;
                source::Backend::Local(Arc::new(images))
            }
        };
        Ok(Source::new(location.clone(), backend))
    }

    /// Opens a location for writing. Folders are made when missing.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for the digest of an image in a `docker-archive:`, [`ErrorKind::Io`] for
    /// local places.
    pub async fn destination(&self, location: &Location) -> Result<Destination, Error> {
        let backend = match location {
            Location::Registry(reference) => {
                let repository = Repository::to_write(&self.transport, reference)?;
                destination::Backend::Remote(repository, reference.clone())
            }
            Location::OciDir { path, name } => {
                destination::Backend::Layout(Arc::new(LayoutWriter::folder(path, name.clone())?))
            }
            Location::OciArchive { path, name } => {
                destination::Backend::Layout(Arc::new(LayoutWriter::archive(path, name.clone())?))
            }
            Location::DockerArchive { path, reference } => {
                let names = match reference {
                    None => Vec::new(),
                    Some(reference) => vec![docker_name(location, reference)?],
                };
                destination::Backend::Layout(Arc::new(LayoutWriter::docker_archive(path, names)?))
            }
        };
        Ok(Destination::new(location.clone(), backend))
    }

    /// Deletes the manifest or index of a reference that has a digest, and with it every tag that points at
    /// it. Tells whether it was there.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`], and [`ErrorKind::Status`] with 400, 405 or 501 where the registry deletes
    /// nothing; [`ErrorKind::Unsupported`] for a reference without a digest; network failures.
    pub async fn delete(&self, reference: &Reference) -> Result<bool, Error> {
        let Some(digest) = reference.digest() else {
            let kind = ErrorKind::Unsupported("what is deleted is named by its digest".to_owned());
            return Err(Error::new(reference.registry(), Operation::DeletingManifest, reference, kind));
        };
        Repository::to_write(&self.transport, reference)?.delete_manifest(digest).await
    }

    /// As [`Client::destination`], for what becomes of `source`: a docker archive whose image is given no
    /// name has those that the image has in another one.
    ///
    /// # Errors
    /// As [`Client::destination`].
    pub async fn destination_for(&self, location: &Location, source: &Source) -> Result<Destination, Error> {
        match location {
            Location::DockerArchive { path, reference: None } => {
                let writer = LayoutWriter::docker_archive(path, source.docker_names().to_vec())?;
                Ok(Destination::new(location.clone(), destination::Backend::Layout(Arc::new(writer))))
            }
            _ => self.destination(location).await,
        }
    }
}

/// The name of an image in a docker archive, which has a tag.
fn docker_name(location: &Location, reference: &Reference) -> Result<String, Error> {
    match reference.target() {
        Target::Tag(tag) => Ok(format!("{}:{tag}", reference.name())),
        Target::Digest(_) => {
            let reason = "an image in a docker archive is named by a tag, not by a digest".to_owned();
            let kind = ErrorKind::Unsupported(reason);
            Err(Error::new(location.to_string(), Operation::Preparing, "", kind))
        }
    }
}
