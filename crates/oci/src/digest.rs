//! Content digests: parsing, computing, verifying (image-spec `descriptor.md`, "Digests").

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// A registered digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256: what everybody uses and what this project writes.
    Sha256,
    /// SHA-512: accepted on input.
    Sha512,
}

impl Algorithm {
    /// Name as in the digest string.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Number of hexadecimal digits.
    #[must_use]
    pub(crate) fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A valid digest, `algorithm:lowercase-hex`. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: Arc<str>,
}

/// Why a string is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest at byte {position}: {reason}")]
pub struct DigestError {
    /// Byte offset of the first offending character.
    pub position: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl Digest {
    /// The SHA-256 digest of these bytes.
    #[must_use]
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::from_raw(Algorithm::Sha256, &Sha256::digest(bytes))
    }

    fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(algorithm.name().len() + 1 + raw.len() * 2);
        text.push_str(algorithm.name());
        text.push(':');
        for byte in raw {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Self { text: text.into() }
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.text.starts_with("sha512") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The hexadecimal part.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm().name().len() + 1..]
    }

    /// The whole string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `sha256:` and the first twelve digits: for people, never for identity.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.text[..self.algorithm().name().len() + 13]
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let fail = |position, reason| Err(DigestError { position, reason });
        let Some((name, hex)) = text.split_once(':') else {
            return fail(text.len(), "there is no ':' between algorithm and digits");
        };
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return fail(0, "the algorithm is neither sha256 nor sha512"),
        };
        let start = name.len() + 1;
        if let Some(offset) = hex.bytes().position(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return fail(start + offset, "not a lowercase hexadecimal digit");
        }
        if hex.len() != algorithm.hex_len() {
            return fail(text.len().min(start + algorithm.hex_len()), "wrong number of digits");
        }
        Ok(Self { text: text.into() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a digest piece by piece. Cloning forks the state.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(Sha512::new())),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything that was added.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::from_raw(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => Digest::from_raw(Algorithm::Sha512, &state.finalize()),
        }
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new(Algorithm::Sha256)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// Checks that a stream of bytes is what a descriptor says: its size and its digest.
#[derive(Clone, Debug)]
pub struct Verifier {
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

/// A blob is not what its descriptor says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// More bytes than the descriptor's size.
    #[error("blob {digest} is longer than the {size} bytes of its descriptor")]
    TooLong {
        /// The blob.
        digest: Digest,
        /// Size in the descriptor, in bytes.
        size: u64,
    },
    /// The bytes ended too early.
    #[error("blob {digest} is truncated: {found} of {size} bytes")]
    Truncated {
        /// The blob.
        digest: Digest,
        /// Size in the descriptor, in bytes.
        size: u64,
        /// Bytes that came.
        found: u64,
    },
    /// Right size, other content.
    #[error("blob {expected} has the digest {found}: its content was changed")]
    DigestMismatch {
        /// The digest of the descriptor.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
}

impl Verifier {
    /// Expects `size` bytes with this digest.
    #[must_use]
    pub fn new(expected: Digest, size: u64) -> Self {
        let hasher = Hasher::new(expected.algorithm());
        Self { expected, size, seen: 0, hasher }
    }

    /// Bytes seen so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Bytes that have still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.size - self.seen
    }

    /// The digest of the bytes seen so far.
    #[must_use]
    pub fn so_far(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`VerifyError::TooLong`], before anything is hashed, as soon as the size is exceeded.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        let length = bytes.len() as u64;
        if length > self.remaining() {
            return Err(VerifyError::TooLong { digest: self.expected.clone(), size: self.size });
        }
        self.seen += length;
        self.hasher.update(bytes);
        Ok(())
    }

    /// The end of the bytes.
    ///
    /// # Errors
    /// [`VerifyError::Truncated`] or [`VerifyError::DigestMismatch`].
    pub fn finish(self) -> Result<(), VerifyError> {
        if self.seen != self.size {
            return Err(VerifyError::Truncated { digest: self.expected, size: self.size, found: self.seen });
        }
        let found = self.hasher.finish();
        if found == self.expected {
            Ok(())
        } else {
            Err(VerifyError::DigestMismatch { expected: self.expected, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_well_known_one() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256_of(b"").as_str(), empty);
        assert_eq!(Hasher::default().finish().as_str(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap().hex(), &empty[7..]);
    }

    #[test]
    fn a_bad_digest_says_at_which_byte() {
        let upper = format!("sha256:{}", "A".repeat(64)).parse::<Digest>().unwrap_err();
        assert_eq!(upper.position, 7);
        let short = format!("sha256:{}", "a".repeat(63)).parse::<Digest>().unwrap_err();
        assert_eq!(short.position, 70);
        assert_eq!("md5:00".parse::<Digest>().unwrap_err().position, 0);
        assert_eq!("sha256".parse::<Digest>().unwrap_err().position, 6);
        let traversal = "sha256:../../etc/passwd".parse::<Digest>().unwrap_err();
        assert_eq!(traversal.position, 7);
    }

    #[test]
    fn sha512_is_accepted_and_verified() {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"x");
        let digest = hasher.finish();
        assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
        let mut verifier = Verifier::new(digest, 1);
        verifier.update(b"x").unwrap();
        verifier.finish().unwrap();
    }

    #[test]
    fn a_verifier_tells_long_short_and_changed_apart() {
        let digest = Digest::sha256_of(b"abc");
        let mut long = Verifier::new(digest.clone(), 3);
        long.update(b"ab").unwrap();
        assert!(matches!(long.update(b"cd"), Err(VerifyError::TooLong { size: 3, .. })));
        let mut short = Verifier::new(digest.clone(), 3);
        short.update(b"ab").unwrap();
        assert!(matches!(short.finish(), Err(VerifyError::Truncated { found: 2, .. })));
        let mut other = Verifier::new(digest, 3);
        other.update(b"abd").unwrap();
        assert!(matches!(other.finish(), Err(VerifyError::DigestMismatch { .. })));
    }
}
