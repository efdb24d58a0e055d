//! Where an image is: a registry, an OCI layout folder, or an archive.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use unbloat_oci::{Digest, Reference, ReferenceError};

/// A place that holds or receives an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `HOST/REPOSITORY[:TAG][@DIGEST]`; `docker://` in front is accepted.
    Registry(Reference),
    /// `oci:DIR[:TAG]` or `oci:DIR@DIGEST`: an OCI image layout.
    OciDir {
        /// The folder.
        path: PathBuf,
        /// Which image of it.
        name: Option<LayoutName>,
    },
    /// `oci-archive:FILE[:TAG]`: an OCI image layout in a tar.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it.
        name: Option<LayoutName>,
    },
    /// `docker-archive:FILE[:REFERENCE]`: what `docker save` writes and `docker load` reads.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it.
        reference: Option<Reference>,
    },
}

/// What is at a path that was written where a location should be, and how it is written as one; `None` when
/// nothing is there.
#[must_use]
pub fn local_spelling(text: &str) -> Option<String> {
    crate::local::spelling::of_path(text)
}

/// Names an image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutName {
    /// The annotation `org.opencontainers.image.ref.name`.
    Tag(String),
    /// The digest of its manifest or index.
    Digest(Digest),
}

impl fmt::Display for LayoutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

/// Why a string is not a location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid location {input:?} at byte {position}: {reason}")]
pub struct LocationError {
    /// What was given, shortened when very long.
    pub input: String,
    /// Byte offset of the first offending character.
    pub position: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Location {
    /// The registry reference, where it is one.
    #[must_use]
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            _ => None,
        }
    }

    /// Whether it is one file, which is complete only when its image was published.
    #[must_use]
    pub fn is_archive(&self) -> bool {
        matches!(self, Self::OciArchive { .. } | Self::DockerArchive { .. })
    }

    /// Whether it is an archive on standard input or output, which are not the same place though they have
    /// one name.
    #[must_use]
    pub fn is_standard_stream(&self) -> bool {
        match self {
            Self::OciArchive { path, .. } | Self::DockerArchive { path, .. } => path.as_os_str() == "-",
            Self::Registry(_) | Self::OciDir { .. } => false,
        }
    }

    /// The image with this digest at the same place.
    #[must_use]
    pub fn at_digest(&self, digest: &Digest) -> Self {
        let name = Some(LayoutName::Digest(digest.clone()));
        match self {
            Self::Registry(reference) => Self::Registry(reference.with_digest(digest.clone())),
            Self::OciDir { path, .. } => Self::OciDir { path: path.clone(), name },
            Self::OciArchive { path, .. } => Self::OciArchive { path: path.clone(), name },
            // Its images have no digest of their own; a reader takes the one that it names.
            Self::DockerArchive { .. } => self.clone(),
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(input: &str) -> Result<Self, LocationError> {
        let fault = |position: usize, reason: &str| LocationError {
            input: input.chars().take(300).collect(),
            position,
            reason: reason.to_owned(),
        };
        let at = |offset: usize| move |e: ReferenceError| fault(offset + e.position, e.reason);
        if let Some(rest) = input.strip_prefix("docker://") {
            return Ok(Self::Registry(rest.parse().map_err(at("docker://".len()))?));
        }
        if let Some((transport, rest)) = input.split_once(':') {
            let start = transport.len() + 1;
            match transport {
                "oci" | "oci-archive" => {
                    let (path, name) = split_layout(rest).map_err(|(p, r)| fault(start + p, &r))?;
                    return Ok(if transport == "oci" {
                        Self::OciDir { path, name }
                    } else {
                        Self::OciArchive { path, name }
                    });
                }
                "docker-archive" => {
                    let (path, reference) = match rest.split_once(':') {
                        None => (rest, None),
                        Some((path, text)) => {
                            let offset = start + path.len() + 1;
                            (path, Some(text.parse().map_err(at(offset))?))
                        }
                    };
                    if path.is_empty() {
                        return Err(fault(start, "the file is missing"));
                    }
                    return Ok(Self::DockerArchive { path: path.into(), reference });
                }
                "dir" | "containers-storage" | "docker-daemon" | "ostree" | "tarball" | "sif" | "atomic" => {
                    return Err(fault(
                        0,
                        "this transport is not known; a location is HOST/REPOSITORY:TAG, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE",
                    ));
                }
                _ => {}
            }
        }
        if input.starts_with(['/', '~']) || input.starts_with("./") || input.starts_with("../") {
            return Err(fault(
                0,
                "a path needs what it is in front: oci:DIR[:TAG] for a folder with an OCI layout, oci-archive:FILE or docker-archive:FILE",
            ));
        }
        Ok(Self::Registry(input.parse().map_err(at(0))?))
    }
}

/// `PATH[:TAG]` or `PATH@DIGEST`; a colon or `@` counts only after the last slash.
fn split_layout(rest: &str) -> Result<(PathBuf, Option<LayoutName>), (usize, String)> {
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (path, name) = if let Some(at) = rest.find("@sha") {
        let digest =
            rest[at + 1..].parse::<Digest>().map_err(|e| (at + 1 + e.position, e.reason.to_owned()))?;
        (&rest[..at], Some(LayoutName::Digest(digest)))
    } else if let Some(offset) = rest[last..].find(':') {
        let colon = last + offset;
        let tag = &rest[colon + 1..];
        if tag.is_empty() {
            return Err((colon + 1, "the tag is empty".to_owned()));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "._-:@+".contains(c);
        if let Some(bad) = tag.find(|c| !good(c)) {
            return Err((colon + 1 + bad, "this character cannot be in a tag".to_owned()));
        }
        (&rest[..colon], Some(LayoutName::Tag(tag.to_owned())))
    } else {
        (rest, None)
    };
    if path.is_empty() {
        return Err((0, "the path is missing".to_owned()));
    }
    Ok((path.into(), name))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &Option<LayoutName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::OciDir { path, name: n } => write!(f, "oci:{}{}", path.display(), name(n)),
            Self::OciArchive { path, name: n } => write!(f, "oci-archive:{}{}", path.display(), name(n)),
            Self::DockerArchive { path, reference: None } => write!(f, "docker-archive:{}", path.display()),
            Self::DockerArchive { path, reference: Some(reference) } => {
                write!(f, "docker-archive:{}:{reference}", path.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, String) {
        let error = text.parse::<Location>().unwrap_err();
        (error.position, error.reason)
    }

    #[test]
    fn every_form_is_parsed_and_printed() {
        for text in [
            "docker.io/library/ubuntu:24.04",
            "127.0.0.1:5000/a/b:tag",
            "oci:some/dir",
            "oci:some/dir:v1",
            "oci-archive:/tmp/x.tar:latest",
            "docker-archive:x.tar",
            "docker-archive:x.tar:docker.io/library/a:b",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        let digest = Digest::sha256_of(b"x");
        let by_digest = format!("oci:dir@{digest}");
        assert_eq!(by_digest.parse::<Location>().unwrap().to_string(), by_digest);
    }

    #[test]
    fn a_host_with_a_port_is_no_transport() {
        let location: Location = "oci.example:5000/a".parse().unwrap();
        assert_eq!(location.reference().unwrap().registry(), "oci.example:5000");
    }

    #[test]
    fn an_error_says_at_which_byte_of_the_whole_text() {
        assert_eq!(fault("oci:dir:bad tag").0, 11);
        assert_eq!(fault("oci:").0, 4);
        assert_eq!(fault("docker-archive:x.tar:UPPER/x y").0, 28);
        assert_eq!(fault("dir:/tmp").0, 0);
        assert_eq!(fault("host/Upper").0, 5);
        assert_eq!(fault("docker://example.com/x:").0, 23);
        assert_eq!(fault("").0, 0);
    }
}
