//! `certs.d` of Docker and containers: `HOST[:PORT]/*.crt` are authorities, `*.cert` with `*.key` who the
//! client is.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::operation::Operation;

/// What a folder says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificates {
    pub(crate) authorities: Vec<PathBuf>,
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// The folders that hold one folder a registry, in their order.
pub(crate) fn roots() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let user = config.iter().flat_map(|config| [config.join("containers"), config.join("docker")]);
    let system = [PathBuf::from("/etc/containers"), PathBuf::from("/etc/docker")];
    user.chain(system).map(|folder| folder.join("certs.d")).collect()
}

/// What the first root that has a folder for this registry says.
///
/// # Errors
/// As [`read`].
pub(crate) fn find(roots: &[PathBuf], registry: &str) -> Result<Certificates, Error> {
    let mut names = vec![registry.to_owned()];
    if registry == "docker.io" {
        names.extend(["registry-1.docker.io".to_owned(), "index.docker.io".to_owned()]);
    }
    if registry.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        names.push(format!("{registry}:443"));
    }
    let folders = roots.iter().flat_map(|root| names.iter().map(move |name| root.join(name)));
    match folders.into_iter().find(|folder| folder.is_dir()) {
        Some(folder) => read(&folder),
        None => Ok(Certificates::default()),
    }
}

/// The certificates of one folder.
///
/// # Errors
/// [`ErrorKind::LocalFile`] if it cannot be read, or a certificate lacks its key or a key its certificate.
pub(crate) fn read(folder: &Path) -> Result<Certificates, Error> {
    let fault = |path: &Path, reason: &str| {
        let kind = ErrorKind::LocalFile(reason.to_owned());
        Error::new(path.display().to_string(), Operation::ReadingSettings, "", kind)
    };
    let entries = std::fs::read_dir(folder).map_err(|error| fault(folder, &error.to_string()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Certificates::default();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(fault(&path, "the client certificate has no .key of the same name"));
                }
                found.client.get_or_insert((path, key));
            }
            Some("key") if !path.with_extension("cert").exists() => {
                return Err(fault(&path, "the key has no .cert of the same name; authorities end in .crt"));
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_authorities_and_the_client() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("reg.example:5000");
        std::fs::create_dir(&folder).unwrap();
        for name in ["ca.crt", "b.crt", "client.cert", "client.key", "notes.txt"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let roots = [root.path().join("none"), root.path().to_owned()];
        let found = find(&roots, "reg.example:5000").unwrap();
        assert_eq!(found.authorities, [folder.join("b.crt"), folder.join("ca.crt")]);
        assert_eq!(found.client, Some((folder.join("client.cert"), folder.join("client.key"))));
        assert_eq!(find(&roots, "reg.example").unwrap(), Certificates::default());
        std::fs::remove_file(folder.join("client.key")).unwrap();
        assert!(find(&roots, "reg.example:5000").is_err());
    }
}
