//! How the values of flags are read, where several commands have the same flag.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use unbloat_contract::{Compression, Format};

/// `--compression`
pub(crate) fn compression() -> impl TypedValueParser<Value = Compression> {
    let value = |it: Compression| PossibleValue::new(it.name()).help(it.meaning());
    PossibleValuesParser::new(Compression::ALL.map(value)).try_map(|text| text.parse::<Compression>())
}

/// `--format`
pub(crate) fn format() -> impl TypedValueParser<Value = Format> {
    let value = |it: Format| PossibleValue::new(it.name()).help(it.meaning());
    PossibleValuesParser::new(Format::ALL.map(value)).try_map(|text| text.parse::<Format>())
}
