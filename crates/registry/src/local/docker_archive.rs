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

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    layers: Option<Vec<String>>,
}

/// The one image that is asked for, as a layout of one entry.
pub(crate) fn open(
    members: Members,
    wanted: Option<&Reference>,
) -> Result<(Vec<Descriptor>, Blobs), ErrorKind> {
    let read = |name: &str| members.get(name).map(|extent| extent.read_all(MAX_MANIFEST_BYTES)).transpose();
    let list = read("manifest.json")?;
    // A layout keeps the original digests, so it is preferred, unless it speaks of platforms that were not
    // saved.
    if let (Some(layout), Some(index)) = (read("oci-layout")?, read("index.json")?) {
        let entries: Vec<Descriptor> =
            read_layout(&layout, &index)?.into_iter().filter(|entry| is_wanted(entry, wanted)).collect();
        let blobs = Blobs::Archive(members);
        if entries.len() == 1 && is_complete(&blobs, &entries[0]) && !is_shuffled(&blobs, &entries[0]) {
            return Ok((entries, blobs));
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
    let Some(wanted) = wanted else { return true };
    let name = entry.annotation(IMAGE_NAME).and_then(|name| name.parse::<Reference>().ok());
    name.is_some_and(|name| same_image(&name, wanted))
}

fn same_image(have: &Reference, wanted: &Reference) -> bool {
    have.name() == wanted.name() && have.target() == wanted.target()
}

fn from_list(
    members: &Members,
    list: Option<&[u8]>,
    wanted: Option<&Reference>,
) -> Result<(Vec<Descriptor>, Blobs), ErrorKind> {
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
        return Err(invalid(format!("its manifest.json has {layers} layers and its config {ids}")));
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
    Ok((vec![entry], Blobs::Listed(blobs)))
}

fn choose<'a>(items: &'a [Item], wanted: Option<&Reference>) -> Result<&'a Item, ErrorKind> {
    let names = || {
        let names: Vec<&str> =
            items.iter().flat_map(|item| item.repo_tags.iter().flatten()).map(String::as_str).collect();
        crate::error::sanitize(&names.join(", "))
    };
    let Some(wanted) = wanted else {
        return match items {
            [one] => Ok(one),
            _ => Err(ErrorKind::Unsupported(format!(
                "it holds {} images; name one of: {}",
                items.len(),
                names()
            ))),
        };
    };
    let is_it = |item: &&Item| {
        let mut tags = item.repo_tags.iter().flatten().filter_map(|tag| tag.parse::<Reference>().ok());
        tags.any(|tag| same_image(&tag, wanted))
    };
    items
        .iter()
        .find(is_it)
        .ok_or_else(|| ErrorKind::NotFound { message: format!("the names there are: {}", names()) })
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
