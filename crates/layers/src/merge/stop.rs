//! Why a merge, or a thread of it, stops.

use crate::error::{BoxError, Error, LayerError};
use crate::layer::LinkedSymlinks;

/// Why somebody stops. What concerns no layer in particular, or another than the one at hand, is
/// [`Stop::Failed`].
#[derive(Debug)]
pub(crate) enum Stop {
    /// Another thread gave the reason.
    Told,
    /// The merge fails.
    Failed(Error),
    /// Something is wrong with the layer at hand.
    Layer(LayerError),
    /// What was written of the layer at hand has to be written otherwise.
    Conflict,
    /// Paths of higher layers lead through links in another way than they were taken.
    Discovered(LinkedSymlinks),
}

impl Stop {
    /// The output took no more.
    pub(crate) fn output(error: BoxError) -> Self {
        Self::Failed(Error::Output(error))
    }

    /// The error that it is when layer `layer` was at hand.
    pub(crate) fn at(self, layer: usize) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Layer(error) => error.at(layer),
            // A contradiction where none can be: the layer is not what it was.
            Self::Told | Self::Conflict | Self::Discovered(_) => LayerError::Changed.at(layer),
        }
    }

    /// The error that it is when no layer is to blame: the output's own.
    pub(crate) fn without_layer(self) -> Error {
        self.at(0)
    }
}

impl From<LayerError> for Stop {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
