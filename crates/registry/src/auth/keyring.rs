//! Credentials: where they come from and which one is for which repository.
//!
//! Sources, in the order in which equal matches win: what was given by hand, containers' auth files, Docker's config.
//! The longest path wins over the order, as in kubelet: a secret for `host/team` beats one for `host`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::auth::credential::{Credential, basic};
use crate::auth::helper;
use crate::auth::secret::Secret;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;

/// Largest credentials file that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Credentials for many registries. `Debug` shows no secret.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Given(Credential),
    Helper(String),
}

/// `HOST[:PORT][/PATH]`; a label of the host may be or hold `*`. No host means every host (Docker's `credsStore`).
#[derive(Clone, Debug)]
struct Pattern {
    host: Option<String>,
    path: String,
}

#[derive(Deserialize, Default)]
struct ConfigFile {
    #[serde(default)]
    auths: Option<BTreeMap<String, AuthEntry>>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
struct AuthEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Keyring {
    /// Nothing: anonymous everywhere.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// What this user's files hold: `REGISTRY_AUTH_FILE`, else `$XDG_RUNTIME_DIR/containers/auth.json` and
    /// `~/.config/containers/auth.json`; then Docker's `config.json`. Files that do not exist are skipped.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] naming the file that cannot be read or parsed; its content is not shown.
    pub fn from_environment() -> Result<Self, Error> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME");
        let mut files = Vec::new();
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            if !file.exists() {
                return Err(fault(&file, "REGISTRY_AUTH_FILE names a file that does not exist"));
            }
            files.push(file);
        } else {
            files.extend(variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")));
            let config =
                variable("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
            files.extend(config.map(|folder| folder.join("containers/auth.json")));
        }
        let docker = variable("DOCKER_CONFIG").or_else(|| home.map(|home| home.join(".docker")));
        files.extend(docker.map(|folder| folder.join("config.json")));
        let mut keyring = Self::default();
        for file in files {
            keyring.add_file(&file)?;
        }
        Ok(keyring)
    }

    /// Adds a credential for `HOST[:PORT][/PATH]`, before everything that is there.
    pub fn insert(&mut self, registry: &str, credential: Credential) {
        let rule = Rule { pattern: Pattern::parse(registry), origin: Origin::Given(credential) };
        self.rules.insert(0, rule);
    }

    /// Adds a credential for whatever registry nothing else is known for, before all others of that kind.
    pub fn insert_for_all(&mut self, credential: Credential) {
        let pattern = Pattern { host: None, path: String::new() };
        self.rules.insert(0, Rule { pattern, origin: Origin::Given(credential) });
    }

    /// Adds a Docker config or containers auth file, if it exists.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`], without the content.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(fault(path, &error.to_string())),
        };
        if metadata.len() > MAX_FILE_BYTES {
            return Err(fault(path, "the file is too large to be a list of credentials"));
        }
        let bytes = std::fs::read(path).map_err(|error| fault(path, &error.to_string()))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let file: ConfigFile = parse(path, &bytes)?;
        for (registry, name) in file.cred_helpers.unwrap_or_default() {
            helper::check_name(&name).map_err(|reason| fault(path, reason))?;
            self.rules.push(Rule { pattern: Pattern::parse(&registry), origin: Origin::Helper(name) });
        }
        self.add_entries(path, file.auths.unwrap_or_default())?;
        if let Some(name) = file.creds_store.filter(|name| !name.is_empty()) {
            helper::check_name(&name).map_err(|reason| fault(path, reason))?;
            let everywhere = Pattern { host: None, path: String::new() };
            self.rules.push(Rule { pattern: everywhere, origin: Origin::Helper(name) });
        }
        Ok(())
    }

    /// Adds a pull secret of type `kubernetes.io/dockerconfigjson`. Credential helpers named in it are not run.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`], without the content.
    pub fn add_docker_config_json(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let name = Path::new(".dockerconfigjson");
        let file: ConfigFile = parse(name, bytes)?;
        self.add_entries(name, file.auths.unwrap_or_default())
    }

    /// Adds a pull secret of type `kubernetes.io/dockercfg`, which is the list of `auths` alone.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`], without the content.
    pub fn add_dockercfg(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let name = Path::new(".dockercfg");
        let entries = parse(name, bytes)?;
        self.add_entries(name, entries)
    }

    fn add_entries(&mut self, path: &Path, entries: BTreeMap<String, AuthEntry>) -> Result<(), Error> {
        for (registry, entry) in entries {
            let credential = entry
                .credential()
                .map_err(|reason| fault(path, &format!("the entry for {registry:?} {reason}")))?;
            if let Some(credential) = credential {
                let pattern = Pattern::parse(&registry);
                self.rules.push(Rule { pattern, origin: Origin::Given(credential) });
            }
        }
        Ok(())
    }

    /// The credentials to try for a repository, best first; helpers are run. Empty means anonymous.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] if a helper that is named for this registry does not work.
    pub async fn lookup(
        &self,
        registry: &str,
        repository: &str,
        timeout: Duration,
    ) -> Result<Vec<Credential>, Error> {
        let mut matches: Vec<(usize, &Rule)> = self
            .rules
            .iter()
            .filter_map(|rule| rule.pattern.score(registry, repository).map(|score| (score, rule)))
            .collect();
        // Stable: equal scores stay in the order of their sources.
        matches.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let mut credentials = Vec::new();
        for (_, rule) in matches {
            let found = match &rule.origin {
                Origin::Given(credential) => Some(credential.clone()),
                Origin::Helper(name) => helper::get(name, registry, timeout).await?,
            };
            if let Some(credential) = found
                && !credentials.contains(&credential)
            {
                credentials.push(credential);
            }
        }
        Ok(credentials)
    }
}

impl AuthEntry {
    fn credential(self) -> Result<Option<Credential>, &'static str> {
        let Self { auth, username, password, identitytoken, registrytoken } = self;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = given(registrytoken) {
            return Ok(Some(Credential::RegistryToken(Secret::new(token))));
        }
        if let Some(token) = given(identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret::new(token))));
        }
        if let Some(auth) = given(auth) {
            let auth = auth.trim();
            let raw = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth));
            let text = raw
                .ok()
                .and_then(|raw| String::from_utf8(raw).ok())
                .ok_or("has an auth that is not base64")?;
            let (username, password) = text.split_once(':').ok_or("has an auth without ':'")?;
            // Old Docker clients padded with NUL.
            let password = password.trim_end_matches('\0');
            return Ok(Some(basic(username, password)));
        }
        match (given(username), given(password)) {
            (Some(username), Some(password)) => Ok(Some(basic(&username, &password))),
            _ => Ok(None),
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        let path = path.trim_matches('/');
        // `https://HOST/v1/` is how Docker wrote a whole registry.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self { host: Some(host.to_ascii_lowercase()), path: path.to_owned() }
    }

    /// How specific the match is: a longer path first, then a literal host before one with `*`, then `credsStore`.
    fn score(&self, registry: &str, repository: &str) -> Option<usize> {
        let Some(host) = &self.host else { return Some(0) };
        let registry = registry.to_ascii_lowercase();
        let literal = *host == registry;
        if !literal && !glob_host(host, &registry) {
            return None;
        }
        let rest = repository.strip_prefix(self.path.as_str())?;
        if !self.path.is_empty() && !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Some(1 + 2 * self.path.len() + usize::from(literal))
    }
}

/// kubelet's rule: as many labels on both sides, each matched alone; the port has to be equal.
fn glob_host(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return false;
    }
    let split = |text: &str| match text.rsplit_once(':') {
        Some((name, port)) => (name.to_owned(), port.to_owned()),
        None => (text.to_owned(), String::new()),
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    let (patterns, labels): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port
        && patterns.len() == labels.len()
        && patterns.iter().zip(&labels).all(|(pattern, label)| glob_label(pattern, label))
}

fn glob_label(pattern: &str, label: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut tail) = label.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().expect("split gives at least one part");
    for part in middle {
        match tail.find(part) {
            Some(at) => tail = &tail[at + part.len()..],
            None => return false,
        }
    }
    tail.ends_with(last)
}

/// Parses without ever quoting the content: serde's own message may hold a value.
fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        let reason =
            format!("not a valid list of credentials (line {}, column {})", error.line(), error.column());
        fault(path, &reason)
    })
}

fn fault(path: &Path, reason: &str) -> Error {
    let kind = ErrorKind::Credentials(reason.to_owned());
    Error::new(path.display().to_string(), Operation::ReadingCredentials, "", kind)
}
