//! A JSON object whose untouched members keep their bytes.
//!
//! `serde_json::Value` would lose the spelling of numbers (`1.0`, `1e3`, 20-digit integers) and of escapes;
//! here each key and value is kept as the text that it was. Only space *between* members of an edited object
//! is lost.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::DocumentError;

/// One JSON object, in the order of its source.
#[derive(Clone)]
pub struct Document {
    what: &'static str,
    /// The source, until something was edited.
    original: Option<Vec<u8>>,
    members: Vec<Member>,
}

#[derive(Clone)]
struct Member {
    /// The key as written, with quotes and escapes.
    raw_key: String,
    key: String,
    value: Box<RawValue>,
}

impl Document {
    /// Parses one object. `what` names the kind of document in errors.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`] past `limit` bytes; [`DocumentError::Invalid`] for anything but one
    /// object, and for an object with one key twice: readers disagree on which of the two counts.
    pub fn parse(what: &'static str, bytes: &[u8], limit: u64) -> Result<Self, DocumentError> {
        if bytes.len() as u64 > limit {
            return Err(DocumentError::TooLarge { what, size: bytes.len() as u64, limit });
        }
        let members: Members = serde_json::from_slice(bytes).map_err(|e| DocumentError::invalid(what, e))?;
        let mut seen = HashSet::with_capacity(members.0.len());
        for member in &members.0 {
            if !seen.insert(member.key.as_str()) {
                return Err(DocumentError::invalid(what, format!("it has {:?} twice", member.key)));
            }
        }
        Ok(Self { what, original: Some(bytes.to_vec()), members: members.0 })
    }

    /// An object without members.
    #[must_use]
    pub fn empty(what: &'static str) -> Self {
        Self { what, original: None, members: Vec::new() }
    }

    /// Kind of document, as errors name it.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.key.as_str())
    }

    /// A member's value as it was written.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.members.iter().find(|member| member.key == key).map(|member| &*member.value)
    }

    /// A member's value as a type; `null` and absence are `None`.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`], naming the member, if it has another shape.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, DocumentError> {
        match self.raw(key) {
            None => Ok(None),
            Some(raw) => serde_json::from_str::<Option<T>>(raw.get())
                .map_err(|e| DocumentError::invalid(self.what, format!("{key:?}: {e}"))),
        }
    }

    /// As [`Document::get`], for a member that has to be there.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if it is absent, `null` or of another shape.
    pub fn require<T: DeserializeOwned>(&self, key: &str) -> Result<T, DocumentError> {
        self.get(key)?.ok_or_else(|| DocumentError::invalid(self.what, format!("it has no {key:?}")))
    }

    /// Sets a member: in place where it exists, else at the end. The same text changes nothing.
    pub fn set_raw(&mut self, key: &str, value: Box<RawValue>) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            if member.value.get() != value.get() {
                member.value = value;
                self.original = None;
            }
            return;
        }
        let raw_key = serde_json::Value::from(key).to_string();
        self.members.push(Member { raw_key, key: key.to_owned(), value });
        self.original = None;
    }

    /// Sets a member to a value's JSON.
    ///
    /// # Panics
    /// Never for this crate's types: a map with keys that are no strings would be needed.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        let raw = serde_json::value::to_raw_value(value).expect("a value with string keys is JSON");
        self.set_raw(key, raw);
    }

    /// Removes a member; tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.key != key);
        let removed = self.members.len() != before;
        if removed {
            self.original = None;
        }
        removed
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member that is itself an object (absent counts as empty), to be edited and put back.
    ///
    /// # Errors
    /// [`DocumentError::Invalid`] if it is something else.
    pub fn object(&self, key: &str) -> Result<Self, DocumentError> {
        match self.raw(key) {
            None => Ok(Self::empty(self.what)),
            Some(raw) if raw.get() == "null" => Ok(Self::empty(self.what)),
            Some(raw) => {
                Self::parse(self.what, raw.get().as_bytes(), u64::MAX).map_err(|error| match error {
                    DocumentError::Invalid { what, reason } => {
                        DocumentError::invalid(what, format!("{key:?}: {reason}"))
                    }
                    other => other,
                })
            }
        }
    }

    /// The document's bytes: the source's own if nothing was edited.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        if let Some(original) = &self.original {
            return original.clone();
        }
        let mut out = Vec::with_capacity(
            2 + self.members.iter().map(|m| m.raw_key.len() + m.value.get().len() + 2).sum::<usize>(),
        );
        out.push(b'{');
        for (at, member) in self.members.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(member.raw_key.as_bytes());
            out.push(b':');
            out.extend_from_slice(member.value.get().as_bytes());
        }
        out.push(b'}');
        out
    }

    /// The same as one JSON value, to be a member of another document.
    ///
    /// # Panics
    /// Never: a document is valid JSON.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        let text = String::from_utf8(self.to_bytes()).expect("JSON is UTF-8");
        RawValue::from_string(text).expect("a document is JSON")
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// Two documents are equal when their bytes are.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Document {}

struct Members(Vec<Member>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(raw) = map.next_key::<Box<RawValue>>()? {
                    let key = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
                    members.push(Member { raw_key: raw.get().to_owned(), key, value: map.next_value()? });
                }
                Ok(Members(members))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Members, E> {
                Err(E::custom("null instead of a JSON object"))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A JSON array as the texts of its elements.
pub(crate) fn elements(raw: &RawValue) -> Option<Vec<Box<RawValue>>> {
    serde_json::from_str::<Option<Vec<Box<RawValue>>>>(raw.get()).ok().map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_edited_keeps_its_bytes() {
        let source = br#" { "a" : 1.0e+2, "\u0062":"\u00e9\/", "c":{ "x" : [ 1 ,2] }, "big":123456789012345678901234567890 } "#;
        let mut document = Document::parse("test", source, 1000).unwrap();
        assert_eq!(document.to_bytes(), source);
        document.set("a", &1);
        assert_eq!(
            String::from_utf8(document.to_bytes()).unwrap(),
            r#"{"a":1,"\u0062":"\u00e9\/","c":{ "x" : [ 1 ,2] },"big":123456789012345678901234567890}"#
        );
        assert_eq!(document.get::<String>("b").unwrap().unwrap(), "é/");
    }

    #[test]
    fn setting_the_same_value_is_no_edit() {
        let source = br#"{ "a": [1] }"#;
        let mut document = Document::parse("test", source, 1000).unwrap();
        document.set("a", &[1]);
        assert_eq!(document.to_bytes(), source);
    }

    #[test]
    fn one_key_twice_is_an_error_even_when_spelled_differently() {
        let error = Document::parse("test", br#"{"a":1,"\u0061":2}"#, 100).unwrap_err();
        assert!(error.to_string().contains(r#""a" twice"#), "{error}");
    }

    #[test]
    fn a_document_past_the_limit_is_not_parsed() {
        assert!(matches!(Document::parse("test", b"{}", 1), Err(DocumentError::TooLarge { size: 2, .. })));
        for bad in ["", "[]", "null", "{", "{}x", "1"] {
            assert!(Document::parse("test", bad.as_bytes(), 100).is_err(), "{bad}");
        }
    }
}
