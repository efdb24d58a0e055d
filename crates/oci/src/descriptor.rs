//! Descriptors: media type, digest, size, and whatever else was written beside them (image-spec
//! `descriptor.md`).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{Digest, Document, DocumentError, MediaType, Platform};

/// A pointer to content. Unknown fields and untouched values keep their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    media_type: MediaType,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
    document: Document,
}

impl Descriptor {
    /// A descriptor with just the three fields that are required.
    #[must_use]
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        let mut document = Document::empty("descriptor");
        document.set("mediaType", &media_type);
        document.set("digest", &digest);
        document.set("size", &size);
        Self { media_type, digest, size, platform: None, document }
    }

    /// The descriptor of these bytes.
    #[must_use]
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256_of(bytes), bytes.len() as u64)
    }

    /// Reads a descriptor.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if a required field is missing, negative or malformed.
    pub fn parse(raw: &RawValue) -> Result<Self, DocumentError> {
        let document = Document::parse("descriptor", raw.get().as_bytes(), u64::MAX)?;
        let size = document.require::<i64>("size")?;
        let size = u64::try_from(size)
            .map_err(|_| DocumentError::invalid("descriptor", format!("\"size\" is negative: {size}")))?;
        Ok(Self {
            media_type: document.get::<MediaType>("mediaType")?.unwrap_or_else(|| MediaType::from_static("")),
            digest: document.require("digest")?,
            size,
            platform: document.get("platform")?,
            document,
        })
    }

    /// Type of the content.
    #[must_use]
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// Digest of the content.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Size of the content in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Platform of a manifest in an index.
    #[must_use]
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// Type of the artifact that it points to.
    #[must_use]
    pub fn artifact_type(&self) -> Option<String> {
        self.document.get("artifactType").ok().flatten()
    }

    /// Where a foreign layer can be fetched from.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.document.get("urls").ok().flatten().unwrap_or_default()
    }

    /// One annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<String> {
        self.annotations().remove(key)
    }

    /// All annotations whose values are strings.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.document.get("annotations").ok().flatten().unwrap_or_default()
    }

    /// Changes the media type, and nothing else.
    pub fn set_media_type(&mut self, media_type: MediaType) {
        self.document.set("mediaType", &media_type);
        self.media_type = media_type;
    }

    /// Points to other content: digest and size change; `data`, which would be that of the old content, goes.
    pub fn set_content(&mut self, digest: Digest, size: u64) {
        if digest != self.digest {
            self.document.remove("data");
        }
        self.document.set("digest", &digest);
        self.document.set("size", &size);
        self.digest = digest;
        self.size = size;
    }

    /// Sets the platform.
    pub fn set_platform(&mut self, platform: Platform) {
        self.document.set("platform", &platform);
        self.platform = Some(platform);
    }

    /// Sets one annotation.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if the annotations there are no object.
    pub fn set_annotation(&mut self, key: &str, value: &str) -> Result<(), DocumentError> {
        let mut annotations = self.document.object("annotations")?;
        annotations.set(key, value);
        self.document.set_raw("annotations", annotations.to_raw());
        Ok(())
    }

    /// The descriptor as JSON: as it was read, where nothing was changed.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        self.document.to_raw()
    }
}

pub(crate) fn remove_annotations(
    document: &mut Document,
    drop: impl Fn(&str) -> bool,
) -> Result<(), DocumentError> {
    let mut annotations = document.object("annotations")?;
    let doomed: Vec<String> = annotations.keys().filter(|key| drop(key)).map(str::to_owned).collect();
    if doomed.is_empty() {
        return Ok(());
    }
    for key in &doomed {
        annotations.remove(key);
    }
    if annotations.is_empty() {
        document.remove("annotations");
    } else {
        document.set_raw("annotations", annotations.to_raw());
    }
    Ok(())
}

/// A list of descriptors, which may be absent or `null`.
pub(crate) fn list(document: &Document, key: &'static str) -> Result<Vec<Descriptor>, DocumentError> {
    let Some(raw) = document.raw(key) else { return Ok(Vec::new()) };
    let elements = crate::document::elements(raw)
        .ok_or_else(|| DocumentError::invalid(document.what(), format!("{key:?} is not a list")))?;
    elements
        .iter()
        .enumerate()
        .map(|(at, raw)| {
            Descriptor::parse(raw)
                .map_err(|e| DocumentError::invalid(document.what(), format!("{key}[{at}]: {e}")))
        })
        .collect()
}

/// A list of descriptors as JSON.
pub(crate) fn to_raw_list(descriptors: &[Descriptor]) -> Box<RawValue> {
    let texts: Vec<Box<RawValue>> = descriptors.iter().map(Descriptor::to_raw).collect();
    serde_json::value::to_raw_value(&texts).expect("raw values are JSON")
}
