//! Deleting a manifest (distribution spec, content management).

use reqwest::{Method, StatusCode};
use unbloat_oci::{Digest, Target};

use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::remote::Repository;

/// What registries say of a manifest that is deleted: 202 by the specification.
const DELETED: &[StatusCode] = &[StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];

impl Repository {
    /// Deletes a manifest or index by its digest, and with it every tag that points at it. Tells whether it
    /// was there.
    ///
    /// Its blobs stay until the registry collects what nothing refers to.
    pub(crate) async fn delete_manifest(&self, digest: &Digest) -> Result<bool, Error> {
        let target = Target::Digest(digest.clone());
        let call = self
            .call(Method::DELETE, &format!("manifests/{target}"), Operation::DeletingManifest)
            .accept(DELETED)
            .subject(self.named(&target));
        match self.send(call).await {
            Ok(_) => Ok(true),
            // Some know no such request and say the same of it: what is there decides.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => {
                match self.current(&target, Some(digest)).await? {
                    None => Ok(false),
                    Some(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}
