//! What this process wrote and the caches don't show yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;
use unbloat_api::ImageSquashJob;

/// Remembered between turns. All of it may be lost at any time: a restart only repeats reads.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Newest version of jobs that were written, by uid.
    written: HashMap<String, Arc<ImageSquashJob>>,
    /// Jobs that were let in and whose status doesn't say so yet.
    pub(super) reserved: HashSet<String>,
}

impl Memory {
    /// The newer of the cached version and what was written.
    pub(super) fn newest(&self, cached: &Arc<ImageSquashJob>) -> Arc<ImageSquashJob> {
        let written = cached.uid().and_then(|uid| self.written.get(&uid));
        match written {
            Some(written) if version(written) > version(cached) => Arc::clone(written),
            _ => Arc::clone(cached),
        }
    }

    /// Remembers what the API server answered to a write.
    pub(super) fn wrote(&mut self, job: ImageSquashJob) {
        if let Some(uid) = job.uid() {
            self.written.insert(uid, Arc::new(job));
        }
    }

    /// Forgets what the cache has caught up with, and jobs that are gone.
    pub(super) fn sweep(&mut self, cached: &[Arc<ImageSquashJob>]) {
        let versions: HashMap<String, u128> =
            cached.iter().filter_map(|job| Some((job.uid()?, version(job)))).collect();
        self.written.retain(|uid, job| versions.get(uid).is_some_and(|cached| *cached < version(job)));
        self.reserved.retain(|uid| versions.contains_key(uid));
    }
}

/// Resource versions of one resource are comparable as numbers (KEP-5504, and etcd's revisions before it).
fn version(job: &ImageSquashJob) -> u128 {
    job.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn job(version: &str) -> Arc<ImageSquashJob> {
        let mut job = fixtures::job();
        job.metadata.resource_version = Some(version.to_owned());
        Arc::new(job)
    }

    #[test]
    fn what_was_written_wins_until_the_cache_has_caught_up() {
        let mut memory = Memory::default();
        memory.wrote((*job("100")).clone());
        assert_eq!(memory.newest(&job("99")).resource_version().as_deref(), Some("100"));
        assert_eq!(memory.newest(&job("101")).resource_version().as_deref(), Some("101"));
        memory.sweep(&[job("99")]);
        assert_eq!(memory.written.len(), 1);
        memory.sweep(&[job("100")]);
        assert_eq!(memory.written.len(), 0);
    }

    #[test]
    fn a_job_that_is_gone_keeps_no_place() {
        let mut memory = Memory::default();
        memory.reserved.insert("uid-1".into());
        memory.sweep(&[job("1")]);
        assert_eq!(memory.reserved.len(), 1);
        memory.sweep(&[]);
        assert!(memory.reserved.is_empty());
    }
}
