//! From what was counted to the [`Analysis`].

use std::cmp::{Ordering, Reverse};

use super::apply::{Applier, LayerSums};
use super::causes::{DUPLICATES, Names, Past, Rule, SECRETS, Scope, TABLE, Upgrades, upgrades};
use super::places::{Inode, Place, Standing, Version};
use super::result::{
    Analysis, CauseReport, Change, DuplicateReport, EntryKind, Evidence, LayerReport, PathReport,
    PathVersion, RiskReport, Totals, WhiteoutReport,
};
use super::{AnalysisOptions, ImageFacts};
use unbloat_layers::display;
use unbloat_layers::layer::{NodeId, ROOT};

/// Paths that a cause names.
const EVIDENCE: usize = 5;
/// Groups of equal files, and the paths of each, that are reported.
const DUPLICATE_GROUPS: usize = 20;
const DUPLICATE_PATHS: usize = 5;
/// Risks that are reported.
const RISKS: usize = 200;

pub(super) struct Reporter<'a> {
    applier: &'a Applier,
    names: Names,
    upgrades: Upgrades,
}

/// What a cause has come to so far.
#[derive(Clone, Default)]
struct Sum {
    paths: u64,
    wasted: u64,
    removable: u64,
    /// The costliest paths, with their bytes.
    worst: Vec<(u64, NodeId)>,
}

impl Sum {
    fn add(&mut self, node: NodeId, wasted: u64, removable: u64) {
        self.paths += 1;
        self.wasted += wasted;
        self.removable += removable;
        self.worst.push((wasted + removable, node));
        if self.worst.len() > 64 * EVIDENCE {
            self.keep_worst();
        }
    }

    fn keep_worst(&mut self) {
        self.worst.sort_unstable_by_key(|(bytes, node)| (Reverse(*bytes), *node));
        self.worst.truncate(EVIDENCE);
    }
}

impl<'a> Reporter<'a> {
    pub(super) fn new(applier: &'a Applier) -> Self {
        let names = Names::new(&applier.tree);
        let upgrades = upgrades(&applier.tree, &applier.places);
        Self { applier, names, upgrades }
    }

    pub(super) fn report(&self, facts: &ImageFacts, options: &AnalysisOptions) -> Analysis {
        let (chosen, paths_total) = self.choose(options.top);
        let (mut causes, risks) = self.causes();
        let (duplicates, cause) = self.duplicates();
        causes.extend(cause);
        causes.sort_by(|a, b| {
            let cost = |cause: &CauseReport| cause.wasted_bytes + cause.removable_bytes;
            cost(b).cmp(&cost(a)).then_with(|| a.cause.cmp(&b.cause))
        });
        let mut totals = self.totals(facts);
        let counted = causes.iter().filter(|cause| cause.cause != DUPLICATES);
        totals.removable_bytes = counted.map(|cause| cause.removable_bytes).sum();
        let compressed: f64 = self.applier.sums.iter().map(|sums| sums.wasted_compressed).sum();
        let estimate = super::Estimate {
            compressed_bytes: (compressed.max(0.0) as u64).min(totals.compressed_bytes),
            unpacked_bytes: totals.wasted_bytes,
            seconds: 0.0,
        };
        Analysis {
            reference: facts.reference.clone(),
            digest: facts.digest.clone(),
            platform: facts.platform.clone(),
            layers: self.layers(facts),
            totals,
            paths: chosen.into_iter().map(|node| self.path(node)).collect(),
            paths_total,
            causes,
            duplicates,
            risks,
            estimate,
            warnings: Vec::new(),
        }
    }

    fn name(&self, node: NodeId) -> String {
        format!("/{}", display(&self.applier.tree.path(node)))
    }

    fn totals(&self, facts: &ImageFacts) -> Totals {
        let sums = &self.applier.sums;
        let unpacked_bytes: u64 = sums.iter().map(|sums| sums.unpacked).sum();
        let wasted_bytes: u64 = sums.iter().map(|sums| sums.wasted).sum();
        let merged_bytes = unpacked_bytes - wasted_bytes;
        let shown = |node: &NodeId| self.applier.is_shown(*node);
        Totals {
            layers: sums.len() as u64,
            compressed_bytes: facts.layers.iter().map(|layer| layer.compressed_bytes).sum(),
            unpacked_bytes,
            merged_bytes,
            wasted_bytes,
            removable_bytes: 0,
            efficiency: if unpacked_bytes == 0 { 1.0 } else { merged_bytes as f64 / unpacked_bytes as f64 },
            merged_paths: (ROOT + 1..self.applier.places.len()).filter(shown).count() as u64,
            tar_bytes: sums.iter().map(|sums| sums.tar_bytes).sum(),
        }
    }

    fn layers(&self, facts: &ImageFacts) -> Vec<LayerReport> {
        let report = |(index, sums): (usize, &LayerSums)| {
            let facts = facts.layers.get(index).cloned().unwrap_or_default();
            let whiteout = |removal: &super::apply::Removal| WhiteoutReport {
                path: self.name(removal.node),
                opaque: removal.opaque,
                paths: removal.tally.paths,
                bytes: removal.tally.bytes,
            };
            LayerReport {
                index: index as u32,
                digest: facts.digest,
                diff_id: facts.diff_id,
                media_type: facts.media_type,
                compressed_bytes: facts.compressed_bytes,
                unpacked_bytes: sums.unpacked,
                wasted_bytes: sums.wasted,
                entries: sums.entries,
                created_by: facts.created_by,
                created: facts.created,
                tar_bytes: sums.tar_bytes,
                added: sums.added,
                changed: sums.changed,
                metadata_only: sums.metadata_only,
                removed: sums.removed,
                hides_bytes: sums.hides,
                whiteouts: sums.whiteouts,
                worst_whiteouts: sums.worst.iter().map(whiteout).collect(),
            }
        };
        self.applier.sums.iter().enumerate().map(report).collect()
    }

    /// The worst paths in order, and how many there are in all.
    fn choose(&self, top: Option<usize>) -> (Vec<NodeId>, u64) {
        let mut nodes: Vec<NodeId> = self.applier.named().map(|(node, _)| node).collect();
        let total = nodes.len() as u64;
        let order = |a: &NodeId, b: &NodeId| self.order(*a, *b);
        let wanted = top.unwrap_or(nodes.len()).min(nodes.len());
        if wanted < nodes.len() {
            nodes.select_nth_unstable_by(wanted, order);
            nodes.truncate(wanted);
        }
        nodes.sort_unstable_by(order);
        (nodes, total)
    }

    fn order(&self, a: NodeId, b: NodeId) -> Ordering {
        let key = |node| {
            let place = self.applier.places.place(node);
            (Reverse(place.wasted), Reverse(place.total))
        };
        // Names decide between equals, so that the result depends on the image alone.
        key(a).cmp(&key(b)).then_with(|| self.applier.tree.path(a).cmp(&self.applier.tree.path(b)))
    }

    fn past(&self, node: NodeId, place: &Place) -> Past {
        let versions = self.applier.places.versions(node);
        Past {
            node,
            upgraded: self.upgrades.touch(&self.applier.tree, node, &versions),
            versions,
            total: place.total,
            wasted: place.wasted,
            shown: self.applier.shown(node).is_some_and(|inode| !inode.is_directory()),
            zeros: place.has_zeros(),
            compiled: self.is_compiled(node),
        }
    }

    /// Whether `node` is the bytecode of a Python source that the image shows (PEP 3147): Python makes it
    /// again.
    fn is_compiled(&self, node: NodeId) -> bool {
        let tree = &self.applier.tree;
        let name = tree.name(node);
        let Some(module) = name.strip_suffix(b".pyc").or_else(|| name.strip_suffix(b".pyo")) else {
            return false;
        };
        let folder = tree.path(tree.parent(node));
        let (folder, module) = match folder.strip_suffix(b"__pycache__") {
            // `module.cpython-313.opt-1.pyc` beside the folder's `module.py`.
            Some(above) => (above, module.split(|byte| *byte == b'.').next().unwrap_or(module)),
            None => (folder.as_slice(), module),
        };
        let folder = folder.strip_suffix(b"/").unwrap_or(folder);
        let between: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        let source = tree.find(&[folder, between, module, b".py"].concat());
        source.is_some_and(|source| self.applier.shown(source).is_some_and(|inode| !inode.is_directory()))
    }

    /// The rule that explains a path, with the path's history.
    fn rule(&self, node: NodeId, place: &Place) -> Option<(usize, Past)> {
        if place.total == 0 {
            return None;
        }
        let named = self.names.rules(&self.applier.tree, node);
        if place.wasted == 0 && named == [None, None] && !place.has_zeros() {
            return None;
        }
        let past = self.past(node, place);
        let fits = |(index, rule): &(usize, &Rule)| {
            let names = !rule.has_names() || named.contains(&Some(*index));
            names && rule.scope != Scope::Image && (rule.when)(&past)
        };
        let (index, _) = TABLE.iter().enumerate().find(fits)?;
        Some((index, past))
    }

    fn path(&self, node: NodeId) -> PathReport {
        let applier = self.applier;
        let place = applier.places.place(node);
        let raw = applier.tree.path(node);
        let versions = applier.places.versions(node);
        let mut layers: Vec<u32> = versions
            .iter()
            .filter(|version| version.tag.change() != Change::Removed)
            .map(|version| version.layer)
            .collect();
        layers.dedup();
        let version = |version: &Version| PathVersion {
            layer: version.layer,
            change: version.tag.change(),
            kind: version.tag.kind(),
            bytes: version.bytes,
            wasted_bytes: if version.wasted { version.bytes } else { 0 },
            attributes: applier.places.attributes(version).cloned(),
        };
        let hex = |raw: &[u8]| raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let shows = match applier.shown(node) {
            Some(inode) => Some(self.shown_kind(node, inode)),
            None => applier.is_shown(node).then_some(EntryKind::Directory),
        };
        PathReport {
            path: self.name(node),
            path_hex: std::str::from_utf8(&raw).is_err().then(|| hex(&raw)),
            copies: u32::from(place.copies),
            total_bytes: place.total,
            wasted_bytes: place.wasted,
            layers,
            shortened: place.is_shortened(),
            cause: self.rule(node, place).map(|(rule, _)| TABLE[rule].name.to_owned()),
            shows,
            versions: versions.iter().map(version).collect(),
        }
    }

    fn shown_kind(&self, node: NodeId, inode: &Inode) -> EntryKind {
        if inode.kind() == EntryKind::File && inode.node != node { EntryKind::HardLink } else { inode.kind() }
    }

    fn causes(&self) -> (Vec<CauseReport>, Vec<RiskReport>) {
        let mut sums = vec![Sum::default(); TABLE.len()];
        let mut risks = Vec::new();
        for (node, place) in self.applier.named() {
            let Some((index, past)) = self.rule(node, place) else { continue };
            let removable = if TABLE[index].scope == Scope::Visible { past.visible() } else { 0 };
            sums[index].add(node, place.wasted, removable);
            if TABLE[index].name == SECRETS && risks.len() < RISKS {
                risks.push(self.risk(&past));
            }
        }
        risks.sort_by(|a, b| a.path.cmp(&b.path));
        let report = |(rule, mut sum): (&Rule, Sum)| {
            sum.keep_worst();
            (sum.paths > 0).then(|| self.cause(rule, &sum))
        };
        (TABLE.iter().zip(sums).filter_map(report).collect(), risks)
    }

    fn cause(&self, rule: &Rule, sum: &Sum) -> CauseReport {
        let evidence = |(bytes, node): &(u64, NodeId)| {
            let past = self.past(*node, self.applier.places.place(*node));
            Evidence {
                path: self.name(*node),
                bytes: *bytes,
                seen: (rule.seen)(&past),
                layers: past.layers(),
            }
        };
        let mut options: Vec<[String; 2]> = Vec::new();
        for (_, node) in &sum.worst {
            options.extend(self.option(rule, *node).filter(|option| !options.contains(option)));
        }
        CauseReport {
            cause: rule.name.to_owned(),
            title: rule.title.to_owned(),
            paths: sum.paths,
            wasted_bytes: sum.wasted,
            removable_bytes: sum.removable,
            advice: rule.advice.to_owned(),
            options: options.into_iter().flatten().collect(),
            evidence: sum.worst.iter().map(evidence).collect(),
        }
    }

    /// The option of a squash that mends `node`, or all of the folder that the rule is about.
    fn option(&self, rule: &Rule, node: NodeId) -> Option<[String; 2]> {
        let tree = &self.applier.tree;
        let index = TABLE.iter().position(|other| other.name == rule.name)?;
        let option = rule.option?.to_owned();
        if !self.applier.is_shown(node) {
            return None;
        }
        match self.names.folder(tree, node, index).filter(|_| rule.scope == Scope::Visible) {
            // What is in the folder, and not the folder itself, which programs may expect.
            Some(folder) => Some([option, format!("{}/*", pattern(&tree.path(folder))?)]),
            None => Some([option, pattern(&tree.path(node))?]),
        }
    }

    fn risk(&self, past: &Past) -> RiskReport {
        let mut layers: Vec<u32> =
            past.versions.iter().filter(|version| version.wasted).map(|version| version.layer).collect();
        layers.dedup();
        RiskReport {
            risk: SECRETS.to_owned(),
            path: self.name(past.node),
            layers,
            replaced: past.shown,
            advice: "take it for disclosed and change it; squash, and delete the old image from the registry"
                .into(),
        }
    }

    /// Visible files with equal content.
    fn duplicates(&self) -> (Vec<DuplicateReport>, Option<CauseReport>) {
        let places = &self.applier.places;
        let is_file = |inode: &Inode| inode.kind() == EntryKind::File && inode.size > 0;
        let mut files: Vec<u32> =
            places.visible().filter(|(_, inode)| is_file(inode)).map(|(at, _)| at).collect();
        let key = |at: &u32| {
            let inode = places.inode(*at);
            (inode.print, inode.size)
        };
        files.sort_unstable_by_key(|at| (key(at), places.inode(*at).node));
        let mut sum = Sum::default();
        let mut groups: Vec<(u64, u64, Vec<NodeId>)> = Vec::new();
        for group in files.chunk_by(|a, b| key(a) == key(b)).filter(|group| group.len() > 1) {
            let inode = places.inode(group[0]);
            let extra = inode.size * (group.len() as u64 - 1);
            sum.add(inode.node, 0, extra);
            sum.paths += group.len() as u64 - 1;
            // A file whose own name is hidden while a link shows it is left unnamed.
            let stands =
                |at: &&u32| places.place(places.inode(**at).node).standing() == Standing::Inode(**at);
            let named = group.iter().filter(stands).take(DUPLICATE_PATHS);
            let paths = named.map(|at| places.inode(*at).node).collect();
            groups.push((extra, group.len() as u64, paths));
            if groups.len() >= 64 * DUPLICATE_GROUPS {
                keep_costliest(&mut groups);
            }
        }
        keep_costliest(&mut groups);
        if groups.is_empty() {
            return (Vec::new(), None);
        }
        let reports: Vec<_> = groups
            .iter()
            .map(|(extra, copies, nodes)| DuplicateReport {
                bytes: extra / (copies - 1),
                copies: *copies,
                extra_bytes: *extra,
                paths: nodes.iter().map(|node| self.name(*node)).collect(),
            })
            .collect();
        let Some(rule) = TABLE.iter().find(|rule| rule.name == DUPLICATES) else { return (reports, None) };
        let mut cause = self.cause(rule, &Sum { worst: Vec::new(), ..sum });
        cause.evidence = reports
            .iter()
            .take(EVIDENCE)
            .map(|group| Evidence {
                path: group.paths.first().cloned().unwrap_or_default(),
                bytes: group.extra_bytes,
                seen: format!("{} files of {} each", group.copies, unbloat_text::bytes(group.bytes)),
                layers: Vec::new(),
            })
            .collect();
        (reports, Some(cause))
    }
}

fn keep_costliest(groups: &mut Vec<(u64, u64, Vec<NodeId>)>) {
    groups.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
    groups.truncate(DUPLICATE_GROUPS);
}

/// A path as a pattern that means this path alone. `None` for one that no argument can hold.
fn pattern(path: &[u8]) -> Option<String> {
    std::str::from_utf8(path).ok().map(|_| unbloat_text::pattern(path))
}
