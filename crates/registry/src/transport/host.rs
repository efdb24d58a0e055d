//! One registry: its name, its address, and what was learned of it.

use std::sync::atomic::{AtomicBool, Ordering};

use url::Url;

use crate::auth::registry::Registry;
use crate::auth::token::Authentication;
use crate::http::clients::authority;
use crate::settings::Speech;
use crate::transport::way::UploadFacts;

/// One registry: its name, its address, and what was learned of it.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    https: AtomicBool,
    speech: Speech,
    /// Whether it was heard to speak so.
    settled: AtomicBool,
    /// It was reached by a redirect from another one: nobody is known there.
    anonymous: bool,
    pub(crate) authentication: Authentication,
    /// How it takes blobs.
    pub(crate) uploads: UploadFacts,
}

impl Host {
    pub(crate) fn new(name: &str, speech: Speech) -> Self {
        Self {
            name: name.to_owned(),
            https: AtomicBool::new(matches!(speech, Speech::Tls | Speech::TlsElsePlain)),
            speech,
            settled: AtomicBool::new(matches!(speech, Speech::Tls | Speech::Plain)),
            anonymous: false,
            authentication: Authentication::default(),
            uploads: UploadFacts::of(name),
        }
    }

    /// Where a redirect leads.
    pub(crate) fn elsewhere(url: &Url) -> Self {
        let speech = if url.scheme() == "https" { Speech::Tls } else { Speech::Plain };
        Self { anonymous: true, ..Self::new(&authority(url), speech) }
    }

    /// As in references.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https.load(Ordering::Relaxed)
    }

    /// The scheme that it may speak instead of this one, as long as it was not heard.
    pub(crate) fn other_scheme(&self, scheme: &str) -> Option<&'static str> {
        match (self.speech, scheme) {
            _ if self.settled.load(Ordering::Relaxed) => None,
            (Speech::PlainElseTls, "http") => Some("https"),
            (Speech::TlsElsePlain, "https") => Some("http"),
            _ => None,
        }
    }

    /// It speaks this.
    pub(crate) fn settle(&self, scheme: &str) {
        self.https.store(scheme == "https", Ordering::Relaxed);
        self.settled.store(true, Ordering::Relaxed);
    }

    /// What authentication has to know of it.
    pub(crate) fn registry(&self) -> Registry<'_> {
        Registry { name: &self.name, https: self.is_https(), anonymous: self.anonymous }
    }

    /// `SCHEME://HOST/`
    pub(crate) fn base(&self) -> Url {
        self.registry().base()
    }

    /// Whether credentials for this registry may go to that URL.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base().origin()
    }
}
