//! `--remove` and `--truncate`: globs over normalised paths.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::Error;

/// A list of patterns and which of them matched something that the image shows.
#[derive(Debug)]
pub struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    /// `*` and `?` stay within one component, `**` crosses; a leading `/` or `./` and a trailing `/` mean
    /// nothing.
    pub fn new(texts: &[String]) -> Result<Self, Error> {
        let mut builder = GlobSetBuilder::new();
        for text in texts {
            let bad = |reason: String| Error::Pattern { pattern: text.clone(), reason };
            let plain = text.strip_prefix("./").unwrap_or(text).trim_start_matches('/').trim_end_matches('/');
            if plain.is_empty() {
                return Err(bad("it names the root".into()));
            }
            let glob = GlobBuilder::new(plain).literal_separator(true).backslash_escape(true).build();
            builder.add(glob.map_err(|error| bad(error.kind().to_string()))?);
        }
        let set = builder
            .build()
            .map_err(|error| Error::Pattern { pattern: texts.join(" "), reason: error.kind().to_string() })?;
        Ok(Self { texts: texts.to_vec(), set })
    }

    /// Whether it holds no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether any pattern is for `path`.
    #[must_use]
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.set.is_match(as_path(path))
    }

    /// Which patterns are for `path`.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> Vec<usize> {
        self.set.matches(as_path(path))
    }

    /// The patterns as written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

fn as_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Patterns::new(&[pattern.to_owned()]).unwrap().is_match(path.as_bytes())
    }

    #[test]
    fn a_star_stays_in_its_component_and_two_cross() {
        assert!(matches("/var/log/*.log", "var/log/a.log"));
        assert!(!matches("/var/log/*.log", "var/log/x/a.log"));
        assert!(matches("/var/**/*.log", "var/log/x/a.log"));
        assert!(matches("**/__pycache__", "usr/lib/__pycache__"));
        assert!(matches("var/log/", "var/log"));
    }

    #[test]
    fn a_pattern_for_the_root_or_with_a_bad_class_is_refused() {
        for bad in ["/", "", "a[b"] {
            assert!(Patterns::new(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
