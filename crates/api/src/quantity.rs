//! Quantities as people write them: `"2"`, `500m`, and plain numbers.
//!
//! The schema takes both; the library's type takes no positive integers from JSON. For
//! `#[serde(deserialize_with = …)]`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Natural(u64),
    Whole(i64),
    Decimal(f64),
}

impl From<Written> for Quantity {
    fn from(written: Written) -> Self {
        Quantity(match written {
            Written::Text(text) => text,
            Written::Natural(number) => number.to_string(),
            Written::Whole(number) => number.to_string(),
            Written::Decimal(number) => number.to_string(),
        })
    }
}

/// Reads one.
///
/// # Errors
/// If it is neither a text nor a number.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
    Written::deserialize(deserializer).map(Quantity::from)
}

/// Reads one that may be absent.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Quantity>, D::Error> {
    Ok(Option::<Written>::deserialize(deserializer)?.map(Quantity::from))
}
