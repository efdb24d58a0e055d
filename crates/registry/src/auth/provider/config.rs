//! kubelet's `CredentialProviderConfig`: which plugins there are, and for which images.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::go_duration;
use super::image_glob::ImageGlob;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::secret::Secret;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What kubelet speaks with its plugins: version 1 since Kubernetes 1.26, the others before.
const API_VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];

/// What a file says of one plugin.
#[derive(Debug)]
pub(super) struct Plugin {
    /// Its program's, in the folder of plugins.
    pub(super) name: String,
    pub(super) images: Vec<ImageGlob>,
    /// How long an answer is good that does not say.
    pub(super) default_duration: Duration,
    pub(super) api_version: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, Secret)>,
    /// It only works with a token of the pod's service account, and there is no pod.
    pub(super) needs_service_account: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    providers: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: Option<String>,
    api_version: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    token_attributes: Option<TokenAttributes>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenAttributes {
    #[serde(default)]
    require_service_account: bool,
}

/// Reads a file, or as kubelet does every `.yaml`, `.yml` and `.json` of a folder in the order of their
/// names.
///
/// # Errors
/// [`ErrorKind::LocalFile`] for what kubelet would not start with. Nothing of the content is shown but names:
/// an `env` may hold a secret.
pub(super) fn read(path: &Path) -> Result<Vec<Plugin>, Error> {
    let mut plugins: Vec<Plugin> = Vec::new();
    for file in files(path)? {
        let fault = |reason: String| fault(&file, reason);
        let metadata = std::fs::metadata(&file).map_err(|error| fault(error.to_string()))?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(fault("the file is too large to be a list of credential providers".to_owned()));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| fault(error.to_string()))?;
        for plugin in parse(&text).map_err(fault)? {
            if plugins.iter().any(|other| other.name == plugin.name) {
                return Err(fault(format!("there are two providers named {:?}", plugin.name)));
            }
            plugins.push(plugin);
        }
    }
    if plugins.is_empty() {
        return Err(fault(path, "it has no providers".to_owned()));
    }
    Ok(plugins)
}

fn fault(path: &Path, reason: String) -> Error {
    Error::new(path.display().to_string(), Operation::ReadingSettings, "", ErrorKind::LocalFile(reason))
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let fault = |error: std::io::Error| fault(path, error.to_string());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fault)? {
        let file = entry.map_err(fault)?.path();
        let ending = file.extension().and_then(std::ffi::OsStr::to_str);
        if matches!(ending, Some("yaml" | "yml" | "json")) && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn parse(text: &str) -> Result<Vec<Plugin>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| format!(" (line {}, column {})", at.line(), at.column()));
        format!("it is no CredentialProviderConfig of kubelet's{}", place.unwrap_or_default())
    })?;
    let group = file.api_version.split_once('/').map(|(group, _)| group);
    if file.kind != "CredentialProviderConfig" || group != Some("kubelet.config.k8s.io") {
        return Err("it is no CredentialProviderConfig of kubelet.config.k8s.io/v1".to_owned());
    }
    file.providers.into_iter().map(Entry::checked).collect()
}

impl Entry {
    fn checked(self) -> Result<Plugin, String> {
        let Self { name, match_images, default_cache_duration, api_version, args, env, token_attributes } =
            self;
        // It becomes the name of a program, which may not be outside the folder of plugins.
        if name.is_empty() || name.contains(['/', ' ', '\0']) || name == "." || name == ".." {
            return Err(format!("{name:?} cannot be the name of a provider"));
        }
        let wrong = |field: &str, what: &str| format!("the provider {name:?}: {field} {what}");
        if !API_VERSIONS.contains(&api_version.as_str()) {
            return Err(wrong("apiVersion", &format!("is none of {}", API_VERSIONS.join(", "))));
        }
        let images: Option<Vec<ImageGlob>> = match_images.iter().map(|text| ImageGlob::parse(text)).collect();
        let images = images
            .filter(|images| !images.is_empty())
            .ok_or_else(|| wrong("matchImages", "is no list of HOST[:PORT][/PATH]"))?;
        let default_duration = default_cache_duration
            .as_deref()
            .and_then(go_duration::parse)
            .ok_or_else(|| wrong("defaultCacheDuration", "is no duration such as 12h"))?;
        let environment = env.unwrap_or_default();
        if environment.iter().any(|variable| variable.name.is_empty() || variable.name.contains('=')) {
            return Err(wrong("env", "has a variable without a usable name"));
        }
        Ok(Plugin {
            images,
            default_duration,
            api_version,
            arguments: args.unwrap_or_default(),
            environment: environment
                .into_iter()
                .map(|Variable { name, value }| (name, Secret::new(value)))
                .collect(),
            needs_service_account: token_attributes.is_some_and(|it| it.require_service_account),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one provider, a line of which is another one.
    fn with(line: &str, other: &str) -> String {
        let text = "\
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: ecr-credential-provider
  matchImages: ['*.dkr.ecr.*.amazonaws.com', 'reg.example:5000/team']
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get-credentials]
  env:
  - name: KEY
    value: hunter2
";
        assert!(text.contains(line), "{line}");
        text.replacen(line, other, 1)
    }

    #[test]
    fn a_file_says_which_plugin_is_for_what() {
        let plugins = parse(&with("", "")).expect("a file of kubelet's");
        let [plugin] = plugins.as_slice() else { panic!("one plugin: {plugins:?}") };
        assert_eq!(plugin.name, "ecr-credential-provider");
        assert_eq!(plugin.default_duration, Duration::from_secs(43_200));
        assert_eq!(plugin.arguments, ["get-credentials"]);
        assert_eq!(plugin.environment, [("KEY".to_owned(), Secret::new("hunter2"))]);
        assert_eq!(plugin.images.len(), 2);
        assert!(!plugin.needs_service_account);
        assert!(!format!("{plugin:?}").contains("hunter2"), "{plugin:?}");
        // JSON is YAML; older versions, and what newer ones may add.
        let json = r#"{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "CredentialProviderConfig", "providers": [
            {"name": "a", "matchImages": ["a.example"], "defaultCacheDuration": "0s", "newer": 1,
             "apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1", "args": null, "env": null,
             "tokenAttributes": {"serviceAccountTokenAudience": "x", "requireServiceAccount": true, "cacheType": "Token"}}]}"#;
        let plugins = parse(json).expect("a file of kubelet's");
        assert!(plugins[0].needs_service_account);
        assert_eq!(plugins[0].default_duration, Duration::ZERO);
    }

    #[test]
    fn what_kubelet_would_not_start_with_is_told_without_a_secret() {
        for (line, other, words) in [
            ("kind: CredentialProviderConfig", "kind: KubeletConfiguration", "CredentialProviderConfig"),
            ("kubelet.config.k8s.io/v1", "example.com/v1", "kubelet.config.k8s.io/v1"),
            ("name: ecr-credential-provider", "name: ../evil", "name of a provider"),
            ("name: ecr-credential-provider", "name: '..'", "name of a provider"),
            ("name: ecr-credential-provider", "args: []", "line"),
            ("['*.dkr.ecr.*.amazonaws.com', 'reg.example:5000/team']", "[]", "matchImages"),
            ("'reg.example:5000/team'", "'/team'", "matchImages"),
            ("12h", "-12h", "defaultCacheDuration"),
            ("  defaultCacheDuration: 12h\n", "", "defaultCacheDuration"),
            ("credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v9", "apiVersion"),
            ("name: KEY", "name: 'A=B'", "env"),
            ("value: hunter2", "value: {hunter2: [", "line"),
            ("value: hunter2", "value: {hunter2: 1}", "line"),
        ] {
            let error = parse(&with(line, other)).expect_err(other);
            assert!(error.contains(words), "{other}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        let named = |name: &str| with("ecr-credential-provider", name);
        assert!(read(folder.path()).expect_err("nothing").to_string().contains("no providers"));
        write("20.yaml", &named("second"));
        write("10.yml", &named("first"));
        write("30.txt", "no file of kubelet's");
        let names: Vec<String> =
            read(folder.path()).expect("two files").into_iter().map(|plugin| plugin.name).collect();
        assert_eq!(names, ["first", "second"]);
        write("40.json", &named("first"));
        assert!(read(folder.path()).expect_err("two of a name").to_string().contains("two providers"));
        assert!(
            read(&folder.path().join("none.yaml")).expect_err("missing").to_string().contains("none.yaml")
        );
    }
}
