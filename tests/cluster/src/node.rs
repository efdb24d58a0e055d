//! What a node's kubelet and containerd are told: the files they read.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::image::PAUSE;
use crate::net;
use crate::parts::Part;
use crate::pki::Identity;
use crate::process::Program;
use crate::tools::CNI_PLUGINS;

/// One node's files and numbers.
pub(crate) struct Node<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) index: usize,
}

impl Node<'_> {
    /// containerd's socket, as processes inside see it.
    pub(crate) fn socket(&self) -> String {
        format!("/run/containerd-{}/containerd.sock", self.index)
    }

    /// The same socket, as this machine sees it.
    pub(crate) fn socket_outside(&self) -> PathBuf {
        self.folder.join(format!("root{}", self.socket()))
    }

    /// Writes containerd's configuration, with root, state and socket of its own.
    pub(crate) fn containerd(&self) -> Result<Program> {
        let own = self.folder.join(format!("containerd-{}", self.index));
        let network = own.join("cni");
        write(&network.join("10-pods.conflist"), &self.pod_network(&own).to_string())?;
        let config = own.join("config.toml");
        let text = format!(
            r#"version = 2
root = "{root}"
state = "/run/containerd-{index}"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Without CAP_SYS_RESOURCE no process may be given a better score than its parent has.
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{registries}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
            root = own.join("root").display(),
            index = self.index,
            socket = self.socket(),
            network = network.display(),
            registries = self.folder.join("registries").display(),
        );
        write(&config, &text)?;
        let words = vec!["containerd".into(), "--config".into(), config.display().to_string()];
        Ok(Program::new(Part::Containerd(self.index).to_string(), &self.folder.join("logs"), words))
    }

    /// Every pod on a link of its own to the node, routed: so all that passes meets kube-proxy's rules, on
    /// any kernel.
    fn pod_network(&self, own: &Path) -> Value {
        json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [
            { "type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": {
                "type": "host-local",
                "dataDir": own.join("addresses"),
                "ranges": [[{ "subnet": net::pod_range(self.index) }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ] })
    }

    /// Writes kubelet's configuration and gives its file. `group` is the cluster's control group.
    pub(crate) fn kubelet_config(&self, serving: &Identity, ca: &Path, group: &str) -> Result<PathBuf> {
        let path = self.folder.join(format!("kubelet-{}.json", self.index));
        let port = |base: usize| base + self.index;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": net::node_ip(self.index),
            "port": port(10250),
            "healthzPort": port(10350),
            "tlsCertFile": serving.cert,
            "tlsPrivateKeyFile": serving.key,
            "authentication": { "anonymous": { "enabled": false }, "webhook": { "enabled": true }, "x509": { "clientCAFile": ca } },
            "authorization": { "mode": "Webhook" },
            "containerRuntimeEndpoint": format!("unix://{}", self.socket()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{group}/node-{}", self.index),
            "failCgroupV1": false,
            "failSwapOn": false,
            "podLogsDir": format!("/var/log/pods-{}", self.index),
            // The name server that a test may start; the machine's own could not be reached.
            "clusterDNS": [net::node_ip(0)],
            "clusterDomain": "cluster.local",
            "resolvConf": "/dev/null",
            // The machine's disk and memory are shared with builds; their level says nothing about the test.
            "evictionHard": { "memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi", "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%" },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "serializeImagePulls": false,
            "maxPods": 400,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            // Renewed every 3 s, so that the loss of a kubelet shows within seconds.
            "nodeLeaseDurationSeconds": 12,
            "nodeStatusUpdateFrequency": "3s",
            "syncFrequency": "10s",
            // How soon a volume past its limit is noticed.
            "volumeStatsAggPeriod": "5s",
            "shutdownGracePeriod": "0s",
            "enableControllerAttachDetach": true,
        });
        write(&path, &config.to_string())?;
        Ok(path)
    }
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(Error::io(format!("make {}", parent.display())))?;
    std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}
