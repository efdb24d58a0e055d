//! Draws a stack, layer by layer, knowing what the layers below merge to.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Profile, draw,
    record::{Body, Dialect, Record, Stack},
    tarball,
};
use crate::{
    model::{self, Inode, Kind, Tree},
    random::Random,
};

/// What the layer that is being drawn holds at a path.
#[derive(Clone, Debug)]
pub(super) enum Held {
    Implied,
    Directory,
    Other(Record),
}

/// One layer in the making.
pub(super) struct Layer<'a> {
    pub(super) random: &'a mut Random,
    pub(super) profile: Profile,
    /// The merged tree of the layers below.
    pub(super) lower: &'a Tree,
    /// Every path that any layer below ever held or removed; false when it was a directory each time.
    pub(super) ever: &'a BTreeMap<Vec<u8>, bool>,
    pub(super) records: Vec<Record>,
    pub(super) held: BTreeMap<Vec<u8>, Held>,
    pub(super) whited: BTreeSet<Vec<u8>>,
    pub(super) opaque: BTreeSet<Vec<u8>>,
    prefix: &'static [u8],
    dialect: Dialect,
    pub(super) lowest: bool,
}

/// The stack of a seed.
pub fn generate(seed: u64, profile: Profile) -> Stack {
    let mut random = Random::new(seed);
    let mut stack = Stack { seed, layers: Vec::new() };
    let (mut lower, mut ever) = (model::empty(), BTreeMap::new());
    let roots = random.chance(30);
    for _ in 0..random.between(1, 8) {
        let records = draw_layer(&mut random, profile, &lower, &ever, roots, stack.layers.is_empty());
        let mut merged = lower.clone();
        // What is refused (a loop of symbolic links, a link to what its own layer replaced) is not drawn
        // again.
        if let Ok(layer) = model::add_layer(&mut merged, &tarball::write(&records)) {
            for (path, node) in layer.nodes {
                *ever.entry(path).or_insert(false) |= matches!(node, model::Node::Other(_));
            }
            ever.extend(layer.whiteouts.into_iter().map(|path| (path, true)));
            lower = merged;
            stack.layers.push(records);
        }
    }
    if stack.layers.is_empty() {
        stack.layers.push(Vec::new());
    }
    stack
}

fn draw_layer(
    random: &mut Random,
    profile: Profile,
    lower: &Tree,
    ever: &BTreeMap<Vec<u8>, bool>,
    roots: bool,
    lowest: bool,
) -> Vec<Record> {
    let prefix: &[u8] = if random.chance(40) { b"./" } else { b"" };
    let dialect = draw::dialect(random);
    let (held, whited, opaque, records) = Default::default();
    let mut layer =
        Layer { random, profile, lower, ever, records, held, whited, opaque, prefix, dialect, lowest };
    // Containerd shows the root of the topmost layer, so an own entry stands in all layers or in none.
    if roots || (!profile.is_portable() && layer.random.chance(15)) {
        let mut root = layer.record(b"", Body::Directory);
        root.name = b"./".to_vec();
        root.mode |= 0o700;
        layer.records.push(root);
    }
    if !profile.is_portable() && layer.random.chance(5) {
        let mut global =
            layer.record(b"", Body::Global(vec![(b"comment".to_vec(), b"of\nno meaning".to_vec())]));
        if layer.random.chance(50) {
            global.body = Body::Global(vec![(b"mtime".to_vec(), b"1234567890.25".to_vec())]);
        }
        layer.records.push(global);
    }
    let operations = if layer.random.chance(5) { 0 } else { layer.random.between(1, 14) };
    for _ in 0..operations {
        layer.step();
    }
    layer.records
}

impl Layer<'_> {
    fn step(&mut self) {
        if self.profile.is_wide() && self.random.chance(25) {
            return self.widen();
        }
        match self.random.below(100) {
            0..30 => {
                let body = self.file();
                let path = self.path();
                self.put(&path, body);
            }
            30..39 => {
                let (path, target) = (self.path(), draw::symlink_target(self.random));
                self.put(&path, Body::Symlink(target));
            }
            39..53 => {
                let path = self.path();
                self.put(&path, Body::Directory);
            }
            53..58 => {
                let (path, (major, minor)) = (self.path(), draw::device(self.random));
                let body = *self.random.pick(&[0, 1, 2]);
                self.put(
                    &path,
                    [Body::Fifo, Body::Character(major, minor), Body::Block(major, minor)][body].clone(),
                );
            }
            58..70 => self.hard_link(),
            70..83 => self.whiteout(),
            83..88 => self.mark_opaque(),
            88..92 => self.again(),
            92..95 => self.through_symlink(),
            _ if self.profile.is_wide() => self.widen(),
            _ if !self.profile.is_portable() => self.unusual(),
            _ => {}
        }
    }

    pub(super) fn file(&mut self) -> Body {
        let content = draw::content(self.random);
        match self.random.below(if !self.profile.is_portable() { 40 } else { 1 }) {
            1 => Body::Contiguous(content),
            2 => {
                let (runs, size) = draw::sparse(self.random);
                Body::GnuSparse(runs, size)
            }
            3 => {
                let (runs, size) = draw::sparse(self.random);
                Body::PaxSparse(runs, size)
            }
            _ => Body::File(content),
        }
    }

    /// A path: often one that exists, or a new name in a directory that exists.
    pub(super) fn path(&mut self) -> Vec<u8> {
        let known: Vec<&Vec<u8>> =
            self.lower.paths.keys().chain(self.held.keys()).filter(|path| !path.is_empty()).collect();
        let chosen = if known.is_empty() { Vec::new() } else { (*self.random.pick(&known)).clone() };
        let mut path = match self.random.below(10) {
            0..4 if !chosen.is_empty() => return chosen,
            4..7 => chosen,
            _ => Vec::new(),
        };
        for _ in 0..self.random.between(1, 3) {
            let name = draw::name(self.random);
            path = if path.is_empty() { name } else { [path.as_slice(), b"/", &name].concat() };
            if path.iter().filter(|byte| **byte == b'/').count() >= 4 || path.len() > 700 {
                break;
            }
        }
        path
    }

    /// A record with drawn metadata, its name dressed as somebody might write it.
    pub(super) fn record(&mut self, path: &[u8], body: Body) -> Record {
        let xattrs = match body {
            Body::Directory => draw::directory_xattrs(self.random, path, self.profile),
            Body::File(_) | Body::Contiguous(_) => draw::file_xattrs(self.random),
            Body::Symlink(_) | Body::Character(..) | Body::Block(..) | Body::Fifo => {
                draw::special_xattrs(self.random, self.profile)
            }
            _ => BTreeMap::new(),
        };
        let mut dialect = if self.random.chance(80) { self.dialect } else { draw::dialect(self.random) };
        if dialect == Dialect::V7
            && matches!(body, Body::Character(..) | Body::Block(..) | Body::GnuSparse(..))
        {
            dialect = Dialect::Ustar;
        }
        let mut unknown = Vec::new();
        if self.random.chance(4) {
            unknown.push((b"VENDOR.note".to_vec(), b"kept = as\nit is".to_vec()));
        }
        let mut mode = draw::mode(self.random);
        if body == Body::Directory && self.profile.is_portable() {
            // Linux hands a directory's group down to what is made in it without an entry.
            mode &= !0o2000;
        }
        Record {
            name: self.dress(path, body == Body::Directory),
            body,
            mode,
            uid: draw::owner(self.random, self.profile),
            gid: draw::owner(self.random, self.profile),
            mtime: draw::mtime(self.random, self.profile),
            xattrs,
            unknown,
            dialect,
        }
    }

    pub(super) fn dress(&mut self, path: &[u8], is_directory: bool) -> Vec<u8> {
        let prefix = if self.random.chance(95) {
            self.prefix
        } else {
            *self.random.pick::<&[u8]>(&[b"", b"./", b"/"])
        };
        let mut name = [prefix, path].concat();
        if self.random.chance(2) {
            name = name.split(|byte| *byte == b'/').collect::<Vec<_>>().join(&b"//"[..]);
        }
        if !self.profile.is_portable() && self.random.chance(1) {
            name = [prefix, b"gone/../", path].concat();
        }
        if is_directory && self.random.chance(85) {
            name.push(b'/');
        }
        name
    }

    /// True when what lower layers hold at a path is hidden by a mark of this layer above it.
    pub(super) fn is_cut(&self, path: &[u8]) -> bool {
        let mut above = model::parent(path);
        while let Some(directory) = above {
            if self.opaque.contains(directory) || self.whited.contains(directory) {
                return true;
            }
            above = model::parent(directory);
        }
        false
    }

    /// Makes the directories above a path exist in this layer, by entries or by implication.
    pub(super) fn reach(&mut self, path: &[u8]) -> bool {
        let slashes: Vec<usize> = (0..path.len()).filter(|at| path[*at] == b'/').collect();
        for slash in slashes {
            let directory = path[..slash].to_vec();
            match self.held.get(&directory) {
                Some(Held::Directory | Held::Implied) => continue,
                Some(Held::Other(_)) => return false,
                None => {}
            }
            let lower = self.lower.get(&directory);
            let may_imply = match self.profile {
                Profile::Portable | Profile::Runtime => {
                    if self.whited.contains(&directory) {
                        return false;
                    }
                    // Containerd copies an implied directory's metadata from the topmost layer that has the
                    // path.
                    let visible = self.lower.is_directory(&directory) && !self.is_cut(&directory);
                    // It gives up where an ancestor was something else in any layer.
                    let clean = (0..slash)
                        .filter(|at| path[*at] == b'/')
                        .all(|at| self.ever.get(&path[..at]) != Some(&true));
                    visible || (clean && !self.ever.contains_key(&directory))
                }
                Profile::Full | Profile::Wide => {
                    !matches!(lower.map(|inode| &inode.kind), Some(Kind::Symlink(_)))
                        || self.random.chance(30)
                }
            };
            if may_imply && self.random.chance(40) {
                self.held.insert(directory, Held::Implied);
            } else {
                let record = self.record(&directory, Body::Directory);
                self.records.push(record);
                self.held.insert(directory, Held::Directory);
            }
        }
        true
    }

    pub(super) fn put(&mut self, path: &[u8], body: Body) -> bool {
        let is_directory = body == Body::Directory;
        if self.profile.is_portable() && is_directory {
            let was_other = matches!(self.held.get(path), Some(Held::Other(_)));
            if self.whited.contains(path) || (was_other && self.ever.contains_key(path)) {
                return false;
            }
        }
        if !is_directory && self.is_held_directory(path) {
            return false;
        }
        if !self.reach(path) {
            return false;
        }
        let record = self.record(path, body);
        self.records.push(record.clone());
        self.hold(path, record);
        true
    }

    /// Containerd sets the times of a layer's directories last, and fails where one was replaced by then.
    fn is_held_directory(&self, path: &[u8]) -> bool {
        self.profile.is_portable() && matches!(self.held.get(path), Some(Held::Directory | Held::Implied))
    }

    pub(super) fn hold(&mut self, path: &[u8], record: Record) {
        if record.body == Body::Directory {
            self.held.insert(path.to_vec(), Held::Directory);
        } else {
            let below = [path, b"/"].concat();
            self.held.retain(|other, _| !other.starts_with(&below));
            self.held.insert(path.to_vec(), Held::Other(record));
        }
    }

    /// Another name for something of this layer, or (every rule) of a lower one.
    fn hard_link(&mut self) {
        let full = !self.profile.is_portable();
        let privileged = |record: &Record| {
            record.mode & 0o6000 != 0 || record.xattrs.contains_key(&b"security.capability"[..])
        };
        let mut targets: Vec<(Vec<u8>, Record)> = Vec::new();
        for (path, held) in &self.held {
            if let Held::Other(record) = held {
                // Unpackers change the owner again for a link, and Linux then drops setuid bits and
                // capabilities.
                if full || !privileged(record) {
                    targets.push((path.clone(), record.clone()));
                }
            }
        }
        if full && self.random.chance(35) {
            let others = self.lower.paths.keys().filter(|path| !self.held.contains_key(*path));
            let names: Vec<Vec<u8>> = others.filter(|path| !self.lower.is_directory(path)).cloned().collect();
            targets = names
                .into_iter()
                .map(|path| (path.clone(), as_record(self.lower.get(&path).expect("listed"))))
                .collect();
        }
        if targets.is_empty() {
            return;
        }
        let (target, mut link) = self.random.pick(&targets).clone();
        let path = self.path();
        let below_itself = target.starts_with(&[path.as_slice(), b"/"].concat());
        if path == target
            || below_itself
            || self.is_held_directory(&path)
            || self.lower.is_directory(&path) && self.held.contains_key(&path)
            || !self.reach(&path)
        {
            return;
        }
        if !self.held.contains_key(&target) && self.lower.get(&target).is_none() {
            return;
        }
        // What came from a lower layer has no name here; its metadata stays, so that a kept base can be
        // right.
        if full && self.held.contains_key(&target) && !link.name.is_empty() && self.random.chance(20) {
            (link.mode, link.uid, link.mtime) = (0o640, 7, draw::mtime(self.random, self.profile));
        }
        let shown = link.clone();
        if self.random.chance(70) {
            link.xattrs.clear();
        }
        link.unknown.clear();
        link.name = self.dress(&path, false);
        link.body = Body::HardLink(self.dress(&target, false));
        if link.dialect == Dialect::V7 || !matches!(shown.body, Body::Character(..) | Body::Block(..)) {
            link.dialect = self.dialect;
        }
        self.records.push(link);
        // The whole group has the last header's metadata.
        if let Some(Held::Other(record)) = self.held.get_mut(&target) {
            (record.mode, record.uid, record.mtime) = (shown.mode, shown.uid, shown.mtime);
        }
        self.hold(&path, shown);
    }

    fn whiteout(&mut self) {
        let full = !self.profile.is_portable();
        // A one-layer image is shown without overlayfs, which would hide the mark.
        if self.lowest && !full {
            return;
        }
        let names: Vec<Vec<u8>> = self.lower.paths.keys().filter(|path| !path.is_empty()).cloned().collect();
        let mut path =
            if names.is_empty() { draw::name(self.random) } else { self.random.pick(&names).clone() };
        if self.random.chance(8) {
            path = match model::parent(&path) {
                Some(b"") | None => b"never".to_vec(),
                Some(above) => [above, b"/never"].concat(),
            };
        }
        let below = [path.as_slice(), b"/"].concat();
        let meets = self.whited.contains(&path)
            || self.held.contains_key(&path)
            || self.held.keys().any(|other| other.starts_with(&below));
        let above = model::parent(&path).unwrap_or_default().to_vec();
        let parent_is_there =
            self.lower.is_directory(&above) && !self.is_cut(&path) && !self.whited.contains(&above);
        let replaced = self.held.iter().any(|(other, held)| {
            matches!(held, Held::Other(_))
                && above.starts_with(other)
                && above.get(other.len()).is_none_or(|b| *b == b'/')
        });
        if !parent_is_there || replaced || (!full && (meets || !self.reach(&path))) {
            return;
        }
        let base = &path[if above.is_empty() { 0 } else { above.len() + 1 }..];
        if base.len() > 240 {
            return;
        }
        let marker =
            if above.is_empty() { [b".wh.", base].concat() } else { [&above, &b"/.wh."[..], base].concat() };
        let body = match self.random.below(if full { 20 } else { 1 }) {
            1 => Body::Symlink(b"x".to_vec()),
            2 => Body::File(b"content".to_vec()),
            3 => Body::Fifo,
            _ => Body::File(Vec::new()),
        };
        let mut record = self.record(&marker, body);
        record.xattrs.clear();
        self.records.push(record);
        self.whited.insert(path);
    }

    fn mark_opaque(&mut self) {
        let full = !self.profile.is_portable();
        if self.lowest && !full {
            return;
        }
        let there =
            self.lower.paths.keys().filter(|path| self.lower.is_directory(path) && !self.is_cut(path));
        let mut directories: Vec<Vec<u8>> = there.cloned().collect();
        directories.extend(
            self.held
                .iter()
                .filter(|(_, held)| matches!(held, Held::Directory))
                .map(|(path, _)| path.clone()),
        );
        directories.retain(|path| {
            !self.whited.contains(path) && !matches!(self.held.get(path), Some(Held::Other(_)))
        });
        if !full {
            directories.retain(|path| {
                let below = [path.as_slice(), b"/"].concat();
                let implied = |(other, held): (&Vec<u8>, &Held)| {
                    other.starts_with(&below) && matches!(held, Held::Implied)
                };
                !path.is_empty() && !self.held.iter().any(implied)
            });
        }
        if directories.is_empty() {
            return;
        }
        let directory = self.random.pick(&directories).clone();
        let marker = if directory.is_empty() {
            b".wh..wh..opq".to_vec()
        } else {
            [&directory, &b"/.wh..wh..opq"[..]].concat()
        };
        if !self.reach(&marker) {
            return;
        }
        let mut record = self.record(&marker, Body::File(Vec::new()));
        record.xattrs.clear();
        self.records.push(record);
        self.opaque.insert(directory);
    }

    /// A path of this layer once more: the later record wins.
    fn again(&mut self) {
        let held: Vec<Vec<u8>> = self.held.keys().cloned().collect();
        if held.is_empty() {
            return;
        }
        let path = self.random.pick(&held).clone();
        let body = match self.random.below(4) {
            0 => Body::Directory,
            1 => Body::Symlink(draw::symlink_target(self.random)),
            _ => self.file(),
        };
        self.put(&path, body);
    }

    /// A symbolic link to a directory of this layer, and a file through it.
    fn through_symlink(&mut self) {
        let named = self.held.iter().filter(|(_, held)| matches!(held, Held::Directory));
        let directories: Vec<Vec<u8>> = named.map(|(path, _)| path.clone()).collect();
        let link = draw::name(self.random);
        if directories.is_empty() || link.len() > 100 {
            return;
        }
        let directory = self.random.pick(&directories).clone();
        let inside = directory == link || directory.starts_with(&[link.as_slice(), b"/"].concat());
        if inside || !self.put(&link, Body::Symlink([b"/", directory.as_slice()].concat())) {
            return;
        }
        let file = [directory.as_slice(), b"/through"].concat();
        if !self.held.contains_key(&directory) || !self.reach(&file) {
            return;
        }
        let body = self.file();
        let mut record = self.record(&file, body);
        record.name = [link.as_slice(), b"/through"].concat();
        self.records.push(record.clone());
        self.hold(&file, record);
    }

    /// What only the full profile has: zero devices, AUFS metadata with links to it.
    pub(super) fn unusual(&mut self) {
        match self.random.below(3) {
            0 => {
                let names: Vec<Vec<u8>> =
                    self.lower.paths.keys().filter(|path| !path.is_empty()).cloned().collect();
                if let Some(path) = names.get(self.random.below(names.len().max(1))) {
                    let record = self.record(path, Body::Character(0, 0));
                    self.records.push(record);
                    self.whited.insert(path.clone());
                }
            }
            1 => {
                let body = self.file();
                let record = self.record(b".wh..wh.plnk/1.2", body);
                self.records.push(record);
                for _ in 0..self.random.between(0, 2) {
                    let path = self.path();
                    if !self.lower.is_directory(&path) && !self.held.contains_key(&path) && self.reach(&path)
                    {
                        let mut link = self.records[self.records.len() - 1].clone();
                        link.name = self.dress(&path, false);
                        link.body = Body::HardLink(b".wh..wh.plnk/1.2".to_vec());
                        (link.mode, link.mtime) = (0o600, (5, 0));
                        link.xattrs.clear();
                        link.unknown.clear();
                        self.records.push(link.clone());
                        self.hold(&path, link);
                    }
                }
            }
            _ => {
                let path = self.path();
                self.put(&path, Body::Directory);
                self.put(&path, Body::Fifo);
                self.put(&path, Body::Directory);
            }
        }
    }
}

fn as_record(inode: &Inode) -> Record {
    let body = match &inode.kind {
        Kind::Symlink(target) => Body::Symlink(target.clone()),
        Kind::Character(major, minor) => Body::Character(*major, *minor),
        Kind::Block(major, minor) => Body::Block(*major, *minor),
        Kind::Fifo => Body::Fifo,
        Kind::File(content) => Body::File(content.as_ref().clone()),
        Kind::Directory => Body::Directory,
    };
    let of = &inode.metadata;
    Record {
        name: Vec::new(),
        body,
        mode: of.mode,
        uid: of.uid,
        gid: of.gid,
        mtime: of.mtime,
        xattrs: of.xattrs.clone(),
        unknown: Vec::new(),
        dialect: Dialect::Pax,
    }
}
