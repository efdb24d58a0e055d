//! `cargo xtask cluster`: the proving ground for people.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use unbloat_cluster::{
    Attached, Cluster, Error, Extra, Image, Lifetime, Options, RegistryOptions, Result, Tools, extra,
    running, sweep,
};

/// A real one-node Kubernetes on this machine, in namespaces of its own.
#[derive(Parser)]
#[command(bin_name = "cargo xtask cluster")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Which cluster.
    #[arg(long, global = true, default_value = "default")]
    name: String,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster that stays until `down`, with an empty registry, and the project's images on its
    /// nodes.
    Up {
        /// Nodes, each with a kubelet and a containerd.
        #[arg(long, default_value_t = 1)]
        nodes: usize,
        /// Stay in the foreground, and end the cluster with this process (Ctrl-C).
        #[arg(long)]
        foreground: bool,
    },
    /// End it, and whatever was left of others.
    Down,
    /// Open a shell on the node (kubectl and ctr are set up), or run a command there.
    Shell {
        /// The command and its arguments.
        #[arg(trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Say which clusters run, and how this one is.
    Status,
    /// Build all that tests need (Kubernetes, etcd, kwok, crane, helm, a registry), without starting
    /// anything.
    Build,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Misuse(_)) { 2 } else { 1 })
        }
    }
}

fn run(Arguments { verb, name }: Arguments) -> Result<ExitCode> {
    match verb {
        Verb::Build => {
            println!("{}", Tools::ready()?.folder().display());
            for command in Extra::ALL {
                println!("{}", extra(command)?.display());
            }
        }
        Verb::Up { nodes, foreground } => up(name, nodes, foreground)?,
        Verb::Down => {
            let found = Attached::find(&name);
            let swept = sweep()?;
            match found {
                Ok(cluster) => cluster.end()?,
                // What was swept is what was meant, when it died before.
                Err(error) if swept.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Verb::Shell { words } => {
            let shell = std::env::var("SHELL").unwrap_or_else(|_| "sh".into());
            let cluster = Attached::find(&name)?;
            if words.is_empty() {
                eprintln!("{}", in_the_shell(&name));
            }
            let words = if words.is_empty() { vec![shell] } else { words };
            let mut command = cluster.shell(&words[0])?;
            return Err(Error::io(format!("start {}", words[0]))(command.args(&words[1..]).exec()));
        }
        Verb::Status => return status(&name),
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: String, nodes: usize, foreground: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("start a runtime"))?;
    let lifetime = if foreground { Lifetime::Owner } else { Lifetime::Detached };
    let options = Options { nodes, lifetime, name: Some(name) };
    let began = std::time::Instant::now();
    let cluster = runtime.block_on(Cluster::start(options))?;
    let registry = runtime.block_on(cluster.start_registry("local", RegistryOptions::default()))?;
    println!("cluster {} is ready after {:.1} s", cluster.name(), began.elapsed().as_secs_f64());
    println!("logs:     {}", cluster.folder().join("logs").display());
    println!("registry: {}, plain HTTP and empty, for the shell and for pods", registry.host());
    for (folder, reference) in PROJECT_IMAGES {
        let layout = images().join(folder);
        if layout.is_dir() {
            runtime.block_on(cluster.load_image(&Image::from_layout(layout), reference))?;
            println!("image:    {reference}");
        } else {
            println!(
                "image:    {reference} is not there: `cargo xtask image` makes it; load it in the shell, or `down` and `up` again"
            );
        }
    }
    println!("use it:   cargo xtask cluster shell -- kubectl get nodes");
    if !foreground {
        return cluster.detach();
    }
    runtime.block_on(tokio::signal::ctrl_c()).map_err(Error::io("wait for Ctrl-C"))?;
    cluster.end()
}

/// The project's images: their folders in `target/images`, and what the chart calls them.
const PROJECT_IMAGES: [(&str, &str); 2] = [
    ("operator", concat!("ghcr.io/unbloat/operator:", env!("CARGO_PKG_VERSION"))),
    ("worker", concat!("ghcr.io/unbloat/worker:", env!("CARGO_PKG_VERSION"))),
];

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/images")
}

/// What whoever comes to a cluster's node for the first time has to know.
fn in_the_shell(name: &str) -> String {
    format!(
        "On the node of the cluster {name}, in this folder: kubectl, helm, crane and ctr are set up. There is no way out of it.\n\
         An image for its pods, from an OCI layout:\n  \
         tar --create --directory target/images/worker . | ctr images import --index-name NAME:TAG -\n\
         The registry that `up` named, over plain HTTP, from an OCI layout:\n  \
         unbloat copy oci:LAYOUT:TAG REGISTRY/NAME:TAG --plain-http REGISTRY"
    )
}

fn status(name: &str) -> Result<ExitCode> {
    let running = running()?;
    if running.is_empty() {
        println!("no cluster runs");
    } else {
        println!("running: {}", running.join(", "));
    }
    if !running.iter().any(|other| other == name) {
        return Ok(ExitCode::FAILURE);
    }
    let cluster = Attached::find(name)?;
    println!("folder:  {}", cluster.folder().display());
    let mut kubectl = cluster.shell("kubectl")?;
    kubectl.args(["get", "nodes,pods", "--all-namespaces", "--output", "wide", "--request-timeout", "5s"]);
    let answered = kubectl.status().map_err(Error::io("start kubectl"))?.success();
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
