//! A file system as a tree, by `lstat`, `readlink`, `llistxattr` and inode numbers.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::FileTypeExt as _, fs::MetadataExt as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};

use crate::model::{self, Inode, Kind, Mask, Metadata, Tree};

/// Everything at and below a folder. Marks of overlayfs itself (`trusted.overlay.*`) are left out.
pub fn walk(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut seen = HashMap::new();
    visit(root, Vec::new(), &mut tree, &mut seen)?;
    Ok(tree)
}

fn visit(at: &Path, path: Vec<u8>, tree: &mut Tree, seen: &mut HashMap<(u64, u64), usize>) -> Result<()> {
    let stat = fs::symlink_metadata(at).with_context(|| at.display().to_string())?;
    let is_directory = stat.file_type().is_dir();
    let key = (stat.dev(), stat.ino());
    if let (false, Some(number)) = (is_directory, seen.get(&key)) {
        tree.paths.insert(path, *number);
        return Ok(());
    }
    let number = tree.add(Inode { kind: kind(at, &stat)?, metadata: metadata(at, &stat)? });
    tree.paths.insert(path.clone(), number);
    if !is_directory {
        seen.insert(key, number);
        return Ok(());
    }
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        let name = entry.file_name();
        let below = if path.is_empty() {
            name.as_bytes().to_vec()
        } else {
            [&path, &b"/"[..], name.as_bytes()].concat()
        };
        // Overlayfs lists a whiteout in a directory that only one layer has, yet nothing is there to look up.
        if fs::symlink_metadata(entry.path()).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            continue;
        }
        visit(&entry.path(), below, tree, seen)?;
    }
    Ok(())
}

fn kind(at: &Path, stat: &fs::Metadata) -> Result<Kind> {
    let kind = stat.file_type();
    // glibc's encoding: twelve bits of the major number, twenty of the minor, the rest above.
    let device = ((stat.rdev() >> 8) & 0xfff, (stat.rdev() & 0xff) | ((stat.rdev() >> 12) & 0xfff00));
    Ok(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        Kind::File(Arc::new(fs::read(at)?))
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(at)?.as_os_str().as_bytes().to_vec())
    } else if kind.is_char_device() {
        Kind::Character(device.0, device.1)
    } else if kind.is_block_device() {
        Kind::Block(device.0, device.1)
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        bail!("{} is of a type that no layer holds", at.display());
    })
}

fn metadata(at: &Path, stat: &fs::Metadata) -> Result<Metadata> {
    let mut xattrs = BTreeMap::new();
    for name in xattr::list(at)? {
        if name.as_bytes().starts_with(b"trusted.overlay.") {
            continue;
        }
        if let Some(value) = xattr::get(at, &name)? {
            xattrs.insert(name.as_bytes().to_vec(), value);
        }
    }
    Ok(Metadata {
        mode: stat.mode() & 0o7777,
        uid: u64::from(stat.uid()),
        gid: u64::from(stat.gid()),
        mtime: (stat.mtime(), stat.mtime_nsec() as u32),
        xattrs,
    })
}

/// The differences between two unpacked trees as one text, or nothing.
pub fn trees_differ(what: &str, expected: &Tree, found: &Tree, mask: &Mask) -> Option<String> {
    let differences = model::diff_masked(expected, found, mask);
    (!differences.is_empty()).then(|| format!("{what}:\n    {}", differences.join("\n    ")))
}
