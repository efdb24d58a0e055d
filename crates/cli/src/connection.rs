//! How registries are reached: the options of every command that reads or writes an image, and the client
//! that they make.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use unbloat_contract::Limits;
use unbloat_oci::Reference;
use unbloat_registry::{
    Client, ClientOptions, Cloud, Credential, Keyring, Location, Registries, Secret, UploadMode, UploadPolicy,
};

use crate::error::Usage;

/// Options for every registry of a command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Registry options")]
pub(crate) struct ConnectionArgs {
    /// Speak plain HTTP to this registry, and to no other (HOST[:PORT]; repeatable). On loopback whichever
    /// answers is spoken
    #[arg(long, value_name = "HOST", value_parser = host)]
    pub(crate) plain_http: Vec<String>,
    /// Trust this certificate authority, or this very certificate, too (PEM; repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Vec<PathBuf>,
    /// Trust the *.crt of this folder and show its *.cert with *.key (repeatable); as in certs.d/HOST of
    /// Docker and containers
    #[arg(long, value_name = "DIR")]
    pub(crate) cert_dir: Vec<PathBuf>,
    /// Accept any certificate
    #[arg(long)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Read credentials from this file (Docker's or containers' format) before the usual places
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// Log in with this user name, before all other credentials. Where a command names several registries it
    /// goes to the first that refuses what else is known, and to no other
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub(crate) username: Option<String>,
    /// Read passwords from standard input, a line for each user name given
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Log in with the identity that this machine, pod or service account has in this cloud. Without the
    /// option the identities whose variables are set are used, for the registries of their cloud only
    /// (repeatable)
    #[arg(long, value_enum, value_name = "CLOUD")]
    pub(crate) cloud_identity: Vec<CloudArg>,
    /// Ask the credential provider plugins of this file for the images that it names for them, as kubelet's
    /// option of this name does (a folder: all files in it)
    #[arg(
        long,
        value_name = "FILE",
        requires = "image_credential_provider_bin_dir",
        env = "UNBLOAT_IMAGE_CREDENTIAL_PROVIDER_CONFIG"
    )]
    pub(crate) image_credential_provider_config: Option<PathBuf>,
    /// The folder with the plugins' programs
    #[arg(
        long,
        value_name = "DIR",
        requires = "image_credential_provider_config",
        env = "UNBLOAT_IMAGE_CREDENTIAL_PROVIDER_BIN_DIR"
    )]
    pub(crate) image_credential_provider_bin_dir: Option<PathBuf>,
    /// How blobs larger than a chunk go to a registry
    #[arg(long, value_enum, value_name = "WAY", default_value_t)]
    pub(crate) upload: UploadWay,
    /// Bytes of an upload's chunk, 64 MiB at most [default: an eighth of --memory, from 5 MiB to 32 MiB]
    #[arg(long, value_name = "SIZE", value_parser = chunk_size)]
    pub(crate) chunk_size: Option<usize>,
}

/// How blobs larger than a chunk go to a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UploadWay {
    /// In chunks; what refuses them gets a stream, what refuses that the whole.
    #[default]
    Auto,
    /// In chunks only.
    Chunked,
    /// In one streaming request without a length only, as skopeo and Docker send.
    Stream,
    /// In one request with a length only; what is made anew is in --scratch meanwhile.
    Whole,
}

impl From<UploadWay> for UploadMode {
    fn from(way: UploadWay) -> Self {
        match way {
            UploadWay::Auto => Self::Auto,
            UploadWay::Chunked => Self::Chunked,
            UploadWay::Stream => Self::Stream,
            UploadWay::Whole => Self::Whole,
        }
    }
}

fn chunk_size(text: &str) -> Result<usize, String> {
    let bytes = crate::report::parse_size(text)?;
    match usize::try_from(bytes) {
        Ok(bytes) if (64 << 10..=64 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("a chunk has from 64KiB to 64MiB: two are in memory".to_owned()),
    }
}

/// `--cloud-identity`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CloudArg {
    /// Elastic Container Registry: IRSA, EKS Pod Identity, or keys in variables
    Aws,
    /// Artifact Registry: the metadata server, or workload identity federation
    Gcp,
    /// Azure Container Registry: workload identity
    Azure,
    /// None, whatever variables are set
    None,
}

impl CloudArg {
    fn cloud(self) -> Option<Cloud> {
        match self {
            Self::Aws => Some(Cloud::Aws),
            Self::Gcp => Some(Cloud::Gcp),
            Self::Azure => Some(Cloud::Azure),
            Self::None => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::None => "none",
        }
    }
}

/// Options for the registry of SRC and for that of DST alone. Commands that compare two images call the first
/// SRC and the second DST: what a squash or copy was told, its check is told in the same words.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options for the registry of SRC or DST alone")]
pub(crate) struct TwoPlacesArgs {
    /// Speak plain HTTP to the registry of SRC
    #[arg(long)]
    pub(crate) src_plain_http: bool,
    /// Speak plain HTTP to the registry of DST
    #[arg(long)]
    pub(crate) dest_plain_http: bool,
    /// Trust this certificate authority for SRC (PEM; repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) src_ca_file: Vec<PathBuf>,
    /// Trust this certificate authority for DST (PEM; repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) dest_ca_file: Vec<PathBuf>,
    /// As --cert-dir, for SRC
    #[arg(long, value_name = "DIR")]
    pub(crate) src_cert_dir: Vec<PathBuf>,
    /// As --cert-dir, for DST
    #[arg(long, value_name = "DIR")]
    pub(crate) dest_cert_dir: Vec<PathBuf>,
    /// Accept any certificate of SRC's registry
    #[arg(long)]
    pub(crate) src_insecure_skip_tls_verify: bool,
    /// Accept any certificate of DST's registry
    #[arg(long)]
    pub(crate) dest_insecure_skip_tls_verify: bool,
    /// Read credentials for SRC's registry from this file first
    #[arg(long, value_name = "FILE")]
    pub(crate) src_authfile: Option<PathBuf>,
    /// Read credentials for DST's registry from this file first
    #[arg(long, value_name = "FILE")]
    pub(crate) dest_authfile: Option<PathBuf>,
    /// Log in to SRC's registry with this user name
    #[arg(long, value_name = "NAME", requires = "password_stdin", conflicts_with = "username")]
    pub(crate) src_username: Option<String>,
    /// Log in to DST's registry with this user name; its password is the second line where SRC has a user
    /// name too
    #[arg(long, value_name = "NAME", requires = "password_stdin", conflicts_with = "username")]
    pub(crate) dest_username: Option<String>,
    /// Log in to SRC's registry with this (other users of this machine may see it: --src-username keeps the
    /// password from them)
    #[arg(long, value_name = "NAME:PASSWORD", conflicts_with_all = ["username", "src_username"])]
    pub(crate) src_creds: Option<String>,
    /// Log in to DST's registry with this (other users of this machine may see it: --dest-username keeps the
    /// password from them)
    #[arg(long, value_name = "NAME:PASSWORD", conflicts_with_all = ["username", "dest_username"])]
    pub(crate) dest_creds: Option<String>,
}

/// The images that a command names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Images<'a> {
    /// SRC, or the only one.
    pub(crate) source: Option<&'a str>,
    /// DST.
    pub(crate) destination: Option<&'a str>,
    /// Further ones that it reads.
    pub(crate) others: &'a [&'a str],
}

impl<'a> Images<'a> {
    /// Of a command with one image.
    pub(crate) fn one(image: &'a str) -> Self {
        Self { source: Some(image), ..Self::default() }
    }

    /// Of a command with SRC and DST.
    pub(crate) fn two(source: &'a str, destination: &'a str) -> Self {
        Self { destination: Some(destination), ..Self::one(source) }
    }

    fn registries(self) -> impl Iterator<Item = Reference> {
        let Self { source, destination, others } = self;
        source.into_iter().chain(destination).chain(others.iter().copied()).filter_map(registry_of)
    }
}

/// What a command does with its client.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    limits: Limits,
    /// Foreign layers are fetched from their URLs.
    allow_foreign: bool,
}

impl Needs {
    /// Of a command with these bounds.
    pub(crate) fn of(limits: &Limits, allow_foreign: bool) -> Self {
        Self { limits: limits.clone(), allow_foreign }
    }

    /// Of a command that makes no layers.
    pub(crate) fn small() -> Self {
        let limits = Limits { memory_bytes: 48 << 20, ..Limits::default() };
        Self { limits, allow_foreign: true }
    }
}

/// The host of a registry, as an option names it.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
    if bare.is_empty() || bare.contains(['/', '@', ' ']) || format!("{bare}/x").parse::<Reference>().is_err()
    {
        return Err("it takes the registry's HOST or HOST:PORT".to_owned());
    }
    Ok(bare.to_ascii_lowercase())
}

fn registry_of(image: &str) -> Option<Reference> {
    image.parse::<Location>().ok()?.reference().cloned()
}

impl TwoPlacesArgs {
    /// The options that the image of SRC needs again, without those of a user and password.
    pub(crate) fn source_options(&self) -> Vec<String> {
        let Self { src_plain_http, src_insecure_skip_tls_verify, .. } = self;
        let mut options: Vec<String> = [
            (src_plain_http, "--src-plain-http"),
            (src_insecure_skip_tls_verify, "--src-insecure-skip-tls-verify"),
        ]
        .into_iter()
        .filter(|(given, _)| **given)
        .map(|(_, option)| option.to_owned())
        .collect();
        let files = |option: &'static str, files: &[PathBuf]| {
            files.iter().map(move |file| format!("{option}={}", file.display())).collect::<Vec<_>>()
        };
        options.extend(files("--src-ca-file", &self.src_ca_file));
        options.extend(files("--src-cert-dir", &self.src_cert_dir));
        options.extend(files("--src-authfile", self.src_authfile.as_slice()));
        options
    }
}

impl ConnectionArgs {
    /// A client for a command whose images are all treated alike.
    pub(crate) fn client(&self, images: Images<'_>, needs: Needs) -> anyhow::Result<Client> {
        self.client_for(&TwoPlacesArgs::default(), images, needs)
    }

    /// A client for a command with SRC and DST.
    pub(crate) fn client_for(
        &self,
        places: &TwoPlacesArgs,
        images: Images<'_>,
        needs: Needs,
    ) -> anyhow::Result<Client> {
        let source = images.source.and_then(registry_of);
        let destination = images.destination.and_then(registry_of);
        let registries = self.registries(places, source.as_ref(), destination.as_ref())?;
        let mut keyring = Keyring::from_environment()?;
        keyring.add_helpers(registries.credential_helpers());
        if let Some(path) = &self.authfile {
            keyring.add_named_file(path)?;
        }
        if let (Some(config), Some(programs)) =
            (&self.image_credential_provider_config, &self.image_credential_provider_bin_dir)
        {
            keyring.add_credential_providers(config, programs)?;
        }
        let mut passwords = Passwords;
        for (place, option, file) in [
            (&source, "--src-authfile", &places.src_authfile),
            (&destination, "--dest-authfile", &places.dest_authfile),
        ] {
            if let Some(file) = file {
                keyring.add_named_file_for(named(place.as_ref(), option)?.registry(), file)?;
            }
        }
        let hosts: BTreeSet<String> =
            images.registries().map(|reference| reference.registry().to_owned()).collect();
        let all: Vec<&str> = hosts.iter().map(String::as_str).collect();
        match self.cloud_identity.as_slice() {
            [] => keyring.use_cloud_environment(),
            clouds => clouds.iter().filter_map(|cloud| cloud.cloud()).for_each(|cloud| {
                // A registry under a name of its own is the cloud's where there is no other registry.
                let alone = if all.len() == 1 { all.as_slice() } else { &[] };
                keyring.use_cloud(cloud, alone);
            }),
        }
        if let Some(username) = &self.username {
            let credential = Credential::Basic { username: username.clone(), password: passwords.next()? };
            match (hosts.len(), hosts.first()) {
                (1, Some(host)) => keyring.insert(host, credential),
                _ => keyring.insert_unbound(credential),
            }
        }
        let both = hosts.len() < 2;
        let places = [
            (&source, "--src-username", &places.src_username, "--src-creds", &places.src_creds),
            (&destination, "--dest-username", &places.dest_username, "--dest-creds", &places.dest_creds),
        ];
        for (place, name_option, name, pair_option, pair) in places {
            let credential = match (name, pair) {
                (Some(name), _) => {
                    named(place.as_ref(), name_option)?;
                    Credential::Basic { username: name.clone(), password: passwords.next()? }
                }
                (None, Some(pair)) => {
                    named(place.as_ref(), pair_option)?;
                    let (name, password) = pair
                        .split_once(':')
                        .ok_or_else(|| Usage(format!("{pair_option}: it takes NAME:PASSWORD")))?;
                    Credential::Basic { username: name.to_owned(), password: Secret::new(password) }
                }
                (None, None) => continue,
            };
            let reference = named(place.as_ref(), name_option)?;
            // On one registry, each side's user comes first for its own repository.
            if both {
                keyring.insert(
                    &format!("{}/{}", reference.registry(), reference.repository()),
                    credential.clone(),
                );
            }
            keyring.insert(reference.registry(), credential);
        }
        for warning in keyring.warnings() {
            tracing::warn!("{warning}");
        }
        let Needs { limits, allow_foreign } = needs;
        let mut options = ClientOptions {
            keyring,
            registries,
            ca_files: self.ca_file.clone(),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            allow_foreign,
            tell_tags: true,
            scratch: limits.scratch.clone(),
            ..ClientOptions::default()
        };
        options.upload = UploadPolicy {
            chunk_bytes: self.chunk_size.unwrap_or_else(|| limits.chunk_bytes()),
            mode: self.upload.into(),
        };
        Ok(Client::checked(options)?)
    }

    /// The options that the same image needs again, without those of a user and password.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        let mut add = |name: &str, value: &dyn std::fmt::Display| options.push(format!("{name}={value}"));
        self.plain_http.iter().for_each(|host| add("--plain-http", host));
        self.ca_file.iter().for_each(|file| add("--ca-file", &file.display()));
        self.cert_dir.iter().for_each(|folder| add("--cert-dir", &folder.display()));
        self.authfile.iter().for_each(|file| add("--authfile", &file.display()));
        self.cloud_identity.iter().for_each(|cloud| add("--cloud-identity", &cloud.name()));
        self.image_credential_provider_config
            .iter()
            .for_each(|file| add("--image-credential-provider-config", &file.display()));
        self.image_credential_provider_bin_dir
            .iter()
            .for_each(|folder| add("--image-credential-provider-bin-dir", &folder.display()));
        if self.insecure_skip_tls_verify {
            options.push("--insecure-skip-tls-verify".to_owned());
        }
        options
    }

    fn registries(
        &self,
        places: &TwoPlacesArgs,
        source: Option<&Reference>,
        destination: Option<&Reference>,
    ) -> anyhow::Result<Registries> {
        let mut registries =
            Registries::from_environment()?.with_plain_http(self.plain_http.iter().map(String::as_str));
        // With the name of no registry, so that a folder that is not there is told of even where none is
        // spoken to.
        let hosts = [source, destination].into_iter().flatten().map(Reference::registry);
        for host in hosts.chain([""]) {
            registries.host(host).cert_dirs.extend(self.cert_dir.iter().cloned());
        }
        let TwoPlacesArgs {
            src_plain_http,
            dest_plain_http,
            src_ca_file,
            dest_ca_file,
            src_cert_dir,
            dest_cert_dir,
            src_insecure_skip_tls_verify,
            dest_insecure_skip_tls_verify,
            ..
        } = places;
        let sides = [
            (source, "--src-", src_plain_http, src_insecure_skip_tls_verify, src_ca_file, src_cert_dir),
            (
                destination,
                "--dest-",
                dest_plain_http,
                dest_insecure_skip_tls_verify,
                dest_ca_file,
                dest_cert_dir,
            ),
        ];
        for (place, side, plain, insecure, authorities, folders) in sides {
            if !*plain && !*insecure && authorities.is_empty() && folders.is_empty() {
                continue;
            }
            let settings = registries.host(named(place, &format!("{side}…"))?.registry());
            settings.plain_http |= *plain;
            settings.insecure_skip_tls_verify |= *insecure;
            settings.ca_files.extend(authorities.iter().cloned());
            settings.cert_dirs.extend(folders.iter().cloned());
        }
        Ok(registries)
    }
}

/// The registry that an option is for.
fn named<'a>(place: Option<&'a Reference>, option: &str) -> Result<&'a Reference, Usage> {
    place.ok_or_else(|| Usage(format!("{option}: that image is in no registry, or there is none")))
}

/// Passwords from standard input, a line each.
pub(crate) struct Passwords;

impl Passwords {
    pub(crate) fn next(&mut self) -> anyhow::Result<Secret> {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line)? == 0 {
            return Err(Usage("standard input has no line with the password".to_owned()).into());
        }
        let password = line.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(Usage("the password on standard input is empty".to_owned()).into());
        }
        Ok(Secret::new(password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_takes_a_host_and_nothing_else() {
        assert_eq!(host("Reg.example:5000").unwrap(), "reg.example:5000");
        assert_eq!(host("http://reg.example:5000/").unwrap(), "reg.example:5000");
        for text in ["", "reg.example/team", "a b", "user@host", ":5000"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
