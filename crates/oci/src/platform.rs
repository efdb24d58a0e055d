//! Platforms `os/architecture[/variant]`, normalised and matched as containerd does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on (image-spec `image-index.md`, "platform").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, a `GOOS` value.
    #[serde(default)]
    pub os: String,
    /// CPU, a `GOARCH` value.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the CPU, for example `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system (Windows).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features that the operating system must have.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

/// Why a string is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {input:?} at byte {position}: {reason}")]
pub struct PlatformError {
    /// What was given.
    pub input: String,
    /// Byte offset of the first offending character.
    pub position: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl Platform {
    /// A platform without variant, normalised.
    #[must_use]
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), ..Self::default() }.normalized()
    }

    /// The platform of this build of the program.
    #[must_use]
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH)
    }

    /// One spelling for each platform: `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`, `arm` is
    /// `arm/v7`.
    #[must_use]
    pub(crate) fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = self.variant.clone().unwrap_or_default().to_ascii_lowercase();
        let (architecture, variant) =
            match (self.architecture.to_ascii_lowercase().as_str(), variant.as_str()) {
                ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64".to_owned(), String::new()),
                ("x86_64" | "x86-64" | "amd64", _) => ("amd64".to_owned(), variant),
                ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386".to_owned(), String::new()),
                ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64".to_owned(), String::new()),
                ("aarch64" | "arm64", _) => ("arm64".to_owned(), variant),
                ("armhf", _) => ("arm".to_owned(), "v7".to_owned()),
                ("armel", _) => ("arm".to_owned(), "v6".to_owned()),
                ("arm", "" | "7") => ("arm".to_owned(), "v7".to_owned()),
                ("arm", "5" | "6" | "8") => ("arm".to_owned(), format!("v{variant}")),
                (other, _) => (other.to_owned(), variant),
            };
        Self {
            os,
            architecture,
            variant: (!variant.is_empty()).then_some(variant),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }

    /// How well this platform serves a request; `None` means not at all, 0 is exact, more is a fallback.
    ///
    /// A machine runs older variants of its own CPU family: `arm/v7` runs `v6` and `v5`, `amd64/v3` runs `v2`
    /// and plain.
    #[must_use]
    pub fn rank_for(&self, wanted: &Self) -> Option<u8> {
        let (have, want) = (self.normalized(), wanted.normalized());
        if have.os != want.os || have.architecture != want.architecture {
            return None;
        }
        if want.os_version.is_some() && want.os_version != have.os_version {
            return None;
        }
        if have.variant == want.variant {
            return Some(0);
        }
        let default = match have.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 7,
            _ => return None,
        };
        fallback(&have, &want, default)
    }

    /// Whether this platform serves a request exactly, spelling aside.
    #[must_use]
    pub fn is(&self, wanted: &Self) -> bool {
        self.rank_for(wanted) == Some(0)
    }

    /// Index of the platform that serves a request best.
    pub fn best<'a>(wanted: &Self, have: impl IntoIterator<Item = &'a Self>) -> Option<usize> {
        have.into_iter()
            .enumerate()
            .filter_map(|(at, platform)| platform.rank_for(wanted).map(|rank| (rank, at)))
            .min()
            .map(|(_, at)| at)
    }

    /// The placeholder of attestations: `unknown/unknown`.
    #[must_use]
    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

fn variant_level(platform: &Platform, default: u8) -> Option<u8> {
    match platform.variant.as_deref() {
        None => Some(default),
        // `v8.2` counts as 8: minor revisions of arm64 are features, not levels.
        Some(text) => text.strip_prefix('v')?.split('.').next()?.parse().ok(),
    }
}

fn fallback(have: &Platform, want: &Platform, default: u8) -> Option<u8> {
    variant_level(want, default)?.checked_sub(variant_level(have, default)?)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(input: &str) -> Result<Self, PlatformError> {
        let fail = |position, reason| {
            Err(PlatformError { input: input.chars().take(200).collect(), position, reason })
        };
        if let Some(bad) = input.bytes().position(|b| !(b.is_ascii_alphanumeric() || b"/_-.".contains(&b))) {
            return fail(bad, "this character cannot be in a platform");
        }
        let parts: Vec<&str> = input.split('/').collect();
        let mut at = 0;
        for part in &parts {
            if part.is_empty() {
                return fail(at, "a platform is os/architecture or os/architecture/variant");
            }
            at += part.len() + 1;
        }
        match parts.as_slice() {
            [os, architecture] => Ok(Self::new(os, architecture)),
            [os, architecture, variant] => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: Some((*variant).to_owned()),
                ..Self::default()
            }
            .normalized()),
            [_] => fail(input.len(), "a platform is os/architecture or os/architecture/variant"),
            _ => fail(at, "a platform has at most three parts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_platform_are_equal() {
        assert_eq!(platform("linux/arm64/v8"), platform("linux/aarch64"));
        assert_eq!(platform("Linux/x86_64"), platform("linux/amd64/v1"));
        assert_eq!(platform("linux/arm"), platform("linux/armhf"));
        assert_eq!(platform("linux/arm64/v8").to_string(), "linux/arm64");
    }

    #[test]
    fn the_nearest_older_variant_serves_a_request_and_a_newer_one_does_not() {
        let have = [platform("linux/arm/v5"), platform("linux/arm/v6"), platform("linux/arm64")];
        assert_eq!(Platform::best(&platform("linux/arm/v7"), &have), Some(1));
        assert_eq!(Platform::best(&platform("linux/arm/v5"), &have), Some(0));
        assert_eq!(platform("linux/amd64/v3").rank_for(&platform("linux/amd64")), None);
        assert_eq!(platform("linux/amd64").rank_for(&platform("linux/amd64/v3")), Some(2));
    }

    #[test]
    fn a_bad_platform_says_at_which_byte() {
        assert_eq!("linux".parse::<Platform>().unwrap_err().position, 5);
        assert_eq!("linux//v7".parse::<Platform>().unwrap_err().position, 6);
        assert_eq!("linux/a b".parse::<Platform>().unwrap_err().position, 7);
        assert!("a/b/c/d".parse::<Platform>().is_err());
    }
}
