//! One tar record without its content: what an entry is, and its metadata.

use super::pax::Records;
use super::sparse::SparseMap;
use super::{BLOCK, field};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file (types `0`, NUL, `7`, and sparse ones).
    Regular,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

impl Kind {
    pub(super) fn type_byte(self) -> u8 {
        match self {
            Self::Regular => b'0',
            Self::HardLink => b'1',
            Self::Symlink => b'2',
            Self::CharDevice => b'3',
            Self::BlockDevice => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }
}

/// A modification time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds since the epoch, rounded down.
    pub seconds: i64,
    /// The rest, below one second.
    pub nanos: u32,
}

impl Time {
    /// Parses a PAX time: decimal seconds with an optional sign and fraction; digits past the nanosecond are
    /// cut.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix(b"+").unwrap_or(text)),
        };
        let dot = digits.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = dot.map_or((digits, &b""[..]), |dot| (&digits[..dot], &digits[dot + 1..]));
        if whole.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = whole.iter().try_fold(0_i64, |value, digit| match digit {
            b'0'..=b'9' => value.checked_mul(10)?.checked_add(i64::from(digit - b'0')),
            _ => None,
        })?;
        let nanos = (0..9).fold(0_u32, |value, index| {
            value * 10 + fraction.get(index).map_or(0, |digit| u32::from(digit - b'0'))
        });
        Some(match (negative, nanos) {
            (false, nanos) => Self { seconds, nanos },
            (true, 0) => Self { seconds: -seconds, nanos: 0 },
            (true, nanos) => Self { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
        })
    }

    /// The PAX form.
    pub(super) fn format(self) -> String {
        let (sign, seconds, nanos) = match (self.seconds < 0, self.nanos) {
            (false, nanos) => ("", self.seconds.unsigned_abs(), nanos),
            (true, 0) => ("-", self.seconds.unsigned_abs(), 0),
            (true, nanos) => ("-", self.seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
        };
        if nanos == 0 {
            return format!("{sign}{seconds}");
        }
        let fraction = format!("{nanos:09}");
        format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
    }
}

/// Metadata that a later hard link to the same inode replaces (`docs/layer-semantics.md#rule-12`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time.
    pub mtime: Time,
}

/// One record, with every dialect's extensions resolved.
#[derive(Clone, Debug)]
pub struct Header {
    /// The name as written (PAX and GNU long names applied), not normalised.
    pub path: Vec<u8>,
    /// Link target of hard links and symlinks, as written.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Mode, owner, time.
    pub meta: Meta,
    /// Owner's name as written.
    pub user: Vec<u8>,
    /// Group's name as written.
    pub group: Vec<u8>,
    /// Device numbers.
    pub device: (u64, u64),
    /// Bytes of content that an unpacked file has.
    pub size: u64,
    /// PAX records in force that are not fields of this struct: attributes, times, unknown keys.
    pub records: Records,
    /// Offset of the record's first block in the decoded stream.
    pub offset: u64,
    /// Whether the record's own blocks may stand in the output as they are: they need no repair.
    pub(crate) verbatim: bool,
    /// Whether a negative owner was read as 0.
    pub(crate) negative_owner: bool,
    /// Whether a global header stood before it that said more than a comment.
    pub(crate) ignored_global: bool,
    /// Bytes of content in the stream, without padding.
    pub(super) stored: u64,
    /// Where the stored bytes go, for a sparse file.
    pub(super) sparse: Option<SparseMap>,
    /// Bytes that a hard link declares (`docs/layer-semantics.md#rule-4`).
    pub(super) link_data: u64,
}

impl Header {
    /// Extended attributes: name and value, with the last of equal names.
    pub fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records
            .0
            .iter()
            .filter_map(|record| Some((record.key.strip_prefix(XATTR)?, record.value.as_slice())))
    }

    /// Whether it has a capability.
    pub(crate) fn is_privileged(&self) -> bool {
        self.records.get(CAPABILITY).is_some()
    }

    /// Whether all its attributes are among those of `other`, and its capability is the same.
    pub(crate) fn repeats_attributes_of(&self, other: &Self) -> bool {
        self.records.get(CAPABILITY) == other.records.get(CAPABILITY)
            && self
                .records
                .0
                .iter()
                .filter(|record| record.key.starts_with(XATTR))
                .all(|record| other.records.get(&record.key) == Some(record.value.as_slice()))
    }

    /// The records that hold extended attributes.
    pub(crate) fn attribute_records(&self) -> Records {
        Records(self.records.0.iter().filter(|record| record.key.starts_with(XATTR)).cloned().collect())
    }

    /// A header that no archive had.
    #[must_use]
    pub fn made(kind: Kind, meta: Meta) -> Self {
        Self {
            path: Vec::new(),
            link: Vec::new(),
            kind,
            meta,
            user: Vec::new(),
            group: Vec::new(),
            device: (0, 0),
            size: 0,
            records: Records::default(),
            offset: 0,
            verbatim: false,
            negative_owner: false,
            ignored_global: false,
            stored: 0,
            sparse: None,
            link_data: 0,
        }
    }
}

/// The attribute that a change of owner takes away.
pub(crate) const CAPABILITY: &[u8] = b"SCHILY.xattr.security.capability";

/// Prefix of PAX keys that hold extended attributes.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// The fixed fields of a header block, before extensions.
pub(super) struct Fields<'a> {
    pub(super) name: Vec<u8>,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: i64,
    pub(super) mtime: i64,
    pub(super) kind: u8,
    pub(super) link: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) group: &'a [u8],
    pub(super) major: i64,
    pub(super) minor: i64,
    /// GNU magic: sparse headers have their map in this very block.
    pub(super) gnu: bool,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// The name of the field that holds no number.
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, String> {
        let number = |name: &str, at: usize, len: usize| {
            field::number(&block[at..at + len]).ok_or_else(|| format!("field {name} holds no number"))
        };
        let gnu = &block[257..265] == b"ustar  \0";
        let ustar = &block[257..263] == b"ustar\0";
        let mut name = field::string(&block[..100]).to_vec();
        if ustar {
            // star keeps access and change times behind a shorter prefix.
            let star = &block[508..512] == b"tar\0";
            let prefix = field::string(&block[345..if star { 476 } else { 500 }]);
            if !prefix.is_empty() {
                name = [prefix, b"/", &name].concat();
            }
        }
        let extended = gnu || ustar;
        let text = |at: usize| if extended { field::string(&block[at..at + 32]) } else { &b""[..] };
        Ok(Self {
            name,
            mode: number("mode", 100, 8)?,
            uid: number("uid", 108, 8)?,
            gid: number("gid", 116, 8)?,
            size: number("size", 124, 12)?,
            mtime: number("mtime", 136, 12)?,
            kind: block[156],
            link: field::string(&block[157..257]),
            user: text(265),
            group: text(297),
            major: if extended { number("devmajor", 329, 8)? } else { 0 },
            minor: if extended { number("devminor", 337, 8)? } else { 0 },
            gnu,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds_on_both_sides_of_the_epoch() {
        for (text, seconds, nanos) in [
            ("0", 0, 0),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("253402300800", 253_402_300_800, 0),
        ] {
            let time = Time { seconds, nanos };
            assert_eq!(Time::parse(text.as_bytes()), Some(time), "{text}");
            assert_eq!(time.format(), text);
        }
        assert_eq!(Time::parse(b"1.9999999999"), Some(Time { seconds: 1, nanos: 999_999_999 }));
        for bad in [&b""[..], b".5", b"1e5", b"1.x", b"--1"] {
            assert_eq!(Time::parse(bad), None, "{bad:?}");
        }
    }
}
