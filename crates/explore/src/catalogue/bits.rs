//! A set of small numbers that is cheap to scan in order.

/// One bit a number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set of numbers below `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    pub(crate) fn get(&self, at: u32) -> bool {
        self.0[at as usize / 64] & (1 << (at % 64)) != 0
    }

    pub(crate) fn set(&mut self, at: u32) {
        self.0[at as usize / 64] |= 1 << (at % 64);
    }

    pub(crate) fn clear(&mut self, at: u32) {
        self.0[at as usize / 64] &= !(1 << (at % 64));
    }

    pub(crate) fn put(&mut self, at: u32, value: bool) {
        if value { self.set(at) } else { self.clear(at) }
    }

    /// Adds the numbers from `from` up, below `end`.
    pub(crate) fn set_range(&mut self, from: u32, end: u32) {
        for at in from..end {
            if at % 64 == 0 && end - at >= 64 {
                let words = at as usize / 64..end as usize / 64;
                self.0[words].fill(u64::MAX);
                return self.set_range(end - end % 64, end);
            }
            self.set(at);
        }
    }

    /// Keeps what is in the other set too.
    pub(crate) fn intersect(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Adds what is in the other set.
    pub(crate) fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Adds what is not in the other set.
    pub(crate) fn unite_absent(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= !other);
    }

    pub(crate) fn clear_all(&mut self) {
        self.0.fill(0);
    }

    /// Number of members.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The smallest member from `from` up, below `end`.
    pub(crate) fn next(&self, from: u32, end: u32) -> Option<u32> {
        if from >= end {
            return None;
        }
        let mut word = from as usize / 64;
        let mut bits = self.0[word] & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            if word as u64 * 64 >= u64::from(end) {
                return None;
            }
            bits = self.0[word];
        }
        let found = word as u32 * 64 + bits.trailing_zeros();
        (found < end).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_within_bounds() {
        let mut bits = Bits::new(300);
        for at in [0, 63, 64, 190, 299] {
            bits.set(at);
        }
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = bits.next(from, 299) {
            found.push(at);
            from = at + 1;
        }
        assert_eq!(found, [0, 63, 64, 190]);
        assert_eq!(bits.next(191, 299), None);
        bits.clear(63);
        assert_eq!(bits.next(1, 300), Some(64));
        assert_eq!(bits.next(5, 5), None);
    }

    #[test]
    fn a_range_is_each_of_its_numbers() {
        for (from, end) in [(0, 0), (3, 9), (0, 64), (60, 70), (1, 128), (64, 300), (63, 257), (200, 200)] {
            let mut bits = Bits::new(300);
            bits.set_range(from, end);
            assert!((0..300).all(|at| bits.get(at) == (from..end).contains(&at)), "{from}..{end}");
        }
    }
}
