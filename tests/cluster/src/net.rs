//! The addresses of every cluster. All are private to the cluster's own network namespace, so two clusters at
//! once have the same ones and never meet.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// The bridge that stands for the node's network card: a default route that leads nowhere.
pub(crate) const UPLINK: &str = "node0";

/// Where that default route points; nobody is there.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// Of all cluster addresses of Services.
pub(crate) const SERVICE_RANGE: &str = "10.202.0.0/16";

/// The Service `default/kubernetes`: the first address of the range.
pub(crate) const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 1);

/// Of all pods of all nodes.
pub(crate) const POD_RANGE: &str = "10.201.0.0/16";

const API_PORT: u16 = 6443;

/// The address of node `index`, counted from 0.
pub(crate) fn node_ip(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 200, 0, 10 + u8::try_from(index).expect("a cluster has a handful of nodes"))
}

/// The pods' range of node `index`: 4,094 addresses.
pub(crate) fn pod_range(index: usize) -> String {
    format!("10.201.{}.0/20", index * 16)
}

/// The API server, as everything inside the cluster reaches it.
pub(crate) fn api_server() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(node_ip(0), API_PORT))
}
