//! Numbers and results for people.

use unbloat_contract::{Figures, NothingToDo, SquashResult};

/// Bytes with a binary unit: `2.0 GiB`.
pub(crate) use unbloat_analysis::human_bytes as bytes;

/// A size as people write it: `64MiB`, `1.5G`, `1048576`. K, M, G, T are binary, as Kubernetes' Ki, Mi, Gi, Ti.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no size; write it as 64MiB"))?;
    let unit = unit.trim().trim_end_matches(['b', 'B']).trim_end_matches('i').to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("{text:?} has an unknown unit; write it as 64MiB")),
    };
    Ok((number * f64::from(1_u32 << (shift % 30)) * if shift >= 30 { f64::from(1 << 30) } else { 1.0 })
        as u64)
}

/// What a squash did.
pub(crate) fn squash(result: &SquashResult, dry_run: bool) -> String {
    let SquashResult { figures, reclaimed_bytes, duration_seconds, warnings, .. } = result;
    let Figures {
        layers_before,
        layers_after,
        compressed_bytes_before,
        compressed_bytes_after,
        unpacked_bytes_before,
        unpacked_bytes_after,
        ..
    } = figures;
    let mut lines = Vec::new();
    for warning in warnings {
        lines.push(format!("warning: {warning}"));
    }
    let percent = |part: i64, whole: u64| if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    lines.push(format!("layers      {layers_before} -> {layers_after}"));
    lines.push(format!(
        "compressed  {} -> {}",
        bytes(*compressed_bytes_before),
        bytes(*compressed_bytes_after)
    ));
    if *unpacked_bytes_before > 0 {
        lines.push(format!(
            "unpacked    {} -> {}",
            bytes(*unpacked_bytes_before),
            bytes(*unpacked_bytes_after)
        ));
    }
    let sign = if *reclaimed_bytes < 0 { "-" } else { "" };
    lines.push(format!(
        "reclaimed   {sign}{} ({:.1} %)",
        bytes(reclaimed_bytes.unsigned_abs()),
        percent(*reclaimed_bytes, *compressed_bytes_before)
    ));
    let idle = match result.nothing_to_do {
        Some(NothingToDo::AlreadyFlat) => {
            Some("nothing to do: the image is flat already; --force squashes it again")
        }
        Some(NothingToDo::BelowCondition) => {
            Some("nothing to do: the image is below what was asked for; nothing was written")
        }
        None => None,
    };
    lines.extend(idle.map(str::to_owned));
    if dry_run {
        lines.push("dry run: nothing was written".into());
    } else if result.nothing_to_do != Some(NothingToDo::BelowCondition) {
        lines.push(format!("written     {}", result.reference));
    }
    lines.push(format!("took        {duration_seconds:.2} s"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in
            [("64MiB", 64 << 20), ("1.5G", 3 << 29), ("1048576", 1 << 20), ("16TiB", 16 << 40), ("2k", 2048)]
        {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for bad in ["", "x", "1X", "-1"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
