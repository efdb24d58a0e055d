//! What is written of a layer at its end, and what becomes of the links that it could not satisfy.

use super::hard_links::{Inode, Passage, PendingLink};
use super::layer_pass::LayerPass;
use super::round::Round;
use super::source::LayerSource;
use super::stop::Stop;
use super::writer::{Body, Entry, Writer};
use crate::chunk::Piece;
use crate::collections::HashMap;
use crate::error::LayerError;
use crate::layer::{LinkTarget, MAX_SYMLINKS, ROOT, follow};
use crate::lock::lock;
use crate::tar::{Header, Kind};
use crate::tree::Tree;

/// Content that is held and that names other than its own want.
struct HeldContent {
    header: Header,
    pieces: Vec<Piece>,
}

impl<S: LayerSource> Round<'_, '_, S> {
    /// The layer was read before it was the front, which it is now.
    pub(super) fn finish_parked(
        &self,
        writer: &mut Writer<'_>,
        layer: usize,
        pass: &mut LayerPass,
    ) -> Result<(), Stop> {
        writer.settle(&lock(&self.tree), &mut pass.state, true)?;
        if pass.state.in_base {
            self.join_in_base(writer, pass);
        } else if self.discoveries.names_first.contains(&layer) {
            self.write_second_read(writer, layer, pass)?;
        }
        // Content that waits under other names is taken from what is held if all of it is there.
        let mut contents = HashMap::default();
        for held in std::mem::take(&mut pass.held) {
            if let Some(pieces) = held.content.as_ref().filter(|_| pass.is_linked(&held)) {
                let content = HeldContent { header: held.header.clone(), pieces: pieces.clone() };
                contents.insert(held.placed.record, content);
            }
            self.write_held(writer, pass, held)?;
        }
        self.write_waiting(writer, layer, pass, &contents)?;
        self.hand_links_down(writer, pass)
    }

    /// The layer was written as it was read.
    pub(super) fn finish_streamed(
        &self,
        writer: &mut Writer<'_>,
        layer: usize,
        pass: &mut LayerPass,
    ) -> Result<(), Stop> {
        writer.bind_all(&lock(&self.tree), &mut pass.state, true)?;
        self.write_waiting(writer, layer, pass, &HashMap::default())?;
        self.hand_links_down(writer, pass)
    }

    /// Writes a layer whose names are all known while it is read for the second time.
    fn write_second_read(
        &self,
        writer: &mut Writer<'_>,
        layer: usize,
        pass: &mut LayerPass,
    ) -> Result<(), Stop> {
        self.scheduler.note_second_read(layer);
        let mut records = pass.take_placed().into_iter();
        let mut reader = self.open(layer)?;
        let mut raw = Vec::new();
        let mut record = 0;
        while let Some(mut header) = reader.next(&mut raw)? {
            let placed = records.next().ok_or(LayerError::Changed)?;
            self.rewrite(layer, record, &mut header);
            record += 1;
            let Some(placed) = placed else { continue };
            let entry = Entry { placed, header: &header, raw: &raw };
            if writer.begin(&self.tree, &mut pass.state, &entry)? == Body::Copy {
                reader.content(|piece| writer.copy(piece))?;
            }
            writer.end(&self.tree)?;
        }
        Ok(())
    }

    /// In a kept base nothing is written in place, but links of higher layers to it join its inodes.
    fn join_in_base(&self, writer: &mut Writer<'_>, pass: &mut LayerPass) {
        let tree = lock(&self.tree);
        writer.truncate_in_base(&tree, &mut pass.state);
        let mut joining: Vec<_> = std::mem::take(&mut pass.state.links.joining).into_iter().collect();
        joining.sort_unstable_by_key(|(record, _)| *record);
        for (record, names) in joining {
            match pass.state.rules.link(record) {
                Some((_, LinkTarget::Here(content))) => {
                    pass.state.links.inodes.entry(content).or_default().waiting.extend(names);
                }
                Some((_, LinkTarget::Lower(index))) => pass.state.links.lower[index].names.extend(names),
                None => {}
            }
        }
    }

    /// Writes what waits under other names, behind the rest of the layer.
    fn write_waiting(
        &self,
        writer: &mut Writer<'_>,
        layer: usize,
        pass: &mut LayerPass,
        held: &HashMap<u32, HeldContent>,
    ) -> Result<(), Stop> {
        let mut waiting: Vec<(u32, Inode)> = std::mem::take(&mut pass.state.links.inodes)
            .into_iter()
            .filter(|(_, inode)| inode.written.is_none() && !inode.waiting.is_empty())
            .collect();
        waiting.sort_unstable_by_key(|(record, _)| *record);
        let is_known = |(record, inode): &(u32, Inode)| {
            held.contains_key(record) || (inode.truncated && inode.header.is_some())
        };
        if !waiting.iter().all(is_known) {
            return self.write_waiting_from_layer(writer, layer, waiting);
        }
        for (record, inode) in &waiting {
            let (header, pieces) = match held.get(record) {
                Some(content) => (Some(&content.header), &content.pieces[..]),
                None => (inode.header.as_ref(), &[][..]),
            };
            let Some(header) = header else { continue };
            if writer.begin_waiting(&self.tree, header, inode)? == Body::Copy {
                for piece in pieces {
                    writer.copy(piece.clone())?;
                }
            }
            writer.end(&self.tree)?;
        }
        Ok(())
    }

    /// The same, of content that was dropped when it went by: the layer is read once more.
    fn write_waiting_from_layer(
        &self,
        writer: &mut Writer<'_>,
        layer: usize,
        waiting: Vec<(u32, Inode)>,
    ) -> Result<(), Stop> {
        self.scheduler.note_second_read(layer);
        let mut reader = self.open(layer)?;
        let mut raw = Vec::new();
        let mut record = 0;
        let mut waiting = waiting.into_iter().peekable();
        while let Some(header) = reader.next(&mut raw)? {
            if let Some((_, inode)) = waiting.next_if(|(wanted, _)| *wanted == record) {
                if writer.begin_waiting(&self.tree, &header, &inode)? == Body::Copy {
                    reader.content(|piece| writer.copy(piece))?;
                }
                writer.end(&self.tree)?;
            }
            record += 1;
        }
        if waiting.peek().is_some() { Err(LayerError::Changed.into()) } else { Ok(()) }
    }

    /// Hands the links that this layer could not satisfy further down, with its own.
    fn hand_links_down(&self, writer: &mut Writer<'_>, pass: &mut LayerPass) -> Result<(), Stop> {
        let discovered = std::mem::take(&mut pass.state.links.discovered);
        if !discovered.is_empty() {
            return Err(Stop::Discovered(discovered));
        }
        let mut tree = lock(&self.tree);
        writer.attributes.look_at(&tree, &pass.state);
        writer.marked.extend(pass.state.take_marked(&tree));
        pass.state.warn_of_replaced_symlinks(&mut tree)?;
        for warning in std::mem::take(&mut pass.state.warnings) {
            writer.warnings.add(warning);
        }
        let lower = pass.state.take_lower_links();
        // What took a target away may turn out to be elsewhere, behind a link.
        let unsure = writer.pending_links.iter().chain(&lower).any(|pending| !pending.led.is_empty());
        for pending in std::mem::take(&mut writer.pending_links) {
            match pass_through(pass, &mut tree, pending)? {
                Ok(pending) => writer.pending_links.push(pending),
                Err(gone) => drop_link(writer, unsure, &tree, &gone)?,
            }
        }
        writer.pending_links.extend(lower);
        Ok(())
    }
}

/// What becomes of a link that a layer has nothing for: it goes on, perhaps through a symlink, or (`Err`)
/// leads to nothing.
fn pass_through(
    pass: &LayerPass,
    tree: &mut Tree,
    mut pending: PendingLink,
) -> Result<Result<PendingLink, PendingLink>, LayerError> {
    let (symlink, to) = match pass.state.passage(tree, pending.target) {
        Passage::Clear => return Ok(Ok(pending)),
        Passage::Gone => return Ok(Err(pending)),
        Passage::Through { symlink, to } => (symlink, to),
    };
    pending.hops += 1;
    let target = follow(tree, symlink, &to, pending.target)?;
    let Some(target) = target.filter(|target| pending.hops <= MAX_SYMLINKS && *target != ROOT) else {
        return Ok(Err(pending));
    };
    pending.target = target;
    // Nothing of this layer is written any more, so a match here can only be taken as gone.
    Ok(if pass.state.rules.latest(target).is_some() { Err(pending) } else { Ok(pending) })
}

/// A link whose target does not exist matters only where the link itself survives.
fn drop_link(writer: &mut Writer<'_>, unsure: bool, tree: &Tree, pending: &PendingLink) -> Result<(), Stop> {
    if pending.names.is_empty() {
        return Ok(());
    }
    let error = pending.dangling(tree).at(pending.layer as usize);
    if unsure {
        writer.refused.get_or_insert(error);
        return Ok(());
    }
    Err(Stop::Failed(error))
}

/// Whether an inode of this header is written without its content.
pub(super) fn is_emptied(header: &Header, inode: &Inode) -> bool {
    inode.truncated && header.kind == Kind::Regular
}
