//! Alerts and dashboard, by Prometheus' own tool: queries parse, alerts fire when they should and stay quiet
//! at a restart. Each alert has a page, and nothing asks for a metric that the operator doesn't have.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
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
    let asked = our_metrics(&rules);
    assert!(asked.len() > 5, "{asked:?}");
    assert_documented(&asked, &metrics);
    Ok(())
}

#[test]
fn the_dashboard_has_a_unit_and_words_on_every_panel_and_its_queries_parse() -> Result<()> {
    let text = fs::read_to_string(workspace().join("charts/unbloat/dashboards/unbloat.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let metrics = fs::read_to_string(workspace().join("docs/operator/operations.md"))?;
    let mut ids = BTreeSet::new();
    let mut taken: Vec<[u64; 4]> = Vec::new();
    let mut rules = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its number is taken");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|field| panel["gridPos"][field].as_u64().expect("a place"));
        let is_free =
            |[ox, oy, ow, oh]: &[u64; 4]| x >= ox + ow || *ox >= x + w || y >= oy + oh || *oy >= y + h;
        assert!(x + w <= 24 && taken.iter().all(is_free), "{title} lies over another panel");
        taken.push([x, y, w, h]);
        if panel["type"] == "row" {
            continue;
        }
        let defaults = &panel["fieldConfig"]["defaults"];
        for words in [&panel["description"], &defaults["unit"], &defaults["noValue"]] {
            assert!(words.as_str().is_some_and(|words| !words.is_empty()), "{title}: {panel}");
        }
        for target in panel["targets"].as_array().expect("queries") {
            for source in [&panel["datasource"], &target["datasource"]] {
                assert_eq!(source["uid"], "${datasource}", "{title}");
            }
            let query = target["expr"].as_str().expect("a query");
            let is_of_nodes = query.contains("kubelet_") || query.contains("node_disk_");
            assert!(query.contains("namespace=~") || is_of_nodes, "{title}: {query}");
            let range =
                query.replace("$__rate_interval", "5m").replace("$__range", "1d").replace("$price", "1");
            rules.push(json!({"record": format!("panel:{}", rules.len()), "expr": range}));
        }
    }
    assert_documented(&our_metrics(&text), &metrics);
    let file = tempfile::NamedTempFile::new()?;
    serde_json::to_writer(&file, &json!({"groups": [{"name": "panels", "rules": rules}]}))?;
    run(command("promtool").args(["check", "rules"]).arg(file.path()))?;
    Ok(())
}

/// What dashboards of others are known to get wrong.
#[test]
fn the_dashboard_has_none_of_the_usual_faults() -> Result<()> {
    let text = fs::read_to_string(workspace().join("charts/unbloat/dashboards/unbloat.json"))?;
    // Named by an export, and unknown to whoever provisions it.
    assert!(!text.contains("${DS_") && !text.contains("__inputs"));
    let dashboard: Value = serde_json::from_str(&text)?;
    for field in ["uid", "title", "description"] {
        assert!(dashboard[field].as_str().is_some_and(|words| !words.is_empty()), "{field}");
    }
    assert!(dashboard["id"].is_null(), "a number is the database's own");
    let variables: BTreeSet<&str> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    let mut used = BTreeSet::from(["datasource"]);
    let mut titles = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(titles.insert(title), "two panels are called {title}");
        let mut letters = BTreeSet::new();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            assert!(letters.insert(target["refId"].as_str()), "{title}: a letter is used twice");
            // What is counted is asked for as a rate, and over no window of a scrape or two.
            for (at, _) in query.match_indices("rate(") {
                let window = query[at..].split('[').nth(1).and_then(|rest| rest.split(']').next());
                assert!(["$__rate_interval", "1h", "6h"].map(Some).contains(&window), "{title}: {query}");
            }
            let is_counted = query.contains("_total");
            assert!(
                !is_counted || query.contains("rate(") || query.contains("increase("),
                "{title}: {query}"
            );
            let is_instant = target["instant"] == true;
            assert_eq!(is_instant, panel["type"] != "timeseries", "{title}: one value, or values over time");
            // Several lines, each with its name.
            let is_split = query.contains(" by (")
                && !query.starts_with("histogram_quantile")
                && !query.starts_with("avg(");
            let legend = target["legendFormat"].as_str().expect("a legend");
            assert!(!is_split || legend.contains("{{") || target["format"] == "heatmap", "{title}: {query}");
            assert!(
                !query.contains("_bucket")
                    || query.contains("histogram_quantile")
                    || target["format"] == "heatmap"
            );
            for (at, _) in query.match_indices('$') {
                let name: &str = query[at + 1..]
                    .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                    .next()
                    .expect("one");
                if !name.starts_with("__") {
                    assert!(variables.contains(name), "{title}: ${name} is no variable");
                    used.insert(name);
                }
            }
        }
    }
    assert_eq!(used, variables, "a variable that nothing uses");
    Ok(())
}

/// The operator's metrics that a text names.
fn our_metrics(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with("unbloat_"))
        .collect()
}

/// Each stands in the table of metrics; of a histogram that is its name.
fn assert_documented(asked: &BTreeSet<&str>, page: &str) {
    for metric in asked {
        let name = metric.strip_suffix("_bucket").or_else(|| metric.strip_suffix("_sum")).unwrap_or(metric);
        assert!(page.contains(&format!("`{name}")), "{metric}");
    }
}
