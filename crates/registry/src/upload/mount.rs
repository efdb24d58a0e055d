//! Taking a blob from another repository of the same registry, without moving bytes.

use reqwest::{Method, StatusCode};
use unbloat_oci::Digest;

use crate::auth::token::Scope;
use crate::http::redirect::location;
use crate::operation::Operation;
use crate::remote::Repository;
use crate::transport::call::Call;
use crate::upload::session::close;

/// Whether the registry took the blob from another repository. It is an optimisation: any answer but 201
/// means that the blob is uploaded, and no failure here is one of the push. A session that the registry
/// opened instead is closed.
pub(crate) async fn mount(repository: &Repository, from: &str, digest: &Digest) -> bool {
    let scope = Scope { from: Some(from.to_owned()), ..(*repository.scope).clone() };
    let mut url = repository.url("blobs/uploads/");
    url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
    let call = Call::new(Method::POST, url, &scope, Operation::MountingBlob)
        .subject(digest)
        .accept(&[StatusCode::CREATED, StatusCode::ACCEPTED])
        .once();
    let response = match repository.send(call).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%error, "not mounted: the blob is copied");
            return false;
        }
    };
    if response.status() == StatusCode::CREATED {
        return true;
    }
    if let Ok(Some(session)) = location(response.url(), &response) {
        close(repository, session).await;
    }
    false
}
