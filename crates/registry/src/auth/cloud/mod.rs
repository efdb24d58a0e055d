//! Cloud identity: credentials for a cloud's registries from who the machine, pod or service account is.
//!
//! What happens here: the few requests that each cloud's own tools make, with the variables that they read.
//! What does not: any request unless an identity was asked for or its variables are set. A credential goes to
//! the registries of its cloud and to those that were named for it.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "aws", feature = "gcp"))]
mod clock;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(feature = "aws")]
mod sigv4;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use url::Url;

use crate::auth::credential::Credential;
use crate::auth::registry::Registry;
use crate::error::{Error, ErrorKind, sanitize};
use crate::http::answer::{read_bounded, status_error};
use crate::http::clients::{Clients, is_loopback};
use crate::operation::Operation;

/// Most bytes of an answer or a token file.
const MAX_ANSWER: usize = 1 << 20;

/// A cloud whose registries take the identity of what runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cloud {
    /// Elastic Container Registry, by IRSA, EKS Pod Identity or keys in variables.
    Aws,
    /// Artifact Registry and Container Registry, by the metadata server or workload identity federation.
    Gcp,
    /// Azure Container Registry, by workload identity.
    Azure,
}

impl Cloud {
    /// Every cloud that this build knows.
    pub(crate) const KNOWN: &'static [Self] = &[
        #[cfg(feature = "aws")]
        Self::Aws,
        #[cfg(feature = "gcp")]
        Self::Gcp,
        #[cfg(feature = "azure")]
        Self::Azure,
    ];

    /// Whether a registry is one of this cloud, by its name.
    #[must_use]
    pub(crate) fn has_registry(self, registry: &str) -> bool {
        let host = registry.split(':').next().unwrap_or_default();
        match self {
            Self::Aws => {
                let account = host.split('.').next().unwrap_or_default();
                let kind = host.strip_prefix(account).unwrap_or_default();
                account.len() >= 12
                    && account.bytes().take(12).all(|b| b.is_ascii_digit())
                    && [".dkr.ecr.", ".dkr.ecr-fips.", ".dkr-ecr.", "-fips"]
                        .iter()
                        .any(|start| kind.starts_with(start))
                    && [".amazonaws.com", ".amazonaws.com.cn", ".on.aws", ".on.amazonwebservices.com.cn"]
                        .iter()
                        .any(|end| host.ends_with(end))
            }
            Self::Gcp => host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev"),
            Self::Azure => [".azurecr.io", ".azurecr.cn", ".azurecr.us", ".azurecr.de"]
                .iter()
                .any(|end| host.len() > end.len() && host.ends_with(end)),
        }
    }

    /// Whether the variables of this cloud's identity are set, so that it is there without having been asked
    /// for.
    fn is_in_environment(self) -> bool {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Aws => {
                set("AWS_WEB_IDENTITY_TOKEN_FILE")
                    || set("AWS_CONTAINER_CREDENTIALS_FULL_URI")
                    || set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
                    || set("AWS_ACCESS_KEY_ID")
            }
            Self::Gcp => set("GCE_METADATA_HOST") || set("GOOGLE_APPLICATION_CREDENTIALS"),
            Self::Azure => set("AZURE_FEDERATED_TOKEN_FILE"),
        }
    }

    /// A credential for a registry, and for how long it is good.
    pub(crate) async fn credential(
        self,
        clients: &Clients,
        registry: &Registry<'_>,
    ) -> Result<(Credential, Duration), Error> {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => aws::credential(clients, registry.name).await,
            #[cfg(feature = "gcp")]
            Self::Gcp => gcp::credential(clients, registry.name).await,
            #[cfg(feature = "azure")]
            Self::Azure => azure::credential(clients, registry).await,
            #[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure")))]
            other => {
                let reason = format!("this build does not know the identity of {other:?}");
                Err(Error::new(
                    registry.name,
                    Operation::AskingForIdentity,
                    "",
                    ErrorKind::Unsupported(reason),
                ))
            }
        }
    }
}

/// Which identities are used where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identities {
    /// Asked for, for their own registries.
    asked: BTreeSet<Cloud>,
    /// Asked for, for a registry that was named.
    named: Vec<(String, Cloud)>,
    /// Those whose variables are set are used as well.
    from_environment: bool,
}

impl Identities {
    pub(crate) fn use_environment(&mut self) {
        self.from_environment = true;
    }

    pub(crate) fn ask_for(&mut self, cloud: Cloud, registries: &[&str]) {
        self.asked.insert(cloud);
        self.named.extend(registries.iter().map(|registry| ((*registry).to_owned(), cloud)));
    }

    /// Those for a registry.
    pub(crate) fn of(&self, registry: &str) -> Vec<Cloud> {
        let named = |cloud: Cloud| self.named.iter().any(|(name, of)| name == registry && *of == cloud);
        let own = |cloud: Cloud| {
            cloud.has_registry(registry)
                && (self.asked.contains(&cloud) || (self.from_environment && cloud.is_in_environment()))
        };
        Cloud::KNOWN.iter().copied().filter(|cloud| named(*cloud) || own(*cloud)).collect()
    }
}

/// A variable, if it says something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What one cloud's requests have in common.
pub(super) struct Asking<'a> {
    pub(super) clients: &'a Clients,
    pub(super) registry: &'a str,
}

impl Asking<'_> {
    pub(super) fn fault(&self, kind: impl Into<ErrorKind>) -> Error {
        Error::new(self.registry, Operation::AskingForIdentity, "", kind)
    }

    pub(super) fn unusable(&self, reason: impl Into<String>) -> Error {
        self.fault(ErrorKind::Credentials(reason.into()))
    }

    /// A URL to which a secret may go: encrypted, on this machine, or at the address where a cloud's nodes
    /// answer.
    pub(super) fn url(&self, text: &str) -> Result<Url, Error> {
        let url = Url::parse(text).map_err(|_| self.unusable(format!("{} is no URL", sanitize(text))))?;
        let safe = url.scheme() == "https" || (url.scheme() == "http" && is_on_node(&url));
        if safe { Ok(url) } else { Err(self.unusable("its token server's address is not encrypted")) }
    }

    /// The client for a URL that may be on the node. Who asks for an identity may ask there and nowhere else
    /// that is refused to everybody: these places are named by the platform's variables, never by an image.
    pub(super) fn client(&self, url: &Url) -> Result<reqwest::Client, Error> {
        if is_on_node(url) { self.clients.on_node(url) } else { self.clients.http(url) }
    }

    /// A file with a token, as projected into a pod: read each time, because it is replaced before it
    /// expires.
    pub(super) fn token_file(&self, path: &Path) -> Result<String, Error> {
        let fault =
            |reason: String| self.fault(ErrorKind::LocalFile(format!("{}: {reason}", path.display())));
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(fault("it holds no token".to_owned()));
        }
        Ok(token.to_owned())
    }

    /// The body of a successful answer.
    pub(super) async fn text(&self, request: RequestBuilder) -> Result<Vec<u8>, Error> {
        let fault = |kind: ErrorKind| self.fault(kind);
        let response = self.clients.send_with_retries(request, &fault).await?;
        if !response.status().is_success() {
            return Err(status_error(self.registry, Operation::AskingForIdentity, "", response).await);
        }
        let stall = self.clients.options().timeouts.stall;
        read_bounded(response, MAX_ANSWER, stall).await.map_err(fault)
    }

    /// The JSON of a successful answer. It holds secrets: nothing of it is quoted.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let body = self.text(request).await?;
        serde_json::from_slice(&body)
            .map_err(|_| self.unusable("its token server's answer is not what it should be"))
    }
}

/// Whether a URL is on this machine or at an address where a cloud's nodes answer.
fn is_on_node(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) if address.is_link_local() => true,
        Some(url::Host::Ipv6(address)) if address.segments()[0] == 0xfd00 => true,
        Some(url::Host::Domain("metadata.google.internal")) => true,
        _ => is_loopback(url),
    }
}

/// The body of a form.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(super) fn path_of(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_known_by_its_name() {
        for (registry, cloud) in [
            ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", Cloud::Aws),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Cloud::Aws),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Cloud::Aws),
            ("123456789012.dkr-ecr.eu-central-1.on.aws", Cloud::Aws),
            ("europe-docker.pkg.dev", Cloud::Gcp),
            ("eu.gcr.io", Cloud::Gcp),
            ("team.azurecr.io", Cloud::Azure),
        ] {
            let of: Vec<&Cloud> = Cloud::KNOWN.iter().filter(|cloud| cloud.has_registry(registry)).collect();
            assert_eq!(of, [&cloud], "{registry}");
        }
        for registry in [
            "azurecr.io",
            "docker.io",
            "evilpkg.dev",
            "gcr.io.evil.example",
            "1.dkr.ecr.x.amazonaws.com",
            "x.azurecr.io.evil.example",
        ] {
            assert!(!Cloud::KNOWN.iter().any(|cloud| cloud.has_registry(registry)), "{registry}");
        }
    }
}
