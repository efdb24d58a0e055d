//! PAX extended header records: `LENGTH KEY=VALUE\n`, parsed by length because values are binary
//! (POSIX.1-2001 pax).

use super::{Result, refuse};

/// One key and its value.
pub(crate) type Record = (Vec<u8>, Vec<u8>);

/// All records of one extended header.
pub(crate) fn parse(mut data: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while !data.is_empty() && data[0] != 0 {
        let Some(space) = data.iter().position(|byte| *byte == b' ') else {
            return refuse("pax record without a length");
        };
        let length = decimal(&data[..space])?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return refuse("pax record whose length is wrong");
        }
        let body = &data[space + 1..length - 1];
        let Some(equals) = body.iter().position(|byte| *byte == b'=') else {
            return refuse("pax record without an equals sign");
        };
        records.push((body[..equals].to_vec(), body[equals + 1..].to_vec()));
        data = &data[length..];
    }
    Ok(records)
}

/// An unsigned decimal number.
pub(crate) fn decimal(digits: &[u8]) -> Result<usize> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or_else(|| refuse(format!("not a number: {}", digits.escape_ascii())), Ok)
}

/// A PAX time: seconds with a fraction, possibly negative; the result's nanoseconds count upwards.
pub(crate) fn time(value: &[u8]) -> Result<(i64, u32)> {
    let text = std::str::from_utf8(value).unwrap_or("?");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = match whole {
        "" | "-" => 0,
        other => match other.parse() {
            Ok(seconds) => seconds,
            Err(_) => return refuse(format!("not a time: {text}")),
        },
    };
    let padded: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let Ok(nanoseconds) = padded.parse::<u32>() else {
        return refuse(format!("not a time: {text}"));
    };
    Ok(match (negative, nanoseconds) {
        (true, 1..) => (seconds - 1, 1_000_000_000 - nanoseconds),
        _ => (seconds, nanoseconds),
    })
}
