//! Who is asked.

use url::Url;

/// The registry that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registry<'a> {
    /// As in references.
    pub(crate) name: &'a str,
    pub(crate) https: bool,
    /// Nobody is known there: another host than the one that was named, by way of a redirect.
    pub(crate) anonymous: bool,
}

impl Registry<'_> {
    /// `SCHEME://HOST/`
    pub(crate) fn base(&self) -> Url {
        let scheme = if self.https { "https" } else { "http" };
        let host = if self.name == "docker.io" { "registry-1.docker.io" } else { self.name };
        Url::parse(&format!("{scheme}://{host}/")).expect("a reference's host makes a URL")
    }
}
