//! The analysis as the page's script reads it: JSON that cannot end the element that it stands in.

use serde_json::{Value, json};
use unbloat_analysis::{Analysis, Change, EntryKind, PathReport};

/// The data of the page. A row of `paths` is `[path, hex, copies, total, wasted, cause, shows, versions,
/// shortened]` with a cause's number, a kind's number, and five numbers for each version: layer, change,
/// kind, bytes, wasted bytes.
pub(crate) fn json(analysis: &Analysis) -> serde_json::Result<String> {
    let Analysis {
        reference,
        digest,
        platform,
        layers,
        totals,
        paths,
        paths_total,
        causes,
        duplicates,
        risks,
        estimate,
        warnings,
    } = analysis;
    let number_of = |path: &PathReport| {
        let name = path.cause.as_deref()?;
        causes.iter().position(|cause| cause.cause == name)
    };
    let data = json!({
        "reference": reference,
        "digest": digest,
        "platform": platform,
        "layers": layers,
        "totals": totals,
        "paths": paths.iter().map(|path| row(path, number_of(path))).collect::<Vec<_>>(),
        "pathsTotal": paths_total,
        "causes": causes,
        "duplicates": duplicates,
        "risks": risks,
        "estimate": estimate,
        "warnings": warnings,
    });
    serde_json::to_string(&data).map(|text| inert(&text))
}

fn row(report: &PathReport, cause: Option<usize>) -> Value {
    let PathReport { path, path_hex, copies, total_bytes, wasted_bytes, shows, versions, shortened, .. } =
        report;
    let numbers: Vec<u64> = versions
        .iter()
        .flat_map(|version| {
            // A removal puts nothing there; the number beyond all kinds says so.
            let kind = version.kind.map_or(NO_KIND, kind_number);
            [
                u64::from(version.layer),
                change_number(version.change),
                kind,
                version.bytes,
                version.wasted_bytes,
            ]
        })
        .collect();
    json!([
        path,
        path_hex,
        copies,
        total_bytes,
        wasted_bytes,
        cause,
        shows.map(kind_number),
        numbers,
        shortened
    ])
}

const NO_KIND: u64 = 6;

fn kind_number(kind: EntryKind) -> u64 {
    match kind {
        EntryKind::File => 0,
        EntryKind::HardLink => 1,
        EntryKind::Symlink => 2,
        EntryKind::Directory => 3,
        EntryKind::Device => 4,
        EntryKind::Fifo => 5,
    }
}

fn change_number(change: Change) -> u64 {
    match change {
        Change::Added => 0,
        Change::Changed => 1,
        Change::Metadata => 2,
        Change::Removed => 3,
        Change::Repeated => 4,
        Change::Time => 5,
        Change::Identical => 6,
        Change::Linked => 7,
    }
}

/// JSON that means the same and holds no character that HTML or an old JavaScript parser takes for more than
/// text.
///
/// Outside of strings JSON has none of them, so all of them can become escapes (HTML, "Restrictions for
/// contents of script elements"; RFC 8259 section 7).
fn inert(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + json.len() / 64);
    for letter in json.chars() {
        match letter {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_end_the_script_element() {
        let hostile = "</script><script>alert(1)</script><!--<script>\u{2028}&amp;";
        let json = serde_json::to_string(&json!({ "path": hostile })).unwrap();
        let text = inert(&json);
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["path"], hostile);
    }
}
