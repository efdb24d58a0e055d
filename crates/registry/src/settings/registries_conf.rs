//! containers' `registries.conf` (version 2, and the lists of version 1): which registries are insecure,
//! blocked, elsewhere, mirrored.
//!
//! Short names and search lists are no matter of ours: a reference always has its host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::operation::Operation;

/// All files together.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistriesConf {
    rules: Vec<Rule>,
    /// Names of credential helpers for every registry.
    pub(crate) helpers: Vec<String>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: PullFrom,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum PullFrom {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    registry: Vec<Rule>,
    registries: BTreeMap<String, OldList>,
    credential_helpers: Option<Vec<String>>,
}

/// `[registries.insecure]`, `[registries.block]` of version 1.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OldList {
    registries: Vec<String>,
}

/// Where a repository really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `HOST[:PORT]`
    pub(crate) registry: String,
    pub(crate) repository: String,
    /// Its certificate is not checked, and it may speak plain HTTP.
    pub(crate) insecure: bool,
}

impl RegistriesConf {
    /// The files of this user, or else of this machine, with the drop-in folders of both.
    ///
    /// # Errors
    /// [`ErrorKind::LocalFile`] for a file that is no such configuration.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut conf = Self::default();
        if let Some(path) =
            variable("CONTAINERS_REGISTRIES_CONF").or_else(|| variable("REGISTRIES_CONFIG_PATH"))
        {
            conf.add(&path)?;
            return Ok(conf);
        }
        let user = variable("XDG_CONFIG_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
            .map(|folder| folder.join("containers"));
        let system = PathBuf::from("/etc/containers");
        let main = user.iter().chain([&system]).map(|folder| folder.join("registries.conf"));
        if let Some(path) = main.into_iter().find(|path| path.is_file()) {
            conf.add(&path)?;
        }
        for folder in [Some(&system), user.as_ref()].into_iter().flatten() {
            let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("registries.conf.d"))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
                .collect();
            files.sort();
            for path in files {
                conf.add(&path)?;
            }
        }
        Ok(conf)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let fault = |reason: String| {
            let kind = ErrorKind::LocalFile(reason);
            Error::new(path.display().to_string(), Operation::ReadingSettings, "", kind)
        };
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        self.add_text(&text).map_err(fault)
    }

    fn add_text(&mut self, text: &str) -> Result<(), String> {
        let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let File { registry, registries, credential_helpers } = file;
        for mut rule in registry {
            if rule.prefix.is_empty() {
                rule.prefix.clone_from(&rule.location);
            }
            if rule.prefix.is_empty() {
                return Err("a [[registry]] has neither prefix nor location".to_owned());
            }
            // A later file's rule for a prefix stands in place of an earlier one's.
            self.rules.retain(|other| other.prefix != rule.prefix);
            self.rules.push(rule);
        }
        for (kind, list) in registries {
            for prefix in list.registries {
                let (insecure, blocked) = (kind == "insecure", kind == "block");
                if insecure || blocked {
                    self.rules.push(Rule { prefix, insecure, blocked, ..Rule::default() });
                }
            }
        }
        if let Some(helpers) = credential_helpers {
            self.helpers = helpers.into_iter().filter(|name| name != "containers-auth.json").collect();
        }
        Ok(())
    }

    fn rule(&self, registry: &str, repository: &str) -> Option<&Rule> {
        let name = format!("{registry}/{repository}");
        self.rules.iter().filter(|rule| rule.matches(registry, &name)).max_by_key(|rule| rule.prefix.len())
    }

    /// Whether a registry's certificate need not be checked, whatever is read from it.
    pub(crate) fn is_insecure(&self, registry: &str) -> bool {
        self.rules.iter().any(|rule| {
            (rule.insecure && host_of(rule.place()) == registry && !rule.prefix.starts_with("*."))
                || (rule.insecure && rule.prefix.starts_with("*.") && rule.matches(registry, registry))
                || rule.mirror.iter().any(|mirror| mirror.insecure && host_of(&mirror.location) == registry)
        })
    }

    /// Where to read a repository, in order; the last is the registry itself.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it is blocked.
    pub(crate) fn places(
        &self,
        registry: &str,
        repository: &str,
        by_digest: bool,
    ) -> Result<Vec<Place>, ErrorKind> {
        let Some(rule) = self.rule(registry, repository) else {
            return Ok(vec![Place {
                registry: registry.to_owned(),
                repository: repository.to_owned(),
                insecure: false,
            }]);
        };
        if rule.blocked {
            let reason = format!("registries.conf blocks {}", rule.prefix);
            return Err(ErrorKind::Unsupported(reason));
        }
        let usable = |mirror: &&Mirror| match mirror.pull_from_mirror {
            PullFrom::All => by_digest || !rule.mirror_by_digest_only,
            PullFrom::DigestOnly => by_digest,
            PullFrom::TagOnly => !by_digest,
        };
        let name = format!("{registry}/{repository}");
        let mirrors = rule.mirror.iter().filter(usable);
        let mut places: Vec<Place> =
            mirrors.filter_map(|mirror| rule.moved(&name, &mirror.location, mirror.insecure)).collect();
        places.extend(rule.moved(&name, &rule.location, rule.insecure));
        Ok(places)
    }
}

fn host_of(location: &str) -> &str {
    location.split('/').next().unwrap_or_default()
}

impl Rule {
    fn place(&self) -> &str {
        if self.location.is_empty() { &self.prefix } else { &self.location }
    }

    /// A prefix ends at a `/` or at the whole; `*.example.com` is for all hosts below.
    fn matches(&self, registry: &str, name: &str) -> bool {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            return domain.starts_with('.') && registry.len() > domain.len() && registry.ends_with(domain);
        }
        name.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The name with the prefix exchanged for a location.
    fn moved(&self, name: &str, location: &str, insecure: bool) -> Option<Place> {
        let moved = match (location.is_empty(), self.prefix.starts_with('*')) {
            (true, _) => name.to_owned(),
            (false, false) => format!("{location}{}", name.strip_prefix(self.prefix.as_str())?),
            // All hosts below a domain: the location stands for the host.
            (false, true) => format!("{location}/{}", name.split_once('/')?.1),
        };
        let (registry, repository) = moved.split_once('/')?;
        Some(Place { registry: registry.to_owned(), repository: repository.to_owned(), insecure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> RegistriesConf {
        let mut conf = RegistriesConf::default();
        conf.add_text(text).unwrap();
        conf
    }

    fn places(conf: &RegistriesConf, registry: &str, repository: &str, by_digest: bool) -> Vec<String> {
        let places = conf.places(registry, repository, by_digest).unwrap();
        let show = |place: Place| {
            format!(
                "{}/{}{}",
                place.registry,
                place.repository,
                if place.insecure { " insecure" } else { "" }
            )
        };
        places.into_iter().map(show).collect()
    }

    #[test]
    fn mirrors_come_before_the_registry_and_keep_the_rest_of_the_name() {
        let conf = conf(
            "[[registry]]\nprefix = \"reg.example/team\"\nlocation = \"inner.example/group/team\"\n\
             [[registry.mirror]]\nlocation = \"mirror.example:5000/x\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"digests.example\"\npull-from-mirror = \"digest-only\"\n",
        );
        assert_eq!(
            places(&conf, "reg.example", "team/app", false),
            ["mirror.example:5000/x/app insecure", "inner.example/group/team/app"]
        );
        assert_eq!(places(&conf, "reg.example", "team/app", true)[1], "digests.example/app");
        assert_eq!(places(&conf, "reg.example", "teams/app", true), ["reg.example/teams/app"]);
        assert!(conf.is_insecure("mirror.example:5000") && !conf.is_insecure("inner.example"));
    }

    #[test]
    fn the_longest_prefix_counts_and_a_star_is_for_hosts_below() {
        let conf = conf(
            "[[registry]]\nlocation = \"reg.example\"\ninsecure = true\n\
             [[registry]]\nprefix = \"reg.example/a\"\nlocation = \"other.example/a\"\n\
             [[registry]]\nprefix = \"*.dev.example\"\ninsecure = true\n\
             [[registry]]\nprefix = \"bad.example\"\nblocked = true\n",
        );
        assert_eq!(places(&conf, "reg.example", "a/b", false), ["other.example/a/b"]);
        assert_eq!(places(&conf, "reg.example", "b", false), ["reg.example/b insecure"]);
        assert_eq!(places(&conf, "x.dev.example", "b", false), ["x.dev.example/b insecure"]);
        assert_eq!(places(&conf, "dev.example", "b", false), ["dev.example/b"]);
        assert!(conf.places("bad.example", "x", false).is_err());
        assert!(conf.is_insecure("a.dev.example") && !conf.is_insecure("other.example"));
    }

    #[test]
    fn the_lists_of_version_1_are_read() {
        let conf = conf(
            "[registries.insecure]\nregistries = [\"old.example:5000\"]\n[registries.block]\nregistries = [\"no.example\"]\n",
        );
        assert!(conf.is_insecure("old.example:5000"));
        assert!(conf.places("no.example", "x", false).is_err());
    }

    #[test]
    fn what_is_no_configuration_is_an_error() {
        assert!(RegistriesConf::default().add_text("registry = 5").is_err());
        assert!(RegistriesConf::default().add_text("[[registry]]\ninsecure = true").is_err());
    }
}
