//! Reading a source's manifest: its digest, and whether there is anything to do.
//!
//! Without credentials: the operator reads no secrets. A registry that refuses leaves the rest to the worker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use unbloat_api::{ImageSquashJobSpec, Reason};
use unbloat_oci::AnyManifest;
use unbloat_registry::{Category, Client, ClientOptions, Error, Location, Registries, Retry};

use super::plan::Plan;
use super::world::{Resolution, SourceFacts};
use crate::config::Config;

/// A job waits in its place while its source is resolved: a registry that is slow is left to the worker, which has time.
const LIMIT: Duration = Duration::from_secs(20);
/// Manifests of an index that are read; what has more isn't examined for flatness.
const MOST_MANIFESTS: usize = 32;

/// Reads manifests.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    secure: Client,
    /// For a host that jobs declare to speak plain HTTP; nothing else is spoken to so by it.
    plain: Arc<Mutex<HashMap<String, Client>>>,
    options: ClientOptions,
}

impl Resolver {
    /// Clients with the operator's settings.
    pub(crate) fn new(config: &Config) -> Self {
        let options = ClientOptions {
            ca_files: config.registry_ca_files.clone(),
            retry: Retry { attempts: 2, ..Retry::default() },
            ..ClientOptions::default()
        };
        Self { secure: Client::new(options.clone()), plain: Arc::default(), options }
    }

    fn client(&self, host: &str, plain_http: bool) -> Client {
        if !plain_http {
            return self.secure.clone();
        }
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        let made = plain.entry(host.to_owned()).or_insert_with(|| {
            let registries = Registries::default().with_plain_http([host]);
            Client::new(ClientOptions { registries, ..self.options.clone() })
        });
        made.clone()
    }

    /// Resolves a job's source.
    pub(crate) async fn resolve(&self, spec: &ImageSquashJobSpec, plan: &Plan) -> Resolution {
        let client = self.client(plan.source.registry(), spec.source.plain_http);
        match tokio::time::timeout(LIMIT, resolve(&client, spec, plan)).await {
            Ok(Ok(resolution)) => resolution,
            Ok(Err(error)) => failed(&error),
            Err(_) => Resolution::LeftToWorker,
        }
    }
}

async fn resolve(client: &Client, spec: &ImageSquashJobSpec, plan: &Plan) -> Result<Resolution, Error> {
    let source = client.source(&Location::Registry(plan.source.clone())).await?;
    let fetched = source.resolve().await?;
    let mut facts =
        SourceFacts { digest: fetched.descriptor.digest().to_string(), layers: 0, compressed_bytes: 0 };
    let manifests = match fetched.parse() {
        Ok(AnyManifest::Image(_)) => vec![fetched],
        Ok(AnyManifest::Index(index)) => {
            let entries = index.manifests();
            if entries.len() > MOST_MANIFESTS {
                return Ok(Resolution::Pinned(facts));
            }
            let mut manifests = Vec::new();
            for entry in entries {
                manifests.push(source.manifest(entry).await?);
            }
            manifests
        }
        Err(error) => {
            return Ok(Resolution::Failed { reason: Reason::InvalidImage, message: error.to_string() });
        }
    };
    let mut most_layers = 0;
    for manifest in &manifests {
        let Ok(AnyManifest::Image(manifest)) = manifest.parse() else {
            // A nested index, or something that is no image: the worker knows what to do with it.
            return Ok(Resolution::Pinned(facts));
        };
        let layers = manifest.layers();
        most_layers = most_layers.max(layers.len());
        facts.layers += i64::try_from(layers.len()).unwrap_or(i64::MAX);
        let bytes: u64 = layers.iter().map(unbloat_oci::Descriptor::size).fold(0, u64::saturating_add);
        facts.compressed_bytes =
            facts.compressed_bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    let flat = super::build::asked(spec).flat_up_to().is_some_and(|limit| most_layers <= limit);
    Ok(if flat { Resolution::Flat(facts) } else { Resolution::Pinned(facts) })
}

fn failed(error: &Error) -> Resolution {
    let reason = match error.category() {
        // Many registries say "not found" of what they don't show to strangers; the worker has credentials.
        Category::Unauthorized | Category::NotFound => return Resolution::LeftToWorker,
        Category::Image => Reason::InvalidImage,
        _ => Reason::RegistryUnavailable,
    };
    Resolution::Failed { reason, message: error.to_string() }
}
