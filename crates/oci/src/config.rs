//! Image configs: reading what a squash needs, and rewriting `rootfs.diff_ids` and `history` alone.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::media_type::Refusal;
use crate::{Digest, Document, DocumentError, MAX_CONFIG_BYTES, Platform};

/// An image config, edited as a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    document: Document,
    diff_ids: Vec<Digest>,
    history: Vec<HistoryEntry>,
}

/// One entry of the history, with its text as it was.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// When, RFC 3339.
    pub created: Option<String>,
    /// The command.
    pub created_by: Option<String>,
    /// Who.
    pub author: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// Whether the step made no layer.
    pub empty_layer: bool,
    raw: Box<RawValue>,
}

impl PartialEq for HistoryEntry {
    fn eq(&self, other: &Self) -> bool {
        self.raw.get() == other.raw.get()
    }
}

impl Eq for HistoryEntry {}

/// The layer that a squash adds on top of the kept ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLayer {
    /// Digest of the layer's plain tar.
    pub diff_id: Digest,
    /// Goes to the history's `created_by`: the tool and its options.
    pub created_by: String,
    /// Goes to the history's `comment`, if any.
    pub comment: Option<String>,
}

#[derive(Deserialize)]
struct HistoryFields {
    created: Option<String>,
    created_by: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    empty_layer: Option<bool>,
}

impl HistoryEntry {
    fn parse(raw: Box<RawValue>) -> Result<Self, serde_json::Error> {
        let fields: HistoryFields = serde_json::from_str(raw.get())?;
        let HistoryFields { created, created_by, author, comment, empty_layer } = fields;
        Ok(Self { created, created_by, author, comment, empty_layer: empty_layer.unwrap_or(false), raw })
    }

    /// An entry for a layer (or, with `empty_layer`, for none); absent fields are not written.
    #[must_use]
    pub fn new(created: Option<&str>, created_by: &str, comment: Option<&str>, empty_layer: bool) -> Self {
        let mut document = Document::empty("history");
        if let Some(created) = created {
            document.set("created", created);
        }
        document.set("created_by", created_by);
        if let Some(comment) = comment {
            document.set("comment", comment);
        }
        if empty_layer {
            document.set("empty_layer", &true);
        }
        Self {
            created: created.map(str::to_owned),
            created_by: Some(created_by.to_owned()),
            author: None,
            comment: comment.map(str::to_owned),
            empty_layer,
            raw: document.to_raw(),
        }
    }

    /// The entry as it is written.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.raw
    }
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// [`DocumentError`] if it is too large, not an object, or has no valid `rootfs`.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document = Document::parse("config", bytes, MAX_CONFIG_BYTES)?;
        let rootfs = document.object("rootfs")?;
        let diff_ids = rootfs
            .get::<Vec<Digest>>("diff_ids")
            .map_err(|e| DocumentError::invalid("config", format!("rootfs.diff_ids: {e}")))?
            .unwrap_or_default();
        let mut history = Vec::new();
        if let Some(raw) = document.raw("history") {
            let entries = crate::document::elements(raw)
                .ok_or_else(|| DocumentError::invalid("config", "\"history\" is not a list"))?;
            for (at, raw) in entries.into_iter().enumerate() {
                let entry = HistoryEntry::parse(raw)
                    .map_err(|e| DocumentError::invalid("config", format!("history[{at}]: {e}")))?;
                history.push(entry);
            }
        }
        Ok(Self { document, diff_ids, history })
    }

    /// Digests of the layers' plain tars, lowest first.
    #[must_use]
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// The history, oldest first.
    #[must_use]
    pub fn history(&self) -> &[HistoryEntry] {
        &self.history
    }

    /// For each layer the index of its history entry; `None` if the history does not agree with the layers.
    #[must_use]
    pub fn layer_history(&self) -> Option<Vec<usize>> {
        let of_layers: Vec<usize> = self
            .history
            .iter()
            .enumerate()
            .filter(|(_, entry)| !entry.empty_layer)
            .map(|(at, _)| at)
            .collect();
        (of_layers.len() == self.diff_ids.len()).then_some(of_layers)
    }

    /// The image's platform, normalised; empty parts where the config is silent.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let text = |key| self.document.get::<String>(key).ok().flatten();
        Platform {
            os: text("os").unwrap_or_default(),
            architecture: text("architecture").unwrap_or_default(),
            variant: text("variant").filter(|variant| !variant.is_empty()),
            os_version: text("os.version"),
            os_features: self.document.get("os.features").ok().flatten().unwrap_or_default(),
        }
        .normalized()
    }

    /// When the image was made, as written.
    #[must_use]
    pub fn created(&self) -> Option<String> {
        self.document.get("created").ok().flatten()
    }

    /// The whole document, to read further fields from.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Refuses Windows images (`docs/layer-semantics.md#rule-20`).
    ///
    /// # Errors
    /// [`Refusal::Windows`].
    pub fn require_supported(&self) -> Result<(), Refusal> {
        if self.platform().os == "windows" { Err(Refusal::Windows) } else { Ok(()) }
    }

    /// Sets `rootfs.diff_ids`; other members of `rootfs` stay.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if `rootfs` is no object.
    pub fn set_diff_ids(&mut self, diff_ids: Vec<Digest>) -> Result<(), DocumentError> {
        if diff_ids == self.diff_ids {
            return Ok(());
        }
        let mut rootfs = self.document.object("rootfs")?;
        if rootfs.raw("type").is_none() {
            rootfs.set("type", "layers");
        }
        rootfs.set("diff_ids", &diff_ids);
        self.document.set_raw("rootfs", rootfs.to_raw());
        self.diff_ids = diff_ids;
        Ok(())
    }

    /// Sets the history; entries taken from [`ImageConfig::history`] keep their bytes.
    pub fn set_history(&mut self, history: Vec<HistoryEntry>) {
        if history == self.history {
            return;
        }
        let raws: Vec<&RawValue> = history.iter().map(|entry| &*entry.raw).collect();
        self.document.set("history", &raws);
        self.history = history;
    }

    /// The config of a squash: the lowest `kept` layers, then the new one (if it is not empty).
    ///
    /// The history keeps the entries of the kept layers with the steps between them, and gets one entry for
    /// the new layer, dated as the image itself so that no clock is in the output. Steps of the squashed
    /// range are dropped: what they set is in `config`. Where a history does not agree with its layers, kept
    /// layers get entries that say so.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if `kept` is more than the layers there are, or `rootfs` is no object.
    pub fn squash(&mut self, kept: usize, layer: Option<&NewLayer>) -> Result<(), DocumentError> {
        if kept > self.diff_ids.len() {
            return Err(DocumentError::invalid(
                "config",
                format!("{kept} layers are to be kept and it has {}", self.diff_ids.len()),
            ));
        }
        let mut history = self.base_history(kept);
        let mut diff_ids = self.diff_ids[..kept].to_vec();
        if let Some(layer) = layer {
            let created = self.created();
            history.push(HistoryEntry::new(
                created.as_deref(),
                &layer.created_by,
                layer.comment.as_deref(),
                false,
            ));
            diff_ids.push(layer.diff_id.clone());
        }
        self.set_history(history);
        self.set_diff_ids(diff_ids)
    }

    /// Adds one layer on top, with its history entry; everything else stays.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if `rootfs` is no object.
    pub fn append(&mut self, layer: &NewLayer) -> Result<(), DocumentError> {
        let mut history = if self.layer_history().is_some() {
            self.history.clone()
        } else {
            self.base_history(self.diff_ids.len())
        };
        let created = self.created();
        history.push(HistoryEntry::new(
            created.as_deref(),
            &layer.created_by,
            layer.comment.as_deref(),
            false,
        ));
        let mut diff_ids = self.diff_ids.clone();
        diff_ids.push(layer.diff_id.clone());
        self.set_history(history);
        self.set_diff_ids(diff_ids)
    }

    /// The history of the lowest `kept` layers, with the steps before and between them.
    #[must_use]
    pub fn base_history(&self, kept: usize) -> Vec<HistoryEntry> {
        if kept == 0 {
            return Vec::new();
        }
        match self.layer_history() {
            Some(of_layers) => self.history[..=of_layers[kept - 1]].to_vec(),
            None => vec![HistoryEntry::new(None, "kept layer without history", None, false); kept],
        }
    }

    /// The config's bytes: those it was read from, if nothing changed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.document.to_bytes()
    }
}
