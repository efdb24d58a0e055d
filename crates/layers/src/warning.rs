//! What a user should know of an image that is merged exactly all the same: where runtimes disagree
//! (`docs/layer-semantics.md#section-3`), what is read as runtimes read it (rules 3 and 6), and patterns that
//! met nothing. `docs/merging.md` has a table of them for users.

use std::fmt;

use crate::error::display;

/// A place where runtimes disagree, or a wish that met nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The layer, 0 at the lowest; `None` for what concerns no layer.
    pub layer: Option<usize>,
    /// The path in question.
    pub path: Vec<u8>,
    /// What was found there.
    pub kind: WarningKind,
}

/// The kinds of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WarningKind {
    /// A hard link to a file that only a lower layer has: runtimes cannot unpack it; the result repairs it.
    LinkToLowerLayer,
    /// A whiteout of a directory and the directory again in one layer: only the new children are kept.
    WhiteoutAndDirectory,
    /// An opaque mark at the root, which overlayfs runtimes ignore.
    OpaqueRoot,
    /// A character device 0:0, which overlayfs takes for a whiteout.
    WhiteoutDevice,
    /// A symlink that a path below it, in a higher layer, replaces with a directory.
    SymlinkReplaced,
    /// A pattern that matches nothing.
    PatternUnmatched,
    /// A pattern of `--truncate` that matches folders or other entries without content, and no file.
    TruncatedNoFile,
    /// A global PAX header that says more than a comment, which runtimes ignore.
    GlobalHeader,
    /// A negative owner, which is read as 0.
    NegativeOwner,
    /// Content under the names of AUFS's bookkeeping, which nobody sees.
    AufsContent,
    /// A whiteout below a directory that does not exist; some runtimes make it, with a broken entry.
    WhiteoutBelowNothing,
    /// A whiteout below a lower symlink or file, which becomes an empty directory.
    WhiteoutBelowFile,
    /// An opaque mark where nothing is, which makes an empty directory.
    OpaqueBelowNothing,
    /// An opaque mark below a lower symlink or file, which becomes an empty directory.
    OpaqueBelowFile,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = self.layer {
            write!(f, "layer {layer}: ")?;
        }
        let path = display(&self.path);
        match self.kind {
            WarningKind::LinkToLowerLayer => {
                write!(
                    f,
                    "{path:?} is a hard link to a file of a lower layer, which runtimes refuse; it is repaired"
                )
            }
            WarningKind::WhiteoutAndDirectory => write!(
                f,
                "{path:?} is whited out and made again in one layer; overlayfs shows its old children, the result does not"
            ),
            WarningKind::OpaqueRoot => {
                write!(f, "the root is opaque, which overlayfs ignores; the result hides what lies below")
            }
            WarningKind::WhiteoutDevice => {
                write!(f, "{path:?} is a character device 0:0 and is taken for a whiteout, as overlayfs does")
            }
            WarningKind::SymlinkReplaced => write!(
                f,
                "the symlink {path:?} is replaced by a directory, as a higher layer has paths below it; \
                 --follow-symlinked-parents goes through the link"
            ),
            WarningKind::PatternUnmatched => write!(f, "pattern {path:?} matches no path of the image"),
            WarningKind::TruncatedNoFile => {
                write!(
                    f,
                    "--truncate {path:?} matches a folder or another entry that is no file, and nothing was truncated; \
                     {path}/** means the files in a folder"
                )
            }
            WarningKind::GlobalHeader => {
                write!(
                    f,
                    "a global PAX header stands before {path:?}; runtimes ignore it, and so does the result"
                )
            }
            WarningKind::NegativeOwner => write!(f, "{path:?} has a negative owner, which is read as 0"),
            WarningKind::AufsContent => {
                write!(
                    f,
                    "{path:?} is content below a name of AUFS's bookkeeping; no runtime shows it, it is dropped"
                )
            }
            WarningKind::WhiteoutBelowNothing => write!(
                f,
                "something is whited out in {path:?}, which is no directory; overlayfs makes it one with a broken entry, \
                 the result does not"
            ),
            WarningKind::WhiteoutBelowFile => write!(
                f,
                "something is whited out in {path:?}, which is a symlink or a file of a lower layer; it becomes an empty \
                 directory"
            ),
            WarningKind::OpaqueBelowNothing => {
                write!(f, "{path:?} is made opaque and does not exist; it becomes an empty directory")
            }
            WarningKind::OpaqueBelowFile => write!(
                f,
                "{path:?} is made opaque and is a symlink or a file of a lower layer; it becomes an empty directory"
            ),
        }
    }
}

/// Most warnings that are kept: each holds a path, and a hostile image could have millions.
const MAX_WARNINGS: usize = 1_000;

/// The warnings of one merge.
#[derive(Debug, Default)]
pub struct Warnings {
    kept: std::collections::BTreeSet<Warning>,
    dropped: usize,
}

impl Warnings {
    /// One more; a second of the same is none.
    pub fn add(&mut self, warning: Warning) {
        // Which ones are kept must not depend on the order in which layers were read: the smallest are.
        if self.kept.insert(warning) && self.kept.len() > MAX_WARNINGS {
            self.kept.pop_last();
            self.dropped += 1;
        }
    }

    /// Those that are kept, and how many are not.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Warning>, usize) {
        (self.kept.into_iter().collect(), self.dropped)
    }
}
