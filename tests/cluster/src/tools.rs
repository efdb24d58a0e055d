//! The commands that a cluster is made of: Kubernetes' own, built once from the Go module beside this crate,
//! and Debian's.
//!
//! Built commands lie in the user's cache, under a key made from everything that decides them, so that every
//! checkout of the project on a machine shares them and a changed version builds anew.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Where the Go module lies.
const MODULE: &str = env!("CARGO_MANIFEST_DIR");
const GO_MOD: &str = include_str!("../go.mod");
const GO_SUM: &str = include_str!("../go.sum");
/// Overrides the cache's folder.
const FOLDER_VARIABLE: &str = "UNBLOAT_CLUSTER_TOOLS";

/// Commands that Debian has.
const DEBIAN: &[&str] = &[
    "containerd",
    "ctr",
    "runc",
    "conntrack",
    "iptables",
    "ip",
    "nsenter",
    "unshare",
    "docker-registry",
    "busybox",
];
/// The packages that give them, and what containerd and kubelet call besides.
const DEBIAN_PACKAGES: &str = "containerd runc containernetworking-plugins conntrack iptables iproute2 util-linux \
                               docker-registry busybox-static ethtool socat";
/// Where Debian keeps CNI's plugins.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// A command that is built apart from Kubernetes, on first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Simulates nodes and the pods on them.
    Kwok,
    /// Copies images to and from registries.
    Crane,
    /// Installs charts.
    Helm,
    /// The distribution project's registry, version 3; Debian's docker-registry is version 2.8.
    RegistryV3,
}

impl Extra {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kwok, Self::Crane, Self::Helm, Self::RegistryV3];

    /// The Go package and its pinned version.
    fn package(self) -> (&'static str, &'static str) {
        match self {
            Self::Kwok => ("sigs.k8s.io/kwok/cmd/kwok", "v0.8.0"),
            Self::Crane => ("github.com/google/go-containerregistry/cmd/crane", "v0.22.1"),
            Self::Helm => ("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
            Self::RegistryV3 => ("github.com/distribution/distribution/v3/cmd/registry", "v3.1.2"),
        }
    }
}

/// The folder of Kubernetes' commands.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Finds the commands, building them where this machine has not yet: six minutes on two cores, once.
    ///
    /// # Errors
    /// When Debian's part is not installed, or the build fails.
    pub fn ready() -> Result<Self> {
        debian()?;
        let version = kubernetes_version();
        let mut key = Sha256::new();
        for part in [GO_MOD, GO_SUM, version] {
            key.update(part);
        }
        let key: String = key.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let folder = built(&format!("kubernetes-{version}-{key}"), |into| {
            let (major, minor) = version.trim_start_matches('v').split_once('.').unwrap_or((version, ""));
            let minor = minor.split('.').next().unwrap_or_default();
            let package = "k8s.io/component-base/version";
            let flags = format!(
                "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
            );
            let mut go = go("build");
            go.current_dir(MODULE).args(["-trimpath", "-buildvcs=false", "-ldflags"]).arg(flags);
            run(go.arg("-o").arg(into).arg("tool"))?;
            // Go names a command after the last part of its path.
            std::fs::rename(into.join("server"), into.join("etcd"))
                .map_err(Error::io("rename etcd's command"))
        })?;
        Ok(Self { folder })
    }

    /// One of Kubernetes' commands, or etcd.
    pub fn path(&self, command: &str) -> PathBuf {
        self.folder.join(command)
    }

    /// The folder of all of them, for a `PATH`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Finds a command, building it on first use.
///
/// # Errors
/// When the build fails.
pub fn extra(extra: Extra) -> Result<PathBuf> {
    let (package, version) = extra.package();
    let name = package.rsplit('/').next().unwrap_or(package);
    let folder = built(&format!("{name}-{version}"), |into| {
        let mut go = go("install");
        run(go.env("GOBIN", into).args(["-trimpath", "-ldflags=-s -w"]).arg(format!("{package}@{version}")))?;
        if extra == Extra::Kwok { copy_stages(version, into) } else { Ok(()) }
    })?;
    Ok(folder.join(name))
}

/// kwok does nothing without its rules for nodes and pods, which its module has beside the command.
const STAGES: &[&str] = &[
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
    "pod/fast/pod-ready.yaml",
];

/// kwok's rules beside its command.
pub(crate) fn stages(kwok: &Path) -> Vec<PathBuf> {
    let folder = kwok.parent().unwrap_or(kwok);
    STAGES.iter().filter_map(|stage| Path::new(stage).file_name()).map(|file| folder.join(file)).collect()
}

fn copy_stages(version: &str, into: &Path) -> Result<()> {
    let output = Command::new("go").args(["env", "GOMODCACHE"]).output().map_err(Error::io("start go"))?;
    let modules = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let from = modules.join(format!("sigs.k8s.io/kwok@{version}/kustomize/stage"));
    for (stage, to) in STAGES.iter().zip(stages(&into.join("kwok"))) {
        let text =
            std::fs::read(from.join(stage)).map_err(Error::io(format!("read {stage} of kwok's module")))?;
        // Not a copy of the file: modules are read-only, and this folder can be removed.
        std::fs::write(to, text).map_err(Error::io(format!("write {stage}")))?;
    }
    Ok(())
}

/// The version in go.mod's `require`, with its `v`.
fn kubernetes_version() -> &'static str {
    let line = GO_MOD.lines().map(str::trim).find(|line| line.starts_with("k8s.io/kubernetes v"));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("v0.0.0")
}

fn go(verb: &str) -> Command {
    let mut command = Command::new("nice");
    // The machine has other things to do for these minutes.
    command.args(["-n", "10", "go", verb]).env("CGO_ENABLED", "0").env_remove("GOFLAGS");
    command
}

/// Runs a compiler to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.output().map_err(Error::io(format!("start {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command { command: format!("{command:?}"), status: output.status.to_string(), output: text })
}

/// The cache's folder `name`, filled by `build` unless it was before. One process builds, others wait for it.
pub(crate) fn built(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache();
    let folder = cache.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache).map_err(Error::io(format!("make {}", cache.display())))?;
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(Error::io("make a lock file"))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| Error::io("lock a file")(error.into()))?;
    if !folder.exists() {
        eprintln!("building {name} into {} (once for this machine)", cache.display());
        let unfinished = tempfile::tempdir_in(&cache).map_err(Error::io("make a folder"))?;
        build(unfinished.path())?;
        std::fs::rename(unfinished.keep(), &folder).map_err(Error::io("rename a folder"))?;
    }
    Ok(folder)
}

fn cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable(FOLDER_VARIABLE).unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_else(std::env::temp_dir).join("unbloat/cluster-tools")
    })
}

fn debian() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let mut missing: Vec<&str> = DEBIAN.iter().copied().filter(|name| !is_there(name)).collect();
    if !Path::new(CNI_PLUGINS).join("ptp").is_file() {
        missing.push("CNI's ptp");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NotInstalled { missing: missing.join(", "), packages: DEBIAN_PACKAGES })
}
