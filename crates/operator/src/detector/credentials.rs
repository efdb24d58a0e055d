//! The platform's credentials: secrets of type `kubernetes.io/dockerconfigjson` in the operator's own
//! namespace.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use unbloat_registry::Keyring;

/// The key of the document in such a secret.
const KEY: &str = ".dockerconfigjson";

/// The secrets by name. There is no `Debug`: they are secrets.
#[derive(Default)]
pub(super) struct PlatformSecrets {
    secrets: BTreeMap<String, PlatformSecret>,
    /// Counts changes, so that a client is made anew only then.
    version: u64,
}

struct PlatformSecret {
    document: Vec<u8>,
    hosts: BTreeSet<String>,
}

/// What of the document is needed to know whom it is for.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, serde::de::IgnoredAny>,
}

impl PlatformSecrets {
    pub(super) fn put(&mut self, secret: &Secret) {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let Some(document) = secret.data.as_ref().and_then(|data| data.get(KEY)) else { return };
        if self.secrets.get(&name).is_some_and(|known| known.document == document.0) {
            return;
        }
        let hosts = serde_json::from_slice::<Document>(&document.0)
            .map(|document| document.auths.into_keys().map(|key| host(&key).to_owned()).collect())
            .unwrap_or_default();
        self.secrets.insert(name, PlatformSecret { document: document.0.clone(), hosts });
        self.version += 1;
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.secrets.remove(name).is_some() {
            self.version += 1;
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let before = self.secrets.len();
        self.secrets.retain(|name, _| keep(name));
        if self.secrets.len() != before {
            self.version += 1;
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// All of them as one keyring. One that can't be read is left out; its content is not shown.
    pub(super) fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::anonymous();
        for (name, secret) in &self.secrets {
            if keyring.add_docker_config_json(&secret.document).is_err() {
                tracing::warn!(secret = name, "the secret holds no docker configuration and is left out");
            }
        }
        keyring
    }

    /// Names of the secrets that are for a host.
    pub(super) fn names_for(&self, host: &str) -> Vec<String> {
        let of = |secret: &PlatformSecret| secret.hosts.iter().any(|known| known == host);
        self.secrets.iter().filter(|(_, secret)| of(secret)).map(|(name, _)| name.clone()).collect()
    }
}

/// The host of a key in `auths`, which may be a URL and may have a path.
fn host(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    if host == "index.docker.io" { "docker.io" } else { host }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(name: &str, document: &str) -> Secret {
        let mut secret = Secret::default();
        secret.metadata.name = Some(name.to_owned());
        secret.data = Some([(KEY.to_owned(), ByteString(document.as_bytes().to_vec()))].into());
        secret
    }

    #[test]
    fn secrets_are_known_by_the_hosts_that_they_are_for() {
        let mut secrets = PlatformSecrets::default();
        secrets.put(&secret("one", r#"{"auths": {"https://a.example:5000/v2/": {"auth": "dTpw"}}}"#));
        secrets.put(&secret("hub", r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}}}"#));
        secrets.put(&secret("broken", "{"));
        assert_eq!(secrets.names_for("a.example:5000"), ["one"]);
        assert_eq!(secrets.names_for("docker.io"), ["hub"]);
        assert_eq!(secrets.names_for("b.example"), Vec::<String>::new());
        let version = secrets.version();
        secrets.put(&secret("hub", r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}}}"#));
        assert_eq!(secrets.version(), version);
        secrets.remove("one");
        assert_ne!(secrets.version(), version);
        assert!(secrets.names_for("a.example:5000").is_empty());
    }
}
