//! HTTP as registries speak it: connections, answers, redirects, attempts, and requests with the right credentials.
//!
//! What happens here: one request at a time, until it has an answer that its caller knows. What does not: which requests make
//! a pull or a push (`remote`, `upload`), which credentials there are (`auth`).
//!
//! Files from the lowest to the highest; each uses only those before it:
//! `attempts` (how often, how long), `answer` (statuses, errors, bounded bodies), `guard` (where to, and where not), `trust`
//! (whose certificates), `clients` (connections), `redirect` (where a `Location` leads), `link` (where a `Link` does), `body`,
//! `call` (one request), `host` (what is known of one registry), `transport` (sending).

pub(crate) mod answer;
pub(crate) mod attempts;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod clients;
pub(crate) mod guard;
pub(crate) mod host;
pub(crate) mod link;
pub(crate) mod redirect;
pub(crate) mod transport;
pub(crate) mod trust;
