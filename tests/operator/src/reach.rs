//! What NetworkPolicies allow, by the rules of the Kubernetes API: no network of the tests enforces them, so
//! the tests ask what one that does would say.

use std::net::IpAddr;

use serde_json::Value;

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// A pod of a namespace, with one label of its own.
    Pod {
        /// Its namespace, which has its name as label.
        namespace: &'a str,
        /// Value of `app.kubernetes.io/name`.
        name: &'a str,
    },
    /// Whatever has this address.
    Address(&'a str),
}

/// Whether every policy's side lets a connection pass: `from` may send it and `to` may take it.
pub fn may_connect(policies: &[&Value], from: End<'_>, to: End<'_>, port: u16, protocol: &str) -> bool {
    let side = |own: End<'_>, peer: End<'_>, kind: &str, rules: &str, peers: &str| {
        let mut held = policies.iter().filter(|policy| is_of(policy, own, kind)).peekable();
        held.peek().is_none()
            || held.any(|policy| {
                let rules = policy["spec"][rules].as_array();
                rules.into_iter().flatten().any(|rule| {
                    takes_port(&rule["ports"], port, protocol) && takes_peer(policy, &rule[peers], peer)
                })
            })
    };
    side(from, to, "Egress", "egress", "to") && side(to, from, "Ingress", "ingress", "from")
}

/// Whether a policy of that kind holds this end.
fn is_of(policy: &Value, end: End<'_>, kind: &str) -> bool {
    let End::Pod { namespace, name } = end else { return false };
    let kinds = policy["spec"]["policyTypes"].as_array();
    kinds.is_some_and(|kinds| kinds.iter().any(|has| has == kind))
        && policy["metadata"]["namespace"] == namespace
        && selects(&policy["spec"]["podSelector"], "app.kubernetes.io/name", name)
}

/// Labels of other names are those of every pod of ours.
fn selects(selector: &Value, label: &str, value: &str) -> bool {
    assert!(selector.get("matchExpressions").is_none(), "not understood: {selector}");
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    labels.into_iter().flatten().all(|(name, wanted)| name != label || wanted == value)
}

fn takes_port(ports: &Value, port: u16, protocol: &str) -> bool {
    ports.as_array().is_none_or(|ports| {
        ports.iter().any(|has| has["port"] == port && has["protocol"].as_str().unwrap_or("TCP") == protocol)
    })
}

fn takes_peer(policy: &Value, peers: &Value, end: End<'_>) -> bool {
    peers.as_array().is_none_or(|peers| {
        peers.iter().any(|peer| match end {
            End::Address(address) => peer.get("ipBlock").is_some_and(|block| is_within(block, address)),
            End::Pod { namespace, name } => {
                let in_namespace = match peer.get("namespaceSelector") {
                    Some(selector) => selects(selector, "kubernetes.io/metadata.name", namespace),
                    None => policy["metadata"]["namespace"] == namespace,
                };
                let is_pod =
                    peer.get("podSelector").is_none_or(|pods| selects(pods, "app.kubernetes.io/name", name));
                peer.get("ipBlock").is_none() && in_namespace && is_pod
            }
        })
    })
}

fn is_within(block: &Value, address: &str) -> bool {
    let address: IpAddr = address.parse().expect("an address");
    let within = |network: &Value| {
        let network = network.as_str().expect("a network");
        let (base, bits) = network.split_once('/').expect("a network with its length");
        let (base, bits): (IpAddr, u32) = (base.parse().expect("one"), bits.parse().expect("a length"));
        match (base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    };
    within(&block["cidr"]) && !block["except"].as_array().is_some_and(|except| except.iter().any(within))
}
