//! The merged tree of an image as a list that two images can be compared by.
//!
//! The merged tar stream is parsed while it is made, so a tree costs the memory of its names and a digest
//! each, never its content.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use unbloat_layers::tar::{Header, Kind, Meta, Meter, TarReader};
use unbloat_layers::{BoxError, Chunk, ChunkSource, LayerError, Options, Output, Piece, Summary, merge};
use unbloat_oci::{Algorithm, Hasher};

use crate::source::Layers;

/// One path of a merged tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    meta: Meta,
    device: (u64, u64),
    size: u64,
    /// Symlink target or content digest.
    pub(crate) content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The smallest path of the same inode.
    first: Vec<u8>,
}

impl Item {
    /// A header with its attributes.
    pub(crate) fn header(&self) -> Header {
        let mut header = Header::made(self.kind, self.meta);
        header.device = self.device;
        for (name, value) in &self.xattrs {
            header.records.set(&[XATTR, name].concat(), value);
        }
        header
    }
}

/// How PAX records of extended attributes begin.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// All of them.
pub(crate) type Listing = BTreeMap<Vec<u8>, Item>;

/// What the merge tells the parser.
enum Message {
    Bytes(Bytes),
    /// What came so far is void.
    Restart,
}

struct Feed {
    sender: SyncSender<Message>,
    buffer: Vec<u8>,
}

impl Feed {
    fn flush(&mut self) -> Result<(), BoxError> {
        let bytes = std::mem::take(&mut self.buffer).into();
        self.send(Message::Bytes(bytes))
    }

    fn send(&self, message: Message) -> Result<(), BoxError> {
        self.sender.send(message).map_err(|_| "the merged stream is no tar".into())
    }
}

impl Output for Feed {
    fn restart(&mut self) -> Result<(), BoxError> {
        self.buffer.clear();
        self.send(Message::Restart)
    }

    fn fresh(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 256 << 10 { self.flush() } else { Ok(()) }
    }

    fn copy(&mut self, piece: Piece) -> Result<(), BoxError> {
        self.fresh(piece.bytes())
    }
}

/// The merged stream as the parser reads it, up to its end or a new beginning.
struct Fed<'a> {
    receiver: &'a Receiver<Message>,
    offset: u64,
    restarted: &'a Cell<bool>,
}

impl ChunkSource for Fed<'_> {
    fn next(&mut self) -> Result<Option<Chunk>, BoxError> {
        match self.receiver.recv() {
            Ok(Message::Bytes(data)) => {
                let offset = self.offset;
                self.offset += data.len() as u64;
                Ok(Some(Chunk { data, offset, origin: None }))
            }
            Ok(Message::Restart) => {
                self.restarted.set(true);
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}

/// Merges `layers` layers and lists the result.
pub(crate) fn list(
    layers: &Layers,
    count: usize,
    options: &Options,
) -> Result<(Listing, Summary), unbloat_layers::Error> {
    use unbloat_layers::Error;
    let (sender, receiver) = sync_channel(4);
    let (summary, listing) = std::thread::scope(|scope| {
        let parser = scope.spawn(move || parse_last(&receiver));
        let mut feed = Feed { sender, buffer: Vec::new() };
        let summary = merge(layers, count, options, &mut feed)
            .and_then(|summary| feed.flush().map(|()| summary).map_err(Error::Output));
        drop(feed);
        let listing = parser.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (summary, listing)
    });
    let summary = summary?;
    Ok((listing.map_err(|error| Error::Output(Box::new(error)))?, summary))
}

/// Parses the stream as it is after its last new beginning.
fn parse_last(receiver: &Receiver<Message>) -> Result<Listing, LayerError> {
    loop {
        let restarted = Cell::new(false);
        let listing = parse(Fed { receiver, offset: 0, restarted: &restarted });
        // A void stream ends anywhere, so what is wrong with it says nothing.
        if !restarted.get() {
            return listing;
        }
    }
}

fn parse(stream: Fed<'_>) -> Result<Listing, LayerError> {
    let mut reader = TarReader::new(stream, 0, Arc::new(Meter::new(u64::MAX)));
    let mut raw = Vec::new();
    let mut items: Listing = BTreeMap::new();
    let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while let Some(header) = reader.next(&mut raw)? {
        let path = plain(&header.path).to_vec();
        if header.kind == Kind::HardLink {
            links.push((path, plain(&header.link).to_vec()));
            continue;
        }
        let content = match header.kind {
            Kind::Symlink => header.link.clone(),
            Kind::Regular => {
                let mut hasher = Hasher::new(Algorithm::Sha256);
                let mut left = header.size;
                reader.content(|piece| {
                    let take = left.min(piece.len() as u64) as usize;
                    hasher.update(&piece.bytes()[..take]);
                    left -= take as u64;
                    Ok::<_, LayerError>(())
                })?;
                hasher.finish().hex().as_bytes().to_vec()
            }
            _ => Vec::new(),
        };
        items.insert(path.clone(), item(&header, content, path));
    }
    // The groups' smallest names, whichever of them held the content.
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, target) in links {
        groups.entry(target).or_default().push(path);
    }
    for (target, mut names) in groups {
        let Some(mut item) = items.get(&target).cloned() else {
            return Err(LayerError::LinkTarget {
                path: String::from_utf8_lossy(&names[0]).into_owned(),
                target: String::from_utf8_lossy(&target).into_owned(),
            });
        };
        names.push(target);
        names.sort_unstable();
        item.first.clone_from(&names[0]);
        for name in names {
            items.insert(name, item.clone());
        }
    }
    Ok(items)
}

fn plain(name: &[u8]) -> &[u8] {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let name = name.strip_suffix(b"/").unwrap_or(name);
    if name == b"." { b"" } else { name }
}

fn item(header: &Header, content: Vec<u8>, first: Vec<u8>) -> Item {
    let device = matches!(header.kind, Kind::CharDevice | Kind::BlockDevice);
    let mut meta = header.meta;
    if header.kind == Kind::Symlink {
        // Linux has no mode for symlinks.
        meta.mode = 0o777;
    }
    Item {
        kind: header.kind,
        meta,
        device: if device { header.device } else { (0, 0) },
        size: header.size,
        content,
        xattrs: header.xattrs().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        first,
    }
}

/// How strictly hard links are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// The same groups.
    Same,
    /// The second image may have a group in several parts: above a kept base a link to a file of the base is
    /// a copy.
    MaySplit,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The path; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What differs: `missing`, `added`, or the name of a property with both values.
    pub what: String,
}

/// Most differences that are listed.
pub(crate) const MAX_DIFFERENCES: usize = 1_000;

/// The differences between two trees, at most 1,000, and how many there are. `wanted` chooses paths.
pub(crate) fn compare(
    a: &Listing,
    b: &Listing,
    links: Links,
    wanted: impl Fn(&[u8]) -> bool,
) -> (Vec<Difference>, u64) {
    let mut differences = Vec::new();
    let mut count = 0;
    let mut report = |path: &[u8], what: String| {
        count += 1;
        if differences.len() < MAX_DIFFERENCES {
            differences.push(Difference { path: format!("/{}", String::from_utf8_lossy(path)), what });
        }
    };
    // A part of a split group has to be a part of one group.
    let mut split: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for path in a.keys().chain(b.keys().filter(|path| !a.contains_key(*path))).filter(|path| wanted(path)) {
        match (a.get(path), b.get(path)) {
            // The root has an entry in some images only.
            (None, _) | (_, None) if path.is_empty() => {}
            (Some(_), None) => report(path, "missing in the second image".into()),
            (None, _) => report(path, "only in the second image".into()),
            (Some(a), Some(b)) => {
                for what in properties(a, b) {
                    report(path, what);
                }
                let same_group = match links {
                    Links::Same => a.first == b.first,
                    Links::MaySplit => *split.entry(&b.first).or_insert(&a.first) == a.first.as_slice(),
                };
                if !same_group {
                    report(path, "it is linked to other names".into());
                }
            }
        }
    }
    (differences, count)
}

fn properties(a: &Item, b: &Item) -> Vec<String> {
    if a.kind != b.kind {
        return vec![format!("type {:?} became {:?}", a.kind, b.kind)];
    }
    let mut found = Vec::new();
    let mut differs = |name: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{name} {a} became {b}"));
        }
    };
    differs("mode", format!("{:04o}", a.meta.mode), format!("{:04o}", b.meta.mode));
    differs("owner", format!("{}:{}", a.meta.uid, a.meta.gid), format!("{}:{}", b.meta.uid, b.meta.gid));
    // Directories that no layer names have the time that their unpacker gives them; here they have none.
    let invented = a.kind == Kind::Directory
        && (a.meta.mtime == Default::default() || b.meta.mtime == Default::default());
    if !invented {
        let time = |item: &Item| format!("{}.{:09}", item.meta.mtime.seconds, item.meta.mtime.nanos);
        differs("time", time(a), time(b));
    }
    differs("device", format!("{}:{}", a.device.0, a.device.1), format!("{}:{}", b.device.0, b.device.1));
    differs("size", a.size.to_string(), b.size.to_string());
    let content = |item: &Item| String::from_utf8_lossy(&item.content).into_owned();
    differs(if a.kind == Kind::Symlink { "target" } else { "content" }, content(a), content(b));
    for name in a.xattrs.keys().chain(b.xattrs.keys().filter(|name| !a.xattrs.contains_key(*name))) {
        let value =
            |item: &Item| item.xattrs.get(name).map_or("none".to_owned(), |value| format!("{value:02x?}"));
        differs(&format!("attribute {}", String::from_utf8_lossy(name)), value(a), value(b));
    }
    found
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    fn item(kind: Kind, content: &[u8]) -> Item {
        Item {
            kind,
            meta: Meta { mode: 0o755, ..Meta::default() },
            device: (0, 0),
            size: 0,
            content: content.to_vec(),
            xattrs: BTreeMap::new(),
            first: Vec::new(),
        }
    }

    pub(crate) fn directory() -> Item {
        item(Kind::Directory, b"")
    }

    pub(crate) fn file() -> Item {
        item(Kind::Regular, b"")
    }

    pub(crate) fn symlink(target: &[u8]) -> Item {
        item(Kind::Symlink, target)
    }
}
