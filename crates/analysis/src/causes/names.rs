//! Names that rules look for.
//!
//! A folder is `/var/cache/apt` (from the root) or `.cache/pip` (anywhere); it stands for all below it. A
//! file is a base name: `nohup.out`, `*.bak`, `core.*`, or a path from the root: `/etc/passwd-`. As parents
//! are always older than their children in the tree, one look at each path's last component is enough.

use super::table::{Rule, TABLE};
use crate::collections::HashMap;
use unbloat_layers::layer::{NodeId, ROOT};
use unbloat_layers::tree::Tree;

/// No rule.
const NOTHING: u8 = u8::MAX;

/// The rules whose names fit each path.
pub(crate) struct Names {
    /// For each path the rule of the folder that it is in, or is.
    folders: Vec<u8>,
    files: Files,
}

struct Folder {
    rule: u8,
    /// Components before the last one, nearest first.
    before: Vec<&'static [u8]>,
    anchored: bool,
}

#[derive(Default)]
struct Files {
    exact: HashMap<&'static [u8], u8>,
    suffixes: Vec<(&'static [u8], u8)>,
    prefixes: Vec<(&'static [u8], u8)>,
}

impl Names {
    pub(crate) fn new(tree: &Tree) -> Self {
        let folders = folder_table();
        let mut found = vec![NOTHING; tree.paths() as usize];
        for node in 1..tree.paths() {
            let above = found[tree.parent(node) as usize];
            let own = folders
                .get(tree.name(node))
                .and_then(|folders| folders.iter().find(|folder| folder.fits(tree, node)))
                .map_or(NOTHING, |folder| folder.rule);
            // A cache in a temporary folder is what its name says; the rule that stands first in the table
            // wins.
            found[node as usize] = above.min(own);
        }
        Self { folders: found, files: Files::new() }
    }

    /// The folder of `rule` that `node` is in.
    pub(crate) fn folder(&self, tree: &Tree, node: NodeId, rule: usize) -> Option<NodeId> {
        let is_its = |node: NodeId| usize::from(self.folders[node as usize]) == rule;
        let mut at = node;
        while at != ROOT && is_its(tree.parent(at)) {
            at = tree.parent(at);
        }
        (at != node).then_some(at)
    }

    /// Rules whose names fit, in the order of the table.
    pub(crate) fn rules(&self, tree: &Tree, node: NodeId) -> [Option<usize>; 2] {
        let folder = self.folders[node as usize];
        let file = self.files.rule(tree.name(node));
        let (first, second) = (folder.min(file), folder.max(file));
        let known = |rule: u8| (rule != NOTHING).then_some(usize::from(rule));
        [known(first), known(second)]
    }
}

fn folder_table() -> HashMap<&'static [u8], Vec<Folder>> {
    let mut table: HashMap<&'static [u8], Vec<Folder>> = HashMap::default();
    for (index, Rule { folders, files, .. }) in TABLE.iter().enumerate() {
        // A file that is meant from the root is found as a folder is, and has nothing below it.
        for folder in folders.iter().chain(files.iter().filter(|file| file.starts_with('/'))) {
            let mut components: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
            let Some(last) = components.pop() else { continue };
            table.entry(last.as_bytes()).or_default().push(Folder {
                // The table is short, as a test checks.
                rule: index as u8,
                before: components.into_iter().rev().map(str::as_bytes).collect(),
                anchored: folder.starts_with('/'),
            });
        }
    }
    table
}

impl Folder {
    fn fits(&self, tree: &Tree, node: NodeId) -> bool {
        let mut at = tree.parent(node);
        for part in &self.before {
            if at == ROOT || tree.name(at) != *part {
                return false;
            }
            at = tree.parent(at);
        }
        !self.anchored || at == ROOT
    }
}

impl Files {
    fn new() -> Self {
        let mut files = Self::default();
        for (index, Rule { files: patterns, .. }) in TABLE.iter().enumerate() {
            let rule = index as u8;
            for pattern in patterns.iter().filter(|pattern| !pattern.starts_with('/')) {
                if let Some(suffix) = pattern.strip_prefix('*') {
                    files.suffixes.push((suffix.as_bytes(), rule));
                } else if let Some(prefix) = pattern.strip_suffix('*') {
                    files.prefixes.push((prefix.as_bytes(), rule));
                } else {
                    files.exact.entry(pattern.as_bytes()).or_insert(rule);
                }
            }
        }
        files
    }

    fn rule(&self, name: &[u8]) -> u8 {
        let exact = self.exact.get(name).copied();
        let suffix = self.suffixes.iter().filter(|(suffix, _)| name.ends_with(suffix)).map(|(_, rule)| *rule);
        let prefix =
            self.prefixes.iter().filter(|(prefix, _)| name.starts_with(prefix)).map(|(_, rule)| *rule);
        exact.into_iter().chain(suffix).chain(prefix).min().unwrap_or(NOTHING)
    }
}
