//! Paths as they are met: a tree with interned names, found again by parent and name.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use unbloat_layers::LayerError;
use unbloat_layers::layer::{NodeId, PathStore};

use super::bits::Bits;

/// The root of the image, before and after numbering.
pub(crate) const ROOT: u32 = 0;

/// Byte strings, each kept once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    ends: Vec<u64>,
    /// How often each byte is in `bytes`, once they are frozen.
    common: Vec<u64>,
    index: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

impl Names {
    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.bytes[start as usize..self.ends[id as usize] as usize]
    }

    pub(crate) fn intern(&mut self, name: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(name);
        if let Some(id) = self.index.find(hash, |id| self.get(*id) == name) {
            return *id;
        }
        let id = self.ends.len() as u32;
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u64);
        let Self { bytes, ends, index, hasher, .. } = self;
        index.insert_unique(hash, id, |id| {
            let start = if *id == 0 { 0 } else { ends[*id as usize - 1] };
            hasher.hash_one(&bytes[start as usize..ends[*id as usize] as usize])
        });
        id
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The names that hold a text.
    ///
    /// All names lie in one buffer, which is searched at once for the text's rarest byte: that is several
    /// times faster than one name at a time, and what a text costs does not depend on how many names hold its
    /// first letters.
    pub(crate) fn holding(&self, text: &Text<'_>) -> Bits {
        let mut hits = Bits::new(self.len());
        let common = |byte: u8| self.common[usize::from(byte)];
        let of_both_cases = |byte: &u8| common(byte.to_ascii_lowercase()) + common(byte.to_ascii_uppercase());
        let Some(anchor) = (0..text.bytes.len()).min_by_key(|at| of_both_cases(&text.bytes[*at])) else {
            return hits;
        };
        let (low, high) = match text.bytes[anchor] {
            byte if text.any_case => (byte, byte.to_ascii_uppercase()),
            byte => (byte, byte),
        };
        let mut name = 0;
        for found in memchr::memchr2_iter(low, high, &self.bytes) {
            while self.ends[name] <= found as u64 {
                name += 1;
            }
            // A text that two names make together is in neither.
            let start = if name == 0 { 0 } else { self.ends[name - 1] as usize };
            let Some(from) = found.checked_sub(anchor).filter(|from| *from >= start) else { continue };
            let end = self.ends[name] as usize;
            if from + text.bytes.len() <= end
                && text.is_same(&self.bytes[from..from + text.bytes.len()], text.bytes)
            {
                hits.set(name as u32);
            }
        }
        hits
    }

    /// Gives up what only interning needs, and counts what searching needs.
    pub(crate) fn freeze(&mut self) {
        self.common = vec![0; 256];
        for byte in &self.bytes {
            self.common[usize::from(*byte)] += 1;
        }
        self.index = HashTable::new();
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// A text that is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    bytes: &'a [u8],
    any_case: bool,
}

impl<'a> Text<'a> {
    /// As ripgrep's smart case: a capital letter means that capitals matter.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, any_case: !bytes.iter().any(u8::is_ascii_uppercase) }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn is_same(&self, name: &[u8], text: &[u8]) -> bool {
        if self.any_case { name.eq_ignore_ascii_case(text) } else { name == text }
    }
}

/// Every path that a layer names, in the order in which they were met.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) names: Names,
    parents: Vec<u32>,
    name_ids: Vec<u32>,
    /// AUFS bookkeeping, which no runtime shows.
    invisible: Vec<bool>,
    index: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    max: u64,
}

impl Paths {
    pub(crate) fn new(max: u64) -> Self {
        let mut names = Names::default();
        let root = names.intern(b"");
        Self {
            names,
            parents: vec![ROOT],
            name_ids: vec![root],
            invisible: vec![false],
            index: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            max: max.min(u64::from(u32::MAX) - 1),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.parents.len()
    }

    pub(crate) fn parent(&self, id: u32) -> u32 {
        self.parents[id as usize]
    }

    pub(crate) fn is_invisible(&self, id: u32) -> bool {
        self.invisible[id as usize]
    }

    pub(crate) fn name_id(&self, id: u32) -> u32 {
        self.name_ids[id as usize]
    }

    pub(crate) fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one((parent, name));
        let same = |id: &u32| self.parent(*id) == parent && self.names.get(self.name_id(*id)) == name;
        self.index.find(hash, same).copied()
    }

    /// The path of `name` below `parent`, made when it is new.
    pub(crate) fn child(&mut self, parent: u32, name: &[u8], invisible: bool) -> Result<u32, LayerError> {
        if let Some(found) = self.find(parent, name) {
            return Ok(found);
        }
        if self.len() as u64 >= self.max {
            return Err(LayerError::PathLimit { limit: self.max });
        }
        let id = self.len() as u32;
        let name_id = self.names.intern(name);
        self.parents.push(parent);
        self.name_ids.push(name_id);
        self.invisible.push(invisible || self.is_invisible(parent));
        let hash = self.hasher.hash_one((parent, name));
        let Self { parents, name_ids, names, hasher, index, .. } = self;
        index.insert_unique(hash, id, |id| {
            hasher.hash_one((parents[*id as usize], names.get(name_ids[*id as usize])))
        });
        Ok(id)
    }

    /// The order in which a walk meets the paths, parents first and siblings by name: position to path.
    pub(crate) fn walk_order(&self) -> Vec<u32> {
        let mut by_name: Vec<u32> = (0..self.names.len() as u32).collect();
        by_name.sort_unstable_by(|a, b| self.names.get(*a).cmp(self.names.get(*b)));
        let mut rank = vec![0_u32; by_name.len()];
        for (at, name) in by_name.into_iter().enumerate() {
            rank[name as usize] = at as u32;
        }
        // Largest first, so that taking from the end of the stack gives the smallest.
        let key = |id: u32| (self.parent(id), rank[self.name_id(id) as usize]);
        let mut children: Vec<u32> = (1..self.len() as u32).collect();
        children.sort_unstable_by_key(|id| std::cmp::Reverse(key(*id)));
        let mut first = vec![(0_u32, 0_u32); self.len()];
        for (at, id) in children.iter().enumerate() {
            let span = &mut first[self.parent(*id) as usize];
            if span.0 == span.1 {
                span.0 = at as u32;
            }
            span.1 = at as u32 + 1;
        }
        let mut order = Vec::with_capacity(self.len());
        let mut stack = vec![ROOT];
        while let Some(id) = stack.pop() {
            order.push(id);
            let (start, end) = first[id as usize];
            stack.extend_from_slice(&children[start as usize..end as usize]);
        }
        order
    }
}

impl PathStore for Paths {
    fn parent(&self, node: NodeId) -> NodeId {
        Self::parent(self, node)
    }

    fn name(&self, node: NodeId) -> &[u8] {
        self.names.get(self.name_id(node))
    }

    fn child(&mut self, parent: NodeId, name: &[u8], invisible: bool) -> Result<NodeId, LayerError> {
        Self::child(self, parent, name, invisible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_meets_parents_first_and_siblings_by_name() {
        let mut paths = Paths::new(100);
        let usr = paths.child(ROOT, b"usr", false).unwrap();
        let etc = paths.child(ROOT, b"etc", false).unwrap();
        let lib = paths.child(usr, b"lib", false).unwrap();
        let bin = paths.child(usr, b"bin", false).unwrap();
        assert_eq!(paths.child(usr, b"lib", false).unwrap(), lib);
        assert_eq!(paths.walk_order(), [ROOT, etc, usr, bin, lib]);
    }

    #[test]
    fn a_text_is_found_in_names_and_not_between_them() {
        let mut names = Names::default();
        let [ab, cab, empty, bc] = ["ab", "Cab", "", "bc"].map(|name| names.intern(name.as_bytes()));
        names.freeze();
        let found = |text: &str| {
            let hits = names.holding(&Text::new(text.as_bytes()));
            [ab, cab, empty, bc].map(|name| hits.get(name))
        };
        assert_eq!(found("ab"), [true, true, false, false]);
        assert_eq!(found("cab"), [false, true, false, false]);
        assert_eq!(found("Cab"), [false, true, false, false]);
        assert_eq!(found("CAB"), [false; 4]);
        assert_eq!(found("abb"), [false; 4]);
        assert_eq!(found("bb"), [false; 4]);
        assert_eq!(found("bc"), [false, false, false, true]);
        assert_eq!(found("b"), [true, true, false, true]);
    }

    #[test]
    fn the_limit_of_paths_is_an_error() {
        let mut paths = Paths::new(2);
        paths.child(ROOT, b"a", false).unwrap();
        assert!(matches!(paths.child(ROOT, b"b", false), Err(LayerError::PathLimit { limit: 2 })));
    }
}
