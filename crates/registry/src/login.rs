//! Logging in and out: is a credential accepted, and where it is kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode};

use crate::auth::credential::Credential;
use crate::auth::token::Scope;
use crate::auth::{challenge, config_file, helper};
use crate::error::{Error, ErrorKind};
use crate::http::answer::status_error;
use crate::operation::Operation;
use crate::secret::Secret;
use crate::transport::Transport;
use crate::transport::call::Call;
use crate::transport::host::Host;

/// How long a helper may take to keep a secret.
const HELPER_TIME: Duration = Duration::from_secs(30);

/// Where a login is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginStore {
    /// A file of credentials.
    File(PathBuf),
    /// The program that such a file names for the registry.
    Helper(String),
}

impl fmt::Display for LoginStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Helper(name) => write!(f, "the credential helper {name}"),
        }
    }
}

/// Asks a registry whether it accepts a credential, as Docker does: with `/v2/`, and its token server where
/// it has one.
pub(crate) async fn verify(transport: &Transport, host: &Host, credential: &Credential) -> Result<(), Error> {
    const OPERATION: Operation = Operation::LoggingIn;
    const ANY: &[StatusCode] = &[StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
    let scope = Scope { repository: String::new(), push: false, from: None };
    let call = || {
        let mut url = host.base();
        url.set_path("/v2/");
        Call::new(Method::GET, url, &scope, OPERATION).accept(ANY)
    };
    let response = transport.send(host, call()).await?;
    let challenge = match (response.status(), challenge::parse(response.headers())) {
        (_, Some(challenge)) => challenge,
        // It asks for nothing here: whether it would take the credential is seen by showing it.
        (StatusCode::OK, None) => challenge::Challenge::Basic,
        (_, None) => return Err(status_error(host.name(), OPERATION, "", response).await),
    };
    let header = host
        .authentication
        .with(transport.asking(), &host.registry(), &challenge, &scope, Some(credential), None)
        .await?;
    let Some((header, _)) = header else {
        let reason = "the registry does not take a user name and password".to_owned();
        return Err(Error::new(host.name(), OPERATION, "", ErrorKind::Unsupported(reason)));
    };
    let response = transport.send_with(host, call(), &header).await?;
    if response.status() == StatusCode::OK {
        return Ok(());
    }
    Err(status_error(host.name(), OPERATION, "", response).await)
}

/// Keeps a user and password for a registry where `path`, a file of credentials, says: in the program that it
/// names for the registry, else in the file itself, which only its owner may read.
///
/// # Errors
/// [`ErrorKind::LocalFile`] if the file cannot be read or written, [`ErrorKind::Credentials`] if the program
/// fails.
pub async fn store_login(
    path: &Path,
    registry: &str,
    username: &str,
    password: &Secret,
) -> Result<LoginStore, Error> {
    if let Some(name) = program(path, registry)? {
        if helper::store(&name, registry, username, password, HELPER_TIME).await? {
            return Ok(LoginStore::Helper(format!("docker-credential-{name}")));
        }
        tracing::warn!("the credential helper docker-credential-{name} is not installed; the file is used");
    }
    config_file::change(path, registry, Some((username, password)))?;
    Ok(LoginStore::File(path.to_owned()))
}

/// Takes the credentials for a registry out of where [`store_login`] keeps them; tells whether there were
/// some.
///
/// # Errors
/// As [`store_login`].
pub async fn remove_login(path: &Path, registry: &str) -> Result<bool, Error> {
    let erased = match program(path, registry)? {
        Some(name) => helper::erase(&name, registry, HELPER_TIME).await?,
        None => false,
    };
    Ok(config_file::change(path, registry, None)? || erased)
}

/// The program that a file names for a registry.
fn program(path: &Path, registry: &str) -> Result<Option<String>, Error> {
    let Some(file) = config_file::read(path)? else { return Ok(None) };
    let own = file.helpers.into_iter().find(|(host, _)| host == registry).map(|(_, name)| name);
    Ok(own.or(file.store))
}
