//! The programs that a cluster is made of, and their command lines: everything here is a plain function from
//! where things lie to what is run.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::net;
use crate::pki::Identity;
use crate::process::Program;
use crate::tools::Tools;

/// A part of the cluster that can be killed and started again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The API server's store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kube-proxy, one for all nodes: they share a network namespace.
    Proxy,
    /// The container runtime of the node with this number, from 0.
    Containerd(usize),
    /// The kubelet of the node with this number, from 0.
    Kubelet(usize),
    /// The registry of this name.
    Registry(String),
    /// The simulator of nodes.
    Kwok,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd => f.write_str("etcd"),
            Self::ApiServer => f.write_str("kube-apiserver"),
            Self::ControllerManager => f.write_str("kube-controller-manager"),
            Self::Scheduler => f.write_str("kube-scheduler"),
            Self::Proxy => f.write_str("kube-proxy"),
            Self::Containerd(index) => write!(f, "containerd-{index}"),
            Self::Kubelet(index) => write!(f, "kubelet-{index}"),
            Self::Registry(name) => write!(f, "registry-{name}"),
            Self::Kwok => f.write_str("kwok"),
        }
    }
}

/// Where the parts find their files and each other.
pub(crate) struct Layout<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) tools: &'a Tools,
}

impl Layout<'_> {
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(crate) fn kubeconfig(&self, who: &str) -> PathBuf {
        self.folder.join(format!("kubeconfigs/{who}"))
    }

    fn program(&self, part: &Part, command: &str, flags: Vec<String>) -> Program {
        let mut words = vec![self.tools.path(command).display().to_string()];
        words.extend(flags);
        Program::new(part.to_string(), &self.logs(), words)
    }

    /// etcd, which need not survive a crash of the machine.
    pub(crate) fn etcd(&self) -> Program {
        let flags = [
            flag("data-dir", self.folder.join("etcd").display()),
            flag("unsafe-no-fsync", true),
            flag("listen-client-urls", "http://127.0.0.1:2379"),
            flag("advertise-client-urls", "http://127.0.0.1:2379"),
            flag("listen-peer-urls", "http://127.0.0.1:2380"),
            flag("log-level", "warn"),
        ];
        self.program(&Part::Etcd, "etcd", flags.into())
    }

    /// kube-apiserver, with RBAC and a journal of all writes.
    pub(crate) fn api_server(
        &self,
        serving: &Identity,
        client: &Identity,
        ca: &Path,
        (token_key, token_public): &(PathBuf, PathBuf),
    ) -> Program {
        let file = |path: &Path| path.display().to_string();
        let flags = [
            flag("etcd-servers", "http://127.0.0.1:2379"),
            flag("bind-address", "0.0.0.0"),
            flag("secure-port", net::api_server().port()),
            flag("advertise-address", net::api_server().ip()),
            flag("service-cluster-ip-range", net::SERVICE_RANGE),
            flag("tls-cert-file", file(&serving.cert)),
            flag("tls-private-key-file", file(&serving.key)),
            flag("client-ca-file", file(ca)),
            flag("kubelet-client-certificate", file(&client.cert)),
            flag("kubelet-client-key", file(&client.key)),
            flag("kubelet-certificate-authority", file(ca)),
            flag("kubelet-preferred-address-types", "InternalIP"),
            flag("service-account-issuer", "https://kubernetes.default.svc"),
            flag("service-account-key-file", file(token_public)),
            flag("service-account-signing-key-file", file(token_key)),
            flag("authorization-mode", "Node,RBAC"),
            flag("enable-admission-plugins", "NodeRestriction"),
            flag("allow-privileged", true),
            flag("audit-policy-file", self.folder.join("audit-policy.yaml").display()),
            flag("audit-log-path", self.audit_log().display()),
            flag("shutdown-delay-duration", "0s"),
        ];
        self.program(&Part::ApiServer, "kube-apiserver", flags.into())
    }

    /// The journal of writes, one JSON object a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.jsonl")
    }

    /// kube-controller-manager.
    pub(crate) fn controller_manager(&self, ca: &Path, token_key: &Path) -> Program {
        let flags = [
            flag("kubeconfig", self.kubeconfig("controller-manager").display()),
            flag("service-account-private-key-file", token_key.display()),
            flag("root-ca-file", ca.display()),
            flag("use-service-account-credentials", true),
            flag("leader-elect", false),
            // A node is missed after four of its status updates, not after the default of 50 s.
            flag("node-monitor-period", "1s"),
            flag("node-monitor-grace-period", "16s"),
            // Hundreds of Jobs at once are a test's business, and must not wait for the default of 20 calls a
            // second.
            flag("kube-api-qps", 400),
            flag("kube-api-burst", 800),
        ];
        self.program(&Part::ControllerManager, "kube-controller-manager", flags.into())
    }

    /// kube-scheduler.
    pub(crate) fn scheduler(&self) -> Program {
        let flags = [
            flag("kubeconfig", self.kubeconfig("scheduler").display()),
            flag("leader-elect", false),
            flag("kube-api-qps", 400),
            flag("kube-api-burst", 800),
        ];
        self.program(&Part::Scheduler, "kube-scheduler", flags.into())
    }

    /// kube-proxy. Its conntrack limits belong to the machine, which is not ours to set.
    pub(crate) fn proxy(&self) -> Program {
        let flags = [
            flag("kubeconfig", self.kubeconfig("proxy").display()),
            flag("hostname-override", node_name(0)),
            flag("proxy-mode", "iptables"),
            flag("cluster-cidr", net::POD_RANGE),
            flag("conntrack-max-per-core", 0),
            flag("conntrack-tcp-timeout-established", 0),
            flag("conntrack-tcp-timeout-close-wait", 0),
        ];
        self.program(&Part::Proxy, "kube-proxy", flags.into())
    }

    /// The kubelet of node `index`.
    pub(crate) fn kubelet(&self, index: usize, config: &Path) -> Program {
        let flags = [
            flag("kubeconfig", self.kubeconfig(&node_name(index)).display()),
            flag("config", config.display()),
            flag("root-dir", self.folder.join(format!("kubelet-{index}")).display()),
            flag("hostname-override", node_name(index)),
            flag("node-ip", net::node_ip(index)),
        ];
        self.program(&Part::Kubelet(index), "kubelet", flags.into())
    }
}

/// The name of node `index` in the API.
pub(crate) fn node_name(index: usize) -> String {
    format!("node-{index}")
}

fn flag(name: &str, value: impl fmt::Display) -> String {
    format!("--{name}={value}")
}
