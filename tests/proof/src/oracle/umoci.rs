//! `umoci raw unpack`: layers applied one after the other to a plain folder.

use std::path::Path;

use anyhow::Result;

use super::walk;
use crate::{
    image::Layout,
    model::Tree,
    tools::{command, fast_folder, run},
};

/// The tree that umoci makes of an image.
pub fn unpack(layout: &Layout, tag: &str) -> Result<Tree> {
    let folder = fast_folder()?;
    unpack_into(layout, tag, &folder.path().join("rootfs"))
}

fn unpack_into(layout: &Layout, tag: &str, rootfs: &Path) -> Result<Tree> {
    run(command("umoci")
        .args(["raw", "unpack", "--image"])
        .arg(format!("{}:{tag}", layout.folder.display()))
        .arg(rootfs))?;
    walk(rootfs)
}
