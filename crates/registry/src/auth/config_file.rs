//! Docker's `config.json` and containers' `auth.json`: reading their entries, and changing one.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::auth::credential::{Credential, basic};
use crate::auth::helper;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::secret::Secret;

/// Largest credentials file that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What a file holds. An entry that cannot be used is a warning, which shows nothing of it, and spoils no
/// other.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    pub(crate) entries: Vec<(String, Credential)>,
    /// Registry and the name of its helper.
    pub(crate) helpers: Vec<(String, String)>,
    /// The helper for every registry.
    pub(crate) store: Option<String>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Deserialize, Default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<ConfigFile>, Error> {
    match read_json(path)? {
        None => Ok(None),
        Some(file) => Ok(Some(parse(&path.display().to_string(), file))),
    }
}

/// Reads the bytes of such a file.
pub(crate) fn parse_bytes(name: &str, bytes: &[u8]) -> Result<ConfigFile, Error> {
    Ok(parse(name, parse_json(name, bytes)?))
}

/// Reads the list of entries alone, as old files and `.dockercfg` are.
pub(crate) fn parse_entries(name: &str, bytes: &[u8]) -> Result<ConfigFile, Error> {
    let entries = parse_json(name, bytes)?;
    Ok(parse(name, Map::from_iter([("auths".to_owned(), Value::Object(entries))])))
}

fn parse(name: &str, mut file: Map<String, Value>) -> ConfigFile {
    let mut found = ConfigFile::default();
    let object = |value: Option<Value>| match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    for (registry, value) in object(file.remove("auths")) {
        let entry = serde_json::from_value::<AuthEntry>(value).map_err(|_| "is not an entry of such a file");
        match entry.and_then(AuthEntry::credential) {
            Ok(Some(credential)) => found.entries.push((registry, credential)),
            Ok(None) => {}
            Err(reason) => {
                found.warnings.push(format!("{name}: the entry for {registry:?} {reason}; it is skipped"));
            }
        }
    }
    let mut usable = |registry: &str, helper: &Value| match helper.as_str().map(helper::check_name) {
        Some(Ok(())) => true,
        Some(Err(reason)) => {
            found.warnings.push(format!("{name}: the helper for {registry} is skipped: {reason}"));
            false
        }
        None => {
            found.warnings.push(format!("{name}: the helper for {registry} has no name; it is skipped"));
            false
        }
    };
    for (registry, helper) in object(file.remove("credHelpers")) {
        if usable(&format!("{registry:?}"), &helper) {
            found.helpers.push((registry, helper.as_str().unwrap_or_default().to_owned()));
        }
    }
    if let Some(store) = file.remove("credsStore").filter(|store| store.as_str() != Some(""))
        && usable("all registries", &store)
    {
        found.store = store.as_str().map(str::to_owned);
    }
    found
}

fn read_json(path: &Path) -> Result<Option<Map<String, Value>>, Error> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(None),
        Err(error) => return Err(fault(&path.display().to_string(), &error.to_string())),
    };
    let name = path.display().to_string();
    if metadata.is_dir() {
        return Err(fault(&name, "it is a folder, not a file of credentials"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(fault(&name, "the file is too large to be a list of credentials"));
    }
    let bytes = std::fs::read(path).map_err(|error| fault(&name, &error.to_string()))?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Some(Map::new()));
    }
    parse_json(&name, &bytes).map(Some)
}

/// Parses without ever quoting the content: serde's own message may hold a value.
fn parse_json(name: &str, bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        let reason =
            format!("not a valid list of credentials (line {}, column {})", error.line(), error.column());
        fault(name, &reason)
    })
}

/// A file of credentials that cannot be used.
pub(crate) fn fault(name: &str, reason: &str) -> Error {
    Error::new(name, Operation::ReadingCredentials, "", ErrorKind::LocalFile(reason.to_owned()))
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

/// Puts a user and password for a registry into a file, as Docker and podman write it, or takes them out.
/// Everything else in the file stays; it is replaced in one step and only its owner may read it.
///
/// Tells whether there was an entry before.
pub(crate) fn change(path: &Path, registry: &str, login: Option<(&str, &Secret)>) -> Result<bool, Error> {
    let name = path.display().to_string();
    let mut file = read_json(path)?.unwrap_or_default();
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    let Value::Object(auths) = auths else { return Err(fault(&name, "its auths is not an object")) };
    // Docker's own name of its hub, so that Docker finds it too.
    let key = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    let had = auths.shift_remove(key).is_some() | (key != registry && auths.shift_remove(registry).is_some());
    match login {
        Some((username, password)) => {
            let auth = STANDARD.encode(format!("{username}:{}", password.expose()));
            auths.insert(key.to_owned(), json!({"auth": auth}));
        }
        None if !had => return Ok(false),
        None => {}
    }
    let bytes = serde_json::to_vec_pretty(&file).map_err(|error| fault(&name, &error.to_string()))?;
    write(path, &bytes).map_err(|error| {
        Error::new(name.clone(), Operation::WritingCredentials, "", ErrorKind::LocalFile(error.to_string()))
    })?;
    Ok(had)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A link stays a link: its target is what is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.exists() {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
