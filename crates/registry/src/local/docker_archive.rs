//! `docker save` archives: the old form (`manifest.json` and plain layers) and that of Docker 25 (an OCI
//! layout besides).

use std::collections::HashMap;
use std::io;

use serde::Deserialize;
use unbloat_oci::{
    Codec, Descriptor, Digest, Family, Hasher, ImageConfig, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest,
    MediaType, Reference,
};

use crate::error::ErrorKind;
use crate::local::contents::{IMAGE_NAME, is_complete, read_layout};
use crate::local::extents::{Blobs, Extent, Members, Stored};
use crate::names::Names;

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    layers: Option<Vec<String>>,
}

/// The one image of an archive that was asked for, as a layout of one entry.
pub(crate) struct Opened {
    pub(crate) entries: Vec<Descriptor>,
    pub(crate) blobs: Blobs,
    /// What `docker load` would call it.
    pub(crate) names: Vec<String>,
}

/// Why an archive's image cannot be opened, and which there are where it is not the one that was named.
pub(crate) struct Refused {
    pub(crate) kind: ErrorKind,
    pub(crate) names: Option<Names>,
}

impl<E: Into<ErrorKind>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { kind: error.into(), names: None }
    }
}

/// Opens the image that is asked for.
pub(crate) fn open(members: Members, wanted: Option<&Reference>) -> Result<Opened, Refused> {
    let read = |name: &str| members.get(name).map(|extent| extent.read_all(MAX_MANIFEST_BYTES)).transpose();
    let list = read("manifest.json")?;
    // A layout keeps the original digests, so it is preferred, unless it speaks of platforms that were not
    // saved.
    if let (Some(layout), Some(index)) = (read("oci-layout")?, read("index.json")?) {
        let mut entries: Vec<Descriptor> =
            read_layout(&layout, &index)?.into_iter().filter(|entry| is_wanted(entry, wanted)).collect();
        let names = entries.iter().filter_map(|entry| entry.annotation(IMAGE_NAME)).collect();
        // An image of several names has an entry for each.
        entries.dedup_by(|one, other| one.digest() == other.digest());
        let blobs = Blobs::Archive(members);
        if entries.len() == 1 && is_complete(&blobs, &entries[0]) && !is_shuffled(&blobs, &entries[0]) {
            return Ok(Opened { entries, blobs, names });
        }
        let Blobs::Archive(members) = blobs else { unreachable!("it was just made") };
        return from_list(&members, list.as_deref(), wanted);
    }
    from_list(&members, list.as_deref(), wanted)
}

/// Whether the layers of an image stand in another order than its config has them. Docker 25.0.0 saved
/// layouts whose manifests are like that (moby/moby issue 47150); their `manifest.json` is right.
fn is_shuffled(blobs: &Blobs, entry: &Descriptor) -> bool {
    let read = |descriptor: &Descriptor, limit: u64| {
        let stored = blobs.open(descriptor.digest()).ok().flatten()?;
        stored.read_at(0, usize::try_from(stored.size().min(limit)).ok()?).ok()
    };
    let config_of = |image: &Manifest| ImageConfig::parse(&read(image.config(), MAX_CONFIG_BYTES)?).ok();
    let manifest = read(entry, MAX_MANIFEST_BYTES);
    let Some(Ok(image)) = manifest.map(|bytes| Manifest::parse(Some(entry.media_type()), &bytes)) else {
        return false;
    };
    let Some(config) = config_of(&image) else { return false };
    // Only a plain layer's digest is its diffID.
    let is_plain =
        |layer: &Descriptor| layer.media_type().layer().is_ok_and(|kind| kind.codec == Codec::None);
    let mut pairs = image.layers().iter().zip(config.diff_ids());
    pairs.any(|(layer, diff_id)| is_plain(layer) && layer.digest() != diff_id)
}

fn is_wanted(entry: &Descriptor, wanted: Option<&Reference>) -> bool {
    wanted.is_none() || entry.annotation(IMAGE_NAME).is_some_and(|name| is_named(&name, wanted))
}

fn same_image(have: &Reference, wanted: &Reference) -> bool {
    have.name() == wanted.name() && have.target() == wanted.target()
}

fn from_list(members: &Members, list: Option<&[u8]>, wanted: Option<&Reference>) -> Result<Opened, Refused> {
    let invalid = |reason: String| ErrorKind::Invalid(reason);
    let list = list.ok_or_else(|| invalid("it is no docker archive: it has no manifest.json".to_owned()))?;
    let items: Vec<Item> = serde_json::from_slice(list)
        .map_err(|error| invalid(format!("its manifest.json is not valid: {error}")))?;
    let item = choose(&items, wanted)?;
    let config = members
        .get(&item.config)
        .ok_or_else(|| {
            invalid(format!("its manifest.json names a config that is not there: {:?}", item.config))
        })?
        .read_all(MAX_CONFIG_BYTES)?;
    let parsed = ImageConfig::parse(&config)?;
    let layers = item.layers.as_deref().unwrap_or_default();
    if layers.len() != parsed.diff_ids().len() {
        let (layers, ids) = (layers.len(), parsed.diff_ids().len());
        return Err(invalid(format!("its manifest.json has {layers} layers and its config {ids}")).into());
    }
    let mut blobs = HashMap::new();
    let mut descriptors = Vec::with_capacity(layers.len());
    for (at, (name, diff_id)) in layers.iter().zip(parsed.diff_ids()).enumerate() {
        let extent = members
            .get(name)
            .ok_or_else(|| invalid(format!("layer {at} ({diff_id}) is not there: {name:?}")))?;
        let (compression, digest) = identify(&extent, diff_id)?;
        let media_type = Family::Docker.layer(compression).or_else(|| Family::Oci.layer(compression));
        let media_type = media_type.expect("OCI has a type for each compression");
        descriptors.push(Descriptor::new(media_type, digest.clone(), extent.size()));
        blobs.insert(digest, Stored::InFile(extent));
    }
    let config_descriptor = Descriptor::of(Family::Docker.config(), &config);
    blobs.insert(config_descriptor.digest().clone(), Stored::InMemory(config));
    let manifest = Manifest::new(Family::Docker, config_descriptor, descriptors).to_bytes();
    let mut entry = Descriptor::of(MediaType::from(Family::Docker.manifest().as_str()), &manifest);
    if let Some(name) = item.repo_tags.iter().flatten().next() {
        entry.set_annotation(IMAGE_NAME, name)?;
    }
    blobs.insert(entry.digest().clone(), Stored::InMemory(manifest.into()));
    let names = item.repo_tags.iter().flatten().filter(|name| is_named(name, wanted)).cloned().collect();
    Ok(Opened { entries: vec![entry], blobs: Blobs::Listed(blobs), names })
}

/// Whether a name of an image is the one that was asked for, if one was.
fn is_named(name: &str, wanted: Option<&Reference>) -> bool {
    let Ok(name) = name.parse::<Reference>() else { return false };
    wanted.is_none_or(|wanted| same_image(&name, wanted))
}

fn choose<'a>(items: &'a [Item], wanted: Option<&Reference>) -> Result<&'a Item, Refused> {
    let names = || -> Vec<String> {
        items.iter().flat_map(|item| item.repo_tags.iter().flatten()).cloned().collect()
    };
    let Some(wanted) = wanted else {
        return match items {
            [one] => Ok(one),
            _ => {
                let names = crate::error::sanitize(&names().join(", "));
                let words = format!("it holds {} images; name one of: {names}", items.len());
                Err(ErrorKind::Unsupported(words).into())
            }
        };
    };
    let is_it = |item: &&Item| item.repo_tags.iter().flatten().any(|tag| is_named(tag, Some(wanted)));
    items.iter().find(is_it).ok_or_else(|| {
        let kind = ErrorKind::NotFound { message: String::new() };
        Refused { kind, names: Some(Names::near(&wanted.to_string(), &names())) }
    })
}

/// A plain layer's digest is its diffID; that of a compressed one has to be computed.
fn identify(extent: &Extent, diff_id: &Digest) -> io::Result<(Codec, Digest)> {
    let compression = match &*extent.read_at(0, 4)? {
        [0x1f, 0x8b, ..] => Codec::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Codec::Zstd,
        _ => return Ok((Codec::None, diff_id.clone())),
    };
    let mut hasher = Hasher::default();
    let mut at = 0;
    loop {
        let bytes = extent.read_at(at, 1 << 20)?;
        if bytes.is_empty() {
            return Ok((compression, hasher.finish()));
        }
        at += bytes.len() as u64;
        hasher.update(&bytes);
    }
}
