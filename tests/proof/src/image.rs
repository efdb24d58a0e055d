//! OCI images on disk, written plainly and read suspiciously.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// How a layer's tar is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// One gzip member of this level.
    Gzip(u32),
    /// Several gzip members, each of so many bytes of tar.
    GzipMembers(usize),
    /// One zstd frame of this level.
    Zstd(i32),
    /// No compression.
    Plain,
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Compresses one layer and says its OCI media type.
pub fn pack(tar: &[u8], packing: Packing) -> (Vec<u8>, &'static str) {
    let member = |data: &[u8], level: u32| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(data).and_then(|()| encoder.finish()).expect("memory takes everything")
    };
    match packing {
        Packing::Gzip(level) => (member(tar, level), "application/vnd.oci.image.layer.v1.tar+gzip"),
        Packing::GzipMembers(size) => (
            tar.chunks(size).flat_map(|part| member(part, 6)).collect(),
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        Packing::Zstd(level) => (
            zstd::encode_all(tar, level).expect("memory takes everything"),
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
        Packing::Plain => (tar.to_vec(), "application/vnd.oci.image.layer.v1.tar"),
    }
}

/// Undoes [`pack`], whatever the label says: all members, all frames.
pub fn unpack(blob: &[u8]) -> Result<Vec<u8>> {
    let mut tar = Vec::new();
    if blob.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut tar).context("gzip")?;
    } else if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        tar = zstd::decode_all(blob).context("zstd")?;
    } else {
        tar = blob.to_vec();
    }
    Ok(tar)
}

/// A folder in the OCI image layout.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its path.
    pub folder: PathBuf,
}

/// What an image holds, every digest and size checked against the bytes.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest's digest.
    pub digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The config.
    pub config: Value,
    /// The layers as they are stored.
    pub blobs: Vec<Vec<u8>>,
    /// The layers as tars.
    pub tars: Vec<Vec<u8>>,
}

impl Layout {
    /// A new, empty layout.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { folder: folder.into() };
        fs::create_dir_all(layout.folder.join("blobs/sha256"))?;
        fs::write(layout.folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        layout.write_index(&json!({"schemaVersion": 2, "manifests": []}))?;
        Ok(layout)
    }

    /// An existing layout.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// `oci:FOLDER:TAG`.
    pub fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.folder.display())
    }

    /// Writes an image of these tars under a tag; answers with the manifest's digest.
    pub fn add(&self, tag: &str, tars: &[Vec<u8>], packing: impl Fn(usize) -> Packing) -> Result<String> {
        let mut layers = Vec::new();
        for (index, tar) in tars.iter().enumerate() {
            let (blob, media_type) = pack(tar, packing(index));
            layers.push((blob, media_type, digest(tar)));
        }
        let diff_ids: Vec<&String> = layers.iter().map(|(_, _, diff_id)| diff_id).collect();
        let history: Vec<Value> = (0..layers.len())
            .map(|index| json!({"created": "2024-05-06T07:08:09Z", "created_by": format!("layer {index} of {tag}")}))
            .collect();
        let config = json!({
            "created": "2024-05-06T07:08:09Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"], "Labels": {"proof": tag}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let descriptors: Result<Vec<Value>> =
            layers.iter().map(|(blob, media_type, _)| self.blob(blob, media_type)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(&serde_json::to_vec(&config)?, "application/vnd.oci.image.config.v1+json")?,
            "layers": descriptors?,
        });
        self.tag(tag, &serde_json::to_vec(&manifest)?)
    }

    /// Writes a blob; answers with its descriptor.
    pub fn blob(&self, bytes: &[u8], media_type: &str) -> Result<Value> {
        let digest = digest(bytes);
        fs::write(self.path_of(&digest)?, bytes)?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }

    /// Writes a manifest and points a tag at it.
    pub fn tag(&self, tag: &str, manifest: &[u8]) -> Result<String> {
        let parsed: Value = serde_json::from_slice(manifest)?;
        let media_type = parsed["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
        let mut descriptor = self.blob(manifest, media_type)?;
        let digest = descriptor["digest"].as_str().expect("just made").to_owned();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let mut index = self.index()?;
        let manifests = index["manifests"].as_array_mut().context("index without manifests")?;
        manifests.retain(|other| other["annotations"]["org.opencontainers.image.ref.name"] != tag);
        manifests.push(descriptor);
        self.write_index(&index)?;
        Ok(digest)
    }

    /// The index document.
    pub fn index(&self) -> Result<Value> {
        let path = self.folder.join("index.json");
        Ok(serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?)
    }

    fn write_index(&self, index: &Value) -> Result<()> {
        Ok(fs::write(self.folder.join("index.json"), serde_json::to_vec(index)?)?)
    }

    /// Where a blob lies.
    pub fn path_of(&self, digest: &str) -> Result<PathBuf> {
        let hex = digest.strip_prefix("sha256:").with_context(|| format!("not a sha256 digest: {digest}"))?;
        Ok(self.folder.join("blobs/sha256").join(hex))
    }

    /// The digest that a tag points at.
    pub fn resolve(&self, tag: &str) -> Result<String> {
        let index = self.index()?;
        let manifests = index["manifests"].as_array().context("index without manifests")?;
        let found = manifests.iter().find(|m| m["annotations"]["org.opencontainers.image.ref.name"] == tag);
        Ok(found.and_then(|m| m["digest"].as_str()).with_context(|| format!("no tag {tag}"))?.to_owned())
    }

    /// A blob, checked against its descriptor.
    pub fn read(&self, descriptor: &Value) -> Result<Vec<u8>> {
        let wanted = descriptor["digest"].as_str().context("descriptor without digest")?;
        let bytes = fs::read(self.path_of(wanted)?).with_context(|| format!("blob {wanted}"))?;
        ensure!(digest(&bytes) == wanted, "blob {wanted} has other bytes");
        ensure!(
            descriptor["size"].as_u64() == Some(bytes.len() as u64),
            "blob {wanted}: descriptor's size is wrong"
        );
        Ok(bytes)
    }

    /// The image of a tag, with its manifest, config, diffIDs and history checked against each other.
    pub fn image(&self, tag: &str) -> Result<Image> {
        self.image_of_digest(&self.resolve(tag)?)
    }

    /// The image whose manifest has this digest.
    pub fn image_of_digest(&self, manifest_digest: &str) -> Result<Image> {
        let manifest_bytes = fs::read(self.path_of(manifest_digest)?)?;
        ensure!(digest(&manifest_bytes) == manifest_digest, "the manifest has other bytes than its digest");
        let manifest: Value = serde_json::from_slice(&manifest_bytes)?;
        let config: Value = serde_json::from_slice(&self.read(&manifest["config"])?)?;
        let layers = manifest["layers"].as_array().context("manifest without layers")?;
        let blobs = layers.iter().map(|layer| self.read(layer)).collect::<Result<Vec<_>>>()?;
        let tars = blobs.iter().map(|blob| unpack(blob)).collect::<Result<Vec<_>>>()?;
        let diff_ids = config["rootfs"]["diff_ids"].as_array().context("config without diffIDs")?;
        let found: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
        ensure!(
            diff_ids.iter().map(|id| id.as_str().unwrap_or_default()).eq(found.iter()),
            "diffIDs differ from the layers"
        );
        if let Some(history) = config["history"].as_array() {
            let filled = history.iter().filter(|entry| entry["empty_layer"] != true).count();
            ensure!(filled == tars.len(), "history tells of {filled} layers, there are {}", tars.len());
        }
        for (layer, blob) in layers.iter().zip(&blobs) {
            let media_type = layer["mediaType"].as_str().unwrap_or_default();
            let is_right = match blob.get(..2) {
                Some([0x1f, 0x8b]) => media_type.ends_with("gzip"),
                Some([0x28, 0xb5]) => media_type.ends_with("zstd"),
                _ => media_type.ends_with("tar"),
            };
            ensure!(is_right, "a layer's media type {media_type} is not what it holds");
        }
        Ok(Image { digest: manifest_digest.to_owned(), manifest, config, blobs, tars })
    }

    /// Copies one image into another layout.
    pub fn copy(&self, tag: &str, to: &Self) -> Result<()> {
        let digest = self.resolve(tag)?;
        let manifest = fs::read(self.path_of(&digest)?)?;
        let parsed: Value = serde_json::from_slice(&manifest)?;
        let layers = parsed["layers"].as_array().context("manifest without layers")?;
        for descriptor in layers.iter().chain([&parsed["config"]]) {
            let digest = descriptor["digest"].as_str().context("descriptor without digest")?;
            fs::copy(self.path_of(digest)?, to.path_of(digest)?)?;
        }
        to.tag(tag, &manifest).map(drop)
    }

    /// Packs the whole layout as one `oci-archive` tar.
    pub fn archive(&self, file: &Path) -> Result<()> {
        let mut out = std::io::BufWriter::new(File::create(file)?);
        crate::tools::run(std::process::Command::new("tar").arg("-C").arg(&self.folder).args([
            "-cf",
            "-",
            "oci-layout",
            "index.json",
            "blobs",
        ]))
        .and_then(|tar| Ok(out.write_all(&tar.stdout)?))
    }
}
