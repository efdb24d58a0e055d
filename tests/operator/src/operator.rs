//! The operator as a process of the cluster's node, with the rights of its own service account and no more.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use unbloat_cluster::{Cluster, Error, Look, Options, Program, Registry, RegistryOptions, Result, Signal};

use crate::binaries::{product_image, product_program};

/// The worker's image on every node.
pub const WORKER_IMAGE: &str = "unbloat.local/worker:test";
/// The ConfigMap of certificate authorities that workers may mount.
pub const CA_CONFIG_MAP: &str = "registry-ca";
/// Where the operator's own objects live.
const SYSTEM: &str = "unbloat-system";

/// A cluster with the resource definition, the operator's rights, a registry, and the worker's image.
pub struct Ground {
    /// The cluster.
    pub cluster: Cluster,
    /// A registry without a login.
    pub registry: Registry,
    /// The operator's program.
    program: PathBuf,
}

/// A running operator; it ends with its value, so that a test that fails leaves no leader to the next one.
pub struct Operator {
    /// The process.
    pub program: Program,
    /// Where it serves health and metrics.
    pub address: SocketAddr,
    /// Where it serves probes alone.
    pub probes: SocketAddr,
}

impl Ground {
    /// The ground that the tests of one file share, for one test at a time: what one of them kills, another
    /// may need. Each can be run alone.
    ///
    /// # Errors
    /// As [`Ground::start`].
    pub async fn shared() -> Result<MutexGuard<'static, Self>> {
        static SHARED: OnceCell<Mutex<Ground>> = OnceCell::const_new();
        let ground = SHARED.get_or_try_init(async || Self::start().await.map(Mutex::new)).await?.lock().await;
        ground.cluster.restricted_namespace("team").await?;
        Ok(ground)
    }

    /// Starts it.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start() -> Result<Self> {
        let cluster = Cluster::start(Options::default()).await?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read =
            |path: &str| std::fs::read_to_string(root.join(path)).map_err(Error::io(format!("read {path}")));
        cluster.apply(&read("config/manager/namespace.yaml")?).await?;
        for plural in ["imagesquashjobs", "imagesquashpolicies", "imagereports"] {
            cluster.apply(&read(&format!("config/crd/unbloat.dev_{plural}.yaml"))?).await?;
        }
        // The manifest's worker is the one that ships; here it is the test's own, with the test's
        // authorities.
        let policy = read("config/admission/policy.yaml")?
            .replace("ghcr.io/unbloat/worker:0.1.0", WORKER_IMAGE)
            .replace("volume.configMap.name == ''", &format!("volume.configMap.name == '{CA_CONFIG_MAP}'"));
        cluster.apply(&policy).await?;
        for part in [
            "service_account",
            "operator_role",
            "operator_binding",
            "lease_role",
            "rollouts_role",
            "credentials_role",
            "user_roles",
        ] {
            cluster.apply(&read(&format!("config/rbac/{part}.yaml"))?).await?;
        }
        cluster
            .kubectl(&[
                "wait",
                "--for=condition=Established",
                "crd/imagesquashjobs.unbloat.dev",
                "crd/imagesquashpolicies.unbloat.dev",
                "crd/imagereports.unbloat.dev",
                "--timeout=30s",
            ])
            .await?;
        let worker = product_image("worker", &cluster.folder().join("worker-image")).await?;
        cluster.load_image(&worker, WORKER_IMAGE).await?;
        let program = product_program("operator", cluster.folder()).await?;
        let registry = cluster.start_registry("main", RegistryOptions::default()).await?;
        Ok(Self { cluster, registry, program })
    }

    /// Starts an operator with the configuration's defaults and these changes, through the API server at
    /// `server`.
    ///
    /// # Errors
    /// When it doesn't become ready.
    pub async fn operator_through(
        &self,
        name: &str,
        changes: &Value,
        server: SocketAddr,
    ) -> Result<Operator> {
        static PORT: AtomicU16 = AtomicU16::new(18080);
        let port = PORT.fetch_add(2, Ordering::Relaxed);
        let mut config = json!({
            "worker": {
                "image": WORKER_IMAGE,
                "imagePullPolicy": "Never",
                "cpu": "200m",
                "memory": "128Mi",
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "scratch": {"emptyDir": {"sizeLimit": "1Gi"}},
            },
            "backoff": {"baseSeconds": 2, "capSeconds": 10},
        });
        merge(&mut config, changes);
        let file = self.cluster.folder().join(format!("{name}.yaml"));
        std::fs::write(&file, config.to_string()).map_err(Error::io("write the configuration"))?;
        let kubeconfig = self.cluster.kubeconfig_as(SYSTEM, "unbloat-operator", server).await?;
        let program = self.program.display().to_string();
        let (config, kubeconfig) = (file.display().to_string(), kubeconfig.display().to_string());
        let (listen, listen_for_probes) = (format!("0.0.0.0:{port}"), format!("0.0.0.0:{}", port + 1));
        let words = [
            program.as_str(),
            "--config",
            &config,
            "--address",
            &listen,
            "--probe-address",
            &listen_for_probes,
            "--instance",
            name,
            "--lease-namespace",
            SYSTEM,
        ];
        let environment = [("KUBECONFIG", kubeconfig.as_str()), ("RUST_BACKTRACE", "1")];
        let program = self.cluster.spawn(name, &words, &environment)?;
        let host = self.cluster.api_address().ip();
        let (address, probes) = (SocketAddr::new(host, port), SocketAddr::new(host, port + 1));
        Ok(Operator { program, address, probes })
    }

    /// Starts an operator that reaches the API server directly.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn operator(&self, name: &str, changes: &Value) -> Result<Operator> {
        self.operator_through(name, changes, self.cluster.api_address()).await
    }

    /// What an endpoint inside the cluster answers, head and body.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn get(&self, address: SocketAddr, path: &str) -> Result<String> {
        let mut stream =
            self.cluster.connect(address).await.map_err(Error::io(format!("connect to {address}")))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(Error::io("ask"))?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.map_err(Error::io("read an answer"))?;
        Ok(text)
    }

    /// A metric's value: all samples whose line starts with `name` added up.
    ///
    /// # Errors
    /// When the operator doesn't answer.
    pub async fn metric(&self, operator: &Operator, name: &str) -> Result<f64> {
        let text = self.get(operator.address, "/metrics").await?;
        let lines = text.lines().filter(|line| line.starts_with(name));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// Waits until an operator leads.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn wait_for_leader(&self, operator: &Operator, limit: Duration) -> Result<()> {
        self.cluster
            .wait_for(SYSTEM, &format!("{} to lead", operator.program.name()), limit, async || {
                let leads = self.metric(operator, "unbloat_leader").await? > 0.0;
                Ok(if leads { Look::Done(()) } else { Look::NotYet("it stands by".into()) })
            })
            .await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It has ended already, as most do by then, or the cluster ends it.
        let _ = self.program.kill(Signal::KILL);
    }
}

impl Operator {
    /// Ends it without a chance to clean up.
    ///
    /// # Errors
    /// When it doesn't end.
    pub fn kill(&mut self) -> Result<()> {
        self.program.kill(Signal::KILL)
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it doesn't end.
    pub fn terminate(&mut self) -> Result<()> {
        self.program.kill(Signal::TERM)
    }

    /// Takes its processor away, until [`Operator::resume`].
    pub fn pause(&self) {
        self.program.signal(Signal::STOP);
    }

    /// Lets it go on after [`Operator::pause`].
    pub fn resume(&self) {
        self.program.signal(Signal::CONT);
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.program.log()).unwrap_or_default()
    }
}

/// A name that no other process of this ground has had: `WHAT-NUMBER`.
pub fn fresh(what: &str) -> String {
    static NUMBER: AtomicU16 = AtomicU16::new(0);
    format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn merge(target: &mut Value, changes: &Value) {
    match (target, changes) {
        (Value::Object(target), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, changes) => *target = changes.clone(),
    }
}
