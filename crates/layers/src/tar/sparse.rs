//! Sparse files of GNU tar and of PAX (0.0, 0.1, 1.0): read as plain files with their holes filled.

use super::pax::Records;
use super::{BLOCK, field};

/// Most stretches that one file's map may have; a map costs 16 bytes for each.
const MAX_STRETCHES: usize = 100_000;

/// Which stretches of a file the archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// Offset and length of each stretch, ascending and disjoint.
    pub(crate) stretches: Vec<(u64, u64)>,
    /// Size of the file with its holes.
    pub(crate) size: u64,
}

/// The sparse form of a PAX entry, and the file's real name where the records have it.
type Found = (PaxSparse, Option<Vec<u8>>);

/// Where a PAX entry keeps its map.
pub(super) enum PaxSparse {
    /// In the records.
    Map(SparseMap),
    /// In front of the content (version 1.0); the file's size is known.
    InContent { size: u64 },
}

impl SparseMap {
    /// Checks that the stretches ascend, stay in the file and add up to what the archive stores.
    pub(super) fn check(self, stored: u64) -> Result<Self, &'static str> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for (offset, length) in &self.stretches {
            if *offset < end {
                return Err("sparse map does not ascend");
            }
            end = offset.checked_add(*length).ok_or("sparse map overflows")?;
            sum = sum.checked_add(*length).ok_or("sparse map overflows")?;
        }
        if end > self.size {
            return Err("sparse map reaches past the file's end");
        }
        if sum != stored {
            return Err("sparse map does not add up to the stored bytes");
        }
        Ok(self)
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), &'static str> {
        if self.stretches.len() == MAX_STRETCHES {
            return Err("sparse map has too many stretches");
        }
        // Writers end a map with an empty stretch at the file's size.
        if length != 0 {
            self.stretches.push((offset, length));
        }
        Ok(())
    }

    /// Takes the stretches of an old GNU header (`at` 386, 4 slots) or of its extension block (`at` 0, 21
    /// slots); tells whether another extension block follows.
    pub(super) fn take_gnu(&mut self, block: &[u8; BLOCK], extension: bool) -> Result<bool, &'static str> {
        let (at, slots, flag) = if extension { (0, 21, 504) } else { (386, 4, 482) };
        for slot in block[at..at + slots * 24].chunks_exact(24) {
            if slot[0] == 0 {
                break;
            }
            let value = |range| {
                field::number(&slot[range])
                    .and_then(|n| u64::try_from(n).ok())
                    .ok_or("sparse map holds no number")
            };
            self.push(value(0..12)?, value(12..24)?)?;
        }
        Ok(block[flag] != 0)
    }

    /// The size of an old GNU sparse file with its holes.
    pub(super) fn gnu_size(block: &[u8; BLOCK]) -> Result<u64, &'static str> {
        field::number(&block[483..495])
            .and_then(|n| u64::try_from(n).ok())
            .ok_or("sparse size holds no number")
    }

    /// Parses the decimal lines that stand in front of the content in version 1.0: a count, then offsets and
    /// lengths. `None` while lines are missing.
    pub(super) fn parse_lines(text: &[u8], size: u64) -> Result<Option<Self>, &'static str> {
        let mut numbers = text.split_inclusive(|byte| *byte == b'\n').map(|line| {
            let digits = line.strip_suffix(b"\n")?;
            Some(decimal(digits).ok_or("sparse map holds no number"))
        });
        let mut next = || numbers.next().flatten().transpose();
        let Some(count) = next()? else { return Ok(None) };
        if count > MAX_STRETCHES as u64 {
            return Err("sparse map has too many stretches");
        }
        let mut map = Self { stretches: Vec::new(), size };
        for _ in 0..count {
            let (Some(offset), Some(length)) = (next()?, next()?) else { return Ok(None) };
            map.push(offset, length)?;
        }
        Ok(Some(map))
    }

    /// Finds the sparse form of a PAX entry and takes its `GNU.sparse.*` records out, with the real name if
    /// there is one.
    pub(super) fn from_records(records: &mut Records) -> Result<Option<Found>, &'static str> {
        if !records.0.iter().any(|record| record.key.starts_with(b"GNU.sparse.")) {
            return Ok(None);
        }
        let mut map = Self::default();
        let (mut name, mut size, mut major, mut offset) = (None, None, 0, None);
        let mut has_map = false;
        for record in &records.0 {
            let Some(key) = record.key.strip_prefix(b"GNU.sparse.") else { continue };
            let number = || decimal(&record.value).ok_or("sparse record holds no number");
            match key {
                b"name" => name = Some(record.value.clone()),
                b"size" | b"realsize" => size = Some(number()?),
                b"major" => major = number()?,
                b"offset" => offset = Some(number()?),
                b"numbytes" => {
                    map.push(offset.take().ok_or("sparse length without an offset")?, number()?)?;
                    has_map = true;
                }
                b"map" => {
                    has_map = true;
                    // An empty list is a file that is one hole.
                    let list = record.value.split(|byte| *byte == b',').filter(|_| !record.value.is_empty());
                    let mut numbers = list.map(decimal);
                    while let Some(offset) = numbers.next() {
                        let length = numbers.next().flatten().ok_or("sparse map holds no number")?;
                        map.push(offset.ok_or("sparse map holds no number")?, length)?;
                    }
                }
                _ => {}
            }
        }
        records.0.retain(|record| !record.key.starts_with(b"GNU.sparse."));
        let Some(size) = size else {
            return if has_map || major > 0 { Err("sparse file without a size") } else { Ok(None) };
        };
        map.size = size;
        let form = if major >= 1 { PaxSparse::InContent { size } } else { PaxSparse::Map(map) };
        Ok(Some((form, name)))
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_lies_is_refused() {
        let map = |stretches: &[(u64, u64)], size| SparseMap { stretches: stretches.to_vec(), size };
        assert!(map(&[(0, 5), (10, 5)], 20).check(10).is_ok());
        assert!(map(&[(0, 5), (4, 5)], 20).check(10).is_err());
        assert!(map(&[(0, 5)], 4).check(5).is_err());
        assert!(map(&[(0, 5)], 20).check(6).is_err());
        assert!(map(&[(u64::MAX, 5)], u64::MAX).check(5).is_err());
    }

    #[test]
    fn the_lines_of_version_1_0_are_read_only_when_whole() {
        assert_eq!(SparseMap::parse_lines(b"1\n0\n", 9), Ok(None));
        assert_eq!(
            SparseMap::parse_lines(b"1\n4\n5\n\0\0", 9),
            Ok(Some(SparseMap { stretches: vec![(4, 5)], size: 9 }))
        );
        assert!(SparseMap::parse_lines(b"1\nx\n5\n", 9).is_err());
        assert!(SparseMap::parse_lines(b"99999999999\n", 9).is_err());
    }
}
