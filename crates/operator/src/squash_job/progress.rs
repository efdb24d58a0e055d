//! Asking a worker how far it is.

use std::net::IpAddr;
use std::time::Duration;

use unbloat_contract::ProgressReport;
use unbloat_contract::worker::{PORT, is_readable};

/// A worker answers from memory; one that doesn't within this time is busy ending.
const LIMIT: Duration = Duration::from_secs(2);
/// A progress document has some 300 bytes; whatever listens on a pod's address may not fill our memory.
const MOST_BYTES: usize = 16 << 10;

/// Plain HTTP to pods of the cluster's own network. What comes back is shown to people and never decided
/// upon.
#[derive(Clone, Debug)]
pub(super) struct ProgressClient {
    http: reqwest::Client,
}

impl ProgressClient {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        unbloat_registry::install_tls_provider();
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { http })
    }

    /// What the worker at this address says; `None` when it says nothing that is understood.
    pub(super) async fn ask(&self, address: &str) -> Option<ProgressReport> {
        let address: IpAddr = address.parse().ok()?;
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let mut response = self.http.get(format!("http://{host}:{PORT}/progress")).send().await.ok()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return None;
            }
        }
        understood(&body)
    }
}

/// An answer, where it is one of a worker's.
pub(super) fn understood(body: &[u8]) -> Option<ProgressReport> {
    let report: ProgressReport = serde_json::from_slice(body).ok()?;
    let digest = report.source_digest.as_deref();
    let digest_is_one = digest.is_none_or(|digest| digest.parse::<unbloat_oci::Digest>().is_ok());
    (is_readable(report.version) && digest_is_one).then_some(report)
}
