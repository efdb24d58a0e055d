//! Whether layers are what the image's config says of them.
//!
//! A runtime that unpacks a layer compares the digest of what came out with the config's diffID and refuses
//! the image where they differ. Whoever decodes a layer here looks as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use unbloat_oci::{Algorithm, Digest, Hasher, ImageConfig};

/// The diffIDs of an image, and which of them turned out to be wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiffIds {
    /// Of each layer that is read: its number in the image, and what the config says.
    expected: Arc<Vec<(usize, Digest)>>,
    wrong: Arc<Mutex<BTreeMap<usize, Digest>>>,
    strict: bool,
}

/// A layer whose content is not what the config says.
#[derive(Debug, thiserror::Error)]
#[error("its content is {found} and the config says {expected}: runtimes refuse such an image")]
pub(crate) struct WrongDiffId {
    expected: Digest,
    found: Digest,
}

/// The digest of one layer's content while it is decoded.
pub(crate) struct DiffIdCheck {
    of: DiffIds,
    layer: usize,
    hasher: Hasher,
}

impl DiffIds {
    /// Those of a config. With `strict`, a wrong one is an error of the layer.
    pub(crate) fn expected(config: &ImageConfig, strict: bool) -> Self {
        Self::without(config, &[], strict)
    }

    /// The same where the layers of these numbers are not read.
    pub(crate) fn without(config: &ImageConfig, missing: &[usize], strict: bool) -> Self {
        let all = config.diff_ids().iter().cloned().enumerate();
        let expected = all.filter(|(layer, _)| !missing.contains(layer)).collect();
        Self { expected: Arc::new(expected), wrong: Arc::default(), strict }
    }

    /// Begins with a layer; `None` where the config says nothing of it, or in a way that cannot be looked at.
    pub(crate) fn check(&self, layer: usize) -> Option<DiffIdCheck> {
        let (_, expected) = self.expected.get(layer)?;
        (expected.algorithm() == Algorithm::Sha256).then(|| DiffIdCheck {
            of: self.clone(),
            layer,
            hasher: Hasher::new(Algorithm::Sha256),
        })
    }

    /// What is to be said of wrong ones.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let warn = |(layer, found): (&usize, &Digest)| {
            let (layer, expected) = &self.expected[*layer];
            format!(
                "layer {layer}: its content is {found} and the config says {expected}: runtimes refuse such an image"
            )
        };
        wrong.iter().map(warn).collect()
    }
}

impl DiffIdCheck {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The layer was read to its end.
    pub(crate) fn finish(self) -> Result<(), WrongDiffId> {
        let Self { of, layer, hasher } = self;
        let found = hasher.finish();
        let (_, expected) = &of.expected[layer];
        if found == *expected {
            return Ok(());
        }
        if of.strict {
            return Err(WrongDiffId { expected: expected.clone(), found });
        }
        of.wrong.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, found);
        Ok(())
    }
}
