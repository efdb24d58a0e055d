//! Fields of a header block: octal and base-256 numbers, NUL-terminated strings, the checksum.

use super::BLOCK;

/// A number field: octal text, or base-256 when the first bit is set (GNU). An empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        return base256(field);
    }
    let text = field.iter().position(|byte| *byte == 0).map_or(field, |end| &field[..end]);
    let text = text.trim_ascii();
    if text.is_empty() {
        // Some writers begin a field with NULs; what follows would be lost silently, so it has to be empty
        // too.
        return field.iter().all(|byte| matches!(byte, 0 | b' ')).then_some(0);
    }
    text.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let fill = if negative { 0xff } else { 0 };
    let head = if negative { field[0] } else { field[0] & 0x7f };
    let (high, low) = field.split_at(field.len().saturating_sub(8));
    // Everything above 64 bits has to be sign.
    if !high.is_empty() && (head != fill || high[1..].iter().any(|byte| *byte != fill)) {
        return None;
    }
    let mut value: i64 = if negative { -1 } else { 0 };
    for (index, byte) in low.iter().enumerate() {
        let byte = if high.is_empty() && index == 0 { head } else { *byte };
        value = (value << 8) | i64::from(byte);
    }
    (value.is_negative() == negative).then_some(value)
}

/// A string field up to its first NUL.
pub(super) fn string(field: &[u8]) -> &[u8] {
    field.iter().position(|byte| *byte == 0).map_or(field, |end| &field[..end])
}

/// The sum of a header's bytes with the checksum field taken as blanks, as unsigned and as signed bytes: old
/// writers used either.
pub(super) fn checksums(block: &[u8; BLOCK]) -> (i64, i64) {
    let mut unsigned = 0_i64;
    let mut high = 0_i64;
    for byte in block {
        unsigned += i64::from(*byte);
        high += i64::from(byte >> 7);
    }
    for byte in &block[148..156] {
        unsigned += i64::from(b' ') - i64::from(*byte);
        high -= i64::from(byte >> 7);
    }
    (unsigned, unsigned - 256 * high)
}

/// Whether the block's checksum is right.
pub(super) fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let (unsigned, signed) = checksums(block);
    number(&block[148..156]).is_some_and(|found| found == unsigned || found == signed)
}

/// Writes `value` as octal with a trailing NUL when it fits.
pub(super) fn put_octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    if digits < 22 && value >> (3 * digits) != 0 {
        return false;
    }
    let mut rest = value;
    for byte in field[..digits].iter_mut().rev() {
        *byte = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field[digits] = 0;
    true
}

/// Writes `value` as base-256, for fields that PAX has no key for.
pub(super) fn put_base256(field: &mut [u8], value: u64) {
    let bytes = value.to_be_bytes();
    let take = bytes.len().min(field.len());
    field.fill(0);
    let at = field.len() - take;
    field[at..].copy_from_slice(&bytes[bytes.len() - take..]);
    field[0] |= 0x80;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_take_blanks_and_nuls_as_old_writers_left_them() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"00008\0"), None);
        assert_eq!(number(b"\x00000644"), None);
    }

    #[test]
    fn base_256_fields_hold_large_and_negative_numbers() {
        let mut field = [0; 12];
        put_base256(&mut field, 1 << 40);
        assert_eq!(number(&field), Some(1 << 40));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        let mut too_large = [0; 12];
        too_large[0] = 0x81;
        assert_eq!(number(&too_large), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 1, 0x86, 0xa0]), Some(100_000));
    }

    #[test]
    fn a_value_too_large_for_its_field_is_refused() {
        let mut field = [0; 8];
        assert!(put_octal(&mut field, 0o7_777_777));
        assert_eq!(&field, b"7777777\0");
        assert!(!put_octal(&mut field, 0o10_000_000));
    }
}
