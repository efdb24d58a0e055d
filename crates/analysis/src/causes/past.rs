//! What the layers did to one path, as rules ask for it.

use crate::places::{Places, Version};
use crate::result::{Change, EntryKind};
use unbloat_layers::layer::{NodeId, ROOT};
use unbloat_layers::tree::Tree;
use unbloat_text::bytes;

/// One path's history.
pub(crate) struct Past {
    pub(crate) node: NodeId,
    pub(crate) versions: Vec<Version>,
    pub(crate) total: u64,
    pub(crate) wasted: u64,
    /// Whether the image shows a file here.
    pub(crate) shown: bool,
    /// Most of a copy's content are zeros.
    pub(crate) zeros: bool,
    /// Bytecode whose source the image shows.
    pub(crate) compiled: bool,
    /// A layer that upgrades packages replaced or deleted it, and it is a part of the system.
    pub(crate) upgraded: bool,
}

/// Size from which a file of zeros is worth a word.
pub(crate) const ZEROS_FROM: u64 = 1 << 20;

/// Copies from which a file counts as copied again and again.
const MANY: usize = 3;

impl Past {
    /// Versions that brought content.
    fn files(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter().filter(|version| version.tag.kind() == Some(EntryKind::File))
    }

    pub(crate) fn visible(&self) -> u64 {
        self.total - self.wasted
    }

    /// Layers that play a part; of many, the first and the last ones.
    pub(crate) fn layers(&self) -> Vec<u32> {
        let mut layers: Vec<u32> = self.versions.iter().map(|version| version.layer).collect();
        layers.dedup();
        if layers.len() > 8 {
            layers.drain(4..layers.len() - 4);
        }
        layers
    }

    pub(super) fn always(&self) -> bool {
        true
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.wasted > 0
    }

    /// Some hidden content is not what the image shows.
    pub(super) fn is_left_behind(&self) -> bool {
        let changed = |version: &Version| {
            let change = version.tag.change();
            change != Change::Added && !change.keeps_content()
        };
        self.wasted > 0 && (!self.shown || self.versions.iter().any(changed))
    }

    /// How the same content was written again, where at least half of what is wasted was: as most of those
    /// bytes were.
    fn rewritten(&self) -> Option<Change> {
        const HOW: [Change; 4] = [Change::Metadata, Change::Linked, Change::Time, Change::Identical];
        let bytes = |change: Change| -> u64 {
            self.files().filter(|version| version.tag.change() == change).map(|version| version.bytes).sum()
        };
        let same = HOW.map(bytes);
        if self.wasted == 0 || 2 * same.iter().sum::<u64>() < self.wasted {
            return None;
        }
        let (how, _) = HOW.into_iter().zip(same).rev().max_by_key(|(_, bytes)| *bytes)?;
        Some(how)
    }

    /// For another owner, mode or attributes.
    pub(super) fn is_metadata_copy(&self) -> bool {
        self.rewritten() == Some(Change::Metadata)
    }

    /// For another name.
    pub(super) fn is_link_copy(&self) -> bool {
        self.rewritten() == Some(Change::Linked)
    }

    /// For another time.
    pub(super) fn is_time_copy(&self) -> bool {
        self.rewritten() == Some(Change::Time)
    }

    /// For nothing.
    pub(super) fn is_identical(&self) -> bool {
        self.rewritten() == Some(Change::Identical)
    }

    /// Copied up by several layers.
    pub(super) fn is_copied_often(&self) -> bool {
        self.wasted > 0 && self.files().count() >= MANY
    }

    /// Copied up by several layers, and longer each time.
    pub(super) fn grows(&self) -> bool {
        let sizes: Vec<u64> = self.files().map(|version| version.bytes).collect();
        self.is_copied_often() && sizes.windows(2).all(|pair| pair[1] > pair[0])
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.wasted > 0 && self.upgraded
    }

    pub(super) fn is_deleted(&self) -> bool {
        let removed = |version: &Version| version.tag.change() == Change::Removed;
        self.wasted > 0 && !self.shown && self.versions.iter().any(removed)
    }

    pub(super) fn is_repeated(&self) -> bool {
        let repeated = self.files().filter(|version| version.tag.change() == Change::Repeated);
        self.wasted > 0 && 2 * repeated.map(|version| version.bytes).sum::<u64>() >= self.wasted
    }

    /// Large enough for the memory of a process; `core` is a usual name for other things too.
    pub(super) fn is_dump(&self) -> bool {
        self.files().any(|version| version.bytes >= 64 << 10)
    }

    pub(super) fn has_visible_zeros(&self) -> bool {
        self.zeros && self.visible() > 0 && self.files().any(|version| version.bytes >= ZEROS_FROM)
    }

    pub(super) fn has_zeros(&self) -> bool {
        self.zeros
    }

    /// Bytecode that Python makes again where it is missing.
    pub(super) fn is_bytecode(&self) -> bool {
        self.compiled && self.visible() > 0
    }

    /// How a file changed from layer to layer.
    pub(super) fn growth(&self) -> String {
        let files: Vec<&Version> = self.files().collect();
        let (Some(first), Some(last)) = (files.first(), files.last()) else { return self.copies() };
        let size = |version: &Version| bytes(version.bytes);
        if files.len() < 2 {
            return self.copies();
        }
        let step = last.bytes.saturating_sub(first.bytes) / (files.len() as u64 - 1);
        format!(
            "{} copies, from {} in layer {} to {} in layer {}: {} more in each",
            files.len(),
            size(first),
            first.layer,
            size(last),
            last.layer,
            bytes(step)
        )
    }

    /// How often it is there.
    pub(super) fn copies(&self) -> String {
        let copies = self.files().count();
        let times = if copies == 1 { "1 copy".to_owned() } else { format!("{copies} copies") };
        match (self.wasted, self.visible()) {
            (0, visible) => format!("{times}, {} visible", bytes(visible)),
            (wasted, 0) => format!("{times}, {} hidden", bytes(wasted)),
            (wasted, visible) => {
                format!("{times}, {} hidden and {} visible", bytes(wasted), bytes(visible))
            }
        }
    }

    /// Which layers wrote it anew with the same content.
    pub(super) fn metadata(&self) -> String {
        let same = self.versions.iter().filter(|version| version.tag.change().keeps_content());
        let layers: Vec<String> = same.map(|version| version.layer.to_string()).collect();
        format!("the same content again in {}", list_layers(&layers))
    }

    /// Which layers brought it and which deleted it.
    pub(super) fn deletion(&self) -> String {
        let brought: Vec<String> = self.files().map(|version| version.layer.to_string()).collect();
        let deleted = self.versions.iter().filter(|version| version.tag.change() == Change::Removed);
        let deleted: Vec<String> = deleted.map(|version| version.layer.to_string()).collect();
        format!("written in {}, deleted in {}", list_layers(&brought), list_layers(&deleted))
    }

    /// Which layers brought it, and which deleted it if any did.
    pub(super) fn deletion_or_copies(&self) -> String {
        if self.is_deleted() { self.deletion() } else { self.copies() }
    }

    /// How much of it is there for nothing.
    pub(super) fn zero_bytes(&self) -> String {
        format!("{}, most of it zeros", bytes(self.total))
    }

    /// Which layers hold hidden content, for a secret.
    pub(super) fn left_behind(&self) -> String {
        let hidden: Vec<String> =
            self.files().filter(|version| version.wasted).map(|version| version.layer.to_string()).collect();
        let now = if self.shown { "another file is shown" } else { "nothing is shown" };
        format!("still in {}, where {now} now", list_layers(&hidden))
    }
}

fn list_layers(layers: &[String]) -> String {
    match layers {
        [] => "no layer".into(),
        [one] => format!("layer {one}"),
        few if few.len() <= 6 => format!("layers {}", few.join(", ")),
        many => format!("{} layers, {} to {}", many.len(), many[0], many[many.len() - 1]),
    }
}

/// Where package managers note what is installed.
const DATABASES: [&[u8]; 6] = [
    b"var/lib/dpkg/status",
    b"lib/apk/db/installed",
    b"var/lib/rpm/rpmdb.sqlite",
    b"var/lib/rpm/Packages",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite",
    b"usr/lib/sysimage/rpm/Packages.db",
];

/// Folders that packages fill.
const SYSTEM: [&[u8]; 9] = [b"usr", b"lib", b"lib64", b"lib32", b"bin", b"sbin", b"etc", b"boot", b"opt"];

/// Layers that rewrite the package database that a lower layer brought.
pub(crate) struct Upgrades(Vec<u32>);

impl Upgrades {
    /// Whether one of them replaced or deleted a system's file.
    pub(crate) fn touch(&self, tree: &Tree, node: NodeId, versions: &[Version]) -> bool {
        let replaced = |version: &Version| {
            matches!(version.tag.change(), Change::Changed | Change::Removed)
                && self.0.contains(&version.layer)
        };
        if self.0.is_empty() || !versions.iter().any(replaced) {
            return false;
        }
        let mut at = node;
        while at != ROOT && tree.parent(at) != ROOT {
            at = tree.parent(at);
        }
        SYSTEM.contains(&tree.name(at))
    }
}

/// Finds them.
pub(crate) fn upgrades(tree: &Tree, places: &Places) -> Upgrades {
    let mut layers = Vec::new();
    for path in DATABASES {
        let Some(node) = tree.find(path) else { continue };
        let versions = places.versions(node);
        layers.extend(
            versions
                .iter()
                .filter(|version| version.tag.change() == Change::Changed)
                .map(|version| version.layer),
        );
    }
    layers.sort_unstable();
    layers.dedup();
    Upgrades(layers)
}
