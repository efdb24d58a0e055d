//! What a generated layer is made of.

use std::collections::BTreeMap;

use super::tarball;

/// How one entry is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Seventh-edition header: no magic. Falls back to PAX where it cannot say something.
    V7,
    /// POSIX.1-1988 with a name prefix. Falls back to PAX.
    Ustar,
    /// GNU: long names and links in entries of their own, base-256 numbers. Attributes and fractions of
    /// seconds by PAX.
    Gnu,
    /// POSIX.1-2001: everything in extended records.
    Pax,
}

/// Type and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Regular file.
    File(Vec<u8>),
    /// Regular file of the old contiguous type `7`.
    Contiguous(Vec<u8>),
    /// Sparse file in the old GNU form: (offset, data) runs and the real size.
    GnuSparse(Vec<(usize, Vec<u8>)>, usize),
    /// Sparse file in the PAX 1.0 form.
    PaxSparse(Vec<(usize, Vec<u8>)>, usize),
    /// Hard link with its raw target name.
    HardLink(Vec<u8>),
    /// Symbolic link.
    Symlink(Vec<u8>),
    /// Character device.
    Character(u64, u64),
    /// Block device.
    Block(u64, u64),
    /// Directory.
    Directory,
    /// Named pipe.
    Fifo,
    /// A global extended header: not an entry.
    Global(Vec<(Vec<u8>, Vec<u8>)>),
}

/// One tar entry, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Raw name, prefixes and slashes included.
    pub name: Vec<u8>,
    /// Type and content.
    pub body: Body,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// PAX records of no meaning to anybody.
    pub unknown: Vec<(Vec<u8>, Vec<u8>)>,
    /// How it is written.
    pub dialect: Dialect,
}

/// A stack of layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The seed that made it.
    pub seed: u64,
    /// Records of each layer.
    pub layers: Vec<Vec<Record>>,
}

impl Stack {
    /// The layers as tars without compression.
    pub fn tars(&self) -> Vec<Vec<u8>> {
        self.layers.iter().map(|records| tarball::write(records)).collect()
    }

    /// The stack as lines that a person can read.
    pub fn describe(&self) -> String {
        let mut text = format!("seed {}\n", self.seed);
        for (index, records) in self.layers.iter().enumerate() {
            text.push_str(&format!("layer {index}\n"));
            for record in records {
                text.push_str(&format!("  {}\n", record.describe()));
            }
        }
        text
    }
}

impl Record {
    /// A record of root's, mode 0644, dated one second after the epoch, in the PAX dialect: for cases made by
    /// hand.
    pub fn plain(name: &str, body: Body) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            body,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (1, 0),
            xattrs: BTreeMap::new(),
            unknown: Vec::new(),
            dialect: Dialect::Pax,
        }
    }

    /// One line: name, type, metadata.
    pub fn describe(&self) -> String {
        let body = match &self.body {
            Body::File(content) => format!("file of {} bytes", content.len()),
            Body::Contiguous(content) => format!("contiguous file of {} bytes", content.len()),
            Body::GnuSparse(runs, size) => format!("GNU sparse file, {} runs, {size} bytes", runs.len()),
            Body::PaxSparse(runs, size) => format!("PAX sparse file, {} runs, {size} bytes", runs.len()),
            Body::HardLink(target) => format!("hard link to {}", target.escape_ascii()),
            Body::Symlink(target) => format!("symlink to {}", target.escape_ascii()),
            Body::Character(major, minor) => format!("character device {major}:{minor}"),
            Body::Block(major, minor) => format!("block device {major}:{minor}"),
            Body::Directory => "directory".to_owned(),
            Body::Fifo => "fifo".to_owned(),
            Body::Global(records) => format!("global header of {} records", records.len()),
        };
        let xattrs: Vec<String> =
            self.xattrs.iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii())).collect();
        format!(
            "{} | {body} | {:o} {}:{} {}.{:09} [{}] {:?}",
            self.name.escape_ascii(),
            self.mode,
            self.uid,
            self.gid,
            self.mtime.0,
            self.mtime.1,
            xattrs.join(", "),
            self.dialect
        )
    }
}
