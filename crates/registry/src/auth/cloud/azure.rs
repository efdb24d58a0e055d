//! Azure Container Registry by workload identity: the projected token becomes one of Entra ID, and that a
//! refresh token of the registry, which is used as an identity token.

use std::time::Duration;

use serde::Deserialize;

use super::{Asking, form, path_of, variable};
use crate::auth::credential::Credential;
use crate::auth::registry::Registry;
use crate::error::Error;
use crate::http::clients::Clients;
use crate::secret::Secret;

/// What the registry's tokens are for.
const SCOPE: &str = "https://containerregistry.azure.net/.default";
/// A refresh token of a registry is good for three hours; it is not kept for longer than this.
const LONGEST: u64 = 3600;

pub(super) async fn credential(
    clients: &Clients,
    registry: &Registry<'_>,
) -> Result<(Credential, Duration), Error> {
    #[derive(Deserialize)]
    struct Entra {
        access_token: String,
        expires_in: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Exchanged {
        refresh_token: String,
    }
    let asking = Asking { clients, registry: registry.name };
    let needed = |name: &str| {
        variable(name)
            .ok_or_else(|| asking.unusable(format!("Azure: {name} is not set; workload identity needs it")))
    };
    let (client, tenant) = (needed("AZURE_CLIENT_ID")?, needed("AZURE_TENANT_ID")?);
    let file = path_of("AZURE_FEDERATED_TOKEN_FILE").ok_or_else(|| {
        asking.unusable("Azure: AZURE_FEDERATED_TOKEN_FILE is not set; workload identity needs it")
    })?;
    let assertion = asking.token_file(&file)?;
    let authority =
        variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| "https://login.microsoftonline.com/".to_owned());
    let url = asking.url(&format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/')))?;
    let body = form(&[
        ("client_id", &client),
        ("scope", SCOPE),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &assertion),
        ("grant_type", "client_credentials"),
    ]);
    let post = |url: url::Url, body: String| {
        let request =
            clients.http(&url)?.post(url).header("content-type", "application/x-www-form-urlencoded");
        Ok::<_, Error>(request.body(body))
    };
    let Entra { access_token, expires_in } = asking.json(post(url, body)?).await?;
    // The exchange is the registry's own, spoken to as everything else there.
    let scheme = if registry.https { "https" } else { "http" };
    let url = asking.url(&format!("{scheme}://{}/oauth2/exchange", registry.name))?;
    let body = form(&[
        ("grant_type", "access_token"),
        ("service", registry.name),
        ("tenant", &tenant),
        ("access_token", &access_token),
    ]);
    let Exchanged { refresh_token } = asking.json(post(url, body)?).await?;
    let lifetime = Duration::from_secs(expires_in.unwrap_or(LONGEST).clamp(60, LONGEST));
    Ok((Credential::IdentityToken(Secret::new(refresh_token)), lifetime))
}
