//! The Grafana dashboard, from a table of panels: what is bloated and was given back, whether the work goes
//! on, whether the operator is well.
//!
//! Grafana fills a row of 24 columns from the left. Each panel has a unit, a description, and words for when
//! there is nothing to show; the data source is a variable.

use anyhow::Result;
use serde_json::{Value, json};

use crate::generated::Generated;

/// How a panel shows its values.
#[derive(Clone, Copy)]
enum Shape {
    /// The newest value, large.
    Stat,
    /// Lines over time.
    Lines,
    /// Areas over time that add up.
    Stack,
    /// The newest values beside each other.
    Bars,
}

struct Panel {
    title: &'static str,
    about: &'static str,
    shape: Shape,
    /// Of Grafana's units.
    unit: &'static str,
    /// Columns of 24.
    width: u64,
    /// Values from which it is yellow and red.
    thresholds: &'static [f64],
    /// Query and legend.
    queries: &'static [(&'static str, &'static str)],
}

const NONE: &[f64] = &[];

const fn panel(
    title: &'static str,
    about: &'static str,
    shape: Shape,
    unit: &'static str,
    width: u64,
    thresholds: &'static [f64],
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, about, shape, unit, width, thresholds, queries }
}

/// Rows with their panels. `SEL` stands for the namespace of the release that is looked at.
const ROWS: &[(&str, &[Panel])] =
    &[("Reclaimed", RECLAIMED), ("What it is worth", WORTH), ("Work", WORK), ("Health", HEALTH)];

const RECLAIMED: &[Panel] = &[
    panel(
        "Pull bytes given back",
        "Compressed bytes that a node no longer pulls for the images that were squashed in the time that is shown.",
        Shape::Stat,
        "decbytes",
        5,
        NONE,
        &[(r#"sum(increase(unbloat_reclaimed_bytes_total{SEL, kind="pull"}[$__range]))"#, "")],
    ),
    panel(
        "Node disk given back",
        "Unpacked bytes that each node's disk no longer holds for the images that were squashed in the time that is shown.",
        Shape::Stat,
        "decbytes",
        5,
        NONE,
        &[(r#"sum(increase(unbloat_reclaimed_bytes_total{SEL, kind="unpacked"}[$__range]))"#, "")],
    ),
    panel(
        "Could be given back",
        "Compressed bytes that squashing the analysed images in use would save.",
        Shape::Stat,
        "decbytes",
        5,
        NONE,
        &[(r#"max(unbloat_reclaimable_bytes{SEL, kind="pull"})"#, "")],
    ),
    panel(
        "Largest image",
        "Compressed bytes of the largest image in use; red above 10 GB.",
        Shape::Stat,
        "decbytes",
        5,
        &[5e9, 1e10],
        &[("max(unbloat_images_max_size_bytes{SEL})", "")],
    ),
    panel(
        "Most layers",
        "Layers of the image with the most of them; red above 50. Runtimes stop at about 127.",
        Shape::Stat,
        "short",
        4,
        &[30.0, 50.0],
        &[("max(unbloat_images_max_layers{SEL})", "")],
    ),
    panel(
        "Given back in an hour",
        "What squashes of the last hour saved: pulled bytes, and bytes on each node's disk, which are two figures of the same.",
        Shape::Lines,
        "decbytes",
        12,
        NONE,
        &[("sum by (kind) (increase(unbloat_reclaimed_bytes_total{SEL}[1h]))", "{{kind}}")],
    ),
    panel(
        "Images over a threshold",
        "Images in use that pass a threshold of a policy.",
        Shape::Lines,
        "short",
        12,
        NONE,
        &[(
            r#"max by (policy, threshold) (unbloat_images_over_threshold{SEL, policy=~"$policy"})"#,
            "{{policy}}: {{threshold}}",
        )],
    ),
    panel(
        "Images by verdict",
        "Images in use, by what the policies say of them.",
        Shape::Stack,
        "short",
        8,
        NONE,
        &[("max by (verdict) (unbloat_images{SEL})", "{{verdict}}")],
    ),
    panel(
        "Layers of the images in use",
        "How many images have so many layers: more than the line before says, and at most these.",
        Shape::Bars,
        "short",
        8,
        NONE,
        &[("max by (le) (unbloat_image_layers_bucket{SEL})", "{{le}}")],
    ),
    panel(
        "Sizes of the images in use",
        "How many images have so many compressed bytes: more than the line before says, and at most these.",
        Shape::Bars,
        "short",
        8,
        NONE,
        &[("max by (le) (unbloat_image_size_bytes_bucket{SEL})", "{{le}}")],
    ),
];

/// The rows of the incident's own table that are not above: before and after stand in one picture.
const WORTH: &[Panel] = &[
    panel(
        "Alerts that fire",
        "Of Unbloat's own, by name.",
        Shape::Stack,
        "short",
        6,
        NONE,
        &[(
            r#"count by (alertname) (ALERTS{SEL, alertname=~"Unbloat.*", alertstate="firing"})"#,
            "{{alertname}}",
        )],
    ),
    panel(
        "Disks of the nodes",
        "What is read from and written to them, on average; from node_exporter.",
        Shape::Lines,
        "Bps",
        6,
        NONE,
        &[
            ("avg(sum by (instance) (rate(node_disk_read_bytes_total[$__rate_interval])))", "read"),
            ("avg(sum by (instance) (rate(node_disk_written_bytes_total[$__rate_interval])))", "written"),
        ],
    ),
    panel(
        "Pulls on the nodes",
        "From kubelet: nine of ten pulls of the last hour took at most so long.",
        Shape::Lines,
        "s",
        6,
        NONE,
        &[(
            "histogram_quantile(0.9, sum by (le) (rate(kubelet_image_pull_duration_seconds_bucket[1h])))",
            "90 %",
        )],
    ),
    panel(
        "Storage of the images in use",
        "Dollars a month for their compressed bytes, each image counted whole, at the price that is chosen above.",
        Shape::Lines,
        "currencyUSD",
        6,
        NONE,
        &[("max(unbloat_image_size_bytes_sum{SEL}) / 1e9 * $price", "a month")],
    ),
];

const WORK: &[Panel] = &[
    panel(
        "Jobs",
        "ImageSquashJobs by state.",
        Shape::Stack,
        "short",
        8,
        NONE,
        &[(r#"max by (state) (unbloat_jobs{SEL, state!~"succeeded|failed"})"#, "{{state}}")],
    ),
    panel(
        "Jobs that ended",
        "In the last hour, by how and why.",
        Shape::Stack,
        "short",
        8,
        NONE,
        &[(
            "sum by (result, reason) (increase(unbloat_jobs_finished_total{SEL}[1h]))",
            "{{result}}: {{reason}}",
        )],
    ),
    panel(
        "Attempts that failed",
        "In the last hour, retried or not.",
        Shape::Stack,
        "short",
        8,
        NONE,
        &[("sum by (reason) (increase(unbloat_attempts_failed_total{SEL}[1h]))", "{{reason}}")],
    ),
    panel(
        "Time of a squash",
        "As workers measure it.",
        Shape::Lines,
        "s",
        8,
        NONE,
        &[
            (
                "histogram_quantile(0.5, sum by (le) (rate(unbloat_squash_duration_seconds_bucket{SEL}[6h])))",
                "median",
            ),
            (
                "histogram_quantile(0.9, sum by (le) (rate(unbloat_squash_duration_seconds_bucket{SEL}[6h])))",
                "90 %",
            ),
        ],
    ),
    panel(
        "Wait for a place",
        "From a job's creation to its first attempt; nine of ten wait at most so long.",
        Shape::Lines,
        "s",
        8,
        NONE,
        &[(
            "histogram_quantile(0.9, sum by (le) (rate(unbloat_queue_wait_seconds_bucket{SEL}[6h])))",
            "90 %",
        )],
    ),
    panel(
        "Registry traffic",
        "Compressed bytes of sources that were read and results that were written.",
        Shape::Lines,
        "Bps",
        8,
        NONE,
        &[(
            "sum by (direction) (rate(unbloat_registry_bytes_total{SEL}[$__rate_interval]))",
            "{{direction}}",
        )],
    ),
    panel(
        "Jobs of a policy's hour",
        "What is spent of limits.maxJobsPerHour.",
        Shape::Lines,
        "short",
        8,
        NONE,
        &[(
            r#"max by (policy) (unbloat_policy_budget_used{SEL, policy=~"$policy", budget="jobsThisHour"})"#,
            "{{policy}}",
        )],
    ),
    panel(
        "Rollouts",
        "Workloads that were pointed at a result in the last day, or left as they are, by result.",
        Shape::Stack,
        "short",
        8,
        NONE,
        &[("sum by (result) (increase(unbloat_rollouts_total{SEL}[1d]))", "{{result}}")],
    ),
    panel(
        "Originals",
        "Whose time was over in the last day: deleted, or what keeps them.",
        Shape::Stack,
        "short",
        8,
        NONE,
        &[("sum by (result) (increase(unbloat_originals_total{SEL}[1d]))", "{{result}}")],
    ),
];

const HEALTH: &[Panel] = &[
    panel(
        "Leaders",
        "Replicas that lead: one. None for some seconds is a hand-over.",
        Shape::Stat,
        "short",
        4,
        NONE,
        &[("sum(unbloat_leader{SEL})", "")],
    ),
    panel(
        "Reconciles",
        "Turns of the controller a second, by how they end.",
        Shape::Lines,
        "ops",
        10,
        NONE,
        &[(
            "sum by (result) (rate(unbloat_controller_reconcile_total{SEL}[$__rate_interval]))",
            "{{result}}",
        )],
    ),
    panel(
        "Time of a reconcile",
        "Ninety-nine of a hundred take at most so long.",
        Shape::Lines,
        "s",
        10,
        NONE,
        &[(
            "histogram_quantile(0.99, sum by (le) (rate(unbloat_controller_reconcile_time_seconds_bucket{SEL}[$__rate_interval])))",
            "99 %",
        )],
    ),
    panel(
        "Writes to the API server",
        "A second, by verb and kind.",
        Shape::Lines,
        "ops",
        8,
        NONE,
        &[(
            "sum by (verb, kind) (rate(unbloat_api_writes_total{SEL}[$__rate_interval]))",
            "{{verb}} {{kind}}",
        )],
    ),
    panel(
        "Images read",
        "Manifests and layers that were read in the last hour, by result.",
        Shape::Stack,
        "short",
        8,
        NONE,
        &[
            ("sum by (result) (increase(unbloat_inspections_total{SEL}[1h]))", "manifest: {{result}}"),
            ("sum by (result) (increase(unbloat_analyses_total{SEL}[1h]))", "layers: {{result}}"),
        ],
    ),
    panel(
        "Memory",
        "What each replica has in use.",
        Shape::Lines,
        "decbytes",
        8,
        &[1e8, 1.2e8],
        &[("process_resident_memory_bytes{SEL} and on (namespace, pod) unbloat_leader", "{{pod}}")],
    ),
];

/// It.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    let text = serde_json::to_string_pretty(&dashboard())? + "\n";
    Ok(vec![("charts/unbloat/dashboards/unbloat.json".into(), text)])
}

fn dashboard() -> Value {
    let mut panels = Vec::new();
    let (mut id, mut y) = (0_u64, 0_u64);
    for (title, row) in ROWS {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in *row {
            if x + panel.width > 24 {
                (x, y) = (0, y + height);
                height = 0;
            }
            id += 1;
            // What stands beside each other is of one height.
            let own = match panel.shape {
                Shape::Stat if x == 0 || height == 4 => 4,
                _ => 8,
            };
            panels.push(one(panel, id, [x, y, panel.width, own]));
            height = height.max(own);
            x += panel.width;
        }
        y += height;
    }
    json!({
        "uid": "unbloat",
        "title": "Unbloat",
        "description": "What is bloated, what was given back, whether the repair works. The alerts' runbooks: docs/operator/alerts.md.",
        "tags": ["unbloat"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "",
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0},
            variable("namespace", "Namespace of the release", "label_values(unbloat_leader, namespace)"),
            variable("policy", "Policy", "label_values(unbloat_policy_budget_used, policy)"),
            {"name": "price", "label": "Dollars for a GB a month", "type": "textbox", "query": "0.10",
                "current": {"text": "0.10", "value": "0.10"}, "hide": 0},
        ]},
        "panels": panels,
    })
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "hide": 0,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "includeAll": true, "multi": true, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2, "sort": 1,
    })
}

fn one(panel: &Panel, id: u64, [x, y, w, h]: [u64; 4]) -> Value {
    let Panel { title, about, shape, unit, thresholds, queries, .. } = panel;
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let is_newest = matches!(shape, Shape::Stat | Shape::Bars);
    let targets: Vec<Value> = queries
        .iter()
        .zip('A'..)
        .map(|((query, legend), letter)| {
            json!({
                "refId": letter.to_string(), "datasource": source,
                "expr": query.replace("SEL", r#"namespace=~"$namespace""#),
                "legendFormat": legend, "instant": is_newest, "range": !is_newest,
                // Buckets in their order, and each for itself.
                "format": if matches!(shape, Shape::Bars) { "heatmap" } else { "time_series" },
            })
        })
        .collect();
    let mut steps = vec![json!({"color": "green", "value": null})];
    steps.extend(
        thresholds
            .iter()
            .zip(["yellow", "red"])
            .map(|(value, color)| json!({"color": color, "value": value})),
    );
    let custom = match shape {
        Shape::Lines => {
            json!({"drawStyle": "line", "fillOpacity": 0, "showPoints": "auto", "spanNulls": true})
        }
        Shape::Stack => {
            json!({"drawStyle": "line", "fillOpacity": 40, "showPoints": "never", "spanNulls": true,
            "stacking": {"mode": "normal", "group": "A"}})
        }
        Shape::Stat | Shape::Bars => json!({}),
    };
    let (kind, options) = match shape {
        Shape::Stat => (
            "stat",
            json!({"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}, "colorMode": "value",
                "graphMode": "none", "textMode": "auto", "justifyMode": "auto", "orientation": "auto"}),
        ),
        Shape::Bars => (
            "bargauge",
            json!({"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                "displayMode": "basic", "orientation": "horizontal", "showUnfilled": true}),
        ),
        Shape::Lines | Shape::Stack => (
            "timeseries",
            json!({"legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"}}),
        ),
    };
    json!({
        "id": id, "type": kind, "title": title, "description": about, "datasource": source,
        "gridPos": {"x": x, "y": y, "w": w, "h": h},
        "fieldConfig": {
            "defaults": {
                "unit": unit, "min": 0, "noValue": "nothing yet", "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
                "color": {"mode": if thresholds.is_empty() { "palette-classic" } else { "thresholds" }},
            },
            "overrides": [],
        },
        "options": options, "targets": targets,
    })
}
