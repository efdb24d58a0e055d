//! The header of a gzip member (RFC 1952, 2.3).

use crate::error::GzipError;

/// The longest header that is read: an extra field of 64 KiB, and as much again for the name and the comment.
pub(crate) const HEADER_LIMIT: usize = 128 * 1024;

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// The length of the header at the start of `bytes`, `None` when more bytes are needed to tell. `offset` is
/// where the member starts, for errors.
pub(crate) fn header_length(bytes: &[u8], offset: u64) -> Result<Option<usize>, GzipError> {
    let length = parse(bytes, offset)?;
    if length.unwrap_or(bytes.len()) > HEADER_LIMIT {
        return Err(GzipError::HeaderTooLong { offset, limit: HEADER_LIMIT });
    }
    Ok(length)
}

fn parse(bytes: &[u8], offset: u64) -> Result<Option<usize>, GzipError> {
    let magic = [0x1f, 0x8b];
    let seen = bytes.len().min(2);
    if bytes[..seen] != magic[..seen] {
        return Err(GzipError::NotGzip { offset });
    }
    if bytes.len() < 10 {
        return Ok(None);
    }
    let (method, flags) = (bytes[2], bytes[3]);
    if method != 8 || flags & RESERVED != 0 {
        return Err(GzipError::Unsupported { offset, method, flags });
    }
    let mut at = 10;
    if flags & FEXTRA != 0 {
        let Some(length) = bytes.get(at..at + 2) else { return Ok(None) };
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let Some(end) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0)) else {
                return Ok(None);
            };
            at += end + 1;
        }
    }
    if flags & FHCRC != 0 {
        let Some(stored) = bytes.get(at..at + 2) else { return Ok(None) };
        if crc32fast::hash(&bytes[..at]) as u16 != u16::from_le_bytes([stored[0], stored[1]]) {
            return Err(GzipError::HeaderChecksum { offset });
        }
        at += 2;
    }
    Ok((at <= bytes.len()).then_some(at))
}
