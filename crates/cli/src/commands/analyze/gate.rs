//! `--ci`: thresholds, from options and from `.unbloat.yaml`, and what they say of an image.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Deserializer, Serialize};
use unbloat_analysis::{Analysis, Totals};

use crate::args::ThresholdArgs;
use crate::error::Usage;
use crate::report::{bytes, parse_size};

/// The file that is read where none is named.
const FILE: &str = ".unbloat.yaml";

/// What an image may be like. What is not set is not checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Thresholds {
    pub(crate) max_layers: Option<u64>,
    #[serde(deserialize_with = "size")]
    pub(crate) max_wasted_bytes: Option<u64>,
    pub(crate) max_wasted_percent: Option<f64>,
    pub(crate) min_efficiency: Option<f64>,
    #[serde(deserialize_with = "size")]
    pub(crate) max_size: Option<u64>,
}

/// `.unbloat.yaml`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Configuration {
    ci: Thresholds,
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Option::<Size>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Size::Text(text)) => parse_size(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

/// What holds when neither an option nor the file sets a threshold: the layers at which a runtime's overlay
/// gets slow, and a tenth of the image for nothing.
const USUAL: Thresholds = Thresholds {
    max_layers: Some(50),
    max_wasted_bytes: None,
    max_wasted_percent: Some(10.0),
    min_efficiency: None,
    max_size: None,
};

impl From<&ThresholdArgs> for Thresholds {
    fn from(args: &ThresholdArgs) -> Self {
        let ThresholdArgs { max_layers, max_wasted_bytes, max_wasted_percent, min_efficiency, max_size } =
            *args;
        Self { max_layers, max_wasted_bytes, max_wasted_percent, min_efficiency, max_size }
    }
}

impl Thresholds {
    /// The options' thresholds over the file's.
    pub(crate) fn read(options: &Self, file: Option<&PathBuf>) -> anyhow::Result<Self> {
        let path = file.map_or(Path::new(FILE), PathBuf::as_path);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => String::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let found = if text.trim().is_empty() {
            Self::default()
        } else {
            let parsed: Result<Configuration, _> = serde_saphyr::from_str(&text);
            parsed.map_err(|error| Usage(format!("{}: {error}", path.display())))?.ci
        };
        found.check(path)?;
        let chosen = Self {
            max_layers: options.max_layers.or(found.max_layers),
            max_wasted_bytes: options.max_wasted_bytes.or(found.max_wasted_bytes),
            max_wasted_percent: options.max_wasted_percent.or(found.max_wasted_percent),
            min_efficiency: options.min_efficiency.or(found.min_efficiency),
            max_size: options.max_size.or(found.max_size),
        };
        Ok(if chosen == Self::default() { USUAL } else { chosen })
    }

    fn check(&self, path: &Path) -> Result<(), Usage> {
        let wrong = |name: &str, limit: u32| {
            Usage(format!("{}: ci.{name} is not between 0 and {limit}", path.display()))
        };
        if self.max_wasted_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err(wrong("maxWastedPercent", 100));
        }
        if self.min_efficiency.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(wrong("minEfficiency", 1));
        }
        Ok(())
    }

    /// One check for each threshold that is set.
    pub(crate) fn checks(&self, analysis: &Analysis) -> Vec<Check> {
        let Totals { layers, compressed_bytes, unpacked_bytes, wasted_bytes, efficiency, .. } =
            analysis.totals;
        let percent =
            if unpacked_bytes == 0 { 0.0 } else { 100.0 * wasted_bytes as f64 / unpacked_bytes as f64 };
        let mut checks = Vec::new();
        let mut check = |name, passed, found, limit| checks.push(Check { name, passed, found, limit });
        if let Some(limit) = self.max_layers {
            check("max-layers", layers <= limit, layers.to_string(), format!("at most {limit} layers"));
        }
        if let Some(limit) = self.max_wasted_bytes {
            check(
                "max-wasted-bytes",
                wasted_bytes <= limit,
                bytes(wasted_bytes),
                format!("at most {} wasted", bytes(limit)),
            );
        }
        if let Some(limit) = self.max_wasted_percent {
            check(
                "max-wasted-percent",
                percent <= limit,
                format!("{percent:.2} %"),
                format!("at most {limit} % wasted"),
            );
        }
        if let Some(limit) = self.min_efficiency {
            check(
                "min-efficiency",
                efficiency >= limit,
                format!("{efficiency:.4}"),
                format!("an efficiency of at least {limit}"),
            );
        }
        if let Some(limit) = self.max_size {
            check(
                "max-size",
                compressed_bytes <= limit,
                bytes(compressed_bytes),
                format!("at most {} compressed", bytes(limit)),
            );
        }
        checks
    }
}

/// What a threshold says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    /// The option's name.
    pub(crate) name: &'static str,
    pub(crate) passed: bool,
    pub(crate) found: String,
    pub(crate) limit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Thresholds> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Thresholds::read(&Thresholds::default(), Some(&file.path().to_owned()))
    }

    #[test]
    fn the_file_holds_sizes_as_people_write_them() {
        let found = read("ci:\n  maxLayers: 20\n  maxWastedBytes: 100MiB\n  maxSize: 1073741824\n").unwrap();
        assert_eq!(
            (found.max_layers, found.max_wasted_bytes, found.max_size),
            (Some(20), Some(100 << 20), Some(1 << 30))
        );
        assert_eq!(found.max_wasted_percent, None, "the usual ones hold only where none is set");
    }

    #[test]
    fn an_empty_file_leaves_the_usual_thresholds() {
        assert_eq!(read("").unwrap(), USUAL);
        assert_eq!(read("ci: {}\n").unwrap(), USUAL);
    }

    #[test]
    fn a_mistake_in_the_file_is_told_with_its_name() {
        for (text, says) in [
            ("ci:\n  maxLayer: 1\n", "maxLayer"),
            ("ci:\n  maxWastedBytes: many\n", "many"),
            ("ci:\n  minEfficiency: 7\n", "minEfficiency"),
            ("ci: [", "tmp"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_option_comes_before_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ci:\n  maxLayers: 20\n  maxWastedPercent: 3\n").unwrap();
        let options = Thresholds { max_layers: Some(7), ..Thresholds::default() };
        let found = Thresholds::read(&options, Some(&file.path().to_owned())).unwrap();
        assert_eq!((found.max_layers, found.max_wasted_percent), (Some(7), Some(3.0)));
    }

    #[test]
    fn a_threshold_that_is_met_exactly_holds() {
        let totals = Totals {
            layers: 5,
            unpacked_bytes: 200,
            wasted_bytes: 20,
            merged_bytes: 180,
            efficiency: 0.9,
            ..Totals::default()
        };
        let analysis = Analysis { totals, ..Analysis::default() };
        let exact = Thresholds {
            max_layers: Some(5),
            max_wasted_bytes: Some(20),
            max_wasted_percent: Some(10.0),
            min_efficiency: Some(0.9),
            max_size: Some(0),
        };
        assert!(exact.checks(&analysis).iter().all(|check| check.passed));
        let tight = Thresholds { max_layers: Some(4), max_wasted_bytes: Some(19), ..Thresholds::default() };
        assert!(tight.checks(&analysis).iter().all(|check| !check.passed));
    }
}
