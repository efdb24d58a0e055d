//! The keyring, from the mounted secrets, as kubelet resolves them.
//!
//! Secrets for pushing come first, so that of two entries for one repository the one that may push is used. A
//! secret that the job names must be there; one of a service account may be missing, and is told of.

use std::path::Path;

use unbloat_contract::worker::{CredentialMount, CredentialUsage};
use unbloat_contract::{Failure, FailureKind};
use unbloat_registry::Keyring;

/// Reads them all; gives the keyring and warnings.
pub(crate) fn keyring(mounts: &[CredentialMount]) -> Result<(Keyring, Vec<String>), Failure> {
    let mut keyring = Keyring::anonymous();
    let mut warnings = Vec::new();
    let pushing = |mount: &&CredentialMount| mount.usage == CredentialUsage::Push;
    let pulling = |mount: &&CredentialMount| mount.usage == CredentialUsage::Pull;
    for mount in mounts.iter().filter(pushing).chain(mounts.iter().filter(pulling)) {
        let found = add(&mut keyring, mount)?;
        let secret = &mount.secret;
        let missing =
            format!("the secret {secret} doesn't exist or has neither .dockerconfigjson nor .dockercfg");
        if !found && mount.required {
            let message = format!("{missing}; create it with type kubernetes.io/dockerconfigjson");
            return Err(Failure::new(FailureKind::SecretNotFound, message));
        }
        if !found {
            warnings.push(format!("{missing}; it is an image pull secret of the service account"));
        }
    }
    Ok((keyring, warnings))
}

fn add(keyring: &mut Keyring, mount: &CredentialMount) -> Result<bool, Failure> {
    let folder = Path::new(&mount.path);
    let mut found = false;
    for (key, is_json) in [(".dockerconfigjson", true), (".dockercfg", false)] {
        let bytes = match std::fs::read(folder.join(key)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unusable(mount, &error.to_string())),
        };
        let added =
            if is_json { keyring.add_docker_config_json(&bytes) } else { keyring.add_dockercfg(&bytes) };
        added.map_err(|error| unusable(mount, &error.to_string()))?;
        found = true;
    }
    Ok(found)
}

fn unusable(mount: &CredentialMount, words: &str) -> Failure {
    Failure::new(FailureKind::SecretNotFound, format!("the secret {} can't be used: {words}", mount.secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"auths": {"reg.example": {"username": "user", "password": "open sesame"}}}"#;

    fn mount(folder: &Path, secret: &str, required: bool, content: Option<(&str, &str)>) -> CredentialMount {
        let path = folder.join(secret);
        std::fs::create_dir_all(&path).unwrap();
        if let Some((key, text)) = content {
            std::fs::write(path.join(key), text).unwrap();
        }
        CredentialMount {
            secret: secret.to_owned(),
            path: path.display().to_string(),
            usage: CredentialUsage::Pull,
            required,
        }
    }

    #[test]
    fn both_kinds_of_secrets_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let old = r#"{"old.example": {"username": "u", "password": "p"}}"#;
        let mounts = [
            mount(folder.path(), "new", true, Some((".dockerconfigjson", CONFIG))),
            mount(folder.path(), "old", true, Some((".dockercfg", old))),
        ];
        let (_, warnings) = keyring(&mounts).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn a_missing_secret_that_was_named_fails_and_one_of_the_account_warns() {
        let folder = tempfile::tempdir().unwrap();
        let failure = keyring(&[mount(folder.path(), "named", true, None)]).unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (FailureKind::SecretNotFound, true));
        assert!(failure.message.contains("named"));
        let (_, warnings) = keyring(&[mount(folder.path(), "account", false, None)]).unwrap();
        assert!(warnings[0].contains("account"));
    }

    #[test]
    fn a_secret_that_is_no_configuration_fails_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let broken = CONFIG.replace("}}", "");
        let mounts = [mount(folder.path(), "broken", true, Some((".dockerconfigjson", &broken)))];
        let failure = keyring(&mounts).unwrap_err();
        assert!(
            failure.message.contains("broken") && !failure.message.contains("sesame"),
            "{}",
            failure.message
        );
    }
}
