//! Names, metadata and content, drawn at random.

use std::collections::BTreeMap;

use super::{Profile, record::Dialect};
use crate::random::Random;

/// Few names, so that layers meet; some of them awkward.
const NAMES: [&[u8]; 18] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"lib",
    b"usr",
    b"A",
    b"x y",
    b"new\nline",
    b"back\\slash",
    b"wh.c.wh.d",
    b"a.wh.b",
    b"\xff\xfe",
    b"caf\xc3\xa9",
    b"caf\xe9",
    b"..d",
    b"c:d",
];

const MODES: [u32; 12] =
    [0o644, 0o644, 0o755, 0o755, 0o600, 0o444, 0o700, 0o000, 0o4755, 0o2755, 0o1777, 0o6711];

const OWNERS: [u64; 9] = [0, 0, 0, 1000, 65534, 100_000, (1 << 21) - 1, 1 << 21, 4_294_967_294];

/// One path component.
pub(super) fn name(random: &mut Random) -> Vec<u8> {
    let most = if random.chance(70) { 6 } else { NAMES.len() };
    match random.below(60) {
        0 => vec![b'n'; 120],
        1 => vec![b'm'; 250],
        _ => random.pick(&NAMES[..most]).to_vec(),
    }
}

pub(super) fn mode(random: &mut Random) -> u32 {
    *random.pick(&MODES)
}

pub(super) fn owner(random: &mut Random, profile: Profile) -> u64 {
    if !profile.is_portable() && random.chance(3) {
        return 5_000_000_000;
    }
    *random.pick(&OWNERS)
}

pub(super) fn mtime(random: &mut Random, profile: Profile) -> (i64, u32) {
    let nanoseconds = match random.below(4) {
        0 => 0,
        1 => 500_000_000,
        2 => 1,
        _ => random.below(1_000_000_000) as u32,
    };
    let seconds = match random.below(40) {
        0 if !profile.is_portable() => -(random.between(1, 100_000_000) as i64),
        1 if !profile.is_portable() => 1 << 33,
        2 if !profile.is_portable() => 253_402_300_800,
        _ => random.between(1, 2_000_000_000) as i64,
    };
    (seconds, nanoseconds)
}

/// Attributes of a regular file. A capability comes in the form that the kernel accepts (version 2).
pub(super) fn file_xattrs(random: &mut Random) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut xattrs = BTreeMap::new();
    if random.chance(12) {
        xattrs.insert(
            b"user.k".to_vec(),
            random.pick::<&[u8]>(&[b"v", b"new\nline=x", b"\0\xff", b""]).to_vec(),
        );
        if random.chance(30) {
            xattrs.insert(b"user.long".to_vec(), vec![b'l'; 300]);
        }
    }
    if random.chance(5) {
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        xattrs.insert(b"security.capability".to_vec(), capability.to_vec());
    }
    xattrs.retain(|_, value| !value.is_empty());
    xattrs
}

/// Attributes of a symbolic link, device or fifo: Linux allows `user.*` on none of them, and containerd sets
/// none on links.
pub(super) fn special_xattrs(random: &mut Random, profile: Profile) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut xattrs = BTreeMap::new();
    if !profile.is_portable() && random.chance(4) {
        xattrs.insert(b"trusted.t".to_vec(), b"1".to_vec());
    }
    xattrs
}

/// Attributes of a directory. In the portable profile each path has the same keys in every layer, because
/// naive unpackers keep a key that an upper entry leaves out.
pub(super) fn directory_xattrs(
    random: &mut Random,
    path: &[u8],
    profile: Profile,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let wanted = match profile {
        Profile::Portable | Profile::Runtime => {
            path.iter().map(|byte| usize::from(*byte)).sum::<usize>().is_multiple_of(5)
        }
        Profile::Full | Profile::Wide => random.chance(15),
    };
    let mut xattrs = BTreeMap::new();
    if wanted {
        xattrs.insert(b"user.d".to_vec(), vec![b'0' + random.below(10) as u8; random.between(1, 9)]);
    }
    xattrs
}

pub(super) fn content(random: &mut Random) -> Vec<u8> {
    let size = match random.below(30) {
        0 => 0,
        1 => 511,
        2 => 512,
        3 => 513,
        4 => random.between(1000, 5000),
        5 => random.between(30_000, 150_000),
        _ => random.between(1, 40),
    };
    let mut content = vec![0; size];
    if random.chance(30) {
        random.fill(&mut content);
    } else {
        let word = random.word();
        for (index, byte) in content.iter_mut().enumerate() {
            *byte = b'a' + ((word >> (index % 13 * 4)) & 15) as u8;
        }
    }
    content
}

/// Up to four runs of data, none touching the next, and the file's size.
pub(super) fn sparse(random: &mut Random) -> (Vec<(usize, Vec<u8>)>, usize) {
    let mut runs = Vec::new();
    let mut at = 0;
    for _ in 0..random.between(1, 4) {
        at += random.between(1, 8) * 512;
        // GNU tar pads no run but the last, so runs are whole blocks until then.
        let run = vec![b'a' + random.below(26) as u8; 512];
        at += run.len();
        runs.push((at - run.len(), run));
    }
    if let Some((_, last)) = runs.last_mut() {
        last.truncate(random.between(1, 512));
    }
    (runs, at + random.below(3000))
}

pub(super) fn symlink_target(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => b"/".to_vec(),
        1 => b"..".to_vec(),
        2 => [b"../", name(random).as_slice()].concat(),
        3 => [b"/", name(random).as_slice(), b"/", &name(random)].concat(),
        4 => vec![b't'; 150],
        5 => b"./odd//target/".to_vec(),
        _ => name(random),
    }
}

pub(super) fn device(random: &mut Random) -> (u64, u64) {
    *random.pick(&[(1, 3), (8, 300), (4, 64), (259, 100_000)])
}

pub(super) fn dialect(random: &mut Random) -> Dialect {
    *random.pick(&[Dialect::Ustar, Dialect::Ustar, Dialect::Gnu, Dialect::Pax, Dialect::Pax, Dialect::V7])
}
