//! Reading a layer's decoded stream as tar records, without copying content.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::header::{Fields, Header, Kind, Meta, Time, XATTR};
use super::pax::{MAX_SPECIAL, Records};
use super::sparse::{PaxSparse, SparseMap};
use super::{BLOCK, field, padding};
use crate::chunk::{Chunk, ChunkSource, Piece};
use crate::error::{LayerError, display};
use crate::name;

/// Bytes that all layers of an image may unpack to, counted over all readers.
#[derive(Debug)]
pub struct Meter {
    used: AtomicU64,
    limit: u64,
}

impl Meter {
    /// A meter that stops at `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    pub(crate) fn add(&self, bytes: u64) -> Result<(), LayerError> {
        // A sum past u64 would need an image larger than any limit, so it counts as one.
        let before = self.used.fetch_add(bytes.min(self.limit.saturating_add(1)), Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            return Err(LayerError::UnpackedLimit { limit: self.limit });
        }
        Ok(())
    }
}

/// A stream of tar records over a layer's chunks.
///
/// # Guarantees
/// Content is handed out as [`Piece`]s of the decoder's own buffers. The stream is read to its end, also past
/// the tar trailer, because digests cover all of it.
pub struct TarReader<S> {
    source: S,
    layer: u32,
    meter: Arc<Meter>,
    chunk: Arc<Chunk>,
    at: usize,
    /// Bytes that were looked at and put back: only behind a hard link that declares data.
    pushback: Vec<u8>,
    /// A global header said something since the last entry.
    ignored_global: bool,
    /// What is left of the current record.
    stored: u64,
    padding: usize,
    link_data: u64,
    sparse: Option<SparseMap>,
    ended: bool,
}

fn empty_chunk() -> Arc<Chunk> {
    Arc::new(Chunk { data: Bytes::new(), offset: 0, origin: None })
}

const ZEROS: &[u8] = &[0; 64 << 10];

impl<S: ChunkSource> TarReader<S> {
    /// A reader of layer `layer` (0 at the lowest).
    pub fn new(source: S, layer: usize, meter: Arc<Meter>) -> Self {
        Self {
            source,
            layer: layer as u32,
            meter,
            chunk: empty_chunk(),
            at: 0,
            pushback: Vec::new(),
            ignored_global: false,
            stored: 0,
            padding: 0,
            link_data: 0,
            sparse: None,
            ended: false,
        }
    }

    /// The stream that is read.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Offset in the decoded stream.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.chunk.offset + self.at as u64 - self.pushback.len() as u64
    }

    /// Reads the next record's header; its own blocks go to `raw`. `None` at the end of a stream that is
    /// whole.
    ///
    /// # Errors
    /// See [`LayerError`]; the stream cannot be read on after one.
    pub fn next(&mut self, raw: &mut Vec<Piece>) -> Result<Option<Header>, LayerError> {
        self.skip_content()?;
        if self.ended {
            return Ok(None);
        }
        self.skip_link_data()?;
        let mut special = Special::default();
        raw.clear();
        loop {
            if special.is_empty() {
                raw.clear();
            }
            let offset = self.position();
            let verbatim = self.pushback.is_empty();
            let mut block = [0; BLOCK];
            if !self.take_block(&mut block, raw)? {
                if special.is_empty() {
                    self.ended = true;
                    return Ok(None);
                }
                return Err(LayerError::Truncated { offset });
            }
            if block == [0; BLOCK] {
                if !special.is_empty() {
                    return Err(LayerError::Truncated { offset });
                }
                self.take_trailer(offset)?;
                return Ok(None);
            }
            if !field::checksum_holds(&block) {
                return Err(LayerError::Header { offset, reason: "its checksum is wrong".into() });
            }
            let bad = |reason: String| LayerError::Header { offset, reason };
            let fields = Fields::parse(&block).map_err(bad)?;
            let size = u64::try_from(fields.size).map_err(|_| bad("its size is negative".into()))?;
            match fields.kind {
                b'x' | b'g' | b'L' | b'K' => {
                    let body = self.special_body(size, offset, raw)?;
                    let records = || Records::parse(&body).map_err(|reason| bad(reason.into()));
                    match fields.kind {
                        b'x' => special.pax = Some(records()?),
                        b'g' => {
                            // Runtimes ignore it, and forget what stood before it
                            // (`docs/layer-semantics.md#rule-3`).
                            self.ignored_global |= records()?.0.iter().any(|record| record.key != b"comment");
                            special = Special::default();
                            continue;
                        }
                        b'L' => special.long_name = Some(field::string(&body).to_vec()),
                        _ => special.long_link = Some(field::string(&body).to_vec()),
                    }
                    special.offset.get_or_insert(offset);
                }
                _ => {
                    let start = special.offset.unwrap_or(offset);
                    let mut header = self.resolve(&fields, size, special, start, verbatim)?;
                    if fields.kind == b'S' {
                        self.old_gnu_sparse(&block, &mut header, raw).map_err(|error| match error {
                            Ok(error) => error,
                            Err(reason) => bad(reason.into()),
                        })?;
                    }
                    self.begin_content(&mut header)?;
                    header.ignored_global = std::mem::take(&mut self.ignored_global);
                    return Ok(Some(header));
                }
            }
        }
    }

    /// Hands out the current record's content with its padding up to a whole block, holes filled.
    ///
    /// # Errors
    /// See [`LayerError`], and what `sink` returns.
    pub fn content<E: From<LayerError>>(
        &mut self,
        mut sink: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(map) = self.sparse.take() {
            let mut at = 0;
            for (offset, length) in map.stretches {
                self.zeros(offset - at, &mut sink)?;
                self.pieces(length, &mut sink)?;
                self.stored -= length;
                at = offset + length;
            }
            self.zeros(map.size - at + padding(map.size) as u64, &mut sink)?;
            let rest = std::mem::take(&mut self.padding);
            self.skip_padding(rest)?;
            return Ok(());
        }
        let stored = std::mem::take(&mut self.stored);
        self.pieces(stored, &mut sink)?;
        let missing = self.padding_pieces(&mut sink)?;
        self.zeros(missing as u64, &mut sink)
    }

    /// Passes over what is left of the current record.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub(crate) fn skip_content(&mut self) -> Result<(), LayerError> {
        self.sparse = None;
        let stored = std::mem::take(&mut self.stored);
        self.skip(stored)?;
        let rest = std::mem::take(&mut self.padding);
        self.skip_padding(rest)
    }

    /// Makes the next chunk current; `false` at the end of the stream.
    fn advance(&mut self) -> Result<bool, LayerError> {
        loop {
            let Some(chunk) = self.source.next().map_err(LayerError::Stream)? else { return Ok(false) };
            self.meter.add(chunk.data.len() as u64)?;
            if chunk.data.len() > u32::MAX as usize {
                return Err(LayerError::Stream("a decoder handed out a chunk of over 4 GiB".into()));
            }
            let empty = chunk.data.is_empty();
            self.chunk = Arc::new(chunk);
            self.at = 0;
            if !empty {
                return Ok(true);
            }
        }
    }

    /// Takes up to `want` bytes of the current chunk, at least one; `None` at the end of the stream.
    fn take(&mut self, want: u64) -> Result<Option<Piece>, LayerError> {
        if self.at == self.chunk.data.len() && !self.advance()? {
            return Ok(None);
        }
        let take = want.min((self.chunk.data.len() - self.at) as u64) as usize;
        let piece = Piece::new(&self.chunk, self.layer, self.at, self.at + take);
        self.at += take;
        Ok(Some(piece))
    }

    /// Reads one block, noting where it stands; `false` when the stream ends before it.
    fn take_block(&mut self, block: &mut [u8; BLOCK], raw: &mut Vec<Piece>) -> Result<bool, LayerError> {
        let mut filled = self.pushback.len().min(BLOCK);
        block[..filled].copy_from_slice(&self.pushback[..filled]);
        self.pushback.drain(..filled);
        let offset = self.position();
        while filled < BLOCK {
            let Some(piece) = self.take((BLOCK - filled) as u64)? else {
                return if filled == 0 { Ok(false) } else { Err(LayerError::Truncated { offset }) };
            };
            block[filled..filled + piece.len()].copy_from_slice(piece.bytes());
            filled += piece.len();
            note(raw, piece);
        }
        Ok(true)
    }

    fn special_body(&mut self, size: u64, offset: u64, raw: &mut Vec<Piece>) -> Result<Vec<u8>, LayerError> {
        if size > MAX_SPECIAL {
            let reason = format!("an extended header of {size} bytes is over {MAX_SPECIAL}");
            return Err(LayerError::Header { offset, reason });
        }
        let mut body = Vec::new();
        let mut left = size;
        while left > 0 {
            let Some(piece) = self.take(left)? else {
                return Err(LayerError::Truncated { offset: self.position() });
            };
            body.extend_from_slice(piece.bytes());
            left -= piece.len() as u64;
            note(raw, piece);
        }
        let mut left = padding(size) as u64;
        while left > 0 {
            let Some(piece) = self.take(left)? else {
                return Err(LayerError::Truncated { offset: self.position() });
            };
            left -= piece.len() as u64;
            note(raw, piece);
        }
        Ok(body)
    }

    /// After a zero block: another one ends the archive, and so does the end of the stream.
    fn take_trailer(&mut self, offset: u64) -> Result<(), LayerError> {
        let mut block = [0; BLOCK];
        if self.take_block(&mut block, &mut Vec::new())? && block != [0; BLOCK] {
            let reason = "a lone zero block stands where a header should".into();
            return Err(LayerError::Header { offset, reason });
        }
        // What follows the trailer is no part of the tree, but of the digest.
        self.pushback.clear();
        self.at = self.chunk.data.len();
        while self.advance()? {
            self.at = self.chunk.data.len();
        }
        self.ended = true;
        Ok(())
    }

    fn resolve(
        &self,
        fields: &Fields<'_>,
        size: u64,
        special: Special,
        offset: u64,
        mut verbatim: bool,
    ) -> Result<Header, LayerError> {
        let bad = |reason: &str| LayerError::Header { offset, reason: reason.into() };
        let mut records = special.pax.unwrap_or_default();
        let text = |key: &[u8]| records.get(key).filter(|value| !value.is_empty()).map(<[u8]>::to_vec);
        let number = |key: &[u8]| {
            let value = text(key)?;
            std::str::from_utf8(&value).ok()?.parse::<i128>().ok()
        };
        let mut negative_owner = false;
        let mut owner = |key: &[u8], field: i64| {
            let value = if text(key).is_some() { number(key) } else { Some(i128::from(field)) };
            negative_owner |= value.is_some_and(|value| value < 0);
            value.and_then(|value| u64::try_from(value.max(0)).ok())
        };
        let path = text(b"path").or(special.long_name).unwrap_or_else(|| fields.name.clone());
        let link = text(b"linkpath").or(special.long_link).unwrap_or_else(|| fields.link.to_vec());
        let user = text(b"uname").unwrap_or_else(|| fields.user.to_vec());
        let group = text(b"gname").unwrap_or_else(|| fields.group.to_vec());
        let uid = owner(b"uid", fields.uid).ok_or_else(|| bad("its uid is no number"))?;
        let gid = owner(b"gid", fields.gid).ok_or_else(|| bad("its gid is no number"))?;
        let size = match text(b"size") {
            Some(_) => {
                let size = number(b"size").and_then(|size| u64::try_from(size).ok());
                size.ok_or_else(|| bad("its size is no number"))?
            }
            None => size,
        };
        let mtime = match text(b"mtime") {
            Some(value) => Time::parse(&value).ok_or_else(|| bad("its mtime is no time"))?,
            None => Time { seconds: fields.mtime, nanos: 0 },
        };
        let kind = match fields.kind {
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::Regular,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                let kind = char::from(other);
                return Err(LayerError::UnsupportedType { path: display(&path), kind });
            }
        };
        if matches!(kind, Kind::HardLink | Kind::Symlink) && (link.is_empty() || link.contains(&0)) {
            return Err(bad("its link target is empty or holds a NUL byte"));
        }
        let device = |value: i64| u64::try_from(value).map_err(|_| bad("its device number is negative"));
        let device = (device(fields.major)?, device(fields.minor)?);
        let sparse = SparseMap::from_records(&mut records).map_err(bad)?;
        let before = records.0.len();
        records.0.retain(|record| !is_overlay_attribute(&record.key));
        // A contiguous file is refused by containerd, so its type is repaired.
        verbatim &= before == records.0.len() && !matches!(fields.kind, b'7' | b'S') && sparse.is_none();
        verbatim &= name::is_plain(&path, kind == Kind::Directory) && !negative_owner;
        records.0.retain(|record| !is_field(&record.key));
        let mut header = Header {
            path,
            link,
            kind,
            meta: Meta { mode: (fields.mode & 0o7777) as u32, uid, gid, mtime },
            user,
            group,
            device,
            size: if kind == Kind::Regular { size } else { 0 },
            records,
            offset,
            verbatim,
            negative_owner,
            ignored_global: false,
            stored: if kind == Kind::Regular { size } else { 0 },
            sparse: None,
            link_data: if kind == Kind::HardLink { size } else { 0 },
        };
        if fields.kind == b'S' && !fields.gnu {
            return Err(bad("a sparse entry without the GNU magic"));
        }
        if let (Some((form, name)), Kind::Regular) = (sparse, kind) {
            if let Some(name) = name {
                header.path = name;
            }
            let map = match form {
                PaxSparse::Map(map) => map.check(header.stored).map_err(bad)?,
                // Filled in when the content begins.
                PaxSparse::InContent { size } => SparseMap { stretches: Vec::new(), size },
            };
            header.size = map.size;
            // An empty map with stored bytes can only be one that stands in the content.
            header.sparse = Some(map);
        }
        Ok(header)
    }

    fn old_gnu_sparse(
        &mut self,
        block: &[u8; BLOCK],
        header: &mut Header,
        raw: &mut Vec<Piece>,
    ) -> Result<(), Result<LayerError, &'static str>> {
        let mut map = SparseMap { stretches: Vec::new(), size: SparseMap::gnu_size(block).map_err(Err)? };
        let mut more = map.take_gnu(block, false).map_err(Err)?;
        while more {
            let mut extension = [0; BLOCK];
            if !self.take_block(&mut extension, raw).map_err(Ok)? {
                return Err(Ok(LayerError::Truncated { offset: self.position() }));
            }
            more = map.take_gnu(&extension, true).map_err(Err)?;
        }
        header.size = map.size;
        header.sparse = Some(map.check(header.stored).map_err(Err)?);
        Ok(())
    }

    fn begin_content(&mut self, header: &mut Header) -> Result<(), LayerError> {
        self.stored = header.stored;
        self.padding = padding(header.stored);
        self.link_data = header.link_data;
        if let Some(map) = &mut header.sparse {
            if map.stretches.is_empty() && header.stored > 0 {
                *map = self.sparse_lines(map.size, header.offset)?;
            }
            // The holes are bytes that the image unpacks to as well.
            self.meter.add(map.size.saturating_sub(self.stored))?;
            self.sparse = Some(map.clone());
        }
        Ok(())
    }

    /// Reads the map of a PAX 1.0 sparse file, which fills whole blocks in front of the content.
    fn sparse_lines(&mut self, size: u64, offset: u64) -> Result<SparseMap, LayerError> {
        let bad = |reason: &str| LayerError::Header { offset, reason: reason.into() };
        let mut text = Vec::new();
        loop {
            if self.stored < BLOCK as u64 || text.len() as u64 > 4 * MAX_SPECIAL {
                return Err(bad("its sparse map does not end"));
            }
            let mut block = [0; BLOCK];
            if !self.take_block(&mut block, &mut Vec::new())? {
                return Err(LayerError::Truncated { offset: self.position() });
            }
            self.stored -= BLOCK as u64;
            text.extend_from_slice(&block);
            // Parsing only at powers of two keeps a long map linear.
            let last = self.stored < BLOCK as u64;
            if ((text.len() / BLOCK).is_power_of_two() || last || block.contains(&0))
                && let Some(map) = SparseMap::parse_lines(&text, size).map_err(bad)?
            {
                return map.check(self.stored).map_err(bad);
            }
        }
    }

    /// Passes over the data of a hard link (`docs/layer-semantics.md#rule-4`). Runtimes take a header that
    /// stands right behind the link for one, whatever size the link declares, so data is looked for only
    /// where no header stands.
    fn skip_link_data(&mut self) -> Result<(), LayerError> {
        let declared = std::mem::take(&mut self.link_data);
        if declared == 0 {
            return Ok(());
        }
        let mut ahead = Vec::with_capacity(2 * BLOCK);
        for _ in 0..2 {
            let mut block = [0; BLOCK];
            if !self.take_block(&mut block, &mut Vec::new())? {
                break;
            }
            ahead.extend_from_slice(&block);
            if block != [0; BLOCK] {
                break;
            }
        }
        let first: Option<&[u8; BLOCK]> = ahead.first_chunk();
        let is_end = ahead.iter().all(|byte| *byte == 0);
        let is_header = first.is_some_and(field::checksum_holds);
        ahead.extend_from_slice(&self.pushback);
        self.pushback = ahead;
        if is_end || is_header { Ok(()) } else { self.skip(declared) }
    }

    fn skip(&mut self, mut count: u64) -> Result<(), LayerError> {
        let put_back = count.min(self.pushback.len() as u64);
        self.pushback.drain(..put_back as usize);
        count -= put_back;
        while count > 0 {
            let here = (self.chunk.data.len() - self.at) as u64;
            if here == 0 {
                if !self.advance()? {
                    return Err(LayerError::Truncated { offset: self.position() });
                }
                continue;
            }
            let step = here.min(count);
            self.at += step as usize;
            count -= step;
        }
        Ok(())
    }

    /// Like `skip`, but the stream may end: the padding of a last file can be missing, as Go's reader allows.
    fn skip_padding(&mut self, count: usize) -> Result<(), LayerError> {
        let mut left = count as u64;
        while left > 0 {
            let Some(piece) = self.take(left)? else { return Ok(()) };
            left -= piece.len() as u64;
        }
        Ok(())
    }

    fn pieces<E: From<LayerError>>(
        &mut self,
        mut count: u64,
        sink: &mut impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        while count > 0 {
            let Some(piece) = self.take(count)? else {
                return Err(LayerError::Truncated { offset: self.position() }.into());
            };
            count -= piece.len() as u64;
            sink(piece)?;
        }
        Ok(())
    }

    fn padding_pieces<E: From<LayerError>>(
        &mut self,
        sink: &mut impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut left = std::mem::take(&mut self.padding);
        while left > 0 {
            let Some(piece) = self.take(left as u64)? else { break };
            left -= piece.len();
            sink(piece)?;
        }
        Ok(left)
    }

    fn zeros<E: From<LayerError>>(
        &mut self,
        mut count: u64,
        sink: &mut impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        if count == 0 {
            return Ok(());
        }
        let chunk = Arc::new(Chunk { data: Bytes::from_static(ZEROS), offset: 0, origin: None });
        while count > 0 {
            let step = count.min(ZEROS.len() as u64);
            sink(Piece::new(&chunk, u32::MAX, 0, step as usize))?;
            count -= step;
        }
        Ok(())
    }
}

/// What the records in front of an entry said.
#[derive(Default)]
struct Special {
    pax: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    offset: Option<u64>,
}

impl Special {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

fn note(raw: &mut Vec<Piece>, piece: Piece) {
    if !raw.last_mut().is_some_and(|last| last.absorb(&piece)) {
        raw.push(piece);
    }
}

fn is_field(key: &[u8]) -> bool {
    matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"uname" | b"gname" | b"mtime")
}

fn is_overlay_attribute(key: &[u8]) -> bool {
    key.strip_prefix(XATTR).is_some_and(|name| name.starts_with(b"trusted.overlay."))
}
