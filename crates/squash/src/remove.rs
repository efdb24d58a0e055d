//! Removing paths without rewriting a layer: one layer of whiteouts on top. Bytes stay where they are; what a
//! container sees is gone.
//!
//! A whiteout has to stand where the path really is. `/bin/ls` of an image whose `bin` is a symlink is
//! `usr/bin/ls`; a marker at `bin/.wh.ls` would make `bin` a directory and lose every command. So the image's
//! tree is read first, by its names.
//!
//! Guarantee: the result's tree is the one that a squash with the same paths removed has. The directories
//! above a whiteout are in the layer with the attributes that they have, since runtimes disagree about
//! directories that only paths below them speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use unbloat_contract::{Figures, PlatformFigures, RemoveRequest, SquashResult, Stage};
use unbloat_layers::Patterns;
use unbloat_layers::tar::{Header, Kind, TRAILER, encode};
use unbloat_oci::{Codec, Descriptor, Digest, NewLayer};
use unbloat_registry::{Client, Destination, Source, Unchanged};

use crate::assemble::{Assembly, IndexRules, Made, carry};
use crate::diff_ids::DiffIds;
use crate::error::Error;
use crate::image::Image;
use crate::open::{Wanted, open, parse_platforms};
use crate::progress::Progress;
use crate::tree::{self, Tree, parts};

/// What goes from one image.
struct Removal {
    tar: Vec<u8>,
    /// Bytes of the layers as tar.
    unpacked_bytes: u64,
    warnings: Vec<String>,
    /// Which of the request's paths were found.
    found: BTreeSet<usize>,
}

/// Puts one layer of whiteouts on an image, or on each image of an index.
///
/// # Errors
/// [`Error::Request`] for a path that nothing in any image matches, unless that is to be ignored.
pub async fn remove(
    client: &Client,
    request: &RemoveRequest,
    progress: &Arc<Progress>,
) -> Result<SquashResult, Error> {
    let started = Instant::now();
    progress.enter(Stage::Resolving, "");
    let targets = request.paths.iter().map(|path| Target::new(path)).collect::<Result<Vec<_>, _>>()?;
    let source = client.source(&request.source.parse()?).await?;
    let wanted = parse_platforms(&request.platforms)?;
    let found = open(&source, Wanted::Platforms(&wanted), true).await?;

    progress.enter(Stage::Analyzing, "");
    let mut removals = Vec::new();
    for image in &found.images {
        removals.push(removal(&source, image, &targets, request, progress).await?);
    }
    let mut warnings = found.warnings();
    for (at, path) in request.paths.iter().enumerate() {
        if removals.iter().any(|removal| removal.found.contains(&at)) {
            continue;
        }
        let nothing = format!("{path} matches nothing in the image");
        if !request.ignore_missing {
            return Err(Error::Request(format!("{nothing}; --ignore-missing makes this a warning")));
        }
        warnings.push(nothing);
    }

    progress.enter(Stage::Publishing, "");
    let destination = client.destination_for(&request.destination.parse()?, &source).await?;
    destination.require_room_for(found.images.len())?;
    let mut made = Vec::new();
    for (image, removal) in found.images.iter().zip(removals) {
        let missing = (0..request.paths.len()).filter(|at| !removal.found.contains(at));
        let missing: Vec<String> = match found.images.len() {
            1 => Vec::new(),
            _ => missing.map(|at| format!("{} matches nothing here", request.paths[at])).collect(),
        };
        let mut image = place(&source, &destination, image, removal, request).await?;
        image.warnings.extend(missing);
        made.push(image);
    }
    let assembly = Assembly {
        images: &found.images,
        made: &made,
        source: &source,
        destination: Some(&destination),
        rules: IndexRules { family: None, keeps_base: true },
    };
    let (media_type, bytes) = assembly.document(&found).await?;
    let unchanged = Unchanged { source: &source, digest: found.fetched.descriptor.digest() };
    let published = destination.publish(&media_type, bytes, Some(unchanged)).await?;
    let mut result = SquashResult { warnings, reference: published.reference, ..SquashResult::default() };
    result.figures.source_digest = found.fetched.descriptor.digest().to_string();
    result.figures.digest = published.descriptor.digest().to_string();
    for image in &made {
        image.count_into(&mut result, made.len() > 1);
    }
    result.reclaimed_bytes = result.figures.pull_bytes_saved();
    result.bytes_read = source.bytes_read();
    result.bytes_written = destination.bytes_written();
    result.duration_seconds = started.elapsed().as_secs_f64();
    progress.enter(Stage::Finished, "");
    Ok(result)
}

/// A path or glob of the request.
enum Target {
    Path(Vec<u8>),
    Glob {
        /// The folders before the first name with a `*`, `?` or `[`.
        folder: Vec<u8>,
        /// The rest.
        rest: String,
    },
}

impl Target {
    fn new(text: &str) -> Result<Self, Error> {
        let names: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let is_marker = names.iter().any(|name| name.starts_with(".wh."));
        if names.is_empty() || names.contains(&"..") || is_marker {
            return Err(Error::Request(format!("{text:?} is no path below the root of an image")));
        }
        let is_glob = |name: &&str| name.contains(['*', '?', '[', '{', '\\']);
        let Some(first) = names.iter().position(is_glob) else {
            return Ok(Self::Path(names.join("/").into_bytes()));
        };
        let rest = names[first..].join("/");
        // What cannot be a pattern is told before anything is read.
        Patterns::new(std::slice::from_ref(&rest)).map_err(|error| Error::Request(error.to_string()))?;
        Ok(Self::Glob { folder: names[..first].join("/").into_bytes(), rest })
    }

    /// The real paths that it names.
    fn paths(&self, tree: &Tree) -> Result<Vec<Vec<u8>>, Error> {
        match self {
            Self::Path(path) => Ok(tree.resolve(path, false).into_iter().collect()),
            Self::Glob { folder, rest } => {
                let Some(real) = tree.resolve(folder, true) else { return Ok(Vec::new()) };
                let patterns = Patterns::new(std::slice::from_ref(rest))
                    .map_err(|error| Error::Request(error.to_string()))?;
                let prefix = if real.is_empty() { real } else { [&real[..], b"/"].concat() };
                let below =
                    |path: &&[u8]| path.strip_prefix(&prefix[..]).is_some_and(|rest| patterns.is_match(rest));
                Ok(tree.paths().filter(below).map(<[u8]>::to_vec).collect())
            }
        }
    }
}

async fn removal(
    source: &Source,
    image: &Image,
    targets: &[Target],
    request: &RemoveRequest,
    progress: &Arc<Progress>,
) -> Result<Removal, Error> {
    let (layers, missing) = tree::readable(image.manifest.layers());
    let diff_ids = DiffIds::without(&image.config, &missing, request.strict);
    let (tree, summary) = tree::read_image(source, &layers, &diff_ids, &request.limits, progress).await?;
    let mut gone = BTreeSet::new();
    let mut found = BTreeSet::new();
    for (at, target) in targets.iter().enumerate() {
        let paths = target.paths(&tree)?;
        if !paths.is_empty() {
            found.insert(at);
        }
        gone.extend(paths);
    }
    let warn = |layer: usize| {
        format!("layer {layer} is foreign and stored elsewhere: what only it holds cannot be removed")
    };
    Ok(Removal {
        tar: whiteouts(&tree, &gone),
        unpacked_bytes: summary.unpacked_bytes.iter().sum(),
        warnings: missing.into_iter().map(warn).chain(diff_ids.warnings()).collect(),
        found,
    })
}

/// A layer that removes `gone`, with the directories above.
fn whiteouts(tree: &Tree, gone: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut markers: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut folders: BTreeSet<Vec<u8>> = BTreeSet::new();
    for path in gone {
        let names: Vec<&[u8]> = parts(path).collect();
        let above = |depth: usize| names[..depth].join(&b'/');
        // Below what goes as a whole nothing has to be said.
        if names.is_empty() || (1..names.len()).any(|depth| gone.contains(&above(depth))) {
            continue;
        }
        folders.extend((1..names.len()).map(above));
        markers.entry(above(names.len() - 1)).or_default().insert(names[names.len() - 1].to_vec());
    }
    let mut tar = Vec::new();
    let mut mark = |tar: &mut Vec<u8>, folder: &[u8]| {
        for name in markers.remove(folder).into_iter().flatten() {
            let prefix = if folder.is_empty() { Vec::new() } else { [folder, b"/"].concat() };
            let marker = Header::made(Kind::Regular, Default::default());
            tar.extend(encode(&marker, &[&prefix[..], b".wh.", &name].concat(), Kind::Regular, b"", 0));
        }
    };
    mark(&mut tar, b"");
    for folder in folders {
        if let Some(item) = tree.item(&folder) {
            tar.extend(encode(&item.header(), &folder, Kind::Directory, b"", 0));
        }
        mark(&mut tar, &folder);
    }
    if !tar.is_empty() {
        tar.extend_from_slice(&TRAILER);
    }
    tar
}

/// Puts the image with its new layer at the destination, all but its manifest.
async fn place(
    source: &Source,
    destination: &Destination,
    image: &Image,
    removal: Removal,
    request: &RemoveRequest,
) -> Result<Made, Error> {
    let Removal { tar, unpacked_bytes, warnings, found } = removal;
    let mut layers = carry(destination, image.manifest.layers().iter().map(|layer| (source, layer))).await?;
    let mut manifest = image.manifest.clone();
    let mut config = image.config.clone();
    if !tar.is_empty() {
        let removed: Vec<&str> = found.iter().map(|at| request.paths[*at].as_str()).collect();
        let new = NewLayer {
            diff_id: Digest::sha256_of(&tar),
            created_by: format!("unbloat remove {}", removed.join(" ")),
            comment: None,
        };
        config.append(&new).map_err(|source| Error::Document { what: "config".into(), source })?;
        let media_type = manifest
            .family()
            .layer(Codec::Gzip)
            .ok_or_else(|| Error::Internal("a family without gzip layers".into()))?;
        layers.push(destination.put_blob(media_type, gzip(&tar)?).await?);
    }
    if layers != manifest.layers() {
        manifest.set_layers(layers.clone());
    }
    let config = Bytes::from(config.to_bytes());
    let config = destination.put_blob(manifest.config().media_type().clone(), config).await?;
    if config.digest() != manifest.config().digest() {
        manifest.set_config(config);
    }
    let bytes = Bytes::from(manifest.to_bytes());
    let size = |layers: &[Descriptor]| layers.iter().map(Descriptor::size).sum::<u64>();
    let figures = Figures {
        source_digest: image.descriptor.digest().to_string(),
        digest: Digest::sha256_of(&bytes).to_string(),
        layers_before: image.manifest.layers().len() as u64,
        layers_after: layers.len() as u64,
        compressed_bytes_before: size(image.manifest.layers()),
        compressed_bytes_after: size(&layers),
        unpacked_bytes_before: unpacked_bytes,
        unpacked_bytes_after: unpacked_bytes + tar.len() as u64,
        plain_before: false,
    };
    Ok(Made {
        figures: PlatformFigures { platform: image.platform(), figures },
        warnings,
        media_type: manifest.media_type().clone(),
        bytes,
    })
}

/// The same bytes on every machine: no time, no operating system.
fn gzip(tar: &[u8]) -> Result<Bytes, Error> {
    let mut gzip =
        flate2::GzBuilder::new().operating_system(255).write(Vec::new(), flate2::Compression::new(6));
    let blob = gzip.write_all(tar).and_then(|()| gzip.finish());
    blob.map(Bytes::from).map_err(|error| Error::Output(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests_support::{directory, file, symlink};

    fn tree() -> Tree {
        Tree::new(
            [
                (&b"bin"[..], symlink(b"usr/bin")),
                (b"usr", directory()),
                (b"usr/bin", directory()),
                (b"usr/bin/ls", file()),
                (b"usr/bin/lsof", file()),
                (b"usr/bin/cat", file()),
                (b"usr/share/doc/ls", file()),
            ]
            .map(|(path, item)| (path.to_vec(), item))
            .into(),
        )
    }

    fn found(text: &str) -> Vec<String> {
        let paths = Target::new(text).unwrap().paths(&tree()).unwrap();
        paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn paths_and_globs_go_through_the_links_of_their_folders() {
        assert_eq!(found("/bin/ls"), ["usr/bin/ls"]);
        assert_eq!(found("/bin/ls*"), ["usr/bin/ls", "usr/bin/lsof"]);
        assert_eq!(found("bin"), ["bin"]);
        assert_eq!(found("**/ls"), ["usr/bin/ls", "usr/share/doc/ls"]);
        assert_eq!(found("/etc/nope.d/x"), [""; 0]);
    }

    #[test]
    fn what_is_no_path_below_the_root_is_refused_before_anything_is_read() {
        for bad in ["/", "", "a/../b", "a/.wh.b", "a/[b"] {
            assert!(Target::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_that_goes_takes_what_is_below_and_its_own_folder_keeps_its_attributes() {
        let gone = ["usr/bin", "usr/bin/ls"].map(|path| path.as_bytes().to_vec()).into();
        let tar = whiteouts(&tree(), &gone);
        let names: Vec<&[u8]> =
            tar.chunks(512).map(|block| block.split(|byte| *byte == 0).next().unwrap()).collect();
        assert_eq!(names, [&b"usr/"[..], b"usr/.wh.bin", b"", b""]);
        assert!(whiteouts(&tree(), &BTreeSet::new()).is_empty());
    }
}
