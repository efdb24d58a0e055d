//! Where an image's bytes are, which of them nobody can see, why, and what would help.

mod result;

pub use result::{
    Analysis, Attributes, CauseReport, Change, DuplicateReport, EntryKind, Estimate, Evidence, LayerReport,
    PathReport, PathVersion, RiskReport, Tally, Totals, WhiteoutReport,
};
