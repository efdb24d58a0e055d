//! What the process gives each of its controllers.

use std::sync::{Arc, RwLock};

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::runtime::calls::Calls;
use crate::runtime::health::Health;
use crate::runtime::metrics::RuntimeMetrics;

/// What every controller of the process gets.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) calls: Calls,
    pub(crate) config: Arc<Config>,
    /// Namespace to work in; all of them when absent.
    pub(crate) namespace: Option<String>,
    /// Namespace that the operator itself is in, with the platform's credentials.
    pub(crate) own_namespace: String,
    /// Name of this replica, for events.
    pub(crate) instance: String,
    /// Reconciles of one controller at once.
    pub(crate) concurrency: u16,
    pub(crate) metrics: RuntimeMetrics,
    /// Where a controller registers what only a leader has.
    pub(crate) registry: Arc<RwLock<Registry>>,
    pub(crate) health: Arc<Health>,
    pub(crate) stop: CancellationToken,
}
