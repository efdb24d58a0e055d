//! Artifact Registry and Container Registry: an access token as the password of `oauth2accesstoken`.
//!
//! From the metadata server, which on GKE answers for the pod's service account; or, where
//! `GOOGLE_APPLICATION_CREDENTIALS` names a file of workload identity federation, by exchanging the token
//! that it points to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Asking, clock, form, path_of, variable};
use crate::auth::credential::Credential;
use crate::error::{Error, ErrorKind};
use crate::http::clients::Clients;
use crate::secret::Secret;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// What a token is believed to be good for at least.
const SHORTEST: u64 = 60;

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<u64>,
}

/// A file of workload identity federation (`"type": "external_account"`).
#[derive(Deserialize)]
struct Federation {
    r#type: String,
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    service_account_impersonation_url: Option<String>,
    credential_source: Option<Origin>,
}

#[derive(Deserialize)]
struct Origin {
    file: Option<PathBuf>,
}

pub(super) async fn credential(clients: &Clients, registry: &str) -> Result<(Credential, Duration), Error> {
    let asking = Asking { clients, registry };
    let (token, seconds) = match path_of("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(path) => federated(&asking, &path).await?,
        None => metadata(&asking).await?,
    };
    let credential =
        Credential::Basic { username: "oauth2accesstoken".to_owned(), password: Secret::new(token) };
    Ok((credential, Duration::from_secs(seconds.saturating_sub(SHORTEST).max(SHORTEST))))
}

async fn metadata(asking: &Asking<'_>) -> Result<(String, u64), Error> {
    let host = variable("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let url = asking.url(&url)?;
    let request = asking.client(&url)?.get(url).header("metadata-flavor", "Google");
    let Token { access_token, expires_in } = asking.json(request).await?;
    Ok((access_token, expires_in.unwrap_or(SHORTEST)))
}

async fn federated(asking: &Asking<'_>, path: &Path) -> Result<(String, u64), Error> {
    let fault = |reason: &str| asking.fault(ErrorKind::LocalFile(format!("{}: {reason}", path.display())));
    let bytes = std::fs::read(path).map_err(|error| fault(&error.to_string()))?;
    let file: Federation =
        serde_json::from_slice(&bytes).map_err(|_| fault("it is no file of Google credentials"))?;
    let only =
        "only workload identity federation with a token in a file (type external_account) is understood";
    if file.r#type != "external_account" {
        return Err(fault(only));
    }
    let source = file.credential_source.and_then(|origin| origin.file).ok_or_else(|| fault(only))?;
    let audience = file.audience.ok_or_else(|| fault("it has no audience"))?;
    let subject = asking.token_file(&source)?;
    let kind = file.subject_token_type.unwrap_or_else(|| "urn:ietf:params:oauth:token-type:jwt".to_owned());
    let url = asking.url(file.token_url.as_deref().unwrap_or("https://sts.googleapis.com/v1/token"))?;
    let body = form(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", &audience),
        ("scope", SCOPE),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", &subject),
        ("subject_token_type", &kind),
    ]);
    let request =
        asking.clients.http(&url)?.post(url).header("content-type", "application/x-www-form-urlencoded");
    let Token { access_token, expires_in } = asking.json(request.body(body)).await?;
    match file.service_account_impersonation_url {
        None => Ok((access_token, expires_in.unwrap_or(SHORTEST))),
        Some(url) => impersonate(asking, &url, &access_token).await,
    }
}

/// The token of a service account that the federated identity may act as.
async fn impersonate(asking: &Asking<'_>, url: &str, token: &str) -> Result<(String, u64), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        access_token: String,
        expire_time: Option<String>,
    }
    let url = asking.url(url)?;
    let request = asking
        .clients
        .http(&url)?
        .post(url)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(json!({"scope": [SCOPE]}).to_string());
    let Answer { access_token, expire_time } = asking.json(request).await?;
    let until = expire_time.and_then(|text| clock::parse(&text));
    Ok((access_token, until.map_or(SHORTEST, |until| clock::left(until).as_secs())))
}
