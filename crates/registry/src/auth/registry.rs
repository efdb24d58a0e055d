//! Who is asked.

/// The registry that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registry<'a> {
    /// As in references.
    pub(crate) name: &'a str,
    pub(crate) https: bool,
    /// Nobody is known there: another host than the one that was named, by way of a redirect.
    pub(crate) anonymous: bool,
}
