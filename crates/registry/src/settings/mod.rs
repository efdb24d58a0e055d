//! How each registry is reached: what was said by hand, and the files that users have.
//!
//! What happens here: plain HTTP or TLS, whose certificates are trusted, who the client is, mirrors and other
//! places, from options, containers' `registries.conf` and the `certs.d` of Docker and containers. What does
//! not: credentials (`auth`), and making connections (`http`). Everything is for one host by its name: what
//! is said of one changes nothing for another.

pub(crate) mod certs_dir;
pub(crate) mod registries_conf;
pub(crate) mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use registries_conf::{Place, RegistriesConf};
use trust::Trust;

/// Settings of registries by host.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    by_hand: BTreeMap<String, HostSettings>,
    conf: Arc<RegistriesConf>,
    certificates: Arc<[PathBuf]>,
}

/// What was said by hand of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// It speaks plain HTTP.
    pub plain_http: bool,
    /// Any certificate will do.
    pub insecure_skip_tls_verify: bool,
    /// Further certificate authorities, PEM files.
    pub ca_files: Vec<PathBuf>,
    /// Folders with `*.crt`, `*.cert` and `*.key` as in `certs.d/HOST`.
    pub cert_dirs: Vec<PathBuf>,
}

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// TLS, and nothing else.
    Tls,
    /// Plain HTTP, and nothing else.
    Plain,
    /// Plain HTTP; TLS where that is what answers. On loopback.
    PlainElseTls,
    /// TLS; plain HTTP where that is what answers. Where `registries.conf` says `insecure`.
    TlsElsePlain,
}

impl Registries {
    /// What this user's and this machine's files say.
    ///
    /// # Errors
    /// [`ErrorKind::LocalFile`] for a `registries.conf` that is none.
    pub fn from_environment() -> Result<Self, Error> {
        Ok(Self {
            by_hand: BTreeMap::new(),
            conf: Arc::new(RegistriesConf::from_environment()?),
            certificates: certs_dir::roots().into(),
        })
    }

    /// Settings of a host (`HOST[:PORT]`), to be changed.
    pub fn host(&mut self, host: &str) -> &mut HostSettings {
        self.by_hand.entry(name(host)).or_default()
    }

    /// The same settings, with plain HTTP for these hosts.
    #[must_use]
    pub fn with_plain_http<'a>(mut self, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        for host in hosts {
            self.host(host).plain_http = true;
        }
        self
    }

    /// Names of credential helpers for every registry.
    #[must_use]
    pub fn credential_helpers(&self) -> &[String] {
        &self.conf.helpers
    }

    /// The hosts of which something was said by hand.
    pub(crate) fn named_hosts(&self) -> impl Iterator<Item = &str> {
        self.by_hand.keys().map(String::as_str)
    }

    pub(crate) fn speech(&self, registry: &str, is_loopback: bool) -> Speech {
        let by_hand = self.by_hand.get(&name(registry));
        if by_hand.is_some_and(|settings| settings.plain_http) {
            Speech::Plain
        } else if is_loopback {
            Speech::PlainElseTls
        } else if self.conf.is_insecure(registry) {
            Speech::TlsElsePlain
        } else {
            Speech::Tls
        }
    }

    /// Whom a connection to a host trusts.
    ///
    /// # Errors
    /// [`ErrorKind::LocalFile`] for a folder of certificates that cannot be used.
    pub(crate) fn trust(&self, host: &str, all: &[PathBuf], anyone: bool) -> Result<Trust, Error> {
        let registry = name(host);
        let found = certs_dir::find(&self.certificates, &registry)?;
        let mut trust = Trust {
            anyone: anyone || self.conf.is_insecure(&registry),
            authorities: all.to_vec(),
            client: found.client,
        };
        trust.authorities.extend(found.authorities);
        if let Some(settings) = self.by_hand.get(&registry) {
            trust.anyone |= settings.insecure_skip_tls_verify;
            trust.authorities.extend(settings.ca_files.iter().cloned());
            for folder in &settings.cert_dirs {
                let named = certs_dir::read(folder)?;
                trust.authorities.extend(named.authorities);
                trust.client = named.client.or(trust.client);
            }
        }
        Ok(trust)
    }

    /// Where to read a repository, in order; the last is the registry itself.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where `registries.conf` blocks it.
    pub(crate) fn places(
        &self,
        registry: &str,
        repository: &str,
        by_digest: bool,
    ) -> Result<Vec<Place>, ErrorKind> {
        self.conf.places(registry, repository, by_digest)
    }
}

/// One spelling for each host.
fn name(host: &str) -> String {
    let host = host.trim().trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_one_host_is_not_said_of_another() {
        let registries = Registries::default().with_plain_http(["Reg.example:5000"]);
        assert_eq!(registries.speech("reg.example:5000", false), Speech::Plain);
        assert_eq!(registries.speech("reg.example", false), Speech::Tls);
        assert_eq!(registries.speech("127.0.0.1:5000", true), Speech::PlainElseTls);
        let mut registries = registries;
        registries.host("a.example").insecure_skip_tls_verify = true;
        registries.host("a.example").ca_files.push("ca.pem".into());
        assert!(registries.trust("a.example", &[], false).unwrap().anyone);
        assert_eq!(registries.trust("b.example", &[], false).unwrap(), Trust::default());
    }
}
