//! A cluster from start to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::enclosure::{Enclosure, Lifetime};
use crate::error::{Error, Result};
use crate::image::{self, Image, TOOLBOX};
use crate::kubeconfig::{Credential, kubeconfig};
use crate::net;
use crate::node::{Node, write};
use crate::options::Options;
use crate::parts::{Layout, Part, node_name};
use crate::pki::{Authority, Identity};
use crate::place::{self, Record};
use crate::process::Program;
use crate::tools::Tools;
use crate::tunnel::{Entrance, Tunnel};

/// Etcd and the API server together, on a machine that is busy building something else.
const API_READY_WITHIN: Duration = Duration::from_secs(90);
/// kubelet's first registration, on the same machine.
const NODES_READY_WITHIN: Duration = Duration::from_secs(90);

/// What the API server writes to its journal: every write, once, with who and what but not its content.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
{"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]}, {"level": "None"}]}"#;

/// A running cluster; ended when dropped.
pub struct Cluster {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) tools: Tools,
    pub(crate) authority: Authority,
    pub(crate) enclosure: Arc<Enclosure>,
    programs: Mutex<BTreeMap<Part, Program>>,
    /// Carries the tunnels: a test whose own runtime is blocked must not stop them.
    runtime: Option<Runtime>,
    api: Option<Tunnel>,
    pub(crate) nodes: usize,
    pub(crate) registries: std::sync::atomic::AtomicUsize,
    lifetime: Lifetime,
    is_over: bool,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes are Ready. The first time on a machine, Kubernetes is
    /// built: six minutes.
    ///
    /// # Errors
    /// When a command is missing, or a part does not become ready; the message quotes the log of the part at
    /// fault.
    pub async fn start(options: Options) -> Result<Self> {
        let cluster = tokio::task::spawn_blocking(move || Self::start_control_plane(&options))
            .await
            .map_err(|error| Error::Misuse(format!("the start panicked: {error}")))??;
        cluster.wait_for_api().await?;
        cluster.start_rest()?;
        for index in 0..cluster.nodes {
            cluster.load_image_on(index, &image::pause()?, image::PAUSE).await?;
            let toolbox = image::toolbox(&cluster.folder.join("toolbox"))?;
            cluster.load_image_on(index, &toolbox, TOOLBOX).await?;
        }
        for index in 0..cluster.nodes {
            cluster.wait_for_node(&node_name(index), NODES_READY_WITHIN).await?;
        }
        cluster.wait_for_service_account("default", "default").await?;
        Ok(cluster)
    }

    /// One cluster for all tests of a test program, started by the first that asks. It ends with the program.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::start(Options::default())).await
    }

    fn start_control_plane(options: &Options) -> Result<Self> {
        if options.nodes == 0 {
            return Err(Error::Misuse("a cluster has at least one node".into()));
        }
        let tools = Tools::ready()?;
        place::sweep()?;
        let name = options.name.clone().unwrap_or_else(place::new_name);
        let folder = place::base()?.join(&name);
        if folder.exists() {
            return Err(Error::Misuse(format!(
                "a cluster named {name} is there already, in {}",
                folder.display()
            )));
        }
        for below in ["logs", "kubeconfigs", "registries"] {
            let path = folder.join(below);
            std::fs::create_dir_all(&path).map_err(Error::io(format!("make {}", path.display())))?;
        }
        let authority = Authority::new(&folder.join("pki"))?;
        let group = place::group(&name);
        let enclosure = Enclosure::start(&folder, &group, options.nodes, options.lifetime)?;
        let record = Record {
            anchor: enclosure.anchor().clone(),
            group,
            nodes: options.nodes,
            tools: tools.folder().into(),
        };
        record.write(&folder)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(Error::io("start a runtime"))?;
        let enclosure = Arc::new(enclosure);
        // From here on, whatever fails, `drop` ends what was started.
        let mut cluster = Self {
            name,
            folder,
            tools,
            authority,
            enclosure,
            programs: Mutex::default(),
            runtime: Some(runtime),
            api: None,
            nodes: options.nodes,
            registries: Default::default(),
            lifetime: options.lifetime,
            is_over: false,
        };
        let tunnel = cluster.tunnel(Entrance::Machine, net::api_server())?;
        cluster.write_identities(tunnel.address())?;
        cluster.api = Some(tunnel);

        let layout = Layout { folder: &cluster.folder, tools: &cluster.tools };
        let (etcd, api_server) = (layout.etcd(), cluster.api_server()?);
        cluster.run(Part::Etcd, etcd)?;
        cluster.run(Part::ApiServer, api_server)?;
        for index in 0..cluster.nodes {
            let containerd = Node { folder: &cluster.folder, index }.containerd()?;
            cluster.run(Part::Containerd(index), containerd)?;
        }
        Ok(cluster)
    }

    /// Signs who is who and writes the kubeconfig of each.
    fn write_identities(&self, api_outside: SocketAddr) -> Result<()> {
        let inside = net::api_server().to_string();
        let admin = self.identity("admin", "admin", Some("system:masters"))?;
        self.write_kubeconfig("admin", &inside, &admin)?;
        self.write_kubeconfig("admin-outside", &api_outside.to_string(), &admin)?;
        for (file, user) in [
            ("controller-manager", "system:kube-controller-manager"),
            ("scheduler", "system:kube-scheduler"),
            ("proxy", "system:kube-proxy"),
        ] {
            self.write_kubeconfig(file, &inside, &self.identity(file, user, None)?)?;
        }
        for index in 0..self.nodes {
            let name = node_name(index);
            let names = [name.clone(), net::node_ip(index).to_string()];
            let user = format!("system:node:{name}");
            let identity = self.authority.sign(&name, &user, Some("system:nodes"), &names)?;
            self.write_kubeconfig(&name, &inside, &identity)?;
            Node { folder: &self.folder, index }.kubelet_config(
                &identity,
                &self.authority.file(),
                &place::group(&self.name),
            )?;
        }
        Ok(())
    }

    fn identity(&self, file: &str, user: &str, group: Option<&str>) -> Result<Identity> {
        self.authority.sign(file, user, group, &[])
    }

    fn write_kubeconfig(&self, file: &str, address: &str, identity: &Identity) -> Result<()> {
        let config = kubeconfig(address, &self.authority.pem(), &Credential::Certificate(identity));
        write(&self.folder.join("kubeconfigs").join(file), &config.to_string())
    }

    fn api_server(&self) -> Result<Program> {
        let names = [
            net::node_ip(0).to_string(),
            net::KUBERNETES_SERVICE.to_string(),
            "127.0.0.1".into(),
            "localhost".into(),
            "kubernetes".into(),
            "kubernetes.default".into(),
            "kubernetes.default.svc".into(),
        ];
        let serving = self.authority.sign("apiserver", "kube-apiserver", None, &names)?;
        let to_kubelets = self.identity("apiserver-kubelet", "kube-apiserver", Some("system:masters"))?;
        let tokens = self.authority.bare_key("tokens")?;
        write(&self.folder.join("audit-policy.yaml"), AUDIT_POLICY)?;
        Ok(self.layout().api_server(&serving, &to_kubelets, &self.authority.file(), &tokens))
    }

    fn start_rest(&self) -> Result<()> {
        let layout = self.layout();
        let token_key = self.folder.join("pki/tokens.key");
        self.run(Part::ControllerManager, layout.controller_manager(&self.authority.file(), &token_key))?;
        self.run(Part::Scheduler, layout.scheduler())?;
        self.run(Part::Proxy, layout.proxy())?;
        for index in 0..self.nodes {
            self.wait_for_containerd(index)?;
            let config = self.folder.join(format!("kubelet-{index}.json"));
            self.run(Part::Kubelet(index), layout.kubelet(index, &config))?;
        }
        Ok(())
    }

    pub(crate) fn layout(&self) -> Layout<'_> {
        Layout { folder: &self.folder, tools: &self.tools }
    }

    pub(crate) fn programs(&self) -> MutexGuard<'_, BTreeMap<Part, Program>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a part and keeps it.
    pub(crate) fn run(&self, part: Part, mut program: Program) -> Result<()> {
        program.start(&self.enclosure)?;
        self.programs().insert(part, program);
        Ok(())
    }

    /// Waits until the API server is ready: after a start, or a restart.
    ///
    /// # Errors
    /// When it is not within 90 s; the message quotes its log.
    pub async fn wait_for_api(&self) -> Result<()> {
        let client = self.client().await?;
        let deadline = Instant::now() + API_READY_WITHIN;
        loop {
            self.check_parts()?;
            let request = http_get("/readyz");
            let answer = tokio::time::timeout(Duration::from_secs(2), client.request_text(request)).await;
            if matches!(answer, Ok(Ok(_))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let programs = self.programs();
                let program = programs.get(&Part::ApiServer).expect("it was started before");
                return Err(program.failure(format!("is not ready after {} s", API_READY_WITHIN.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn wait_for_containerd(&self, index: usize) -> Result<()> {
        let socket = Node { folder: &self.folder, index }.socket_outside();
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            self.check_parts()?;
            if Instant::now() > deadline {
                let programs = self.programs();
                let program = programs.get(&Part::Containerd(index)).expect("it was started before");
                return Err(program.failure("does not listen on its socket after 30 s"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Fails when a part has ended that nobody killed.
    ///
    /// # Errors
    /// The first such part, with the end of its log.
    pub fn check_parts(&self) -> Result<()> {
        self.programs().values_mut().filter(|program| program.was_started()).try_for_each(Program::check)
    }

    /// Its name, as in `cargo xtask cluster status`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of everything that it has: logs, certificates, images.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The certificate authority that signed everything here, registries with TLS among it.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// The file that all that a part wrote is in.
    pub fn log(&self, part: &Part) -> PathBuf {
        self.layout().logs().join(format!("{part}.log"))
    }

    /// The address of the API server, as everything inside reaches it.
    pub fn api_address(&self) -> SocketAddr {
        net::api_server()
    }

    /// The tunnel that the test's own clients and kubectl go through: to cut them off.
    pub fn api_tunnel(&self) -> &Tunnel {
        self.api.as_ref().expect("a started cluster has one")
    }

    /// Opens a way of its own to an address of the cluster: of a pod, a Service, the API server.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub fn tunnel(&self, entrance: Entrance, target: SocketAddr) -> Result<Tunnel> {
        let runtime = self.runtime.as_ref().expect("it goes last").handle();
        Tunnel::open(runtime, Arc::clone(&self.enclosure), entrance, target)
    }

    /// Connects as a process on the node would: to a pod, a Service, the API server.
    ///
    /// # Errors
    /// As `connect(2)`.
    pub async fn connect(&self, address: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
        self.enclosure.connect(address).await
    }

    /// Listens on the node, at a port of its own where pods reach this process.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub fn listen(&self) -> std::io::Result<tokio::net::TcpListener> {
        self.enclosure.listen(SocketAddr::from((net::node_ip(0), 0)))
    }

    /// A command that runs on the node: in the cluster's process, mount and network namespaces, as root.
    ///
    /// What is started is `nsenter`; the command is its child, and ends with the cluster. For one that runs
    /// for long, see [`spawn`](Self::spawn).
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.enclosure.command(program)
    }

    /// Starts a long-running program on the node, its output in a log `name.log` in the cluster's folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, name: &str, words: &[&str], environment: &[(&str, &str)]) -> Result<Program> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let mut program = Program::new(name, &self.layout().logs(), words);
        for (variable, value) in environment {
            program = program.env(variable, *value);
        }
        program.start(&self.enclosure)?;
        Ok(program)
    }

    /// Kills a part (SIGKILL) and leaves it dead. Pods go on when their kubelet or containerd is killed.
    ///
    /// # Errors
    /// When the cluster has no such part, or it does not end.
    pub fn kill(&self, part: &Part) -> Result<()> {
        self.with(part, |program| program.kill(Signal::KILL))
    }

    /// Starts a part that was killed; does not wait for it to be ready.
    ///
    /// # Errors
    /// When the cluster has no such part, or it cannot be started.
    pub fn start_part(&self, part: &Part) -> Result<()> {
        self.with(part, |program| program.start(&self.enclosure))
    }

    /// Kills a part and starts it again at once.
    ///
    /// # Errors
    /// As [`kill`](Self::kill) and [`start_part`](Self::start_part).
    pub fn restart(&self, part: &Part) -> Result<()> {
        self.kill(part)?;
        self.start_part(part)
    }

    fn with<T>(&self, part: &Part, act: impl FnOnce(&mut Program) -> Result<T>) -> Result<T> {
        match self.programs().get_mut(part) {
            Some(program) => act(program),
            None => Err(Error::Misuse(format!("this cluster has no {part}"))),
        }
    }

    /// Copies an image into the container runtime of every node, under the name `reference`.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub async fn load_image(&self, image: &Image, reference: &str) -> Result<()> {
        for index in 0..self.nodes {
            self.load_image_on(index, image, reference).await?;
        }
        Ok(())
    }

    async fn load_image_on(&self, index: usize, image: &Image, reference: &str) -> Result<()> {
        let archive = self.folder.join(format!("load-{index}.tar"));
        let file = std::fs::File::create(&archive).map_err(Error::io("make an archive"))?;
        image.archive(reference, file)?;
        let mut command = self.ctr(index);
        command.args(["images", "import", "--no-unpack"]).arg(&archive);
        let done = crate::command::run(command).await;
        std::fs::remove_file(&archive).map_err(Error::io("remove an archive"))?;
        done.map(|_| ())
    }

    /// `ctr` on the images and containers of the node with this number, from 0.
    pub fn ctr(&self, node: usize) -> Command {
        let mut command = self.command("ctr");
        command.arg("--address").arg(Node { folder: &self.folder, index: node }.socket());
        command.args(["--namespace", "k8s.io"]);
        command
    }

    /// Ends the cluster and says what could not be ended; dropping it does the same, silently.
    ///
    /// # Errors
    /// When something is left after a minute.
    pub fn end(mut self) -> Result<()> {
        self.end_now()
    }

    /// Leaves the cluster running after this process.
    ///
    /// # Errors
    /// When it was not started as [`Lifetime::Detached`].
    pub fn detach(mut self) -> Result<()> {
        if self.lifetime == Lifetime::Owner {
            return Err(Error::Misuse("this cluster ends with its owner".into()));
        }
        self.is_over = true;
        Ok(())
    }

    fn end_now(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(());
        }
        self.api = None;
        if std::thread::panicking() {
            eprintln!("the cluster's logs: {}", self.keep_logs().display());
        }
        let ended = self.enclosure.end();
        // Waits for the `nsenter` of each part, which ended with it.
        for program in self.programs().values_mut() {
            program.reap();
        }
        ended
    }

    /// Has the keeper keep the logs of a cluster that something failed in; gives where they will be.
    pub(crate) fn keep_logs(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("unbloat-cluster-logs-{}", self.name));
        // If even this fails, the message has lost a hint and nothing else.
        let _ = std::fs::write(self.folder.join("keep-logs"), kept.display().to_string());
        kept
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.end_now() {
            eprintln!("{error}");
        }
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be dropped inside another, which is where tests drop clusters.
            runtime.shutdown_background();
        }
    }
}

fn http_get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).expect("a literal path is a valid request")
}
