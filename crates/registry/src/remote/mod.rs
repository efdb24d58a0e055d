//! One repository of a registry (OCI distribution spec 1.1): its manifests, blobs, tags and referrers.
//!
//! What happens here: the requests that read, and the small ones that write. What does not: sending blobs
//! (`upload`).

mod blobs;
mod deletion;
mod fetching;
pub(crate) mod lists;
mod manifests;
pub(crate) mod reading;

use std::sync::Arc;

use reqwest::{Method, Response};
use unbloat_oci::{Reference, Target};
use url::Url;

use crate::auth::token::Scope;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::transport::Transport;
use crate::transport::call::Call;
use crate::transport::host::Host;

pub(crate) use blobs::Presence;

/// A repository, for reading or for writing. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) transport: Arc<Transport>,
    pub(crate) host: Arc<Host>,
    name: Arc<str>,
    /// For what changes something.
    pub(crate) scope: Arc<Scope>,
    /// For what only reads.
    reading: Arc<Scope>,
    /// Where to look before.
    mirrors: Arc<[Self]>,
}

impl Repository {
    /// The repository of a reference, for reading: where `registries.conf` has it, its mirrors first.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where it is blocked.
    pub(crate) fn to_read(transport: &Arc<Transport>, reference: &Reference) -> Result<Self, Error> {
        let by_digest = matches!(reference.target(), Target::Digest(_));
        let mut places = Self::places(transport, reference, by_digest, false)?;
        let last = places.pop();
        let mut repository = last.unwrap_or_else(|| Self::at(transport, reference, false));
        repository.mirrors = places.into();
        Ok(repository)
    }

    /// The repository of a reference, for writing: mirrors are not written to.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where it is blocked.
    pub(crate) fn to_write(transport: &Arc<Transport>, reference: &Reference) -> Result<Self, Error> {
        let mut places = Self::places(transport, reference, true, true)?;
        Ok(places.pop().unwrap_or_else(|| Self::at(transport, reference, true)))
    }

    fn places(
        transport: &Arc<Transport>,
        reference: &Reference,
        by_digest: bool,
        push: bool,
    ) -> Result<Vec<Self>, Error> {
        let (registry, repository) = (reference.registry(), reference.repository());
        let fault = |kind| Error::new(registry, Operation::Opening, reference, kind);
        let places = transport.options().registries.places(registry, repository, by_digest).map_err(fault)?;
        let moved = places.into_iter().map(|place| {
            if place.registry == registry && place.repository == repository {
                return Ok(Self::at(transport, reference, push));
            }
            let name = format!("{}/{}", place.registry, place.repository);
            let moved: Reference = name.parse().map_err(|_| {
                fault(ErrorKind::LocalFile(format!(
                    "registries.conf moves it to {name}, which is no repository"
                )))
            })?;
            Ok(Self::at(transport, &moved, push))
        });
        moved.collect()
    }

    fn at(transport: &Arc<Transport>, reference: &Reference, push: bool) -> Self {
        let host = transport.host(reference.registry(), reference.is_loopback());
        let repository = reference.repository().to_owned();
        Self {
            transport: Arc::clone(transport),
            host,
            name: reference.repository().into(),
            reading: Arc::new(Scope { repository: repository.clone(), push: false, from: None }),
            scope: Arc::new(Scope { repository, push, from: None }),
            mirrors: Arc::default(),
        }
    }

    pub(crate) fn registry(&self) -> &str {
        self.host.name()
    }

    pub(crate) fn repository(&self) -> &str {
        &self.name
    }

    pub(crate) fn same_registry(&self, other: &Self) -> bool {
        self.registry() == other.registry()
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.host.base();
        url.set_path(&format!("/v2/{}/{path}", self.name));
        url
    }

    pub(crate) fn call(&self, method: Method, path: &str, operation: Operation) -> Call<'_> {
        let scope = if matches!(method, Method::GET | Method::HEAD) { &self.reading } else { &self.scope };
        Call::new(method, self.url(path), scope, operation)
    }

    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Response, Error> {
        self.transport.send(&self.host, call).await
    }

    fn fault(
        &self,
        operation: Operation,
        subject: impl std::fmt::Display,
        kind: impl Into<ErrorKind>,
    ) -> Error {
        Error::new(self.registry(), operation, subject, kind)
    }

    fn named(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => format!("{}:{tag}", self.name),
            Target::Digest(digest) => format!("{}@{digest}", self.name),
        }
    }
}
