//! Whom connections to a host trust, as files.

use std::path::PathBuf;

/// What decides about a connection's TLS. Two registries with the same share their connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// Any certificate will do.
    pub(crate) anyone: bool,
    /// Files of further authorities, PEM.
    pub(crate) authorities: Vec<PathBuf>,
    /// Who the client is: certificate and key, PEM.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}
