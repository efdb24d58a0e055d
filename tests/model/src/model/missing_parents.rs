//! What containerd meets where a layer has a path below a directory that it does not name.
//!
//! It makes such a directory and looks for its attributes in the folders of the layers below, the topmost
//! first, each by itself: where one of them has a whiteout or a file on the way, the lookup fails, and the
//! image with it (`mkparent` in `pkg/archive/tar.go`). The merged tree does not show this.

use std::collections::BTreeMap;

use super::{
    Result, TarReader, display,
    names::{base, join, normalise, parent},
    tar_reader::EntryKind,
};

/// What the folder of one layer has at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Directory,
    /// Where it leads is not looked at here.
    Symlink,
    /// A file, or the device that stands for a whiteout.
    Other,
}

type Folder = BTreeMap<Vec<u8>, Held>;

/// The first path for which containerd would look below a whiteout or a file, of its own layer or of a lower
/// one. Ways through symbolic links are not followed.
pub fn refused_parent<L: AsRef<[u8]>>(layers: &[L]) -> Result<Option<String>> {
    let mut folders: Vec<Folder> = Vec::new();
    for (number, tar) in layers.iter().enumerate() {
        let mut folder = Folder::new();
        let mut reader = TarReader::new(tar.as_ref());
        while let Some(entry) = reader.next_entry()? {
            let path = normalise(&entry.name)?;
            let name = base(&path);
            let above = parent(&path).unwrap_or_default();
            let is_mark = name == b".wh..wh..opq";
            if !is_mark && path.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh..wh.")) {
                continue;
            }
            if let Some(refused) = make_parents(&mut folder, &folders, above) {
                return Ok(Some(format!("layer {number}: {}: below {}", display(&path), display(&refused))));
            }
            if is_mark {
                continue;
            }
            let (path, held) = match (name.strip_prefix(b".wh."), entry.kind) {
                (Some(removed), _) => (join(above, removed), Held::Other),
                (None, EntryKind::Directory) => (path, Held::Directory),
                (None, EntryKind::Symlink(_)) => (path, Held::Symlink),
                // A link to a symbolic link is one.
                (None, EntryKind::HardLink(target)) => {
                    let to = folder.get(&normalise(&target)?).copied();
                    (path, to.unwrap_or(Held::Other))
                }
                (None, _) => (path, Held::Other),
            };
            folder.insert(path, held);
        }
        folders.push(folder);
    }
    Ok(None)
}

/// Makes the directories down to `directory`; what is on the way of one in a lower layer's folder.
fn make_parents(folder: &mut Folder, lower: &[Folder], directory: &[u8]) -> Option<Vec<u8>> {
    let ends = (0..=directory.len()).filter(|at| directory.get(*at).is_none_or(|byte| *byte == b'/'));
    for made in ends.map(|end| &directory[..end]).filter(|made| !made.is_empty()) {
        match folder.get(made) {
            Some(Held::Directory) => continue,
            Some(Held::Symlink) => return None,
            Some(Held::Other) => return Some(made.to_vec()),
            None => {}
        }
        for below in lower.iter().rev() {
            let mut ways = (0..made.len()).filter(|at| made[*at] == b'/').map(|end| &made[..end]);
            match ways
                .find_map(|way| Some((way, *below.get(way)?)).filter(|(_, held)| *held != Held::Directory))
            {
                Some((way, Held::Other)) => return Some(way.to_vec()),
                Some(_) => return None,
                None => {}
            }
            if below.contains_key(made) {
                break;
            }
        }
        folder.insert(made.to_vec(), Held::Directory);
    }
    None
}
