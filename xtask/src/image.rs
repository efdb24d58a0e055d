//! `cargo xtask image`: the images of the worker and the operator as OCI layouts, without a daemon and
//! without root.
//!
//! What the Dockerfile says and what is said here is the same image: one static program, certificates,
//! user 65532. The same sources and compiler give the same digest: no clock, no owner, no order of a folder
//! is in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::shell::{cargo, program, quiet, run as run_program, workspace};

const USAGE: &str = "usage: cargo xtask image [--certificates FILE] [--profile NAME] [worker] [operator]";
/// Debian's place for it, and that of most others; in the image, where rustls looks first.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const SHIPPED_PROFILE: &str = "release";
const PASSWD: &str = "nonroot:x:65532:65532::/:/sbin/nologin\n";

/// An image, and how large it may be: each node pulls it, and the worker's cold start waits for that.
struct Product {
    name: &'static str,
    package: &'static str,
    limit_mib: f64,
}

const PRODUCTS: [Product; 2] = [
    Product { name: "worker", package: "unbloat-worker", limit_mib: 15.0 },
    Product { name: "operator", package: "unbloat-operator", limit_mib: 20.0 },
];

/// The package of the command, which is compiled with both images: the same crates with the same features are
/// compiled once.
const COMMAND: &str = "unbloat";

/// What was asked for.
struct Request {
    products: Vec<&'static Product>,
    certificates: PathBuf,
    /// Of cargo: `release`, which is what ships, or `dev`, for quicker turns with the tests.
    profile: String,
}

/// Builds the programs and writes their images; fails when one is larger than its limit.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    make(&parse(arguments).context(USAGE)?).map(|()| true)
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut arguments = arguments.iter();
    let mut request =
        Request { products: Vec::new(), certificates: CERTIFICATES.into(), profile: SHIPPED_PROFILE.into() };
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--certificates" => {
                request.certificates = arguments.next().context("--certificates needs a file")?.into();
            }
            "--profile" => request.profile.clone_from(arguments.next().context("--profile needs a name")?),
            name => {
                let product = PRODUCTS.iter().find(|product| product.name == name);
                request.products.push(product.with_context(|| format!("no image named {name}"))?);
            }
        }
    }
    if request.products.is_empty() {
        request.products.extend(&PRODUCTS);
    }
    Ok(request)
}

fn make(request: &Request) -> Result<()> {
    let certificates = std::fs::read(&request.certificates).with_context(|| {
        format!("no certificates in {}; name a file with --certificates", request.certificates.display())
    })?;
    let target = target_folder();
    let programs = build(request, &target)?;
    for product in &request.products {
        let path = programs.join(product.package);
        let program = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = target.join("images").join(product.name);
        let (digest, size) = write_layout(product, &program, &certificates, &folder)?;
        let mib = size as f64 / f64::from(1 << 20);
        println!("{}\t{digest}\t{mib:.1} MiB compressed\t{}", product.package, folder.display());
        if request.profile == SHIPPED_PROFILE && mib > product.limit_mib {
            bail!("{} is larger than its limit of {} MiB", product.package, product.limit_mib);
        }
    }
    Ok(())
}

/// Builds every program that ships, in one go, and gives the path of the command: static, as the images are.
pub(crate) fn command() -> Result<PathBuf> {
    let target = target_folder();
    Ok(build(&parse(&[])?, &target)?.join(COMMAND))
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Builds static programs and gives their folder.
fn build(request: &Request, target: &Path) -> Result<PathBuf> {
    let version = quiet(program("rustc").arg("-vV"))?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let mut command = cargo();
    command.args(["build", "--locked", "--profile", &request.profile]);
    // Naming the target keeps the flags away from build scripts and macros, which cannot be static.
    command.args(["--target", host]).env("RUSTFLAGS", "-C target-feature=+crt-static");
    // A folder of its own: other flags would otherwise build everything anew, here and then there.
    command.arg("--target-dir").arg(target.join("image"));
    for product in &request.products {
        command.args(["--package", product.package]);
    }
    if request.products.len() == PRODUCTS.len() {
        command.args(["--package", COMMAND]);
    }
    run_program(&mut command)?;
    let folder = if request.profile == "dev" { "debug" } else { &request.profile };
    Ok(target.join("image").join(host).join(folder))
}

/// Writes the layout anew; gives the manifest's digest and the size of all that a pull transfers.
fn write_layout(
    product: &Product,
    program: &[u8],
    certificates: &[u8],
    folder: &Path,
) -> Result<(String, usize)> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;

    let layer = layer(product, program, certificates)?;
    let diff_id = digest(&layer);
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(&layer)?;
    let compressed = gzip.finish()?;
    let mut size = compressed.len();
    let layer = put(&blobs, "application/vnd.oci.image.layer.v1.tar+gzip", &compressed)?;
    let labels = json!({
        "org.opencontainers.image.title": product.package,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
    });
    let config = json!({
        "architecture": architecture()?,
        "os": "linux",
        "config": { "User": "65532:65532", "Entrypoint": [format!("/{}", product.package)], "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created_by": "cargo xtask image" }],
    });
    let config = serde_json::to_vec(&config)?;
    size += config.len();
    let config = put(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
    let mut manifest = put(&blobs, media_type, &serde_json::to_vec(&manifest)?)?;
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
    let tag = json!({ "org.opencontainers.image.ref.name": env!("CARGO_PKG_VERSION") });
    manifest["annotations"] = tag;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?;
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok((digest, size))
}

fn layer(product: &Product, program: &[u8], certificates: &[u8]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, content: Option<&[u8]>| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_size(content.map_or(0, |content| content.len() as u64));
        header.set_entry_type(if content.is_some() {
            tar::EntryType::Regular
        } else {
            tar::EntryType::Directory
        });
        tar.append_data(&mut header, path, content.unwrap_or_default())
    };
    for folder in ["etc/", "etc/ssl/", "etc/ssl/certs/"] {
        add(folder, 0o755, None)?;
    }
    add("etc/passwd", 0o644, Some(PASSWD.as_bytes()))?;
    add(CERTIFICATES.trim_start_matches('/'), 0o644, Some(certificates))?;
    add(product.package, 0o755, Some(program))?;
    tar.into_inner().context("cannot make a layer")
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images are made for x86_64 and aarch64, not for {other}"),
    }
}

/// Writes a blob and gives its descriptor.
fn put(blobs: &Path, media_type: &str, content: &[u8]) -> Result<Value> {
    let digest = digest(content);
    let name = digest.trim_start_matches("sha256:");
    std::fs::write(blobs.join(name), content).with_context(|| format!("cannot write {name}"))?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": content.len() }))
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
