//! Manifests that many tests start from: a namespace, a container that it admits, a pod, a Job.

use crate::cluster::Cluster;
use crate::error::Result;
use crate::image::TOOLBOX;
use serde_json::{Value, json};

impl Cluster {
    /// Makes a namespace that admits only `restricted` pods, and waits until pods can be made there.
    ///
    /// # Errors
    /// When the API server refuses, or its service account does not come.
    pub async fn restricted_namespace(&self, name: &str) -> Result<()> {
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let metadata = json!({ "name": name, "labels": labels });
        self.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }).to_string())
            .await?;
        self.wait_for_service_account(name, "default").await
    }
}

/// A container that `restricted` admits, and that runs a shell script.
pub fn container(script: &str) -> Value {
    json!({
        "name": "main",
        "image": TOOLBOX,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    })
}

/// A pod of one container.
pub fn pod(namespace: &str, name: &str, container: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": { "app": name } },
        "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": Value::Array(vec![container]) },
    })
}

/// A Job that runs one container once.
pub fn job(namespace: &str, name: &str, container: Value) -> Value {
    let template = pod(namespace, name, container)["spec"].take();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "backoffLimit": 0, "template": { "spec": template } },
    })
}
