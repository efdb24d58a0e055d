//! One repository of a registry (OCI distribution spec 1.1): its manifests, blobs, tags and referrers.
//!
//! What happens here: the requests that read, and the small ones that write. What does not: sending blobs (`upload`).

mod blobs;
mod lists;
mod manifests;
mod reading;

use std::sync::Arc;

use reqwest::{Method, Response};
use unbloat_oci::{Reference, Target};
use url::Url;

use crate::auth::token::Scope;
use crate::error::{Error, ErrorKind};
use crate::http::call::Call;
use crate::http::host::Host;
use crate::http::transport::Transport;
use crate::operation::Operation;

pub(crate) use blobs::Presence;

/// A repository, for reading or for writing. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) transport: Arc<Transport>,
    pub(crate) host: Arc<Host>,
    name: Arc<str>,
    pub(crate) scope: Arc<Scope>,
}

impl Repository {
    pub(crate) fn new(transport: Arc<Transport>, reference: &Reference, push: bool) -> Self {
        let host = transport.host(reference);
        let scope = Scope { repository: reference.repository().to_owned(), push, from: None };
        Self { transport, host, name: reference.repository().into(), scope: Arc::new(scope) }
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
        Call::new(method, self.url(path), &self.scope, operation)
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
