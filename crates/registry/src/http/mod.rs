//! HTTP as registries speak it: connections, answers, redirects, attempts.
//!
//! What happens here: one exchange with one server, and what its answer says. What does not: who we are
//! (`auth`), and requests with that (`transport`).
//!
//! Files from the lowest to the highest; each uses only those before it: `troubles` (what is tried again, for
//! whoever watches), `attempts` (how often, how long), `timeouts`, `answer` (statuses, errors, bounded
//! bodies), `guard` (where to, and where not), `trust` (whose certificates), `clients` (connections),
//! `redirect` (where a `Location` leads), `link` (where a `Link` does), `body`.

pub(crate) mod answer;
pub(crate) mod attempts;
pub(crate) mod body;
pub(crate) mod clients;
pub(crate) mod coding;
pub(crate) mod guard;
pub(crate) mod link;
pub(crate) mod redirect;
pub(crate) mod timeouts;
pub(crate) mod troubles;
pub(crate) mod trust;
