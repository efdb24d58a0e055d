//! The alerts, by Prometheus' own tool: they parse, fire when they should, and stay quiet at a restart. Each
//! has a page, and asks for no metric that the operator doesn't have.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use unbloat_proof::tools::{command, run, workspace};

#[test]
fn they_fire_when_they_should_and_not_at_a_restart() -> Result<()> {
    let rules = workspace().join("charts/unbloat/files/alerts.yaml");
    run(command("promtool").args(["check", "rules"]).arg(rules))?;
    run(command("promtool")
        .args(["test", "rules"])
        .arg(workspace().join("tests/proof/alerts/alerts_test.yaml")))?;
    Ok(())
}

#[test]
fn each_has_a_page_and_asks_for_metrics_that_there_are() -> Result<()> {
    let rules = fs::read_to_string(workspace().join("charts/unbloat/files/alerts.yaml"))?;
    let pages = fs::read_to_string(workspace().join("docs/operator/alerts.md"))?;
    let metrics = fs::read_to_string(workspace().join("docs/operator/operations.md"))?;
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let described: Vec<&str> = pages.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, described);
    let asked: BTreeSet<&str> = rules
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with("unbloat_"))
        .collect();
    assert!(asked.len() > 5, "{asked:?}");
    for metric in asked {
        // The histograms' parts aside, a name stands in the table as it is.
        assert!(metrics.contains(&format!("`{metric}")), "{metric}");
    }
    Ok(())
}
