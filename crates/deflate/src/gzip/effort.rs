//! How hard to try: a source that was compressed better than usual must not grow by being encoded anew.
//!
//! Of most content that is encoded the source's blocks are known, so what it took there is known too. The
//! level goes to the highest while what was encoded so far makes the whole output, copied blocks included,
//! larger than the source's by more than [`ALLOWED`]. Before enough is known, a unit that does so is encoded
//! a second time.

use std::collections::VecDeque;

/// The level for content that the source has smaller.
pub(crate) const HIGHEST: u8 = 12;
/// Results count when so many later units have been handed out: the choice must not depend on how fast
/// threads are.
pub(crate) const LAG: u64 = 4;
/// Bits that an output of 1,000 bits may have too much: well inside of the promise, which is 1 %.
const ALLOWED: u64 = 7;
/// Nothing is concluded from less than this.
const LEAST_BITS: u64 = 8 * 16 * 1024;

/// What the source took for a stretch of the output.
#[derive(Clone, Copy, Debug)]
struct Known {
    start: u64,
    end: u64,
    bits: u64,
}

/// A unit that was handed out.
#[derive(Clone, Copy, Debug)]
struct Tried {
    length: u64,
    /// Bytes of it of which is known what the source took.
    covered: u64,
    /// What that was.
    bits: u64,
    /// What the whole unit took, when the result is there.
    output: Option<u64>,
}

/// How to encode a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) level: u8,
    /// When it takes more bits, the highest level is to be tried too.
    pub(crate) limit: Option<u64>,
}

/// The account.
#[derive(Debug, Default)]
pub(crate) struct Effort {
    known: VecDeque<Known>,
    /// Units in order.
    units: VecDeque<Tried>,
    /// How many of them have a result.
    arrived: usize,
    /// Units that were dropped from the list, as nothing is known of them, before their result came.
    dropped: usize,
    /// Bits of the source, where they are known, and of the output for the same.
    source: u64,
    output: u64,
    /// Bits of all output that was encoded.
    encoded: u64,
    /// Bits that were copied.
    copied: u64,
}

impl Effort {
    /// The source took `bits` for what is at `start..end` in the output.
    pub(crate) fn learn(&mut self, start: u64, end: u64, bits: u64) {
        if start < end {
            self.known.push_back(Known { start, end, bits });
        }
    }

    /// A block of so many bits was copied; nothing of what is before `position` is encoded any more.
    pub(crate) fn copied(&mut self, bits: u64, position: u64) {
        self.copied += bits;
        self.forget(position);
    }

    fn forget(&mut self, position: u64) {
        while self.known.front().is_some_and(|known| known.end <= position) {
            self.known.pop_front();
        }
    }

    /// Whether the next unit may be handed out: the result that its level depends on is there.
    pub(crate) fn is_ready(&self) -> bool {
        (self.units.len() as u64) < LAG
            || self.arrived > 0
            || self.units.front().is_some_and(|unit| unit.covered == 0)
    }

    /// How to encode the unit at `start..end`, where the level `usual` is wanted.
    pub(crate) fn choose(&mut self, start: u64, end: u64, usual: u8) -> Choice {
        if self.units.len() as u64 >= LAG {
            match self.units.pop_front() {
                Some(Tried { length, covered, bits, output: Some(output) }) => {
                    self.arrived -= 1;
                    // Whether the result of one of which nothing is known is there by now must not matter.
                    if covered > 0 {
                        self.encoded += output;
                        self.source += bits;
                        self.output += output * covered / length;
                    }
                }
                _ => self.dropped += 1,
            }
        }
        self.forget(start);
        let (mut covered, mut bits) = (0, 0);
        for known in self.known.iter().take_while(|known| known.start < end) {
            let part = known.end.min(end) - known.start.max(start);
            covered += part;
            bits += known.bits * part / (known.end - known.start);
        }
        let length = end - start;
        self.units.push_back(Tried { length, covered, bits, output: None });
        if self.source < LEAST_BITS {
            // What is not known (headers made anew, the end of a run) is taken to be like the rest, if that
            // is not too little.
            let limit = (covered * 8 >= length).then(|| {
                let estimate = bits * length / covered;
                estimate + (estimate + self.copied) * ALLOWED / 1000
            });
            return Choice { level: usual, limit };
        }
        // What the encoded part has too much, if all of it is like the part where the source is known.
        let scaled = u128::from(self.encoded) * u128::from(self.source) / u128::from(self.output.max(1));
        let excess = self.encoded.saturating_sub(u64::try_from(scaled).unwrap_or(u64::MAX));
        let hard = excess > (self.copied + self.encoded) * ALLOWED / 1000;
        Choice { level: if hard { usual.max(HIGHEST) } else { usual }, limit: None }
    }

    /// The result of the first unit that has none.
    pub(crate) fn arrived(&mut self, bits: u64) {
        if self.dropped > 0 {
            self.dropped -= 1;
        } else if let Some(unit) = self.units.get_mut(self.arrived) {
            unit.output = Some(bits);
            self.arrived += 1;
        }
    }
}
