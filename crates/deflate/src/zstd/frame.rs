//! The header of a frame, which tells how much memory decoding it takes (RFC 8878, 3.1.1.1).

/// Magic number of a frame with content.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What the first bytes of a frame tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// This many bytes are needed to tell.
    Needs(usize),
    /// Bytes of content that have to be kept while the frame is decoded: none for a skippable frame, and for
    /// what is no frame at all.
    Keeps(u64),
}

pub(super) fn start(bytes: &[u8]) -> Start {
    let Some((magic, header)) = bytes.split_first_chunk::<4>() else { return Start::Needs(4) };
    if *magic != MAGIC {
        return Start::Keeps(0);
    }
    let Some(descriptor) = header.first() else { return Start::Needs(5) };
    let single_segment = descriptor & 0x20 != 0;
    let window_bytes = usize::from(!single_segment);
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = match descriptor >> 6 {
        0 => usize::from(single_segment),
        flag => 1 << flag,
    };
    let end = 1 + window_bytes + dictionary_bytes + size_bytes;
    if header.len() < end {
        return Start::Needs(4 + end);
    }
    let size = (size_bytes > 0).then(|| {
        let field = &header[end - size_bytes..end];
        let size = field.iter().rev().fold(0, |size, byte| (size << 8) | u64::from(*byte));
        // Two bytes count from 256.
        size.saturating_add(if size_bytes == 2 { 256 } else { 0 })
    });
    let window = (!single_segment).then(|| {
        let (exponent, mantissa) = (header[1] >> 3, u64::from(header[1] & 7));
        let base = 1 << (10 + exponent);
        base + base / 8 * mantissa
    });
    Start::Keeps(window.unwrap_or(u64::MAX).min(size.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_sizes_are_read_as_the_format_has_them() {
        let frame = |header: &[u8]| start(&[&MAGIC, header].concat());
        // A window of 8 MiB: exponent 13, mantissa 0.
        assert_eq!(frame(&[0, 13 << 3]), Start::Keeps(8 << 20));
        assert_eq!(frame(&[0, (13 << 3) | 4]), Start::Keeps(12 << 20));
        // A single segment of 200 bytes, of 256 + 1, and a size below the window's.
        assert_eq!(frame(&[0x20, 200]), Start::Keeps(200));
        assert_eq!(frame(&[0x60, 1, 0]), Start::Keeps(257));
        assert_eq!(frame(&[0x80, 13 << 3, 0, 0, 1, 0]), Start::Keeps(65_536));
        // A dictionary's number stands between them.
        assert_eq!(frame(&[0x81, 13 << 3, 9, 0, 0, 1, 0]), Start::Keeps(65_536));
        assert_eq!(frame(&[0xe3, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0]), Start::Keeps(5));
    }

    #[test]
    fn as_many_bytes_are_asked_for_as_the_header_has() {
        let frame = [&MAGIC[..], &[0xc2, 13 << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat();
        let mut needed = 0;
        for length in 0..frame.len() {
            match start(&frame[..length]) {
                Start::Needs(bytes) => {
                    assert!(bytes > length && bytes >= needed, "{length}");
                    needed = bytes;
                }
                Start::Keeps(_) => panic!("{length} bytes are no header"),
            }
        }
        assert_eq!((needed, start(&frame)), (frame.len(), Start::Keeps(1)));
    }

    #[test]
    fn what_has_no_content_keeps_nothing() {
        assert_eq!(start(&[0x53, 0x2a, 0x4d, 0x18]), Start::Keeps(0));
        assert_eq!(start(b"text"), Start::Keeps(0));
    }
}
