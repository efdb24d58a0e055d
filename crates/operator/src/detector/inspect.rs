//! Reading an image's manifest and config, once for ever, at a pace.
//!
//! What a failure says decides when it is tried again: that is kept in the report, with growing waits, so
//! that neither a restart nor a policy's change asks a registry anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use unbloat_api::Finding;
use unbloat_api::image_report::ReportedPlatform;
use unbloat_oci::{AnyManifest, Digest, EntryKind, ImageConfig, Manifest, Reference, Refusal};
use unbloat_policy::facts::{Inspection, Unreadable};
use unbloat_policy::image::ImageKey;
use unbloat_registry::{
    Category, Client, ClientOptions, Error, ErrorKind, Keyring, Location, Registries, Retry, Source, Timeouts,
};

use super::metrics::DetectorMetrics;
use super::pace::Pace;
use super::state::{Reading, Shared as SharedState};
use crate::config::Config;

/// Registries are asked one request at a time each, this many of them at once.
const AT_ONCE: usize = 8;
/// Platforms of an index that are read.
const MOST_PLATFORMS: usize = 16;
/// A registry that takes longer is busy: the image is tried again later.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest patience that a registry may ask for.
const MOST_PATIENCE: Duration = Duration::from_secs(3600);
/// What our own results say in their manifest.
pub(super) const OUR_ANNOTATION: &str = "dev.unbloat.source.digest";
/// What their newest step begins with, where a manifest takes no annotation.
const OUR_STEP: &str = "unbloat squash";

/// Reads images beside the rounds.
#[derive(Clone)]
pub(super) struct Inspectors {
    state: Arc<SharedState>,
    pace: Arc<Pace>,
    places: Arc<Semaphore>,
    metrics: DetectorMetrics,
    config: Arc<Config>,
    clients: Arc<Mutex<Option<(u64, Client)>>>,
}

impl Inspectors {
    pub(super) fn new(config: &Arc<Config>, state: Arc<SharedState>, metrics: DetectorMetrics) -> Self {
        Self {
            state,
            pace: Arc::new(Pace::new(config.detection.requests_per_second)),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            metrics,
            config: Arc::clone(config),
            clients: Arc::default(),
        }
    }

    /// Reads an image soon and asks for a round when it is read.
    pub(super) fn read(&self, key: ImageKey) {
        if !self.state.with(|state| state.reading.insert(key.clone())) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let Ok(_place) = this.places.clone().acquire_owned().await else { return };
            let reading = this.inspect(&key).await;
            let result = match &reading {
                Reading::Read(_) => "success",
                Reading::Failed(why) => why.finding.as_str(),
            };
            this.metrics.inspected(result);
            this.state.change(|state| {
                state.readings.insert(key.clone(), reading);
                state.reading.remove(&key);
            });
        });
    }

    async fn inspect(&self, key: &ImageKey) -> Reading {
        let client = self.client();
        match tokio::time::timeout(LIMIT, inspect(&client, key, &self.pace)).await {
            Ok(Ok(inspection)) => Reading::Read(inspection),
            Ok(Err(Failed::Registry(error))) => Reading::Failed(self.unreadable(key, &error)),
            Ok(Err(Failed::Image(message))) => {
                Reading::Failed(Unreadable { finding: Finding::InvalidImage, message })
            }
            Err(_) => Reading::Failed(Unreadable {
                finding: Finding::RegistryUnavailable,
                message: format!("no answer within {} s", LIMIT.as_secs()),
            }),
        }
    }

    /// Whether an image is signed by now: signatures come after the image that they are for.
    pub(super) async fn is_signed(&self, key: &ImageKey) -> Result<bool, Error> {
        let client = self.client();
        let Some((reference, digest)) = reference(key) else { return Ok(false) };
        let source = client.source(&Location::Registry(reference.clone())).await?;
        is_signed(&client, &source, &reference, &digest, &self.pace).await
    }

    /// Whether a tag still is the image.
    pub(super) async fn stands(&self, tagged: &str, key: &ImageKey) -> Result<bool, Error> {
        let Ok(reference) = tagged.parse::<Reference>() else { return Ok(false) };
        let client = self.client();
        self.pace.turn(key.host()).await;
        let source = client.source(&Location::Registry(reference)).await?;
        Ok(source.current_digest(None).await?.is_some_and(|digest| digest.as_str() == key.digest))
    }

    /// Whether a result is there and can be pulled by whoever pulls the original: it is in the same
    /// repository, or everybody can pull it.
    pub(super) async fn can_be_pulled(&self, result: &str, is_same_repository: bool) -> Result<bool, Error> {
        let Ok(reference) = result.parse::<Reference>() else { return Ok(false) };
        let client = if is_same_repository { self.client() } else { self.build(Keyring::default()) };
        self.pace.turn(reference.registry()).await;
        match client.source(&Location::Registry(reference)).await?.current_digest(None).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.category() == Category::Unauthorized && !is_same_repository => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unreadable(&self, key: &ImageKey, error: &Error) -> Unreadable {
        let finding = match (error.kind(), error.category()) {
            (ErrorKind::RateLimited { retry_after, .. }, _) => {
                let patience = retry_after.unwrap_or(Duration::from_secs(60)).min(MOST_PATIENCE);
                self.pace.hold(key.host(), patience);
                Finding::RegistryRateLimited
            }
            (_, Category::Unauthorized) => Finding::PullUnauthorized,
            (_, Category::NotFound) => Finding::ImageGone,
            (_, Category::Image | Category::Limit) => Finding::InvalidImage,
            _ => Finding::RegistryUnavailable,
        };
        Unreadable { finding, message: error.to_string() }
    }

    /// A client with the credentials that there are now.
    pub(super) fn client(&self) -> Client {
        let version = self.state.with(|state| state.secrets.version());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.take().filter(|(of, _)| *of == version).map(|(_, client)| client);
        let client = known.unwrap_or_else(|| self.build(self.state.with(|state| state.secrets.keyring())));
        *clients = Some((version, client.clone()));
        client
    }

    /// Waits for a host's next turn.
    pub(super) async fn turn(&self, host: &str) {
        self.pace.turn(host).await;
    }

    fn build(&self, keyring: Keyring) -> Client {
        Client::new(ClientOptions {
            keyring,
            registries: Registries::default().with_plain_http(self.config.plain_http_hosts()),
            ca_files: self.config.registry_ca_files.clone(),
            // Waits are ours: the pace, and the report's next time.
            retry: Retry { attempts: 1, ..Retry::default() },
            timeouts: Timeouts { answer: Duration::from_secs(20), ..Timeouts::default() },
            ..ClientOptions::default()
        })
    }
}

enum Failed {
    Registry(Error),
    Image(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Registry(error)
    }
}

fn reference(key: &ImageKey) -> Option<(Reference, Digest)> {
    let reference: Reference = key.reference().parse().ok()?;
    let digest = reference.digest()?.clone();
    Some((reference, digest))
}

async fn inspect(client: &Client, key: &ImageKey, pace: &Pace) -> Result<Inspection, Failed> {
    let image = |message: String| Failed::Image(message);
    let (reference, digest) =
        reference(key).ok_or_else(|| image(format!("{key} is no reference of an image")))?;
    let source = client.source(&Location::Registry(reference.clone())).await?;
    pace.turn(key.host()).await;
    let fetched = source.resolve().await?;
    let mut found = Found::default();
    match fetched.parse().map_err(|error| image(error.to_string()))? {
        AnyManifest::Image(manifest) => {
            pace.turn(key.host()).await;
            let config = source.config(manifest.config()).await?;
            let config = ImageConfig::parse(&config).map_err(|error| image(error.to_string()))?;
            let newest = config.history().last().map(|entry| entry.raw().get().contains(OUR_STEP));
            found.is_ours |= newest.unwrap_or(false);
            let platform = config.platform();
            found.add(&platform.to_string(), &manifest);
            if platform.os == "windows" {
                found.refuse(&Refusal::Windows);
            }
        }
        AnyManifest::Index(index) => {
            found.is_ours |= index.annotations().contains_key(OUR_ANNOTATION);
            let images = index.manifests().iter().filter_map(|entry| match entry.kind() {
                EntryKind::Image(platform) => Some((entry, platform)),
                _ => None,
            });
            for (entry, platform) in images.take(MOST_PLATFORMS) {
                let platform = platform.map(|platform| platform.to_string()).unwrap_or_default();
                pace.turn(key.host()).await;
                let fetched = source.manifest(entry).await?;
                let Ok(AnyManifest::Image(manifest)) = fetched.parse() else { continue };
                if platform.starts_with("windows/") {
                    found.refuse(&Refusal::Windows);
                }
                found.add(&platform, &manifest);
            }
        }
    }
    if found.inspection.platforms.is_empty() {
        return Err(image("there is no image in it".to_owned()));
    }
    let is_one_layer = found.inspection.layers() <= 1;
    if found.inspection.blocker.is_none() {
        found.inspection.blocker = if found.is_ours {
            Some(Finding::OwnResult)
        } else if is_one_layer {
            Some(Finding::OneLayer)
        } else if is_signed(client, &source, &reference, &digest, pace).await? {
            Some(Finding::Signed)
        } else {
            None
        };
    }
    Ok(found.inspection)
}

#[derive(Default)]
struct Found {
    inspection: Inspection,
    is_ours: bool,
}

impl Found {
    fn add(&mut self, platform: &str, manifest: &Manifest) {
        self.is_ours |= manifest.annotations().contains_key(OUR_ANNOTATION);
        if let Err((_, refusal)) = manifest.check_layers(false) {
            self.refuse(&refusal);
        }
        let bytes = manifest.layers().iter().map(unbloat_oci::Descriptor::size).fold(0, u64::saturating_add);
        self.inspection.platforms.push(ReportedPlatform {
            platform: platform.chars().take(64).collect(),
            layers: i32::try_from(manifest.layers().len()).unwrap_or(i32::MAX).min(1_000_000),
            compressed_bytes: i64::try_from(bytes).unwrap_or(i64::MAX).min(9_007_199_254_740_991),
        });
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let finding = match refusal {
            Refusal::EncryptedLayer { .. } => Finding::EncryptedLayers,
            Refusal::ForeignLayer { .. } => Finding::ForeignLayers,
            Refusal::Windows => Finding::WindowsLayers,
            _ => return,
        };
        // Windows images have foreign layers; that they are for Windows says more.
        if self.inspection.blocker.is_none() || finding == Finding::WindowsLayers {
            self.inspection.blocker = Some(finding);
        }
    }
}

/// By a referrer that is a signature, or by the tag that cosign writes where a registry knows no referrers.
async fn is_signed(
    client: &Client,
    source: &Source,
    reference: &Reference,
    digest: &Digest,
    pace: &Pace,
) -> Result<bool, Error> {
    let host = reference.registry();
    pace.turn(host).await;
    let referrers = match source.referrers(digest).await {
        Ok(referrers) => referrers,
        // A registry that knows none says so in many ways.
        Err(error) if matches!(error.kind(), ErrorKind::RateLimited { .. }) => return Err(error),
        Err(_) => Vec::new(),
    };
    let is_signature = |kind: &str| {
        let kind = kind.to_ascii_lowercase();
        ["cosign", "sigstore", "signature"].iter().any(|word| kind.contains(word))
    };
    if referrers.iter().any(|referrer| referrer.artifact_type().is_some_and(|kind| is_signature(&kind))) {
        return Ok(true);
    }
    let tag = format!("{}-{}.sig", digest.algorithm().name(), digest.hex());
    let Ok(tagged) =
        unbloat_oci::Reference::new(host, reference.repository(), &unbloat_oci::Target::Tag(tag))
    else {
        return Ok(false);
    };
    pace.turn(host).await;
    let signature = client.source(&Location::Registry(tagged)).await?;
    Ok(signature.current_digest(None).await?.is_some())
}
