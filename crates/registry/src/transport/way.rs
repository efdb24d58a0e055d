//! The ways of sending a blob, and what was learned of a registry about them.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::auth::cloud::Cloud;
use crate::upload_policy::UploadMode;

/// Smallest chunk that is tried after a 413: what is refused below this is refused for something else.
const SMALLEST_CHUNK: usize = 1 << 20;

/// Just below 4 MiB, a limit that several servers have on a request and not all call by its name.
const BELOW_FOUR: usize = (4 << 20) - (64 << 10);

/// The smallest part of an upload to S3 but for the last.
const LEAST_PART: usize = 5 << 20;

/// A way of sending a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `PATCH`es with `Content-Range`, then an empty `PUT`.
    Chunked,
    /// One `PATCH` without `Content-Range`, then an empty `PUT`.
    Stream,
    /// One `PUT` with the blob.
    Whole,
}

/// A blob's size class: the order of ways depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is in memory as a whole: one request is cheapest, and every way can begin anew.
    Small,
    /// It goes up while it is made.
    Large,
}

impl Class {
    fn order(self) -> [Way; 3] {
        match self {
            Self::Small => [Way::Whole, Way::Stream, Way::Chunked],
            Self::Large => [Way::Chunked, Way::Stream, Way::Whole],
        }
    }
}

/// What was learned of a registry's uploads, for the time of this process.
#[derive(Debug)]
pub(crate) struct UploadFacts {
    /// Refused ways, a bit each: those of small blobs and those of large ones.
    refused: [AtomicU8; 2],
    /// Uploads that were lost in the middle, by way.
    lost: [AtomicU32; 3],
    /// Largest chunk that is taken.
    largest_chunk: AtomicUsize,
    /// Smallest chunk that is taken, but for the last, where the registry does not say.
    least_chunk: usize,
}

impl UploadFacts {
    /// What is known of a registry by its name alone.
    pub(crate) fn of(registry: &str) -> Self {
        // GitHub's answers more than 4 MiB with 416 (oras-project/rust-oci-client issue 35), which costs a
        // request to find out.
        let largest = if registry == "ghcr.io" { BELOW_FOUR } else { usize::MAX };
        // Amazon's are parts of a multipart upload to S3, which have 5 MiB at least; a smaller one fails when
        // the next comes.
        let least_chunk = if Cloud::Aws.has_registry(registry) { LEAST_PART } else { 0 };
        Self {
            refused: Default::default(),
            lost: Default::default(),
            largest_chunk: AtomicUsize::new(largest),
            least_chunk,
        }
    }

    /// Smallest chunk that is taken by what is known of the registry; its own word counts more.
    pub(crate) fn least_chunk(&self) -> usize {
        self.least_chunk
    }

    /// The way to send a blob of this class; `None` when each was refused.
    pub(crate) fn way(&self, mode: UploadMode, class: Class) -> Option<Way> {
        match mode {
            UploadMode::Chunked => Some(Way::Chunked),
            UploadMode::Stream => Some(Way::Stream),
            UploadMode::Whole => Some(Way::Whole),
            UploadMode::Auto => {
                let refused = self.refused[class as usize].load(Ordering::Relaxed);
                class.order().into_iter().find(|way| refused & (1 << *way as u8) == 0)
            }
        }
    }

    /// Remembers that a way is refused.
    pub(crate) fn refuse(&self, way: Way, class: Class) {
        self.refused[class as usize].fetch_or(1 << way as u8, Ordering::Relaxed);
    }

    /// Each way was refused: the reason was another one, and the next blob begins anew.
    pub(crate) fn forget_refusals(&self, class: Class) {
        self.refused[class as usize].store(0, Ordering::Relaxed);
    }

    /// Counts an upload that was lost in the middle; whether that way has lost one before.
    pub(crate) fn lost_again(&self, way: Way) -> bool {
        self.lost[way as usize].fetch_add(1, Ordering::Relaxed) > 0
    }

    pub(crate) fn largest_chunk(&self) -> usize {
        self.largest_chunk.load(Ordering::Relaxed)
    }

    /// After a 413 to a chunk of this size: half of it, unless that is below what is worth trying or what the
    /// server takes.
    pub(crate) fn shrink(&self, refused: usize, least: usize) -> bool {
        let smaller = (refused / 2).max(SMALLEST_CHUNK);
        if smaller >= refused || smaller < least {
            return false;
        }
        self.largest_chunk.fetch_min(smaller, Ordering::Relaxed);
        true
    }

    /// After another refusal of the first chunk, where it is larger than 4 MiB: below that.
    pub(crate) fn shrink_to_four(&self, refused: usize, least: usize) -> bool {
        let smaller = refused > BELOW_FOUR && least <= BELOW_FOUR;
        if smaller {
            self.largest_chunk.fetch_min(BELOW_FOUR, Ordering::Relaxed);
        }
        smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_way_is_followed_by_the_next_and_kept_apart_by_size() {
        let facts = UploadFacts::of("registry.example");
        let way = |class| facts.way(UploadMode::Auto, class);
        assert_eq!((way(Class::Small), way(Class::Large)), (Some(Way::Whole), Some(Way::Chunked)));
        facts.refuse(Way::Chunked, Class::Large);
        assert_eq!((way(Class::Small), way(Class::Large)), (Some(Way::Whole), Some(Way::Stream)));
        facts.refuse(Way::Stream, Class::Large);
        assert_eq!(way(Class::Large), Some(Way::Whole));
        facts.refuse(Way::Whole, Class::Large);
        assert_eq!(way(Class::Large), None);
        facts.forget_refusals(Class::Large);
        assert_eq!(way(Class::Large), Some(Way::Chunked));
    }

    #[test]
    fn githubs_and_amazons_sizes_are_known_before_the_first_chunk() {
        let github = UploadFacts::of("ghcr.io");
        assert!((github.largest_chunk(), github.least_chunk()) == (BELOW_FOUR, 0) && BELOW_FOUR < 4 << 20);
        let amazon = UploadFacts::of("123456789012.dkr.ecr.eu-central-1.amazonaws.com");
        assert_eq!((amazon.largest_chunk(), amazon.least_chunk()), (usize::MAX, 5 << 20));
        let other = UploadFacts::of("registry.example");
        assert_eq!((other.largest_chunk(), other.least_chunk()), (usize::MAX, 0));
    }

    #[test]
    fn chunks_shrink_to_a_mebibyte_and_not_below_what_the_server_takes() {
        let facts = UploadFacts::of("registry.example");
        assert!(facts.shrink(8 << 20, 0));
        assert_eq!(facts.largest_chunk(), 4 << 20);
        assert!(!facts.shrink(4 << 20, 3 << 20));
        assert!(facts.shrink(3 << 19, 0));
        assert_eq!(facts.largest_chunk(), 1 << 20);
        assert!(!facts.shrink(1 << 20, 0));
    }
}
