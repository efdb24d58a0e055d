//! Images of many layers, and one of a program with its libraries.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use unbloat_cluster::{Image, ImageBuilder};

/// An image that grew as the incident's did: every layer has a longer copy of one log, and a file of its own.
pub struct Layered {
    /// How many layers.
    pub layers: usize,
    /// Bytes that the log grows by with each layer.
    pub step: usize,
    /// What makes one image differ from another.
    pub seed: u64,
    /// Whether a shell and a few programs are in it: 7 MB, compressed.
    pub programs: bool,
}

impl Layered {
    /// Writes it as an OCI layout.
    ///
    /// # Panics
    /// When the folder can't be written.
    pub fn write(&self, folder: &Path) -> Image {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("a folder of the test's own");
        let mut log = Vec::new();
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for number in 0..self.layers {
            log.extend(noise(self.seed + number as u64, self.step));
            let tar = self.layer(number, &log);
            diff_ids.push(json!(digest(&tar)));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&tar).expect("memory takes what is written");
            let gzip = gzip.finish().expect("memory takes what is written");
            layers.push(put(&blobs, "application/vnd.oci.image.layer.v1.tar+gzip", &gzip));
        }
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Entrypoint": ["/bin/sh"], "User": "1000"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = put(&blobs, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        let manifest = put(&blobs, media_type, manifest.to_string().as_bytes());
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        std::fs::write(folder.join("index.json"), index.to_string()).expect("a folder of the test's own");
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("the same folder");
        Image::from_layout(folder)
    }

    fn layer(&self, number: usize, log: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        // Directories by their own entries: the times of those that a runtime makes up are the time of
        // unpacking.
        let mut folders = vec!["bin".to_owned(), "data".to_owned(), "var".to_owned(), "var/log".to_owned()];
        folders
            .extend([number.saturating_sub(1) % 100, number % 100].map(|number| format!("data/{number:03}")));
        folders.dedup();
        for folder in folders {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_mtime(1_700_000_000 + number as u64);
            header.set_size(0);
            tar.append_data(&mut header, folder, std::io::empty()).expect("memory takes what is written");
        }
        let mut add = |path: &str, content: &[u8], mode: u32| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(mode);
            header.set_mtime(1_700_000_000 + number as u64);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content).expect("memory takes what is written");
        };
        if number == 0 && self.programs {
            let busybox = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox"));
            let busybox = busybox.expect("busybox-static is installed");
            for name in ["sh", "find", "sort", "sha256sum", "xargs", "stat", "cat"] {
                add(&format!("bin/{name}"), &busybox, 0o755);
            }
        }
        add("var/log/btmp", log, 0o644);
        add(
            &format!("data/{:03}/own", number % 100),
            format!("layer {number}\n").as_bytes(),
            0o640 | (number as u32 & 7),
        );
        if number > 0 {
            add(&format!("data/{:03}/.wh.gone", (number - 1) % 100), b"", 0o644);
        }
        add(&format!("data/{:03}/gone", number % 100), b"whited out by the next layer", 0o644);
        tar.into_inner().expect("memory takes what is written")
    }
}

/// A shell script that lists names, modes, owners, sizes, times and contents of all that is in the image.
pub fn list_tree_script() -> &'static str {
    "find /bin /data /var -exec stat -c '%n %f %u %g %s %Y' {} + | sort; find /data /var -type f | sort | xargs sha256sum"
}

/// The image of one dynamically linked program of this machine: the program, its loader and its libraries.
///
/// # Panics
/// When the program isn't there.
pub(crate) fn program_image(program: &Path, folder: &Path) -> Image {
    let name = program.file_name().and_then(|name| name.to_str()).expect("a program has a name");
    let read = |path: &str| std::fs::read(path).unwrap_or_else(|error| panic!("read {path}: {error}"));
    let mut image = ImageBuilder::new().file(name, read(&program.display().to_string()), 0o755);
    let listed = Command::new("ldd").arg(program).output().expect("ldd is part of the C library");
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let path = line.split_whitespace().find(|word| word.starts_with('/'));
        if let Some(path) = path {
            image = image.file(path.trim_start_matches('/'), read(path), 0o755);
        }
    }
    image.entrypoint(&[&format!("/{name}")]).user(65532).write(folder).expect("a folder of the test's own")
}

/// The manifest of the one image of an OCI layout.
///
/// # Panics
/// When the folder is none.
pub fn manifest_of(layout: &Path) -> Value {
    let read = |path: &str| -> Value {
        let text = std::fs::read(layout.join(path)).unwrap_or_else(|error| panic!("read {path}: {error}"));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let index = read("index.json");
    let digest = index["manifests"][0]["digest"].as_str().expect("an image").replace(':', "/");
    read(&format!("blobs/{digest}"))
}

/// The digest of bytes, as references have it.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn put(blobs: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest(bytes);
    let name = digest.trim_start_matches("sha256:");
    std::fs::write(blobs.join(name), bytes).expect("a folder of the test's own");
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// Bytes that don't compress, the same for the same seed (xorshift).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
