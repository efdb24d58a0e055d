//! PAX extended header records: `"%d %s=%s\n"`, parsed by length because a value may hold any byte.

/// Most bytes that one extended header or long name may have, as Go's `archive/tar` bounds them.
pub(super) const MAX_SPECIAL: u64 = 1 << 20;

/// One `key=value` record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Key.
    pub key: Vec<u8>,
    /// Value; any bytes.
    pub value: Vec<u8>,
}

/// The records of one entry, in the order of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Records(pub Vec<Record>);

impl Records {
    /// Parses the body of an extended header.
    ///
    /// # Errors
    /// What is wrong with the first bad record.
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, &'static str> {
        let mut records = Vec::new();
        while !body.is_empty() {
            let blank =
                body.iter().take(21).position(|byte| *byte == b' ').ok_or("PAX record without length")?;
            let length = body[..blank]
                .iter()
                .try_fold(0_usize, |value, digit| match digit {
                    b'0'..=b'9' => value.checked_mul(10)?.checked_add(usize::from(digit - b'0')),
                    _ => None,
                })
                .ok_or("PAX record with a bad length")?;
            if length > body.len() || length <= blank + 1 {
                return Err("PAX record longer than its header");
            }
            let (record, rest) = body.split_at(length);
            let content =
                record[blank + 1..].strip_suffix(b"\n").ok_or("PAX record that does not end in a newline")?;
            let equals = content.iter().position(|byte| *byte == b'=').ok_or("PAX record without a value")?;
            if equals == 0 {
                return Err("PAX record without a key");
            }
            records.push(Record { key: content[..equals].to_vec(), value: content[equals + 1..].to_vec() });
            body = rest;
        }
        Ok(Self(records))
    }

    /// The last value of `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.iter().rev().find(|record| record.key == key).map(|record| record.value.as_slice())
    }

    /// Sets `key`, in place of its earlier values.
    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|record| record.key == key) {
            Some(record) => record.value = value.to_vec(),
            None => self.0.push(Record { key: key.to_vec(), value: value.to_vec() }),
        }
    }

    /// Takes `key` away.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.0.retain(|record| record.key != key);
    }

    /// Sets what `others` have and these do not.
    pub(crate) fn complete_with(&mut self, others: &Self) {
        for record in &others.0 {
            if self.get(&record.key).is_none() {
                self.0.push(record.clone());
            }
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends one record in its written form.
    pub(super) fn write(key: &[u8], value: &[u8], into: &mut Vec<u8>) {
        // The length counts its own digits: at most one more is needed than for the rest.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + decimal_digits(rest);
        length = rest + decimal_digits(length);
        into.extend_from_slice(length.to_string().as_bytes());
        into.push(b' ');
        into.extend_from_slice(key);
        into.push(b'=');
        into.extend_from_slice(value);
        into.push(b'\n');
    }
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines_equal_signs_and_nul() {
        let mut body = Vec::new();
        Records::write(b"SCHILY.xattr.user.x", b"a\n12 b=c\0d", &mut body);
        Records::write(b"path", b"n", &mut body);
        let records = Records::parse(&body).unwrap();
        assert_eq!(records.get(b"SCHILY.xattr.user.x"), Some(&b"a\n12 b=c\0d"[..]));
        assert_eq!(records.get(b"path"), Some(&b"n"[..]));
    }

    #[test]
    fn the_length_of_a_record_counts_itself_at_every_size() {
        for size in (0..130).chain(970..1020).chain(9_950..10_010) {
            let mut body = Vec::new();
            Records::write(b"k", &vec![b'v'; size], &mut body);
            assert_eq!(Records::parse(&body).unwrap().0[0].value.len(), size);
        }
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for body in [
            &b"99 a=b\n"[..],
            b"3 a=b\n",
            b"x a=b\n",
            b"6 a=bc",
            b"5 =b\n",
            b"5 abc\n",
            b"18446744073709551616 a=b\n",
        ] {
            assert!(Records::parse(body).is_err(), "{body:?}");
        }
    }
}
