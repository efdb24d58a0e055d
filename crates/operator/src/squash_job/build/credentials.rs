//! Secrets as files in the worker's pod: one folder for each, so that the worker can say which one is
//! missing.
//!
//! The volumes are optional: a missing secret must not keep the pod pending without a word, but end it with a
//! reason. Only the two keys of docker configurations are mounted, whatever else a secret holds.

use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use unbloat_api::ImageSquashJobSpec;
use unbloat_contract::worker::{CREDENTIALS_PATH, CredentialMount, CredentialUsage};

/// Keys of the two kinds of pull secrets.
const KEYS: [&str; 2] = [".dockerconfigjson", ".dockercfg"];
/// Readable by the pod's group, which owns the volume.
const MODE: i32 = 0o440;

/// The secrets of a job: those that it names, then those of its service account.
pub(super) fn mounts(spec: &ImageSquashJobSpec, service_account_secrets: &[String]) -> Vec<CredentialMount> {
    let mut mounts: Vec<CredentialMount> = Vec::new();
    let mut add = |secret: &str, usage: CredentialUsage, required: bool| {
        if mounts.iter().any(|mount| mount.secret == secret && mount.usage == usage) {
            return;
        }
        let path = format!("{CREDENTIALS_PATH}/{}", mounts.len());
        mounts.push(CredentialMount { secret: secret.to_owned(), path, usage, required });
    };
    if let Some(secret) = &spec.target.push_secret {
        add(&secret.name, CredentialUsage::Push, true);
    }
    for secret in &spec.source.pull_secrets {
        add(&secret.name, CredentialUsage::Pull, true);
    }
    for secret in service_account_secrets {
        add(secret, CredentialUsage::Pull, false);
    }
    mounts
}

/// The volumes behind the mounts.
pub(super) fn volumes(mounts: &[CredentialMount]) -> (Vec<Volume>, Vec<VolumeMount>) {
    mounts
        .iter()
        .enumerate()
        .map(|(number, mount)| {
            let name = format!("credentials-{number}");
            let items = KEYS.map(|key| KeyToPath {
                key: key.to_owned(),
                path: key.to_owned(),
                ..KeyToPath::default()
            });
            let source = SecretVolumeSource {
                secret_name: Some(mount.secret.clone()),
                optional: Some(true),
                default_mode: Some(MODE),
                items: Some(items.to_vec()),
                ..SecretVolumeSource::default()
            };
            let volume = Volume { name: name.clone(), secret: Some(source), ..Volume::default() };
            let mount = VolumeMount {
                name,
                mount_path: mount.path.clone(),
                read_only: Some(true),
                ..VolumeMount::default()
            };
            (volume, mount)
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::squash_job::fixtures::job_with;
    use serde_json::json;

    #[test]
    fn named_secrets_are_required_and_the_service_accounts_are_not() {
        let job = job_with(&json!({
            "source": {"image": "a.example/b:c", "pullSecrets": [{"name": "pull"}]},
            "target": {"image": "a.example/b:d", "pushSecret": {"name": "push"}},
        }));
        let mounts = mounts(&job.spec, &["pull".to_owned(), "account".to_owned()]);
        let seen: Vec<_> = mounts.iter().map(|m| (m.secret.as_str(), m.usage, m.required)).collect();
        assert_eq!(
            seen,
            [
                ("push", CredentialUsage::Push, true),
                ("pull", CredentialUsage::Pull, true),
                ("account", CredentialUsage::Pull, false),
            ]
        );
        let (volumes, places) = volumes(&mounts);
        assert!(volumes.iter().all(|volume| volume.secret.as_ref().unwrap().optional == Some(true)));
        assert_eq!(places[1].mount_path, "/etc/unbloat/credentials/1");
    }
}
