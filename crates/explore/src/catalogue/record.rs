//! What a layer says of a path, before and after it is known what the other layers do to it.

/// What stands at a path, or happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A file with content of its own.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory with an entry.
    Directory,
    /// A directory that only paths below it speak of.
    ImpliedDirectory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// What lower layers have here is taken away.
    Removed,
}

impl Sort {
    /// Whether paths can be below it.
    #[must_use]
    pub fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::ImpliedDirectory)
    }

    /// The letter that `ls -l` shows.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::File | Self::HardLink => '-',
            Self::Symlink => 'l',
            Self::Directory | Self::ImpliedDirectory => 'd',
            Self::CharDevice => 'c',
            Self::BlockDevice => 'b',
            Self::Fifo => 'p',
            Self::Removed => ' ',
        }
    }
}

/// What a layer's entry does to what lower layers have at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There was nothing.
    Added,
    /// It takes the place of something.
    Changed,
    /// It repeats a directory.
    Same,
    /// It takes something away.
    Removed,
    /// A later record of the same layer took its place.
    Superseded,
}

/// No event, no text.
pub(crate) const NONE: u32 = u32::MAX;

/// The content of it is not in the image that all layers make.
pub(crate) const WASTED: u8 = 1;
/// It was undone before anybody could see it.
pub(crate) const VOID: u8 = 2;

/// What one layer does at one path. 32 bytes: there is one for each entry of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// Content, in bytes.
    pub(crate) size: u64,
    /// Number of the record in its layer.
    pub(crate) ord: u32,
    /// A symlink's target as text; a hard link's event that holds the content.
    pub(crate) link: u32,
    /// Index of user and group.
    pub(crate) owner: u32,
    /// 0 at the lowest.
    pub(crate) layer: u16,
    pub(crate) mode: u16,
    pub(crate) sort: Sort,
    pub(crate) status: Status,
    pub(crate) flags: u8,
}

/// A mark of a layer, or what an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Entry(Sort),
    Whiteout,
    Opaque,
}

/// What a record leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It is no link.
    None,
    /// A symlink's target as text.
    Text(u32),
    /// A hard link's: the record of the same layer that holds the content.
    Here(u32),
    /// A hard link's: a path of the layers below.
    Lower(u32),
}

/// One record of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) size: u64,
    pub(crate) node: u32,
    pub(crate) ord: u32,
    pub(crate) link: Link,
    pub(crate) owner: u32,
    pub(crate) mode: u16,
    pub(crate) said: Said,
    /// A directory where the same layer had one already.
    pub(crate) repeats: bool,
    /// No later record of the layer took away the entry, or the directory that the opaque mark makes.
    pub(crate) stands: bool,
}
