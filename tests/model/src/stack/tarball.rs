//! Records as tar bytes, in the dialect that each one asks for.

use super::record::{Body, Dialect, Record};

/// A layer as a tar with its trailer.
pub fn write(records: &[Record]) -> Vec<u8> {
    let mut tar = Vec::new();
    for record in records {
        append(&mut tar, record);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// What the fields of one header say.
struct Header<'a> {
    name: &'a [u8],
    prefix: &'a [u8],
    link: &'a [u8],
    typeflag: u8,
    size: u64,
    device: (u64, u64),
    record: &'a Record,
    dialect: Dialect,
}

fn append(tar: &mut Vec<u8>, record: &Record) {
    if let Body::Global(records) = &record.body {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        extension(tar, b'g', b"pax_global_header", &data, Dialect::Pax, record);
        return;
    }
    let mut pax: Vec<(Vec<u8>, Vec<u8>)> = record.unknown.clone();
    let link: &[u8] = match &record.body {
        Body::HardLink(target) | Body::Symlink(target) => target,
        _ => b"",
    };
    let (mut name, mut data, typeflag, mut sparse) =
        (record.name.clone(), Vec::new(), type_of(&record.body), None);
    match &record.body {
        Body::File(content) | Body::Contiguous(content) => data.clone_from(content),
        Body::GnuSparse(runs, size) => {
            data = runs.iter().flat_map(|(_, run)| run.clone()).collect();
            sparse = Some((runs, *size));
        }
        Body::PaxSparse(runs, size) => {
            let mut map = format!("{}\n", runs.len()).into_bytes();
            for (offset, run) in runs {
                map.extend(format!("{offset}\n{}\n", run.len()).bytes());
            }
            map.resize(map.len().next_multiple_of(512), 0);
            data = map.into_iter().chain(runs.iter().flat_map(|(_, run)| run.clone())).collect();
            pax.push((b"GNU.sparse.major".to_vec(), b"1".to_vec()));
            pax.push((b"GNU.sparse.minor".to_vec(), b"0".to_vec()));
            pax.push((b"GNU.sparse.name".to_vec(), name.clone()));
            pax.push((b"GNU.sparse.realsize".to_vec(), size.to_string().into_bytes()));
            name = b"GNUSparseFile.0/placeholder".to_vec();
        }
        _ => {}
    }
    // An old GNU sparse header uses the fields where the prefix would stand.
    let dialect = if sparse.is_some() { Dialect::Gnu } else { record.dialect };
    for (key, value) in &record.xattrs {
        pax.push(([b"SCHILY.xattr.", key.as_slice()].concat(), value.clone()));
    }
    if record.mtime.1 != 0 || (record.mtime.0 < 0 && dialect != Dialect::Gnu) || dialect == Dialect::Pax {
        pax.push((b"mtime".to_vec(), pax_time(record.mtime)));
    }
    let small = |value: u64| value < 1 << 21;
    if dialect != Dialect::Gnu {
        if !small(record.uid) {
            pax.push((b"uid".to_vec(), record.uid.to_string().into_bytes()));
        }
        if !small(record.gid) {
            pax.push((b"gid".to_vec(), record.gid.to_string().into_bytes()));
        }
    }
    let prefix = match split(&name, dialect) {
        Some((prefix, rest)) => {
            name = rest;
            prefix
        }
        None if dialect == Dialect::Gnu => {
            let long = [name.as_slice(), b"\0"].concat();
            extension(tar, b'L', b"././@LongLink", &long, dialect, record);
            Vec::new()
        }
        None => {
            pax.push((b"path".to_vec(), name.clone()));
            Vec::new()
        }
    };
    if link.len() > 100 {
        if dialect == Dialect::Gnu {
            extension(tar, b'K', b"././@LongLink", &[link, b"\0"].concat(), dialect, record);
        } else {
            pax.push((b"linkpath".to_vec(), link.to_vec()));
        }
    }
    if !pax.is_empty() {
        let data: Vec<u8> = pax.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        extension(tar, b'x', b"PaxHeaders.0/x", &data, Dialect::Pax, record);
    }
    let device = match record.body {
        Body::Character(major, minor) | Body::Block(major, minor) => (major, minor),
        _ => (0, 0),
    };
    let size = data.len() as u64;
    let mut block =
        header(&Header { name: &name, prefix: &prefix, link, typeflag, size, device, record, dialect });
    if let Some((runs, real)) = sparse {
        for (field, (offset, run)) in block[386..482].chunks_exact_mut(24).zip(runs) {
            octal(&mut field[..12], *offset as u64);
            octal(&mut field[12..], run.len() as u64);
        }
        octal(&mut block[483..495], real as u64);
        seal(&mut block);
    }
    tar.extend_from_slice(&block);
    tar.extend_from_slice(&data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn type_of(body: &Body) -> u8 {
    match body {
        Body::File(_) | Body::PaxSparse(..) => b'0',
        Body::Contiguous(_) => b'7',
        Body::GnuSparse(..) => b'S',
        Body::HardLink(_) => b'1',
        Body::Symlink(_) => b'2',
        Body::Character(..) => b'3',
        Body::Block(..) => b'4',
        Body::Directory => b'5',
        Body::Fifo => b'6',
        Body::Global(_) => b'g',
    }
}

/// Prefix and name fields for a name, where the dialect has room for it.
fn split(name: &[u8], dialect: Dialect) -> Option<(Vec<u8>, Vec<u8>)> {
    if name.len() <= 100 {
        return Some((Vec::new(), name.to_vec()));
    }
    if dialect != Dialect::Ustar || name.len() > 256 {
        return None;
    }
    let slash = (1..name.len().min(156)).rev().find(|at| name[*at] == b'/' && name.len() - at - 1 <= 100)?;
    (slash + 1 < name.len()).then(|| (name[..slash].to_vec(), name[slash + 1..].to_vec()))
}

fn header(fields: &Header<'_>) -> [u8; 512] {
    let mut block = [0_u8; 512];
    let put = |block: &mut [u8; 512], at: usize, room: usize, text: &[u8]| {
        let text = &text[..text.len().min(room)];
        block[at..at + text.len()].copy_from_slice(text);
    };
    put(&mut block, 0, 100, fields.name);
    octal(&mut block[100..108], u64::from(fields.record.mode));
    for (at, value) in [(108, fields.record.uid), (116, fields.record.gid)] {
        match fields.dialect {
            Dialect::Gnu => number(&mut block[at..at + 8], value.cast_signed()),
            _ => octal(&mut block[at..at + 8], value.min((1 << 21) - 1)),
        }
    }
    octal(&mut block[124..136], fields.size);
    match fields.dialect {
        Dialect::Gnu => number(&mut block[136..148], fields.record.mtime.0),
        _ => octal(&mut block[136..148], fields.record.mtime.0.clamp(0, (1 << 33) - 1).cast_unsigned()),
    }
    block[156] = fields.typeflag;
    put(&mut block, 157, 100, fields.link);
    match fields.dialect {
        Dialect::V7 => {}
        Dialect::Gnu => put(&mut block, 257, 8, b"ustar  \0"),
        Dialect::Ustar | Dialect::Pax => put(&mut block, 257, 8, b"ustar\x0000"),
    }
    if fields.dialect != Dialect::V7 || matches!(fields.typeflag, b'3' | b'4') {
        octal(&mut block[329..337], fields.device.0);
        octal(&mut block[337..345], fields.device.1);
    }
    put(&mut block, 345, 155, fields.prefix);
    seal(&mut block);
    block
}

fn extension(tar: &mut Vec<u8>, typeflag: u8, name: &[u8], data: &[u8], dialect: Dialect, of: &Record) {
    let plain = Record { mtime: (0, 0), uid: 0, gid: 0, mode: 0o644, ..of.clone() };
    let (size, device) = (data.len() as u64, (0, 0));
    tar.extend(header(&Header {
        name,
        prefix: b"",
        link: b"",
        typeflag,
        size,
        device,
        record: &plain,
        dialect,
    }));
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
}

/// Octal where it fits, else GNU's base-256.
fn number(field: &mut [u8], value: i64) {
    if value >= 0 && value < 1 << (3 * (field.len() - 1)) {
        octal(field, value.cast_unsigned());
        return;
    }
    let bytes = i128::from(value).to_be_bytes();
    let length = field.len();
    field.copy_from_slice(&bytes[16 - length..]);
    field[0] |= 0x80;
}

fn pax_time(mtime: (i64, u32)) -> Vec<u8> {
    match mtime {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanoseconds) if seconds >= 0 => format!("{seconds}.{nanoseconds:09}"),
        // Minus one and a half is (-2, 500 000 000).
        (seconds, nanoseconds) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
    .into_bytes()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
