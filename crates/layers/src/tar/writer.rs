//! Writing a header anew: ustar, with PAX only where ustar cannot say it.

use super::header::{Header, Kind, Meta};
use super::pax::Records;
use super::{BLOCK, field, padding};

/// The two zero blocks that end an archive.
pub const TRAILER: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Largest number that 7 and 11 octal digits hold.
const OCTAL_7: u64 = 0o7_777_777;
const OCTAL_11: u64 = 0o77_777_777_777;

/// The blocks of `header` as an entry named `path`, of type `kind`, with link target `link` and `size` bytes
/// of content.
#[must_use]
pub fn encode(header: &Header, path: &[u8], kind: Kind, link: &[u8], size: u64) -> Vec<u8> {
    let mut name = path.to_vec();
    if kind == Kind::Directory {
        name.push(b'/');
    }
    let meta = &header.meta;
    let mut block = [0; BLOCK];
    let mut pax = Vec::new();
    let mut record = |key: &[u8], value: &[u8]| Records::write(key, value, &mut pax);

    if let Some((prefix, base)) = split(&name) {
        block[..base.len()].copy_from_slice(base);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
    } else {
        record(b"path", &name);
        let cut = name.len().min(100);
        block[..cut].copy_from_slice(&name[..cut]);
    }
    if link.len() > 100 {
        record(b"linkpath", link);
    }
    let cut = link.len().min(100);
    block[157..157 + cut].copy_from_slice(&link[..cut]);

    field::put_octal(&mut block[100..108], u64::from(meta.mode));
    for (key, value, at) in [(&b"uid"[..], meta.uid, 108), (&b"gid"[..], meta.gid, 116)] {
        if value > OCTAL_7 {
            record(key, value.to_string().as_bytes());
        }
        field::put_octal(&mut block[at..at + 8], if value > OCTAL_7 { 0 } else { value });
    }
    if size > OCTAL_11 {
        record(b"size", size.to_string().as_bytes());
    }
    field::put_octal(&mut block[124..136], if size > OCTAL_11 { 0 } else { size });
    let seconds = u64::try_from(meta.mtime.seconds).ok().filter(|seconds| *seconds <= OCTAL_11);
    if seconds.is_none() || meta.mtime.nanos != 0 {
        record(b"mtime", meta.mtime.format().as_bytes());
    }
    field::put_octal(&mut block[136..148], seconds.unwrap_or(0));

    for (key, value, at) in [(&b"uname"[..], &header.user, 265), (&b"gname"[..], &header.group, 297)] {
        if value.len() > 31 {
            record(key, value);
        } else {
            block[at..at + value.len()].copy_from_slice(value);
        }
    }
    if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        for (value, at) in [(header.device.0, 329), (header.device.1, 337)] {
            if !field::put_octal(&mut block[at..at + 8], value) {
                field::put_base256(&mut block[at..at + 8], value);
            }
        }
    }
    for extra in &header.records.0 {
        record(&extra.key, &extra.value);
    }
    block[156] = kind.type_byte();
    seal(&mut block);

    let mut out = Vec::with_capacity(BLOCK);
    if !pax.is_empty() {
        let mut extended = [0; BLOCK];
        let name = b"PaxHeaders/entry";
        extended[..name.len()].copy_from_slice(name);
        field::put_octal(&mut extended[100..108], 0o644);
        field::put_octal(&mut extended[108..116], 0);
        field::put_octal(&mut extended[116..124], 0);
        field::put_octal(&mut extended[124..136], pax.len() as u64);
        field::put_octal(&mut extended[136..148], 0);
        extended[156] = b'x';
        seal(&mut extended);
        out.extend_from_slice(&extended);
        let fill = padding(pax.len() as u64);
        out.append(&mut pax);
        out.resize(out.len() + fill, 0);
    }
    out.extend_from_slice(&block);
    out
}

/// A whole archive of empty files owned by root, mode 0600: a layer of whiteouts.
#[must_use]
pub fn empty_files<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let header = Header::made(Kind::Regular, Meta { mode: 0o600, ..Meta::default() });
    let mut tar: Vec<u8> = names.flat_map(|name| encode(&header, name, Kind::Regular, b"", 0)).collect();
    tar.extend_from_slice(&TRAILER);
    tar
}

/// The block of a plain entry owned by root, dated at the epoch: for archives made by hand. `kind` is the
/// type byte; names longer than ustar takes get PAX records.
#[must_use]
pub fn simple_header(name: &[u8], kind: u8, mode: u32, size: u64) -> Vec<u8> {
    let kind = if kind == b'5' { Kind::Directory } else { Kind::Regular };
    encode(&Header::made(kind, Meta { mode, ..Meta::default() }), name, kind, b"", size)
}

/// Splits a name into ustar's prefix (at most 155 bytes) and name (at most 100).
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The base may not be empty, so a directory's trailing slash is no place to split.
    let end = name.len() - 1;
    let at = (name.len() - 101..end.min(156)).find(|at| name[*at] == b'/')?;
    (at > 0).then(|| (&name[..at], &name[at + 1..]))
}

fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (sum, _) = field::checksums(block);
    // Six digits, NUL, blank: the form that every reader takes.
    field::put_octal(&mut block[148..155], sum.unsigned_abs());
    block[155] = b' ';
}
