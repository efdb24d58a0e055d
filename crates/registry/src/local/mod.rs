//! Images in folders and archives.
//!
//! `images` reads them, `layout` writes them; `contents` is what a layout lists, `extents` where its bytes
//! are, and `docker_archive` gives what `docker save` wrote the form of a layout. `docker_list` makes a
//! layout one that `docker load` takes, `archive_target` is where an archive goes, `compressed` unpacks one,
//! and `spelling` says how a path is written as a location.

mod archive_target;
mod compressed;
mod contents;
mod docker_archive;
pub(crate) mod docker_list;
mod extents;
pub(crate) mod images;
pub(crate) mod layout;
pub(crate) mod spelling;
