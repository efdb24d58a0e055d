//! A small tar reader: v7, ustar, GNU and PAX (rules 2 to 4). Everything is in memory already, so offsets are
//! indexes.

use std::collections::BTreeMap;

use super::{Result, display, pax, refuse, tree::Metadata};

/// Type of an entry, before names are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Regular file with its content, holes filled.
    File(Vec<u8>),
    /// Another name of an inode; the raw target name.
    HardLink(Vec<u8>),
    /// Symbolic link; the target as it stands.
    Symlink(Vec<u8>),
    /// Character device.
    Character(u64, u64),
    /// Block device.
    Block(u64, u64),
    /// Directory.
    Directory,
    /// Named pipe.
    Fifo,
}

/// One entry of a layer, extended headers applied.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name as it stands in the header.
    pub name: Vec<u8>,
    /// Type, content, target.
    pub kind: EntryKind,
    /// Mode, owner, time, attributes.
    pub metadata: Metadata,
}

/// Reads the entries of one tar, one after the other.
pub struct TarReader<'a> {
    data: &'a [u8],
    at: usize,
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Pending {
    records: Vec<pax::Record>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a> TarReader<'a> {
    /// A reader of one tar without compression.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next entry, or nothing at the trailer or the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut pending = Pending::default();
        loop {
            if self.at == self.data.len() {
                return Ok(None);
            }
            let header = self.block()?;
            if header.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            if !checksum_is_right(header) {
                return refuse(format!("no tar header at byte {}", self.at - 512));
            }
            match header[156] {
                b'x' => pending.records.extend(pax::parse(&self.body(size_of(header)?)?)?),
                b'g' => {
                    // Go's reader hands it out as an entry, and forgets what stood before it; nobody applies
                    // it.
                    pax::parse(&self.body(size_of(header)?)?)?;
                    pending = Pending::default();
                }
                b'L' => pending.long_name = Some(until_nul(&self.body(size_of(header)?)?).to_vec()),
                b'K' => pending.long_link = Some(until_nul(&self.body(size_of(header)?)?).to_vec()),
                _ => return self.entry(header, pending).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &[u8], pending: Pending) -> Result<Entry> {
        let records: BTreeMap<Vec<u8>, Vec<u8>> = pending.records.iter().cloned().collect();
        let record = |key: &str| records.get(key.as_bytes()).filter(|value| !value.is_empty());
        let mut name = pending.long_name.unwrap_or_else(|| header_name(header));
        if let Some(path) = record("path") {
            name = path.clone();
        }
        let mut link = pending.long_link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
        if let Some(path) = record("linkpath") {
            link = path.clone();
        }
        let number = |key: &str, field: &[u8]| match record(key) {
            // A negative owner is root, and no size is negative.
            Some(value) if value.starts_with(b"-") && key != "size" => pax::decimal(&value[1..]).map(|_| 0),
            Some(value) => pax::decimal(value).map(|value| value as u64),
            None => numeric(field).map(|value| value.max(0) as u64),
        };
        let mtime = match record("mtime") {
            Some(value) => pax::time(value)?,
            None => (numeric(&header[136..148])?, 0),
        };
        let size = number("size", &header[124..136])? as usize;
        let metadata = Metadata {
            mode: (numeric(&header[100..108])? & 0o7777) as u32,
            uid: number("uid", &header[108..116])?,
            gid: number("gid", &header[116..124])?,
            mtime,
            xattrs: records
                .iter()
                .filter_map(|(key, value)| {
                    let name = key.strip_prefix(b"SCHILY.xattr.")?;
                    // Overlay's own marks mean nothing in a layer (`docs/layer-semantics.md#rule-14`).
                    (!name.starts_with(b"trusted.overlay.")).then(|| (name.to_vec(), value.clone()))
                })
                .collect(),
        };
        let device = || -> Result<(u64, u64)> {
            Ok((numeric(&header[329..337])? as u64, numeric(&header[337..345])? as u64))
        };
        let kind = match header[156] {
            b'0' | 0 if name.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => {
                let data = self.body(size)?;
                EntryKind::File(match sparse_map(&pending.records, data)? {
                    Sparse::No(data) => data,
                    Sparse::Yes { content, real_name } => {
                        name = real_name.unwrap_or(name);
                        content
                    }
                })
            }
            b'S' => EntryKind::File(self.old_gnu_sparse(header, size)?),
            b'1' => {
                self.skip_link_data(size)?;
                EntryKind::HardLink(link)
            }
            b'2' => EntryKind::Symlink(link),
            b'3' => device().map(|(major, minor)| EntryKind::Character(major, minor))?,
            b'4' => device().map(|(major, minor)| EntryKind::Block(major, minor))?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                return refuse(format!(
                    "entry {} has the unknown type {:?}",
                    display(&name),
                    char::from(other)
                ));
            }
        };
        Ok(Entry { name, kind, metadata })
    }

    /// Rule 4: data behind a hard link's header is not padded. Without data a header or the trailer follows
    /// at once.
    fn skip_link_data(&mut self, size: usize) -> Result<()> {
        let at_record = |at: usize| match self.data.get(at..at + 512) {
            Some(block) => block.iter().all(|byte| *byte == 0) || checksum_is_right(block),
            None => at == self.data.len(),
        };
        if size == 0 || at_record(self.at) {
            return Ok(());
        }
        if at_record(self.at + size) {
            self.at += size;
            return Ok(());
        }
        refuse("a hard link declares data, and no header follows it")
    }

    fn old_gnu_sparse(&mut self, header: &[u8], stored: usize) -> Result<Vec<u8>> {
        let mut map = Vec::new();
        let mut collect = |fields: &[u8]| -> Result<()> {
            for pair in fields.chunks_exact(24) {
                if pair[12] != 0 {
                    map.push((numeric(&pair[..12])? as usize, numeric(&pair[12..])? as usize));
                }
            }
            Ok(())
        };
        collect(&header[386..482])?;
        let mut more = header[482] != 0;
        while more {
            let block = self.block()?;
            collect(&block[..504])?;
            more = block[504] != 0;
        }
        let real = numeric(&header[483..495])? as usize;
        let data = self.body(stored)?;
        fill_holes(&map, &data, real)
    }

    fn block(&mut self) -> Result<&'a [u8]> {
        let Some(block) = self.data.get(self.at..self.at + 512) else {
            return refuse("the tar ends inside a header");
        };
        self.at += 512;
        Ok(block)
    }

    fn body(&mut self, size: usize) -> Result<Vec<u8>> {
        let Some(body) = self.at.checked_add(size).and_then(|end| self.data.get(self.at..end)) else {
            return refuse("the tar ends inside an entry");
        };
        self.at = (self.at + size.next_multiple_of(512)).min(self.data.len());
        Ok(body.to_vec())
    }
}

enum Sparse {
    No(Vec<u8>),
    Yes { content: Vec<u8>, real_name: Option<Vec<u8>> },
}

/// PAX sparse formats 0.0 (offset and numbytes repeated), 0.1 (one map record) and 1.0 (map before the data).
fn sparse_map(records: &[pax::Record], data: Vec<u8>) -> Result<Sparse> {
    let find = |key: &str| records.iter().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value);
    let real_name = find("GNU.sparse.name").cloned();
    let size = |key: &str| find(key).map(|value| pax::decimal(value)).transpose();
    let real = size("GNU.sparse.realsize")?.or(size("GNU.sparse.size")?);
    let (Some(real), mut map, mut body) = (real, Vec::new(), data.as_slice()) else {
        return Ok(Sparse::No(data));
    };
    if find("GNU.sparse.major").is_some_and(|major| major == b"1") {
        let mut consumed = 0;
        let mut line = || -> Result<usize> {
            let Some(end) = data[consumed..].iter().position(|byte| *byte == b'\n') else {
                return refuse("sparse map without an end");
            };
            let value = pax::decimal(&data[consumed..consumed + end])?;
            consumed += end + 1;
            Ok(value)
        };
        for _ in 0..line()? {
            map.push((line()?, line()?));
        }
        body = &data[consumed.next_multiple_of(512).min(data.len())..];
    } else if let Some(list) = find("GNU.sparse.map") {
        let numbers: Vec<usize> =
            list.split(|byte| *byte == b',').map(pax::decimal).collect::<Result<_>>()?;
        map.extend(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])));
    } else {
        let of = |key: &str| -> Result<Vec<usize>> {
            records.iter().filter(|(name, _)| name == key.as_bytes()).map(|(_, v)| pax::decimal(v)).collect()
        };
        map.extend(of("GNU.sparse.offset")?.into_iter().zip(of("GNU.sparse.numbytes")?));
    }
    Ok(Sparse::Yes { content: fill_holes(&map, body, real)?, real_name })
}

fn fill_holes(map: &[(usize, usize)], mut data: &[u8], real: usize) -> Result<Vec<u8>> {
    let mut content = vec![0; real];
    for (offset, length) in map {
        if *length > data.len() || offset + length > real {
            return refuse("sparse map reaches past the file");
        }
        content[*offset..offset + length].copy_from_slice(&data[..*length]);
        data = &data[*length..];
    }
    Ok(content)
}

fn header_name(header: &[u8]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    // GNU headers ("ustar  ") use the prefix field for other things.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

fn size_of(header: &[u8]) -> Result<usize> {
    numeric(&header[124..136]).map(|size| size as usize)
}

fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

/// Octal digits, or base-256 when the first bit is set (GNU).
fn numeric(field: &[u8]) -> Result<i64> {
    if field[0] & 0x80 != 0 {
        let mut value: i128 = if field[0] & 0x40 != 0 { -1 } else { 0 };
        for (index, byte) in field.iter().enumerate() {
            let byte = if index == 0 { (*byte & 0x7f) | if value < 0 { 0x80 } else { 0 } } else { *byte };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_or_else(|_| refuse("number out of range"), Ok);
    }
    let text = until_nul(field);
    let digits = text.trim_ascii();
    if digits.is_empty() {
        return Ok(0);
    }
    let mut value: i64 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return refuse(format!("not an octal number: {}", display(text)));
        }
        value = value * 8 + i64::from(digit - b'0');
    }
    Ok(value)
}

fn checksum_is_right(header: &[u8]) -> bool {
    let field = 148..156;
    let sum: i64 =
        header.iter().enumerate().map(|(i, b)| if field.contains(&i) { 32 } else { i64::from(*b) }).sum();
    let signed: i64 = header
        .iter()
        .enumerate()
        .map(|(i, b)| if field.contains(&i) { 32 } else { i64::from(b.cast_signed()) })
        .sum();
    numeric(&header[field.clone()]).is_ok_and(|stored| stored == sum || stored == signed)
}
