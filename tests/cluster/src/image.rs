//! Images made from files on this machine, since none can be pulled: an OCI layout of one layer, and the two
//! that every cluster has.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::tools;

/// The project's root.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The folder of images that `cargo xtask image` made before.
const IMAGES_VARIABLE: &str = "UNBLOAT_IMAGES";
/// The sandbox of every pod.
pub(crate) const PAUSE: &str = "unbloat.local/pause:1";
/// An image with busybox in `/bin`, present on every node: `sh`, `wget`, `httpd`, `nc` for tests' pods.
pub const TOOLBOX: &str = "unbloat.local/toolbox:1";

/// An image to be: one layer of files, and what to run.
#[derive(Default)]
pub struct ImageBuilder {
    files: Vec<(String, Vec<u8>, u32)>,
    links: Vec<(String, String)>,
    config: serde_json::Map<String, Value>,
}

/// An OCI layout folder with one image.
pub struct Image {
    folder: PathBuf,
}

impl ImageBuilder {
    /// An image of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, owned by root; `path` from the root, without a leading slash.
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push((path.into(), content.into(), mode));
        self
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: impl Into<String>, target: impl Into<String>) -> Self {
        self.links.push((path.into(), target.into()));
        self
    }

    /// Sets what runs.
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.config.insert("Entrypoint".into(), json!(words));
        self
    }

    /// Sets who runs it: a number, so that `runAsNonRoot` can be checked.
    pub fn user(mut self, user: u32) -> Self {
        self.config.insert("User".into(), json!(user.to_string()));
        self
    }

    /// Writes the image as an OCI layout into `folder`, which is made.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(self, folder: &Path) -> Result<Image> {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(Error::io(format!("make {}", blobs.display())))?;
        let layer = self.layer().map_err(Error::io("make a layer"))?;
        let layer = put(&blobs, "application/vnd.oci.image.layer.v1.tar", &layer)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let config = put(&blobs, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer] });
        let manifest = put(&blobs, manifest_type, manifest.to_string().as_bytes())?;
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        for (name, text) in [
            ("index.json", index.to_string()),
            ("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string()),
        ] {
            std::fs::write(folder.join(name), text).map_err(Error::io(format!("write {name}")))?;
        }
        Ok(Image { folder: folder.to_path_buf() })
    }

    fn layer(&self) -> std::io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content, mode) in &self.files {
            let mut header = header(tar::EntryType::Regular, *mode);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice())?;
        }
        for (path, target) in &self.links {
            tar.append_link(&mut header(tar::EntryType::Symlink, 0o777), path, target)?;
        }
        tar.into_inner()
    }
}

impl Image {
    /// Takes an OCI layout folder that something else made.
    pub fn from_layout(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// One of the project's own images, `worker` or `operator`, as `cargo xtask image` makes it: what is
    /// tested is what ships. Made now, unless `UNBLOAT_IMAGES` names a folder that has it.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn of_product(name: &str) -> Result<Self> {
        if let Some(folder) = std::env::var_os(IMAGES_VARIABLE) {
            return Ok(Self::from_layout(Path::new(&folder).join(name)));
        }
        let mut cargo = crate::command::cargo();
        cargo.args(["xtask", "image", name]).current_dir(WORKSPACE);
        let printed = crate::command::run(cargo).await?;
        let folder = printed.lines().last().and_then(|line| line.split('\t').next_back());
        let folder = folder.ok_or_else(|| Error::Misuse("xtask image printed nothing".into()))?;
        Ok(Self::from_layout(folder))
    }

    /// The OCI layout's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the layout as a tar archive that containerd imports under the name `reference`.
    pub(crate) fn archive(&self, reference: &str, to: impl Write) -> Result<()> {
        let path = self.folder.join("index.json");
        let text = std::fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
        let not_an_index = || Error::Misuse(format!("{} is not an image index", path.display()));
        let mut index: Value = serde_json::from_slice(&text).map_err(|_| not_an_index())?;
        let manifest = index.pointer_mut("/manifests/0").ok_or_else(not_an_index)?;
        manifest["annotations"] = json!({ "io.containerd.image.name": reference });
        let index = index.to_string();
        let mut tar = tar::Builder::new(to);
        let mut append = || {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(index.len() as u64);
            tar.append_data(&mut header, "index.json", index.as_bytes())?;
            tar.append_path_with_name(self.folder.join("oci-layout"), "oci-layout")?;
            tar.append_dir_all("blobs", self.folder.join("blobs"))?;
            tar.finish()
        };
        append().map_err(Error::io("write an image archive"))
    }
}

/// Makes the sandbox's image: one static program, built by the compiler that built this one; once for this
/// machine.
pub(crate) fn pause() -> Result<Image> {
    let source = include_str!("pause.rs.txt");
    let folder = tools::built(&format!("pause-{}", &hex(source.as_bytes())[..16]), |folder| {
        let (source_file, program) = (folder.join("pause.rs"), folder.join("pause"));
        std::fs::write(&source_file, source).map_err(Error::io("write pause.rs"))?;
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(["--edition=2024", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"]);
        command.args(["-Ctarget-feature=+crt-static", "-o"]).arg(&program).arg(&source_file);
        tools::run(&mut command)?;
        let bytes = std::fs::read(&program).map_err(Error::io("read the pause program"))?;
        let image = ImageBuilder::new().file("pause", bytes, 0o755).entrypoint(&["/pause"]).user(65535);
        image.write(&folder.join("image")).map(|_| ())
    })?;
    Ok(Image::from_layout(folder.join("image")))
}

/// Makes the toolbox image from this machine's busybox, which has to be a static one.
pub(crate) fn toolbox(folder: &Path) -> Result<Image> {
    const APPLETS: &[&str] = &[
        "cat",
        "cp",
        "dd",
        "df",
        "du",
        "echo",
        "env",
        "false",
        "find",
        "grep",
        "head",
        "httpd",
        "id",
        "ls",
        "mkdir",
        "mktemp",
        "mv",
        "nc",
        "printf",
        "rm",
        "sed",
        "seq",
        "sh",
        "sha256sum",
        "sleep",
        "sort",
        "stat",
        "sync",
        "tail",
        "tar",
        "test",
        "touch",
        "tr",
        "true",
        "wc",
        "wget",
        "yes",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox =
        std::env::split_paths(&path).map(|folder| folder.join("busybox")).find(|path| path.is_file());
    let busybox = busybox.ok_or_else(|| Error::Misuse("no busybox in PATH".into()))?;
    let bytes = std::fs::read(&busybox).map_err(Error::io(format!("read {}", busybox.display())))?;
    let mut image =
        ImageBuilder::new().file("bin/busybox", bytes, 0o755).entrypoint(&["/bin/sh"]).user(65532);
    for applet in APPLETS {
        image = image.link(format!("bin/{applet}"), "busybox");
    }
    image.write(folder)
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}

/// Writes a blob and gives its descriptor.
fn put(blobs: &Path, media_type: &str, content: &[u8]) -> Result<Value> {
    let digest = hex(content);
    std::fs::write(blobs.join(&digest), content).map_err(Error::io("write a blob"))?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len() }))
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
