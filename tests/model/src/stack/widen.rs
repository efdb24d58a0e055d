//! The kinds on which naive unpackers go wrong: capabilities on hard links, directories named late or twice,
//! or made again where lower layers had something else, marks where no directory is, global headers, AUFS's
//! names, negative owners.

use std::collections::BTreeMap;

use super::{
    Profile, draw,
    generate::{Held, Layer},
    record::{Body, Record},
};
use crate::model::{self, Kind};

/// A capability in the form that the kernel accepts (version 2).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Layer<'_> {
    pub(super) fn widen(&mut self) {
        let wide = self.profile == Profile::Wide;
        match self.random.below(if wide { 14 } else { 9 }) {
            0 | 1 => self.privileged_links(),
            2 | 3 => self.directory_named_late(),
            4 => self.directory_named_twice(),
            5 => self.opaque_where_no_directory_is(),
            6 => self.global_header(),
            7 | 8 => self.directory_made_again(),
            9 => self.whiteout_below_a_file(),
            10 => self.content_below_bookkeeping(),
            11 => self.negative_owner(),
            _ => self.unusual(),
        }
    }

    /// A file and links to it, each with a capability or without, and with other modes and owners.
    fn privileged_links(&mut self) {
        let path = self.path();
        let body = self.file();
        if self.lower.is_directory(&path) || self.held.contains_key(&path) || !self.put(&path, body) {
            return;
        }
        let drawn = self.records.len() - 1;
        self.dress_in_capability(drawn);
        let mut shown = self.records[drawn].clone();
        for _ in 0..self.random.between(1, 3) {
            let link = self.path();
            let below = [path.as_slice(), b"/"].concat();
            if self.lower.is_directory(&link) || self.held.contains_key(&link) || link.starts_with(&below) {
                continue;
            }
            if path.starts_with(&[link.as_slice(), b"/"].concat()) || !self.reach(&link) {
                continue;
            }
            let mut record = self.record(&link, Body::HardLink(path.clone()));
            record.xattrs = BTreeMap::new();
            if self.random.chance(50) {
                (record.mode, record.uid, record.gid) = (shown.mode, shown.uid, shown.gid);
                record.mtime = shown.mtime;
            }
            self.records.push(record);
            let drawn = self.records.len() - 1;
            self.dress_in_capability(drawn);
            shown = Record { body: shown.body.clone(), ..self.records[drawn].clone() };
            self.hold(&link, shown.clone());
        }
        self.hold(&path, shown);
    }

    fn dress_in_capability(&mut self, at: usize) {
        let has = self.random.chance(60);
        let user = self.random.chance(20);
        let record = &mut self.records[at];
        record.xattrs.remove(&b"security.capability"[..]);
        if has {
            record.xattrs.insert(b"security.capability".to_vec(), CAPABILITY.to_vec());
        }
        if user {
            record.xattrs.insert(b"user.link".to_vec(), vec![b'0' + (at % 10) as u8]);
        }
    }

    fn directory_for_widening(&mut self) -> Option<Vec<u8>> {
        let lower = self.lower.paths.keys().filter(|path| {
            !path.is_empty() && path.len() < 200 && self.lower.is_directory(path) && !self.is_cut(path)
        });
        let lower: Vec<Vec<u8>> = lower.cloned().collect();
        let path = if lower.is_empty() || self.random.chance(25) {
            [b"late".as_slice(), &draw::name(self.random)].concat()
        } else {
            self.random.pick(&lower).clone()
        };
        let free = !self.whited.contains(&path) && !self.held.contains_key(&path);
        // Containerd copies what the topmost layer has at the path, whatever was there in others.
        let plain = !self.profile.is_portable() || self.ever.get(&path) != Some(&true);
        let above = (0..path.len()).filter(|at| path[*at] == b'/').map(|at| &path[..at]);
        let clean =
            above.into_iter().all(|above| !self.profile.is_portable() || self.ever.get(above) != Some(&true));
        (free && plain && clean && path.len() < 200 && self.reach(&path)).then_some(path)
    }

    fn directory_entry(&mut self, path: &[u8]) {
        let mut record = self.record(path, Body::Directory);
        if self.random.chance(30) {
            record.xattrs.clear();
        }
        for key in [&b"user.one"[..], b"user.two"] {
            if self.random.chance(25) {
                record.xattrs.insert(key.to_vec(), vec![b'a' + self.random.below(26) as u8]);
            }
        }
        self.records.push(record);
        self.held.insert(path.to_vec(), Held::Directory);
    }

    /// A path below a directory, or a mark in it, and then the directory.
    fn directory_named_late(&mut self) {
        let Some(path) = self.directory_for_widening() else { return };
        let lower: Vec<Vec<u8>> = self.lower.paths.keys().cloned().collect();
        let child =
            lower.iter().find(|other| model::parent(other) == Some(path.as_slice()) && other.len() < 200);
        match (self.random.below(4), child) {
            (0, Some(child)) if !self.lowest && !self.held.contains_key(child) => {
                let base = child[path.len() + 1..].to_vec();
                let mark = self.record(&[path.as_slice(), b"/.wh.", &base].concat(), Body::File(Vec::new()));
                self.records.push(Record { xattrs: BTreeMap::new(), ..mark });
                self.whited.insert(child.clone());
            }
            (1, _) if !self.lowest && self.lower.is_directory(&path) => {
                let name = [path.as_slice(), b"/.wh..wh..opq"].concat();
                let mark = self.record(&name, Body::File(Vec::new()));
                self.records.push(Record { xattrs: BTreeMap::new(), ..mark });
                self.opaque.insert(path.clone());
            }
            _ => {
                let file = [path.as_slice(), b"/below"].concat();
                if self.lower.is_directory(&file) {
                    return;
                }
                let record = self.record(&file, Body::File(b"below".to_vec()));
                self.records.push(record.clone());
                self.hold(&file, record);
            }
        }
        self.directory_entry(&path);
    }

    /// A directory with two entries that say different things.
    fn directory_named_twice(&mut self) {
        let Some(path) = self.directory_for_widening() else { return };
        self.directory_entry(&path);
        self.directory_entry(&path);
    }

    /// Directories where lower layers had something else or removed what was there, named before what is in
    /// them and, some, once more behind it: who writes the last entry alone names them late.
    fn directory_made_again(&mut self) {
        let gone = self.ever.iter().filter(|(path, other)| {
            **other && !path.is_empty() && path.len() < 200 && !self.lower.is_directory(path)
        });
        let gone: Vec<Vec<u8>> = gone.map(|(path, _)| path.clone()).collect();
        if gone.is_empty() {
            return;
        }
        let top = self.random.pick(&gone).clone();
        if self.whited.contains(&top) || self.held.contains_key(&top) || !self.reach(&top) {
            return;
        }
        let mut made = vec![top];
        for _ in 0..self.random.between(0, 2) {
            let above = made.last().expect("not empty");
            made.push([above.as_slice(), b"/", &draw::name(self.random)].concat());
        }
        for directory in &made {
            self.directory_entry(directory);
        }
        let file = [made.last().expect("not empty").as_slice(), b"/below"].concat();
        let body = self.file();
        let record = self.record(&file, body);
        self.records.push(record.clone());
        self.hold(&file, record);
        for directory in made {
            if self.random.chance(50) {
                self.directory_entry(&directory);
            }
        }
    }

    /// A path that lower layers hold as something else than a directory, or not at all, and that this layer
    /// does not.
    fn no_directory(&mut self, exists: bool) -> Option<Vec<u8>> {
        let files = self.lower.paths.keys().filter(|path| self.may_be_marked(path) && path.len() < 200);
        let files: Vec<Vec<u8>> = files.cloned().collect();
        let path = if exists && !files.is_empty() {
            self.random.pick(&files).clone()
        } else {
            [b"none".as_slice(), &draw::name(self.random)].concat()
        };
        let new = !self.ever.contains_key(&path);
        let there = self.lower.paths.contains_key(&path);
        let free = !self.whited.contains(&path) && !self.held.contains_key(&path) && !self.is_cut(&path);
        (free && (there || new) && path.len() < 200 && self.reach(&path)).then_some(path)
    }

    /// Whether lower layers hold something at a path that a mark below it makes a directory for every
    /// runtime. Through a symbolic link containerd looks on in lower layers, where a directory may have been,
    /// and fails at a loop of links.
    fn may_be_marked(&self, path: &[u8]) -> bool {
        match self.lower.get(path).map(|inode| &inode.kind) {
            Some(Kind::Symlink(target)) => {
                let mut at = match target.starts_with(b"/") {
                    true => Vec::new(),
                    false => model::parent(path).unwrap_or_default().to_vec(),
                };
                let meets_a_link = target.split(|byte| *byte == b'/').any(|part| {
                    match part {
                        b"" | b"." => {}
                        b".." => at = model::parent(&at).unwrap_or_default().to_vec(),
                        name if at.is_empty() => at = name.to_vec(),
                        name => at = [&at, &b"/"[..], name].concat(),
                    }
                    self.ever.get(&at) == Some(&true)
                });
                !self.profile.is_portable() && !meets_a_link
            }
            kind => kind != Some(&Kind::Directory),
        }
    }

    fn mark_in(&mut self, path: &[u8], mark: &[u8]) {
        let record = self.record(&[path, b"/", mark].concat(), Body::File(Vec::new()));
        self.records.push(Record { xattrs: BTreeMap::new(), ..record });
    }

    fn opaque_where_no_directory_is(&mut self) {
        let exists = self.random.chance(70);
        if self.lowest && self.profile.is_portable() {
            return;
        }
        let Some(path) = self.no_directory(exists) else { return };
        self.mark_in(&path, b".wh..wh..opq");
        self.opaque.insert(path.clone());
        self.held.insert(path, Held::Implied);
    }

    fn whiteout_below_a_file(&mut self) {
        let exists = self.random.chance(70);
        let Some(path) = self.no_directory(exists) else { return };
        let mark: &[u8] = if self.random.chance(30) { b"deeper/.wh.gone" } else { b".wh.gone" };
        self.mark_in(&path, mark);
    }

    fn global_header(&mut self) {
        let key = *self.random.pick::<&[u8]>(&[
            b"comment",
            b"mtime",
            b"uid",
            b"gid",
            b"path",
            b"linkpath",
            b"size",
            b"uname",
            b"SCHILY.xattr.user.global",
            b"VENDOR.global",
        ]);
        let mut global = self.record(b"", Body::Global(vec![(key.to_vec(), b"7".to_vec())]));
        global.xattrs.clear();
        global.unknown.clear();
        self.records.push(global);
    }

    fn content_below_bookkeeping(&mut self) {
        let Some(directory) = self.directory_for_widening() else { return };
        let name = [directory.as_slice(), b"/.wh..wh..opaque/z"].concat();
        let record = self.record(&name, Body::File(b"unseen".to_vec()));
        self.records.push(record);
        self.held.entry(directory).or_insert(Held::Implied);
    }

    fn negative_owner(&mut self) {
        let path = self.path();
        if self.lower.is_directory(&path) || self.held.contains_key(&path) || !self.put(&path, Body::Fifo) {
            return;
        }
        let at = self.records.len() - 1;
        (self.records[at].uid, self.records[at].gid) = (0, 0);
        let key: &[u8] = if self.random.chance(50) { b"uid" } else { b"gid" };
        self.records[at].unknown.push((key.to_vec(), b"-1".to_vec()));
        let record = self.records[at].clone();
        self.hold(&path, record);
    }
}
