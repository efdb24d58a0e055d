//! What a test asks of its cluster.

use crate::enclosure::Lifetime;

/// What a cluster has. The default is what most tests need: one node, ended with the test.
#[derive(Clone, Debug)]
pub struct Options {
    /// Real nodes, each a kubelet with a containerd of its own; at least one.
    pub nodes: usize,
    /// Whose end is the cluster's.
    pub lifetime: Lifetime,
    /// A name for its folder and control group; made up where there is none. Two of one name cannot run at
    /// once.
    pub name: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 1, lifetime: Lifetime::Owner, name: None }
    }
}

impl Options {
    /// The same with `nodes` real nodes.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }
}
