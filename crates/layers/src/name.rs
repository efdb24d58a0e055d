//! Names in a layer: normalisation and whiteout marks (`docs/layer-semantics.md#rule-5`, `#rule-6`).
//!
//! Names are bytes. A normalised name is the list of its components below the root; `..` is resolved by text
//! alone, because what a component is on disk is decided later, by the layer that made it.

/// Longest name that Linux can open, less the terminating NUL (`PATH_MAX`). Longer ones could never be
/// unpacked, and refusing them bounds what one hostile header can cost.
pub const MAX_NAME: usize = 4095;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// `..` leads above the root.
    #[error("the name leaves the root of the image")]
    Escapes,
    /// A NUL byte inside the name.
    #[error("the name holds a NUL byte")]
    Nul,
    /// Longer than Linux can open.
    #[error("the name is longer than {MAX_NAME} bytes")]
    TooLong,
    /// A whiteout of nothing, of `.` or of `..`.
    #[error("the whiteout names nothing that could be removed")]
    BadWhiteout,
    /// A whiteout name used as a directory.
    #[error("a whiteout name is used as a directory")]
    WhiteoutAsDirectory,
    /// The root as something other than a directory.
    #[error("the root can only be a directory")]
    Root,
    /// Symlinks that lead to each other.
    #[error("its parent is a symlink loop")]
    SymlinkLoop,
}

/// The components of `raw` below the root, without `.`, empty parts and `..`.
///
/// # Errors
/// [`NameError::Escapes`], [`NameError::Nul`], [`NameError::TooLong`].
pub fn components<'a>(raw: &'a [u8], into: &mut Vec<&'a [u8]>) -> Result<(), NameError> {
    if raw.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    into.clear();
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                into.pop().ok_or(NameError::Escapes)?;
            }
            part if part.contains(&0) => return Err(NameError::Nul),
            part => into.push(part),
        }
    }
    Ok(())
}

/// Whether a header may keep `raw` as its name: runtimes agree on it without any normalisation but a leading
/// `./`.
pub(crate) fn is_plain(raw: &[u8], directory: bool) -> bool {
    let name = raw.strip_prefix(b"./").unwrap_or(raw);
    let name = if directory { name.strip_suffix(b"/").unwrap_or(name) } else { name };
    if name.is_empty() {
        // The root's own entry, `./`.
        return directory && raw == b"./";
    }
    name.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..")
}

/// What the last component of a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    /// An ordinary name.
    None,
    /// Removes this name from lower layers.
    Whiteout(&'a [u8]),
    /// Hides all that lower layers have in the parent.
    Opaque,
    /// AUFS bookkeeping: invisible, but links to it resolve.
    Aufs,
}

/// Classifies a base name.
///
/// # Errors
/// [`NameError::BadWhiteout`] for `.wh.`, `.wh..` and `.wh...`.
pub fn mark(base: &[u8]) -> Result<Mark<'_>, NameError> {
    let Some(hidden) = base.strip_prefix(b".wh.") else { return Ok(Mark::None) };
    match hidden {
        b"" | b"." | b".." => Err(NameError::BadWhiteout),
        b".wh..opq" => Ok(Mark::Opaque),
        name if name.starts_with(b".wh.") => Ok(Mark::Aufs),
        name => Ok(Mark::Whiteout(name)),
    }
}

/// Whether a directory component is AUFS bookkeeping.
///
/// # Errors
/// [`NameError::WhiteoutAsDirectory`]: no runtime can show anything below a whiteout, and dropping it would
/// be silent.
pub(crate) fn is_aufs_directory(component: &[u8]) -> Result<bool, NameError> {
    match mark(component) {
        Ok(Mark::None) => Ok(false),
        Ok(Mark::Aufs) => Ok(true),
        Ok(Mark::Whiteout(_) | Mark::Opaque) | Err(_) => Err(NameError::WhiteoutAsDirectory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(raw: &[u8]) -> Result<Vec<u8>, NameError> {
        let mut parts = Vec::new();
        components(raw, &mut parts).map(|()| parts.join(&b'/'))
    }

    #[test]
    fn spellings_of_one_path_are_one_name() {
        for raw in [&b"a/b"[..], b"./a/b", b"/a/b", b"a//b", b"a/./b/", b"a/c/../b"] {
            assert_eq!(joined(raw).unwrap(), b"a/b", "{raw:?}");
        }
        assert_eq!(joined(b"./").unwrap(), b"");
    }

    #[test]
    fn a_name_that_leaves_the_root_is_refused() {
        assert_eq!(joined(b"../x"), Err(NameError::Escapes));
        assert_eq!(joined(b"a/../../x"), Err(NameError::Escapes));
    }

    #[test]
    fn bytes_that_no_file_system_takes_are_refused() {
        assert_eq!(joined(b"a\0b"), Err(NameError::Nul));
        assert_eq!(joined(&[b'a'; MAX_NAME + 1]), Err(NameError::TooLong));
        assert!(joined(b"\xff\xfe").is_ok());
    }

    #[test]
    fn whiteouts_are_told_from_names_that_look_like_them() {
        assert_eq!(mark(b".wh.a"), Ok(Mark::Whiteout(b"a")));
        assert_eq!(mark(b".wh..wh..opq"), Ok(Mark::Opaque));
        assert_eq!(mark(b".wh..wh.plnk"), Ok(Mark::Aufs));
        assert_eq!(mark(b"a.wh.b"), Ok(Mark::None));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(mark(bad), Err(NameError::BadWhiteout));
        }
    }

    #[test]
    fn only_names_that_every_runtime_reads_alike_are_plain() {
        assert!(is_plain(b"a/b", false) && is_plain(b"./a/b/", true) && is_plain(b"./", true));
        for raw in [&b"/a"[..], b"a//b", b"a/../b", b"././a", b"a/"] {
            assert!(!is_plain(raw, false), "{raw:?}");
        }
    }
}
