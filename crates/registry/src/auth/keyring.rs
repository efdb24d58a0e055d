//! Credentials: where they come from and which one is for which repository.
//!
//! The order in which they are tried for a registry: what was given by hand for it; entries of files, the
//! longest path first as in kubelet (a secret for `host/team` beats one for `host`), then in the order of the
//! files; a cloud's identity, where one was asked for; programs (kubelet's plugins, then credential helpers),
//! each run only when it is its turn; nobody; and what was given by hand for no registry, where nobody was
//! refused.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::auth::cloud::{Cloud, Identities};
use crate::auth::config_file::{self, ConfigFile};
use crate::auth::credential::Credential;
use crate::auth::helper;
use crate::auth::pattern::Pattern;
use crate::auth::provider::{self, Given, MOST_ENTRIES, Provider};
use crate::error::Error;

/// Credentials for many registries. `Debug` shows no secret. Clones share what is learned of them: which
/// programs are missing, which registry a user without one belongs to.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    given: Vec<(Pattern, Credential)>,
    unbound: Option<Credential>,
    entries: Vec<(Pattern, Credential)>,
    identities: Identities,
    providers: Vec<Arc<Provider>>,
    helpers: Vec<(Pattern, String)>,
    shared: Arc<Shared>,
    warnings: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Programs whose absence was told.
    missing: Mutex<HashSet<String>>,
    /// The registry that the unbound credential belongs to, once one has asked for it.
    claimed: Mutex<Option<String>>,
}

/// One way to prove who one is, not yet tried.
#[derive(Clone, Debug)]
pub(crate) enum Candidate {
    /// It is known.
    Known(Credential),
    /// A cloud that has to be asked.
    Cloud(Cloud),
    /// An entry of what kubelet's plugin answers for an image.
    Provider {
        /// The plugin.
        provider: Arc<Provider>,
        /// `HOST[:PORT]/REPOSITORY`
        image: String,
        /// Which of the entries for that image, the best first.
        entry: usize,
    },
    /// A helper that has to be run.
    Helper(String),
    /// Nobody.
    Anonymous,
    /// For the first registry that refuses everything before it.
    Unbound(Credential),
}

impl Candidate {
    /// Which of the credentials that its source gives.
    pub(crate) fn entry(&self) -> usize {
        if let Self::Provider { entry, .. } = self { *entry } else { 0 }
    }

    /// Whether asking again can give something else: an answer of a program expires.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, Self::Helper(_) | Self::Cloud(_) | Self::Provider { .. })
    }

    /// What an answer of it is kept under.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Helper(name) => format!("helper {name}"),
            Self::Provider { provider, image, .. } => format!("provider {} {image}", provider.name()),
            Self::Cloud(cloud) => format!("cloud {cloud:?}"),
            Self::Known(_) | Self::Unbound(_) => "known".to_owned(),
            Self::Anonymous => "nobody".to_owned(),
        }
    }
}

impl Keyring {
    /// Nothing: anonymous everywhere.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// What this user's files hold: `REGISTRY_AUTH_FILE`, else containers' `auth.json` in `$XDG_RUNTIME_DIR`,
    /// `/run/containers/UID` and `~/.config`; then Docker's `config.json`. Files that do not exist are
    /// skipped.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LocalFile`] naming the file that cannot be read or parsed; its content is not
    /// shown.
    pub fn from_environment() -> Result<Self, Error> {
        let mut keyring = Self::default();
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            keyring.add_named_file(&file)?;
        } else {
            for file in containers_files() {
                keyring.add_file(&file)?;
            }
        }
        if let Some(file) = docker_file() {
            keyring.add_file(&file)?;
        }
        Ok(keyring)
    }

    /// Adds a credential for `HOST[:PORT][/PATH]` that comes before everything else there, and goes nowhere
    /// else.
    pub fn insert(&mut self, registry: &str, credential: Credential) {
        self.given.insert(0, (Pattern::parse(registry), credential));
    }

    /// Adds a credential of which only the user knows the registry: it goes to the first one that refuses
    /// what else there is, nobody included, and to no other.
    pub fn insert_unbound(&mut self, credential: Credential) {
        self.unbound = Some(credential);
    }

    /// Adds a Docker config or containers auth file, if it exists.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LocalFile`], without the content. A single entry that cannot be used is a warning.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        if let Some(file) = config_file::read(path)? {
            self.add(file, true);
        }
        Ok(())
    }

    /// Adds a file that somebody named, before those that are there: it has to exist.
    ///
    /// # Errors
    /// As [`Keyring::add_file`], and if there is none.
    pub fn add_named_file(&mut self, path: &Path) -> Result<(), Error> {
        let file = config_file::read(path)?;
        let missing =
            || config_file::fault(&path.display().to_string(), "this file of credentials does not exist");
        let mut first = Self { shared: Arc::clone(&self.shared), ..Self::default() };
        first.add(file.ok_or_else(missing)?, true);
        self.entries.splice(0..0, first.entries);
        self.helpers.splice(0..0, first.helpers);
        self.warnings.extend(first.warnings);
        Ok(())
    }

    /// Adds the entries of a file for one registry only, before everything else there.
    ///
    /// # Errors
    /// As [`Keyring::add_named_file`].
    pub fn add_named_file_for(&mut self, registry: &str, path: &Path) -> Result<(), Error> {
        let file = config_file::read(path)?;
        let missing =
            || config_file::fault(&path.display().to_string(), "this file of credentials does not exist");
        let ConfigFile { entries, helpers, store, warnings } = file.ok_or_else(missing)?;
        let mine = |text: &String| {
            let host = text.trim_start_matches("https://").trim_start_matches("http://");
            let host = host.split('/').next().unwrap_or_default();
            Pattern::parse(host).score(registry, "").is_some()
        };
        let entries = entries.into_iter().filter(|(text, _)| mine(text));
        self.entries.splice(0..0, entries.map(|(text, credential)| (Pattern::parse(&text), credential)));
        let helpers = helpers.into_iter().filter(|(text, _)| mine(text));
        let helpers = helpers.map(|(text, name)| (Pattern::parse(&text), name));
        self.helpers.splice(0..0, helpers.chain(store.map(|name| (Pattern::parse(registry), name))));
        self.warnings.extend(warnings);
        Ok(())
    }

    /// Adds a pull secret of type `kubernetes.io/dockerconfigjson`. Credential helpers named in it are not
    /// run.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LocalFile`], without the content.
    pub fn add_docker_config_json(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let file = config_file::parse_bytes(".dockerconfigjson", bytes)?;
        self.add(file, false);
        Ok(())
    }

    /// Adds a pull secret of type `kubernetes.io/dockercfg`, which is the list of `auths` alone.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LocalFile`], without the content.
    pub fn add_dockercfg(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let file = config_file::parse_entries(".dockercfg", bytes)?;
        self.add(file, false);
        Ok(())
    }

    fn add(&mut self, file: ConfigFile, programs: bool) {
        let ConfigFile { entries, helpers, store, warnings } = file;
        self.entries
            .extend(entries.into_iter().map(|(text, credential)| (Pattern::parse(&text), credential)));
        if programs {
            self.helpers.extend(helpers.into_iter().map(|(text, name)| (Pattern::parse(&text), name)));
            self.helpers.extend(store.map(|name| (Pattern::everywhere(), name)));
        }
        self.warnings.extend(warnings);
    }

    /// Adds credential helpers for whatever registry has no other, as `credential-helpers` of
    /// `registries.conf` does.
    pub fn add_helpers(&mut self, names: &[String]) {
        let names = names.iter().filter(|name| helper::check_name(name).is_ok());
        self.helpers.extend(names.map(|name| (Pattern::everywhere(), name.clone())));
    }

    /// Uses the identities of clouds whose variables are set, for the registries of those clouds.
    pub fn use_cloud_environment(&mut self) {
        self.identities.use_environment();
    }

    /// Uses a cloud's identity for its registries, and for these.
    pub fn use_cloud(&mut self, cloud: Cloud, registries: &[&str]) {
        self.identities.ask_for(cloud, registries);
    }

    /// Adds kubelet's credential provider plugins: its file of them, or folder of files, and the folder with
    /// their programs. Each is asked for the images that the file names for it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LocalFile`] for what kubelet would not start with. A program that is missing is a
    /// warning, once it is needed.
    pub fn add_credential_providers(&mut self, config: &Path, programs: &Path) -> Result<(), Error> {
        let (providers, warnings) = provider::read(config, programs)?;
        self.providers.extend(providers.into_iter().map(Arc::new));
        self.warnings.extend(warnings);
        Ok(())
    }

    /// What is wrong with entries that were skipped, without their content.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What to try for a repository, best first, nobody included. Nothing is run.
    pub(crate) fn candidates(&self, registry: &str, repository: &str) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut known: Vec<&Credential> = Vec::new();
        for credential in ranked(&self.given, registry, repository).into_iter().chain(ranked(
            &self.entries,
            registry,
            repository,
        )) {
            if !known.contains(&credential) {
                known.push(credential);
                candidates.push(Candidate::Known(credential.clone()));
            }
        }
        candidates.extend(self.identities.of(registry).into_iter().map(Candidate::Cloud));
        let image =
            if repository.is_empty() { registry.to_owned() } else { format!("{registry}/{repository}") };
        for provider in self.providers.iter().filter(|provider| provider.is_for(&image)) {
            candidates.extend((0..MOST_ENTRIES).map(|entry| Candidate::Provider {
                provider: Arc::clone(provider),
                image: image.clone(),
                entry,
            }));
        }
        let mut names: Vec<&String> = Vec::new();
        for name in ranked(&self.helpers, registry, repository) {
            if !names.contains(&name) {
                names.push(name);
                candidates.push(Candidate::Helper(name.clone()));
            }
        }
        candidates.push(Candidate::Anonymous);
        candidates.extend(self.unbound.clone().map(Candidate::Unbound));
        candidates
    }

    /// What a candidate's source gives, best first, and how long it is good where that is known; programs are
    /// run, clouds are not asked. Nothing: nothing is known there, or it is for another registry. With
    /// `refused`, what was given before is not given again without asking.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Credentials`] if a program does not work. One that is not there is a warning.
    pub(crate) async fn resolve(
        &self,
        candidate: &Candidate,
        registry: &str,
        timeout: Duration,
        refused: bool,
    ) -> Result<(Vec<Credential>, Option<Duration>), Error> {
        let credentials = match candidate {
            Candidate::Known(credential) => vec![credential.clone()],
            Candidate::Anonymous | Candidate::Cloud(_) => Vec::new(),
            Candidate::Unbound(credential) => {
                let mut claimed = self.shared.claimed.lock().unwrap_or_else(PoisonError::into_inner);
                let owner = claimed.get_or_insert_with(|| registry.to_owned());
                if owner == registry { vec![credential.clone()] } else { Vec::new() }
            }
            Candidate::Provider { provider, image, entry: _ } => {
                match provider.ask(image, timeout, refused).await? {
                    Given::Credentials(credentials, lifetime) => return Ok((credentials, lifetime)),
                    Given::Missing(program) => {
                        self.tell_missing("provider", &program.display().to_string(), registry);
                        Vec::new()
                    }
                }
            }
            Candidate::Helper(name) => match helper::get(name, registry, timeout).await? {
                helper::Answer::Credential(credential) => vec![credential],
                helper::Answer::Unknown => Vec::new(),
                helper::Answer::Missing(program) => {
                    self.tell_missing("helper", &program, registry);
                    Vec::new()
                }
            },
        };
        Ok((credentials, None))
    }

    /// Says once that a program is not there.
    fn tell_missing(&self, kind: &str, program: &str, registry: &str) {
        let mut missing = self.shared.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.insert(program.to_owned()) {
            tracing::warn!(
                "the credential {kind} {program} is not installed; it is not asked for {registry}"
            );
        }
    }

    /// The credentials that are there for a repository, best first; programs are run. Empty means anonymous.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Credentials`] if a program does not work.
    pub async fn lookup(
        &self,
        registry: &str,
        repository: &str,
        timeout: Duration,
    ) -> Result<Vec<Credential>, Error> {
        let mut credentials = Vec::new();
        for candidate in self.candidates(registry, repository) {
            // Every entry of a plugin's answer comes with the first.
            if matches!(candidate, Candidate::Provider { entry: 1.., .. }) {
                continue;
            }
            for credential in self.resolve(&candidate, registry, timeout, false).await?.0 {
                if !credentials.contains(&credential) {
                    credentials.push(credential);
                }
            }
        }
        Ok(credentials)
    }
}

/// The values whose patterns match, the most specific first; equal ones in their order.
fn ranked<'a, T>(rules: &'a [(Pattern, T)], registry: &str, repository: &str) -> Vec<&'a T> {
    let score =
        |(pattern, value): &'a (Pattern, T)| pattern.score(registry, repository).map(|score| (score, value));
    let mut matches: Vec<(usize, &T)> = rules.iter().filter_map(score).collect();
    matches.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    matches.into_iter().map(|(_, value)| value).collect()
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where podman, buildah and skopeo keep credentials, in their order.
fn containers_files() -> Vec<PathBuf> {
    let runtime = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    // Where they are written when nobody has set the folder, as for root and in services.
    let user = PathBuf::from(format!("/run/containers/{}/auth.json", rustix::process::getuid().as_raw()));
    let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let config = config.map(|folder| folder.join("containers/auth.json"));
    runtime.into_iter().chain([user]).chain(config).collect()
}

/// Docker's file of credentials.
fn docker_file() -> Option<PathBuf> {
    let folder = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

/// The file that a login is written to: the one named by `REGISTRY_AUTH_FILE`, else Docker's, which every
/// tool reads.
#[must_use]
pub fn login_file() -> Option<PathBuf> {
    variable("REGISTRY_AUTH_FILE").or_else(docker_file)
}
