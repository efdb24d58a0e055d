//! Images in folders and archives.
//!
//! `images` reads them, `layout` writes them; `contents` is what a layout lists, `extents` where its bytes
//! are, and `docker_archive` gives what `docker save` wrote the form of a layout.

mod archive_target;
mod contents;
mod docker_archive;
mod extents;
pub(crate) mod images;
pub(crate) mod layout;
