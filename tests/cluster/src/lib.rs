//! A real Kubernetes for tests: etcd, API server, controller manager, scheduler, proxy, and nodes with
//! kubelet and containerd, started in seconds and ended without a trace.
//!
//! What happens here: building the commands ([`Tools`]), starting and ending ([`Cluster`]), registries,
//! images, clients, waits, faults (kill a part, cut a [`Tunnel`]). What does not: anything about Unbloat; its
//! tests bring that.
//!
//! Invariants:
//! - All processes, mounts and links of a cluster are in namespaces of its own, which end with their first
//!   process, which ends with the test's; no packet leaves the machine, and clusters side by side do not
//!   meet.
//! - Every wait has a limit, and its message has statuses, events and logs.
//! - Nothing of the machine's own containerd, kubelet or network is read or written.

mod access;
mod audit;
mod cluster;
mod command;
mod cut;
mod diagnosis;
mod enclosure;
mod error;
pub mod fixture;
mod image;
mod kubeconfig;
mod kwok;
mod names;
mod net;
mod node;
mod options;
mod parts;
mod person;
mod pki;
mod place;
mod process;
mod push;
mod registry;
mod tools;
mod tunnel;
mod wait;

pub use audit::Write;
pub use cluster::Cluster;
pub use command::{cargo, run, run_with};
pub use enclosure::Lifetime;
pub use error::{Error, Result};
pub use image::{Image, ImageBuilder, TOOLBOX};
pub use kwok::KWOK_LABEL;
pub use names::NameServer;
pub use options::Options;
pub use parts::Part;
pub use person::Attached;
pub use place::{running, sweep};
pub use process::Program;
pub use registry::{Registry, RegistryOptions};
pub use rustix::process::Signal;
pub use tools::{Extra, Tools, extra};
pub use tunnel::{Entrance, Flow, Tunnel};
pub use wait::{JobEnd, Look, termination};
