//! Who reads which layer, what is held of it, and how a layer's turn ends.

use crate::chunk::Piece;
use crate::collections::HashMap;
use crate::emit::EmitError;
use crate::error::{Error, LayerError};
use crate::hardlink::Leads;
use crate::inlayer::{InLayer, Stop};
use crate::merge::Summary;
use crate::tar::Header;
use crate::tree::NodeId;

/// Who does what.
pub(crate) struct Schedule {
    /// Layers below this one are not begun.
    pub(crate) next: usize,
    /// Layers from this one up are written.
    pub(crate) front: usize,
    /// Layers that were read before their turn.
    pub(crate) parked: HashMap<usize, Pass>,
    /// Bytes that all layers hold.
    pub(crate) held: usize,
    /// Why everybody should stop.
    pub(crate) end: Option<End>,
    pub(crate) summary: Summary,
}

pub(crate) enum End {
    Error(Error),
    Conflict(usize),
    /// Paths lead through links in another way than they were taken.
    Leads(Leads),
}

impl Schedule {
    pub(crate) fn is_front(&self, layer: usize) -> bool {
        self.front == layer + 1
    }
}

/// One layer on its way.
pub(crate) struct Pass {
    pub(crate) inlayer: InLayer,
    /// What is held, in the order of the archive.
    pub(crate) held: Vec<Held>,
    /// Its size.
    pub(crate) bytes: usize,
    /// For a layer that is read for its names first: the path of each record.
    pub(crate) nodes: Vec<Option<(NodeId, bool)>>,
    pub(crate) unpacked: u64,
}

impl Pass {
    pub(crate) fn new(inlayer: InLayer) -> Self {
        Self { inlayer, held: Vec::new(), bytes: 0, nodes: Vec::new(), unpacked: 0 }
    }
}

pub(crate) struct Held {
    pub(crate) ord: u32,
    pub(crate) node: NodeId,
    pub(crate) moved: bool,
    pub(crate) header: Header,
    pub(crate) raw: Vec<Piece>,
    /// `None` when it was dropped because the name is hidden.
    pub(crate) content: Option<Vec<Piece>>,
}

/// What one record costs while it is held, without its pieces: the struct, its strings, allocator overhead.
pub(crate) const HELD_OVERHEAD: usize = size_of::<Held>() + 256;

/// How a layer's turn ends early.
pub(crate) enum Halt {
    /// Another thread gave the reason.
    Stopped,
    Error(Error),
    /// Something is wrong with the layer at hand.
    Layer(LayerError),
    /// What was written of the layer at hand has to be written otherwise.
    Conflict,
    /// Paths of higher layers lead through links in another way than they were taken.
    Leads(Leads),
}

impl Halt {
    /// Why everybody stops, when it was layer `layer` that was at hand.
    pub(crate) fn end(self, layer: usize) -> Option<End> {
        match self {
            Self::Stopped => None,
            Self::Error(error) => Some(End::Error(error)),
            Self::Layer(error) => Some(End::Error(error.at(layer))),
            Self::Conflict => Some(End::Conflict(layer)),
            Self::Leads(leads) => Some(End::Leads(leads)),
        }
    }
}

impl From<LayerError> for Halt {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Error(error) => Self::Layer(error),
            Stop::At(layer, error) => Self::Error(error.at(layer as usize)),
            Stop::Conflict => Self::Conflict,
        }
    }
}

impl From<EmitError> for Halt {
    fn from(error: EmitError) -> Self {
        match error {
            EmitError::Output(error) => Self::Error(Error::Output(error)),
            EmitError::Stop(stop) => stop.into(),
        }
    }
}
