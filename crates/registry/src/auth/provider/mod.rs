//! kubelet's credential provider plugins: programs that give credentials for images, as the nodes of EKS, GKE
//! and AKS have them (`ecr-credential-provider`, `gcp-auth-provider`, `acr-credential-provider`).
//!
//! What happens here: kubelet's own file of plugins (`config`), which images each is for (`image_glob`),
//! running one (`answer`), and keeping what it answered as long and for what it said. What does not: a
//! service account's token for a plugin; there is no pod here whose account it could be.

mod answer;
mod config;
mod go_duration;
mod image_glob;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use self::answer::{Answer, CacheKeyType};
use self::config::Plugin;
use crate::auth::credential::Credential;
use crate::auth::helper::{Ran, run_program};
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;

/// Most entries of one answer that are tried for one image. Plugins give one, or one for a path and one for
/// the whole registry.
pub(crate) const MOST_ENTRIES: usize = 4;

/// One plugin. `Debug` shows no secret.
#[derive(Debug)]
pub(crate) struct Provider {
    plugin: Plugin,
    program: PathBuf,
    /// Held while it runs, so that requests that need the same answer at once run it once.
    kept: tokio::sync::Mutex<HashMap<Key, Kept>>,
}

/// What an answer is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Image(String),
    Registry(String),
    Global,
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    until: Instant,
}

/// What a plugin gave for an image.
#[derive(Debug)]
pub(crate) enum Given {
    /// The credentials, best first, and how long they are good, if they may be kept at all.
    Credentials(Vec<Credential>, Option<Duration>),
    /// Its program is not installed.
    Missing(PathBuf),
}

/// Reads kubelet's file, or folder of files, of plugins whose programs are in this folder. Those that cannot
/// be used here are named in warnings.
///
/// # Errors
/// [`ErrorKind::LocalFile`] for what kubelet would not start with.
pub(crate) fn read(config: &Path, programs: &Path) -> Result<(Vec<Provider>, Vec<String>), Error> {
    let (unusable, usable): (Vec<Plugin>, Vec<Plugin>) =
        config::read(config)?.into_iter().partition(|plugin| plugin.needs_service_account);
    let warnings = unusable.into_iter().map(|plugin| {
        format!(
            "{}: the provider {:?} works with a pod's service account only, and there is no pod; it is not asked",
            config.display(),
            plugin.name
        )
    });
    let providers = usable.into_iter().map(|plugin| Provider {
        program: programs.join(&plugin.name),
        plugin,
        kept: tokio::sync::Mutex::default(),
    });
    Ok((providers.collect(), warnings.collect()))
}

impl Provider {
    /// Its name in the file.
    pub(crate) fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Whether it is asked for an image, `HOST[:PORT]/REPOSITORY`.
    pub(crate) fn is_for(&self, image: &str) -> bool {
        self.plugin.images.iter().any(|glob| glob.matches(image))
    }

    /// The credentials for an image: what is kept, unless it was refused, or else what the program answers.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] if it fails, does not answer in time, or answers something else.
    pub(crate) async fn ask(&self, image: &str, timeout: Duration, refused: bool) -> Result<Given, Error> {
        let registry = image.split('/').next().unwrap_or_default();
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        kept.retain(|_, kept| now < kept.until);
        if !refused {
            let keys = [Key::Image(image.to_owned()), Key::Registry(registry.to_owned()), Key::Global];
            if let Some(Kept { answer, until }) = keys.iter().find_map(|key| kept.get(key)) {
                return Ok(Given::Credentials(answer.credentials(image), Some(*until - now)));
            }
        }
        let Some(answer) = self.run(image, registry, timeout).await? else {
            return Ok(Given::Missing(self.program.clone()));
        };
        let credentials = answer.credentials(image);
        if answer.duration.is_zero() {
            return Ok(Given::Credentials(credentials, None));
        }
        let key = match answer.good_for {
            CacheKeyType::Image => Key::Image(image.to_owned()),
            CacheKeyType::Registry => Key::Registry(registry.to_owned()),
            CacheKeyType::Global => Key::Global,
        };
        let duration = answer.duration;
        kept.insert(key, Kept { until: Instant::now() + duration, answer });
        Ok(Given::Credentials(credentials, Some(duration)))
    }

    /// Runs the program; `None` if there is none.
    async fn run(&self, image: &str, registry: &str, timeout: Duration) -> Result<Option<Answer>, Error> {
        let Plugin { name, api_version, arguments, environment, default_duration, .. } = &self.plugin;
        let fault = |reason: String| {
            Error::new(registry, Operation::RunningProvider, name, ErrorKind::Credentials(reason))
        };
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value.expose())));
        let ran = run_program(command, answer::request(api_version, image), timeout)
            .await
            .map_err(|_| fault(format!("no answer for {} s", timeout.as_secs_f32())))?;
        let Ran { status, output, said } = match ran {
            Ok(ran) => ran,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error.to_string())),
        };
        if !status.success() {
            let words = if said.is_empty() { String::new() } else { format!(": {said}") };
            return Err(fault(format!("it failed ({status}){words}")));
        }
        if !said.is_empty() {
            tracing::warn!("the credential provider {name} says: {said}");
        }
        let answer = Answer::parse(&output, api_version, *default_duration);
        answer.map(Some).map_err(|reason| fault(reason.to_owned()))
    }
}
