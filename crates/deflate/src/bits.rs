//! Writing bits, lowest first, and appending bits that start anywhere in another stream.

/// A growing stream of bits.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet; those above `count` are zero.
    rest: u64,
    /// Fewer than 8 between calls.
    count: u32,
}

impl BitWriter {
    /// Appends the low `count` bits of `value` (at most 56).
    pub(crate) fn push(&mut self, value: u64, count: u32) {
        debug_assert!(count <= 56);
        self.rest |= (value & ((1 << count) - 1)) << self.count;
        self.count += count;
        let whole = (self.count / 8) as usize;
        self.bytes.extend_from_slice(&self.rest.to_le_bytes()[..whole]);
        self.rest >>= 8 * whole;
        self.count %= 8;
    }

    /// Fills the current byte with zero bits.
    pub(crate) fn align(&mut self) {
        self.push(0, (8 - self.count) % 8);
    }

    /// Appends whole bytes; the position must be [aligned](Self::align).
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0);
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends `count` bits of `source`, from bit `start`.
    ///
    /// # Panics
    /// When `source` is shorter than that.
    pub(crate) fn append(&mut self, source: &[u8], mut start: usize, mut count: usize) {
        assert!(start + count <= source.len() * 8, "the bits lie in the source");
        // To a byte boundary of the source, then by words, each shifted by what is in `rest`.
        let lead = ((8 - start % 8) % 8).min(count);
        if lead > 0 {
            self.push(u64::from(source[start / 8] >> (start % 8)), lead as u32);
            start += lead;
            count -= lead;
        }
        let (whole, tail) = source[start / 8..].split_at(count / 8);
        if self.count == 0 {
            self.bytes.extend_from_slice(whole);
        } else {
            self.bytes.reserve(whole.len() + 8);
            let words = whole.chunks_exact(8);
            let odd = words.remainder();
            let mut rest = self.rest;
            for word in words {
                let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                self.bytes.extend_from_slice(&(rest | (word << self.count)).to_le_bytes());
                rest = word >> (64 - self.count);
            }
            self.rest = rest;
            for &byte in odd {
                self.push(u64::from(byte), 8);
            }
        }
        let left = count % 8;
        if left > 0 {
            self.push(u64::from(tail[0]), left as u32);
        }
    }

    /// Whole bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the whole bytes; bits that do not fill one stay.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::BitWriter;

    fn bits(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect()
    }

    #[test]
    fn appended_bits_are_those_of_the_source_at_every_alignment_and_length() {
        let source: Vec<u8> = (0..64u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let expected = bits(&source);
        for lead in 0..8 {
            for start in 0..17 {
                for count in (0..40).chain([63, 64, 65, 127, 128, 129, 300, 495]) {
                    let mut writer = BitWriter::default();
                    writer.push(0x5a, lead);
                    writer.append(&source, start, count);
                    writer.push(1, 1);
                    writer.align();
                    let written = bits(&writer.take());
                    let lead = lead as usize;
                    assert_eq!(written[..lead], bits(&[0x5a])[..lead]);
                    assert_eq!(
                        written[lead..lead + count],
                        expected[start..start + count],
                        "{lead} {start} {count}"
                    );
                    assert!(written[lead + count] && !written[lead + count + 1..].contains(&true));
                }
            }
        }
    }
}
