//! Names as bytes, relative to the root: `""` is the root, `a/b` a path below it.

use super::{Result, refuse};

/// The normal form of a name in a tar header (`docs/layer-semantics.md#rule-5`): no leading `/` or `./`, no
/// empty or `.` component, `..` folded.
pub(crate) fn normalise(raw: &[u8]) -> Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return refuse(format!("name leaves the root: {}", display(raw)));
                }
            }
            other => parts.push(other),
        }
    }
    Ok(parts.join(&b'/'))
}

/// The path one level up; the root has none.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    Some(path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]))
}

/// The last component.
pub(crate) fn base(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

/// `path` below `directory`.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// True when `path` lies strictly below `directory`.
pub(crate) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    if directory.is_empty() {
        return !path.is_empty();
    }
    path.len() > directory.len() && path.starts_with(directory) && path[directory.len()] == b'/'
}

/// A name that can be printed: every byte outside of printable ASCII as `\xNN`.
pub fn display(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}
