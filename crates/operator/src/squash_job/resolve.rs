//! Reading a source's manifest: its digest, and whether there is anything to do.
//!
//! Only at registries that the platform has listed, without credentials, and bounded: few at once, small
//! documents, one in memory at a time. Whatever goes wrong is the worker's to say, which has the credentials
//! and the way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use unbloat_api::ImageSquashJobSpec;
use unbloat_oci::{AnyManifest, Descriptor};
use unbloat_registry::{Client, ClientOptions, Error, Guard, Location, Registries, Retry};

use super::plan::Plan;
use super::world::{Resolution, SourceFacts};
use crate::config::Config;

/// A job waits in its place while its source is resolved: a registry that is slow is left to the worker,
/// which has time.
const LIMIT: Duration = Duration::from_secs(20);
/// Largest sum of sizes that is believed of a manifest, in bytes: the status takes no more than JSON holds
/// exactly.
const MOST_STATED: i64 = 1 << 52;
/// Manifests of an index that are read; what has more isn't examined for flatness.
const MOST_MANIFESTS: usize = 32;
/// Largest manifest of an index that is read, in bytes.
const MOST_MANIFEST_BYTES: u64 = 1 << 20;
/// Bytes of manifests that are read for one source.
const MOST_BYTES: u64 = 4 << 20;
/// Sources that are read at once: each holds one document of at most 4 MiB and what it parses to.
const AT_ONCE: usize = 2;

/// Reads manifests.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    secure: Client,
    plain: Client,
    places: Arc<Semaphore>,
}

impl Resolver {
    /// Two clients: one for registries that jobs declare to be plain HTTP.
    pub(super) fn new(config: &Config) -> Self {
        // The registries are the platform's own choice, wherever they are; where they lead is not.
        let hosts = config.resolve_registries.iter().map(|registry| host(registry));
        let guard = Arc::new(Guard::private().but_for(hosts));
        let options = ClientOptions {
            ca_files: config.registry_ca_files.clone(),
            guard: Some(guard),
            retry: Retry { attempts: 2, ..Retry::default() },
            ..ClientOptions::default()
        };
        // Asked only where a job declares it, and then of the listed registries alone.
        let plain =
            Registries::default().with_plain_http(config.resolve_registries.iter().map(String::as_str));
        Self {
            secure: Client::new(options.clone()),
            plain: Client::new(ClientOptions { registries: plain, ..options }),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Resolves a job's source.
    pub(super) async fn resolve(&self, spec: &ImageSquashJobSpec, plan: &Plan) -> Resolution {
        let client = if spec.source.plain_http { &self.plain } else { &self.secure };
        let read = async {
            let place = self.places.acquire().await;
            let resolution = resolve(client, spec, plan).await;
            drop(place);
            resolution
        };
        match tokio::time::timeout(LIMIT, read).await {
            Ok(Ok(resolution)) => resolution,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a source is left to its worker");
                Resolution::LeftToWorker
            }
            Err(_) => Resolution::LeftToWorker,
        }
    }
}

/// `HOST` of `HOST[:PORT]`.
fn host(registry: &str) -> String {
    let port = registry.rsplit_once(':').filter(|(_, port)| port.chars().all(|c| c.is_ascii_digit()));
    port.map_or(registry, |(host, _)| host).trim_matches(['[', ']']).to_owned()
}

async fn resolve(client: &Client, spec: &ImageSquashJobSpec, plan: &Plan) -> Result<Resolution, Error> {
    let source = client.source(&Location::Registry(plan.source.clone())).await?;
    let fetched = source.resolve().await?;
    let mut facts =
        SourceFacts { digest: fetched.descriptor.digest().to_string(), layers: 0, compressed_bytes: 0 };
    let mut most_layers = 0;
    match fetched.parse() {
        Ok(AnyManifest::Image(manifest)) => count(&mut facts, &mut most_layers, manifest.layers()),
        Ok(AnyManifest::Index(index)) => {
            drop(fetched);
            let entries = index.manifests();
            let bytes = entries.iter().map(Descriptor::size).fold(0, u64::saturating_add);
            let large = entries.iter().any(|entry| entry.size() > MOST_MANIFEST_BYTES);
            if entries.len() > MOST_MANIFESTS || large || bytes > MOST_BYTES {
                return Ok(Resolution::Pinned(facts));
            }
            for entry in entries {
                // One at a time: what is counted of it is all that is kept.
                let Ok(AnyManifest::Image(manifest)) = source.manifest(entry).await?.parse() else {
                    // A nested index, or something that is no image: the worker knows what to do with it.
                    return Ok(Resolution::Pinned(facts));
                };
                count(&mut facts, &mut most_layers, manifest.layers());
            }
        }
        Err(_) => return Ok(Resolution::LeftToWorker),
    }
    let flat = super::build::asked(spec).flat_up_to().is_some_and(|limit| most_layers <= limit);
    Ok(if flat { Resolution::Flat(facts) } else { Resolution::Pinned(facts) })
}

fn count(facts: &mut SourceFacts, most_layers: &mut usize, layers: &[Descriptor]) {
    *most_layers = layers.len().max(*most_layers);
    facts.layers = facts.layers.saturating_add(i64::try_from(layers.len()).unwrap_or(i64::MAX));
    let bytes: u64 = layers.iter().map(Descriptor::size).fold(0, u64::saturating_add);
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).min(MOST_STATED);
    facts.compressed_bytes = facts.compressed_bytes.saturating_add(bytes).min(MOST_STATED);
}
