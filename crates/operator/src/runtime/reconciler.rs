//! The loop of a controller: takes objects from a queue and reconciles them, a bounded number at once.
//!
//! Guarantees: no object is reconciled twice at once; a reconcile that panics ends alone and is counted;
//! after `stop` nothing new is taken and what runs is waited for.

use std::fmt::Debug;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt, stream};
use kube::Resource;
use kube::runtime::controller::{self, Action as Requeue, Error as ControllerError, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

use super::cache::full_name;
use super::calls::CallError;
use super::metrics::{ResultLabel, RuntimeMetrics};
use super::tolerant::Tolerant;

/// Changes of one object within this time are one reconcile: a pod's start alone is three of them.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Wait after a reconcile that the API server, or the way to it, kept from its end.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// Names of objects to reconcile.
pub(crate) type Queue<K> = UnboundedSender<ObjectRef<Tolerant<K>>>;
/// The other end of a [`Queue`].
pub(crate) type Queued<K> = UnboundedReceiver<ObjectRef<Tolerant<K>>>;

/// Why a reconcile couldn't be finished; the next one starts over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReconcileError {
    /// A call to the API server came to nothing.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A document of ours can't be written.
    #[error("{0}")]
    Document(#[from] serde_json::Error),
    /// It panicked.
    #[error("the reconcile panicked: {0}")]
    Panic(String),
}

impl ReconcileError {
    /// When to try again. Attempts and their backoff are in the status; this is for the API server.
    fn wait(&self) -> Duration {
        match self {
            ReconcileError::Call(error) if error.is_conflict() => Duration::from_millis(200),
            // Said no to this very object: asking again at once would only ask again.
            ReconcileError::Call(error) if error.is_refusal() => Duration::from_secs(60),
            ReconcileError::Call(_) => AFTER_ERROR,
            ReconcileError::Document(_) | ReconcileError::Panic(_) => Duration::from_secs(300),
        }
    }
}

/// Runs until `stop`. `reconcile` gets each object that is due, `gone` is told when one of them isn't there
/// any more.
pub(crate) async fn run<K, Reconcile, Running>(
    store: Store<Tolerant<K>>,
    queued: Queued<K>,
    (concurrency, metrics): (u16, RuntimeMetrics),
    stop: CancellationToken,
    mut reconcile: Reconcile,
    gone: impl Fn(),
) where
    K: Resource + Clone + Send + Sync + 'static,
    K::DynamicType: Debug + Eq + Hash + Clone + Unpin + Default + Send + Sync,
    Reconcile: FnMut(Arc<Tolerant<K>>) -> Running,
    Running: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let reconciles = applier(
        |object, _| guarded(metrics.clone(), reconcile(object)).boxed(),
        |object: Arc<Tolerant<K>>, error: &ReconcileError, _| {
            let wait = error.wait();
            if wait >= AFTER_ERROR {
                tracing::warn!(kind, object = full_name(&*object), %error, "the reconcile starts over");
            }
            Requeue::requeue(wait)
        },
        Arc::new(()),
        store,
        requests(queued).take_until(stop.cancelled_owned()),
        controller::Config::default().concurrency(concurrency).debounce(DEBOUNCE),
    );
    reconciles
        .for_each(|result| {
            if let Err(ControllerError::ObjectNotFound(_)) = result {
                gone();
            }
            std::future::ready(())
        })
        .await;
}

fn requests<T>(queued: UnboundedReceiver<T>) -> impl Stream<Item = Result<T, std::convert::Infallible>> {
    stream::unfold(queued, |mut queued| async move { queued.recv().await.map(|item| (Ok(item), queued)) })
}

async fn guarded<T>(
    metrics: RuntimeMetrics,
    reconcile: impl Future<Output = Result<T, ReconcileError>>,
) -> Result<T, ReconcileError> {
    let start = Instant::now();
    metrics.active.inc();
    let result = AssertUnwindSafe(reconcile).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().map(ToString::to_string);
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(ReconcileError::Panic(words.unwrap_or_else(|| "no message".to_owned())))
    });
    metrics.active.dec();
    metrics.reconcile_seconds.observe(start.elapsed().as_secs_f64());
    let label = match &result {
        Ok(_) => "success",
        Err(ReconcileError::Panic(_)) => "panic",
        Err(_) => "error",
    };
    metrics.reconciles.get_or_create(&ResultLabel { result: label }).inc();
    result
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_reconcile_alone_and_is_counted() {
        let metrics = RuntimeMetrics::new(&mut Registry::default());
        let result = guarded::<()>(metrics.clone(), async { panic!("boom {}", 1) }).await;
        assert!(matches!(&result, Err(ReconcileError::Panic(words)) if words == "boom 1"), "{result:?}");
        assert_eq!(metrics.reconciles.get_or_create(&ResultLabel { result: "panic" }).get(), 1);
        assert_eq!(metrics.active.get(), 0);
        guarded(metrics.clone(), async { Ok(()) }).await.unwrap();
        assert_eq!(metrics.reconciles.get_or_create(&ResultLabel { result: "success" }).get(), 1);
    }
}
