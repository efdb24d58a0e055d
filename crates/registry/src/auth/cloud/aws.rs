//! ECR: keys of an identity, and with them a password for the registry.
//!
//! Keys come, in the order of AWS's own tools, from variables, from a web identity token (IRSA), or from the
//! container's endpoint (EKS Pod Identity, ECS). The password is good for 12 hours.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::sigv4::{Keys, Post, sign};
use super::{Asking, clock, form, path_of, variable};
use crate::auth::credential::{Credential, basic};
use crate::error::Error;
use crate::http::clients::{Clients, authority};
use crate::secret::Secret;

/// Where ECS answers `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
const ECS: &str = "http://169.254.170.2";

pub(super) async fn credential(clients: &Clients, registry: &str) -> Result<(Credential, Duration), Error> {
    let asking = Asking { clients, registry };
    let region = region(registry)
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .ok_or_else(|| asking.unusable("AWS: no region is known; set AWS_REGION"))?;
    let keys = keys(&asking, &region).await?;
    password(&asking, &region, &keys).await
}

/// `ACCOUNT.dkr.ecr.REGION.…`
fn region(registry: &str) -> Option<String> {
    let host = registry.split(':').next()?;
    let mut labels = host.split('.').skip_while(|label| !label.starts_with("ecr") && *label != "dkr-ecr");
    labels.next()?;
    labels.next().map(str::to_owned)
}

/// The domain of a region's services.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

async fn keys(asking: &Asking<'_>, region: &str) -> Result<Keys, Error> {
    if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        let session = variable("AWS_SESSION_TOKEN").map(Secret::new);
        return Ok(Keys { id, secret: Secret::new(secret), session });
    }
    if let (Some(file), Some(role)) = (path_of("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
        let token = asking.token_file(&file)?;
        return web_identity(asking, region, &role, &token).await;
    }
    let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{ECS}{path}"));
    match full.or(relative) {
        Some(uri) => container(asking, &uri).await,
        None => Err(asking.unusable(
            "AWS: there is no identity: neither AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, nor \
             AWS_CONTAINER_CREDENTIALS_FULL_URI, nor AWS_ACCESS_KEY_ID is set",
        )),
    }
}

/// IRSA: the projected token of the service account is exchanged for keys of a role.
async fn web_identity(asking: &Asking<'_>, region: &str, role: &str, token: &str) -> Result<Keys, Error> {
    let endpoint = variable("AWS_ENDPOINT_URL_STS")
        .or_else(|| variable("AWS_ENDPOINT_URL"))
        .unwrap_or_else(|| format!("https://sts.{region}.{}", domain(region)));
    let url = asking.url(&endpoint)?;
    let session = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "unbloat".to_owned());
    let body = form(&[
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", &session),
        ("WebIdentityToken", token),
    ]);
    let request =
        asking.clients.http(&url)?.post(url).header("content-type", "application/x-www-form-urlencoded");
    let answer = asking.text(request.body(body)).await?;
    let answer = String::from_utf8_lossy(&answer);
    let take = |name: &str| {
        element(&answer, name).ok_or_else(|| asking.unusable("AWS: the token service's answer has no keys"))
    };
    Ok(Keys {
        id: take("AccessKeyId")?,
        secret: Secret::new(take("SecretAccessKey")?),
        session: Some(Secret::new(take("SessionToken")?)),
    })
}

/// The text of the first element of this name. The answers of the token service have no attributes and no
/// nesting of one name.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text =
        text.trim().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    Some(text).filter(|text| !text.is_empty())
}

/// EKS Pod Identity and ECS: an endpoint on the node gives keys.
async fn container(asking: &Asking<'_>, uri: &str) -> Result<Keys, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
    }
    let url = asking.url(uri)?;
    let token = match path_of("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(asking.token_file(&file)?),
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    let mut request = asking.client(&url)?.get(url);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let Answer { access_key_id: id, secret_access_key, token } = asking.json(request).await?;
    Ok(Keys { id, secret: Secret::new(secret_access_key), session: token.map(Secret::new) })
}

/// `GetAuthorizationToken`: a user and password for the account's registry.
async fn password(asking: &Asking<'_>, region: &str, keys: &Keys) -> Result<(Credential, Duration), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        authorization_data: Vec<Data>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        authorization_token: String,
        expires_at: Option<f64>,
    }
    const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
    let endpoint = variable("AWS_ENDPOINT_URL_ECR")
        .or_else(|| variable("AWS_ENDPOINT_URL"))
        .unwrap_or_else(|| format!("https://api.ecr.{region}.{}", domain(region)));
    let url = asking.url(&endpoint)?;
    let host = authority(&url);
    let post = Post {
        host: &host,
        path: url.path(),
        region,
        service: "ecr",
        headers: &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", TARGET)],
        body: b"{}",
    };
    let mut request = asking.clients.http(&url)?.post(url.clone());
    for (name, value) in sign(&post, keys, clock::now()) {
        request = request.header(name, value);
    }
    let Answer { authorization_data } = asking.json(request.body("{}")).await?;
    let wrong = || asking.unusable("AWS: the registry's answer has no password");
    let Data { authorization_token, expires_at } = authorization_data.into_iter().next().ok_or_else(wrong)?;
    let raw = STANDARD.decode(authorization_token.trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(raw).map_err(|_| wrong())?;
    let (username, password) = text.split_once(':').ok_or_else(wrong)?;
    let lifetime = expires_at.map_or(Duration::from_secs(3600), |until| clock::left(until.max(0.0) as u64));
    Ok((basic(username, password), lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_in_the_registrys_name() {
        assert_eq!(
            region("123456789012.dkr.ecr.eu-central-1.amazonaws.com").as_deref(),
            Some("eu-central-1")
        );
        assert_eq!(
            region("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com").as_deref(),
            Some("us-gov-west-1")
        );
        assert_eq!(region("123456789012.dkr-ecr.eu-central-1.on.aws").as_deref(), Some("eu-central-1"));
        assert_eq!(region("127.0.0.1:5000"), None);
    }

    #[test]
    fn elements_are_found_and_their_text_is_plain() {
        let xml = "<A><AccessKeyId>ASIA&amp;X</AccessKeyId><SessionToken>\n t \n</SessionToken></A>";
        assert_eq!(element(xml, "AccessKeyId").as_deref(), Some("ASIA&X"));
        assert_eq!(element(xml, "SessionToken").as_deref(), Some("t"));
        assert_eq!(element(xml, "SecretAccessKey"), None);
    }
}
