//! Numbers and results for people.

use unbloat_contract::{Figures, NothingToDo, SquashResult};

pub(crate) use unbloat_text::{bytes, parse_bytes as parse_size};

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
        plain_before,
        ..
    } = figures;
    let mut lines = Vec::new();
    for warning in warnings {
        lines.push(format!("warning: {warning}"));
    }
    let percent = |part: i64, whole: u64| if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    lines.push(format!("layers      {layers_before} -> {layers_after}"));
    let stored = match plain_before {
        true => format!("stored      {} (not compressed)", bytes(*compressed_bytes_before)),
        false => format!("compressed  {}", bytes(*compressed_bytes_before)),
    };
    lines.push(format!("{stored} -> {}", bytes(*compressed_bytes_after)));
    if *unpacked_bytes_before > 0 {
        lines.push(format!(
            "unpacked    {} -> {}",
            bytes(*unpacked_bytes_before),
            bytes(*unpacked_bytes_after)
        ));
    }
    let sign = if *reclaimed_bytes < 0 { "-" } else { "" };
    let (of, what) = match plain_before {
        true => (*unpacked_bytes_before, " of the unpacked"),
        false => (*compressed_bytes_before, ""),
    };
    lines.push(format!(
        "reclaimed   {sign}{} ({:.1} %{what})",
        bytes(reclaimed_bytes.unsigned_abs()),
        percent(*reclaimed_bytes, of)
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
