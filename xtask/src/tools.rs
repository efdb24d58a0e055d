//! What the checks need of others, with versions where we choose them; kept in `target/tools` between runs.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::shell::{program, quiet, run, which, workspace};

/// Debian packages: unpackers, registries, packers, what a Kubernetes node calls, what prepares a disk, a
/// terminal and a browser to look at what is shown, and what reads alerts.
const PACKAGES: [&str; 36] = [
    "buildah",
    "busybox-static",
    "ca-certificates",
    "chromium",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "curl",
    "debootstrap",
    "docker-registry",
    "docker.io",
    "ethtool",
    "fdisk",
    "fio",
    "git",
    "iproute2",
    "iptables",
    "jq",
    "lvm2",
    "nginx-light",
    "pigz",
    "prometheus",
    "python3",
    "runc",
    "shellcheck",
    "skopeo",
    "socat",
    "systemd",
    "time",
    "tmux",
    "umoci",
    "util-linux",
    "xfsprogs",
    "xz-utils",
    "zopfli",
    "zstd",
];

/// Go programs: (name, module, version).
const GO_PROGRAMS: [(&str, &str, &str); 4] = [
    ("crane", "github.com/google/go-containerregistry/cmd/crane", "v0.22.1"),
    // No released version holds the program at this path; this is what `@latest` means.
    ("dive", "github.com/wagoodman/dive/cmd/dive", "v0.13.2-0.20250516191726-d6c691947f8f"),
    ("regctl", "github.com/regclient/regclient/cmd/regctl", "v0.11.7"),
    ("registry", "github.com/distribution/distribution/v3/cmd/registry", "v3.1.2"),
];

/// Node packages: Grafana's published types, what reads them, and what draws panels.
const NODE_PACKAGES: [(&str, &str); 3] =
    [("@grafana/schema", "13.2.3"), ("typescript", "5.9.3"), ("uplot", "1.6.32")];

/// Cargo programs: (name, crate, version).
pub(crate) const CARGO_DENY: (&str, &str, &str) = ("cargo-deny", "cargo-deny", "0.20.2");
/// As above.
pub(crate) const CARGO_FUZZ: (&str, &str, &str) = ("cargo-fuzz", "cargo-fuzz", "0.13.1");

/// Where programs are installed.
pub(crate) fn bin() -> PathBuf {
    workspace().join("target/tools/bin")
}

/// Installs everything that is not there yet.
pub(crate) fn install() -> Result<()> {
    packages(&PACKAGES)?;
    for (name, module, version) in GO_PROGRAMS {
        go_program(name, module, version)?;
    }
    node_packages()
}

/// Installs Debian packages that are not installed.
pub(crate) fn packages(wanted: &[&str]) -> Result<()> {
    let installed = |name: &&str| {
        let status =
            quiet(program("dpkg-query").args(["--show", "--showformat", "${db:Status-Status}", name]));
        status.is_ok_and(|status| status == "installed")
    };
    let missing: Vec<&str> = wanted.iter().filter(|name| !installed(name)).copied().collect();
    if missing.is_empty() {
        println!("Debian packages: all there");
        return Ok(());
    }
    println!("Debian packages: installing {}", missing.join(" "));
    quiet(program("apt-get").arg("update"))?;
    let mut install = program("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    // Nothing that a package starts by itself may run: the checks start their own, on free ports.
    install.env("RUNLEVEL", "1");
    quiet(install.args(["install", "--yes", "--no-install-recommends"]).args(missing)).map(drop)
}

fn go_program(name: &str, module: &str, version: &str) -> Result<()> {
    let mark = bin().join(format!(".{name}-{version}"));
    if mark.is_file() && bin().join(name).is_file() {
        println!("{name} {version}: there");
        return Ok(());
    }
    let go = which("go").context("Go is not installed, and Debian's is too old for these modules")?;
    println!("{name} {version}: building from its Go module");
    fs::create_dir_all(bin())?;
    quiet(
        program(go)
            .env("GOBIN", bin())
            .env("GOFLAGS", "-trimpath")
            .args(["install", &format!("{module}@{version}")]),
    )?;
    Ok(fs::write(mark, "")?)
}

/// Installs node packages of the versions that we chose, below `target/tools/node`.
fn node_packages() -> Result<()> {
    let folder = workspace().join("target/tools/node");
    let is_there = |(name, version): &(&str, &str)| {
        let file = folder.join("node_modules").join(name).join("package.json");
        fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
    };
    if NODE_PACKAGES.iter().all(is_there) {
        println!("node packages: all there");
        return Ok(());
    }
    if which("npm").is_none() {
        packages(&["nodejs", "npm"])?;
    }
    println!("node packages: installing");
    fs::create_dir_all(&folder)?;
    let mut npm = program("npm");
    npm.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
        .arg(&folder);
    npm.args(NODE_PACKAGES.map(|(name, version)| format!("{name}@{version}")));
    quiet(&mut npm).map(drop)
}

/// A cargo subcommand of one version, built when it is not there.
pub(crate) fn cargo_program((name, package, version): (&str, &str, &str)) -> Result<PathBuf> {
    let own = bin().join(name);
    let mark = bin().join(format!(".{name}-{version}"));
    if !(mark.is_file() && own.is_file()) {
        println!("{name} {version}: building");
        let root = workspace().join("target/tools");
        // Optimised builds of such tools take longer than they save here.
        let mut install = crate::shell::cargo();
        install
            .args(["install", "--locked", "--force", "--debug", "--version", version, "--root"])
            .arg(&root)
            .arg(package);
        run(install.env("CARGO_TARGET_DIR", root.join("build")).arg("--quiet"))?;
        fs::write(mark, "")?;
    }
    Ok(own)
}
