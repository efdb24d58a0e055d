//! Simulated nodes, for tests that need many: their pods "run" and end by rule, without a container.

use std::time::Duration;

use serde_json::json;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::parts::Part;
use crate::process::Program;
use crate::tools::{Extra, extra, stages};

/// The label that simulated nodes, and nothing else, have; also the key of their taint.
pub const KWOK_LABEL: &str = "kwok.x-k8s.io/node";

impl Cluster {
    /// Adds `count` simulated nodes, named `kwok-0` and on, and waits until they are Ready. They carry the
    /// label and the `NoSchedule` taint `kwok.x-k8s.io/node=fake`, so that only pods that ask for them land
    /// there.
    ///
    /// # Errors
    /// When kwok cannot be built or started, or the nodes do not become Ready.
    pub async fn add_kwok_nodes(&self, count: usize) -> Result<()> {
        if !self.programs().contains_key(&Part::Kwok) {
            let kwok = tokio::task::spawn_blocking(|| extra(Extra::Kwok)).await;
            let kwok = kwok.map_err(|error| Error::Misuse(format!("building kwok panicked: {error}")))??;
            let mut words = vec![
                kwok.display().to_string(),
                format!("--kubeconfig={}", self.kubeconfig_inside().display()),
                "--manage-all-nodes=false".into(),
                format!("--manage-nodes-with-label-selector={KWOK_LABEL}=fake"),
                "--node-ip=10.200.0.250".into(),
                "--cidr=10.203.0.0/16".into(),
                "--node-lease-duration-seconds=40".into(),
            ];
            words.extend(stages(&kwok).iter().map(|stage| format!("--config={}", stage.display())));
            self.run(Part::Kwok, Program::new(Part::Kwok.to_string(), &self.layout().logs(), words))?;
        }
        let names: Vec<String> = (0..count).map(|index| format!("kwok-{index}")).collect();
        let nodes: Vec<_> = names.iter().map(|name| node(name)).collect();
        self.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": nodes }).to_string()).await?;
        for name in &names {
            self.wait_for_node(name, Duration::from_secs(60)).await?;
        }
        Ok(())
    }
}

fn node(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { KWOK_LABEL: "fake", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
            "annotations": { KWOK_LABEL: "fake" },
        },
        "spec": { "taints": [{ "key": KWOK_LABEL, "value": "fake", "effect": "NoSchedule" }] },
        "status": {
            "allocatable": { "cpu": "32", "memory": "256Gi", "pods": "1000" },
            "capacity": { "cpu": "32", "memory": "256Gi", "pods": "1000" },
        },
    })
}
