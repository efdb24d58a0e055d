//! Files for a build server: JUnit and Markdown.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use unbloat_analysis::{Analysis, Totals};

use super::gate::Check;
use super::markup::{markdown, xml};
use crate::report::bytes;

/// Rows of each table.
const ROWS: usize = 20;

/// The checks as JUnit XML: one suite for the image, one case a threshold.
pub(super) fn junit(analysis: &Analysis, checks: &[Check]) -> String {
    let failures = checks.iter().filter(|check| !check.passed).count();
    let image = xml(&analysis.reference);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\"", checks.len());
    let _ = writeln!(text, "<testsuites name=\"unbloat analyze\" {counts}>");
    let _ = writeln!(text, "  <testsuite name=\"{image}\" {counts}>");
    for Check { name, passed, found, limit } in checks {
        let case = format!("    <testcase classname=\"{image}\" name=\"{}\"", xml(name));
        if *passed {
            let _ = writeln!(text, "{case}/>");
        } else {
            let says = xml(&format!("{found}, where {limit} is allowed"));
            let _ = writeln!(
                text,
                "{case}>\n      <failure message=\"{says}\">{}</failure>\n    </testcase>",
                xml(&causes(analysis))
            );
        }
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn causes(analysis: &Analysis) -> String {
    let line = |cause: &unbloat_analysis::CauseReport| {
        format!("{}: {} wasted, {}", cause.title, bytes(cause.wasted_bytes), cause.advice)
    };
    analysis.causes.iter().take(3).map(line).collect::<Vec<_>>().join(" ")
}

/// The analysis, with the checks if there are any, as a page that code hosts show.
pub(super) fn page(analysis: &Analysis, checks: &[Check]) -> String {
    let Analysis { reference, digest, platform, totals, estimate, paths, causes, risks, .. } = analysis;
    let Totals { layers, compressed_bytes, unpacked_bytes, merged_bytes, wasted_bytes, efficiency, .. } =
        totals;
    let mut text = format!("# {}\n\n{}, {}\n\n", markdown(reference), markdown(digest), markdown(platform));
    text.push_str("| layers | compressed | unpacked | shown | wasted | efficiency | a squash saves |\n");
    text.push_str("|---:|---:|---:|---:|---:|---:|---:|\n");
    let _ = writeln!(
        text,
        "| {layers} | {} | {} | {} | {} | {:.1} % | {} |",
        bytes(*compressed_bytes),
        bytes(*unpacked_bytes),
        bytes(*merged_bytes),
        bytes(*wasted_bytes),
        100.0 * efficiency,
        bytes(estimate.compressed_bytes)
    );
    if !checks.is_empty() {
        text.push_str("\n| check | found | allowed | |\n|---|---:|---|---|\n");
        for Check { name, passed, found, limit } in checks {
            let word = if *passed { "passed" } else { "**failed**" };
            let _ = writeln!(text, "| {name} | {found} | {limit} | {word} |");
        }
    }
    if !causes.is_empty() {
        text.push_str("\n| cause | wasted | could go | paths | advice |\n|---|---:|---:|---:|---|\n");
        for cause in causes.iter().take(ROWS) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                markdown(&cause.title),
                bytes(cause.wasted_bytes),
                bytes(cause.removable_bytes),
                cause.paths,
                markdown(&cause.advice)
            );
        }
    }
    let wasting: Vec<_> = paths.iter().filter(|path| path.wasted_bytes > 0).take(ROWS).collect();
    if !wasting.is_empty() {
        text.push_str("\n| path | wasted | copies | cause |\n|---|---:|---:|---|\n");
        for path in wasting {
            let cause = path.cause.as_deref().unwrap_or("");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                markdown(&path.path),
                bytes(path.wasted_bytes),
                path.copies,
                markdown(cause)
            );
        }
    }
    if !risks.is_empty() {
        text.push_str("\nCan still be read in a lower layer:\n\n");
        for risk in risks.iter().take(ROWS) {
            let _ = writeln!(text, "- {}", markdown(&risk.path));
        }
    }
    text
}

/// Writes a file so that it is there as a whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let says = || format!("writing {}", path.display());
    // A pipe or a device is written as it stands; it cannot be replaced.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, text).with_context(says);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".unbloat-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(says)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).with_context(says)?;
    file.persist(path).map_err(|error| error.error).with_context(says)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbloat_analysis::{PathReport, RiskReport};

    fn hostile() -> Analysis {
        let name = "/<script>alert('x')</script>\u{1b}[31m|`a`\n![x](https://evil)";
        Analysis {
            reference: "a/<b>:\"c\"".into(),
            paths: vec![PathReport { path: name.into(), wasted_bytes: 1, ..PathReport::default() }],
            risks: vec![RiskReport { path: name.into(), ..RiskReport::default() }],
            ..Analysis::default()
        }
    }

    fn checks() -> Vec<Check> {
        let check = |name, passed| Check { name, passed, found: "3 & 4".into(), limit: "<5".into() };
        vec![check("max-layers", false), check("max-size", true)]
    }

    #[test]
    fn a_name_is_no_markup_in_markdown() {
        let text = page(&hostile(), &checks());
        assert!(!text.contains("<script") && !text.contains("\u{1b}") && !text.contains("![x]"), "{text}");
        assert!(text.contains("&lt;script&gt;"));
        for row in text.lines().filter(|line| line.starts_with("| ")) {
            let cells = row.replace("\\|", "").matches('|').count();
            assert!((5..=8).contains(&cells), "{cells}: {row}");
        }
    }

    #[test]
    fn junit_counts_failures_and_stays_xml() {
        let text = junit(&hostile(), &checks());
        assert!(text.contains("tests=\"2\" failures=\"1\""), "{text}");
        assert!(text.contains("name=\"a/&lt;b&gt;:&quot;c&quot;\""), "{text}");
        assert!(text.contains("3 &amp; 4, where &lt;5 is allowed"), "{text}");
        assert_eq!(text.matches("<testcase").count(), 2);
        assert_eq!(text.matches("<failure").count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write(Path::new("/nowhere/x.xml"), "").unwrap_err();
        assert!(format!("{error:#}").contains("writing /nowhere/x.xml"), "{error:#}");
        assert!(error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some()));
    }
}
