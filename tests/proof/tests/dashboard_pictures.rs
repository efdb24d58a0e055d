//! The Grafana dashboard with data: a made-up day of the incident in a real Prometheus, every query answered,
//! every panel drawn in a real Chromium as its type, unit and legend ask. And the file against the types that
//! Grafana publishes. Grafana itself is not here.
//!
//! With `UNBLOAT_PICTURES` set to a folder the pictures are written there: `docs/operator/images` has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use unbloat_proof::{
    browser::{Browser, Screen},
    tools::{cache, command, run, workspace},
};

/// The day begins, in seconds since 1970: 2026-01-01.
const START: u64 = 1_767_225_600;
const DAY: u64 = 86_400;
/// Pixels of a picture.
const WIDTH: u32 = 1200;

fn modules() -> PathBuf {
    cache().join("node/node_modules")
}

fn dashboard() -> Result<Value> {
    let path = workspace().join("charts/unbloat/dashboards/unbloat.json");
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row")
}

fn script(name: &str) -> PathBuf {
    workspace().join("tests/proof/dashboard").join(name)
}

fn folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("unbloat-dashboard-").tempdir_in("/var/tmp")?)
}

/// A Prometheus with a folder of blocks and nothing to scrape.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(blocks: &Path, work: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        fs::write(work.join("prometheus.yml"), "")?;
        let mut prometheus = command("prometheus");
        prometheus.arg(format!("--config.file={}", work.join("prometheus.yml").display()));
        prometheus.arg(format!("--storage.tsdb.path={}", blocks.display()));
        prometheus.args(["--storage.tsdb.retention.time=100y", "--log.level=error"]);
        prometheus.arg(format!("--web.listen-address={address}"));
        let child = prometheus.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let this = Self { child, address };
        for _ in 0..300 {
            if run(command("curl").args(["-sf", &format!("http://{}/-/ready", this.address)])).is_ok() {
                return Ok(this);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("Prometheus did not become ready at {}", this.address)
    }

    /// The series that a query answers with, at one moment or over the day.
    fn ask(&self, query: &str, moment: Option<u64>) -> Result<Value> {
        let mut curl = command("curl");
        curl.args(["-sS", "--get", "--data-urlencode", &format!("query={query}")]);
        let path = match moment {
            Some(moment) => {
                curl.arg("--data-urlencode").arg(format!("time={moment}"));
                "query"
            }
            None => {
                for (name, value) in [("start", START), ("end", START + DAY), ("step", 240)] {
                    curl.arg("--data-urlencode").arg(format!("{name}={value}"));
                }
                "query_range"
            }
        };
        curl.arg(format!("http://{}/api/v1/{path}", self.address));
        let answer: Value = serde_json::from_slice(&run(&mut curl)?.stdout)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The day, as OpenMetrics.
fn the_day() -> Result<String> {
    let output = run(command("node").arg(script("incident.mjs")).arg(START.to_string()))?;
    Ok(String::from_utf8(output.stdout)?)
}

fn prometheus_of_the_day(work: &Path) -> Result<Prometheus> {
    let text = work.join("day.txt");
    fs::write(&text, the_day()?)?;
    let blocks = work.join("blocks");
    run(command("promtool").args(["tsdb", "create-blocks-from", "openmetrics"]).args([&text, &blocks]))?;
    Prometheus::start(&blocks, work)
}

/// A query as Grafana sends it, with everything chosen.
fn chosen(query: &str) -> String {
    let mut query = query.to_owned();
    for (name, value) in [
        ("$__rate_interval", "5m"),
        ("$__range", "24h"),
        ("$namespace", ".*"),
        ("$policy", ".*"),
        ("$price", "0.1"),
    ] {
        query = query.replace(name, value);
    }
    query
}

/// Each panel's answers, by its number.
fn answers(dashboard: &Value, prometheus: &Prometheus, moment: u64) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut answers = BTreeMap::new();
    for panel in panels(dashboard) {
        let mut own = Vec::new();
        for target in panel["targets"].as_array().expect("queries") {
            let query = chosen(target["expr"].as_str().expect("a query"));
            assert!(!query.contains('$'), "a variable that the dashboard lacks: {query}");
            own.push(prometheus.ask(&query, (target["instant"] == true).then_some(moment))?);
        }
        answers.insert(panel["id"].to_string(), own);
    }
    Ok(answers)
}

/// The dashboard's rows, each with its panels' numbers and its height in Grafana's units.
fn rows(dashboard: &Value) -> Vec<(String, Vec<u64>, u64)> {
    let mut rows: Vec<(String, Vec<u64>, u64)> = Vec::new();
    let mut top = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        let place = |field: &str| panel["gridPos"][field].as_u64().expect("a place");
        if panel["type"] == "row" {
            rows.push((panel["title"].as_str().expect("a title").to_owned(), Vec::new(), 0));
            top = place("y");
        }
        let (_, ids, height) = rows.last_mut().expect("a row comes first");
        ids.push(panel["id"].as_u64().expect("a number"));
        *height = (*height).max(place("y") + place("h") - top);
    }
    rows
}

/// Draws one row; answers with what its panels show and the picture.
fn draw(data: &Value, height: u64, work: &Path) -> Result<(Value, Vec<u8>)> {
    let uplot = modules().join("uplot/dist");
    let read = |path: PathBuf| fs::read_to_string(&path).with_context(|| path.display().to_string());
    // Nothing in the data may end its element.
    let page = read(script("page.html"))?
        .replace("/*DATA*/", &data.to_string().replace("</", "<\\/"))
        .replace("/*UPLOT_CSS*/", &read(uplot.join("uPlot.min.css"))?)
        .replace("/*UPLOT_JS*/", &read(uplot.join("uPlot.iife.min.js"))?);
    let path = work.join("page.html");
    fs::write(&path, page)?;
    let height = u32::try_from(height * 30 + 16)?;
    let mut browser = Browser::open(&path, Screen { width: WIDTH, height, dark: false })?;
    let drawn = browser.evaluate("document.documentElement.dataset.drawn")?;
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    let picture = browser.picture()?;
    Ok((serde_json::from_str(drawn.as_str().context("what was drawn")?)?, picture))
}

#[test]
fn every_panel_has_data_and_is_drawn_as_it_asks() -> Result<()> {
    let work = folder()?;
    let prometheus = prometheus_of_the_day(work.path())?;
    let dashboard = dashboard()?;
    let end = START + DAY;
    let after = answers(&dashboard, &prometheus, end)?;
    for panel in panels(&dashboard) {
        for (target, answer) in
            panel["targets"].as_array().expect("queries").iter().zip(&after[&panel["id"].to_string()])
        {
            let series = answer.as_array().expect("series");
            assert!(!series.is_empty(), "{}: {} has no data", panel["title"], target["expr"]);
        }
    }
    let mut shown = serde_json::Map::new();
    for (title, ids, height) in rows(&dashboard) {
        let data = json!({"dashboard": dashboard, "answers": after, "width": WIDTH, "only": ids, "range": [START, end]});
        let (drawn, picture) = draw(&data, height, work.path())?;
        shown.extend(drawn.as_object().expect("titles").clone());
        assert!(picture.starts_with(b"\x89PNG") && picture.len() < 150_000, "{title}: {}", picture.len());
        if let Some(folder) = std::env::var_os("UNBLOAT_PICTURES") {
            let name = title.to_lowercase().replace(' ', "-");
            fs::write(Path::new(&folder).join(format!("dashboard-{name}.png")), picture)?;
        }
    }
    assert_eq!(
        shown.len(),
        panels(&dashboard).count(),
        "each panel shows something, and no two have one title"
    );
    // Whatever leads at the end of the day: the figures are the day's.
    assert_eq!(shown["Largest image"], "2.05 GB");
    assert_eq!(
        (&shown["Pull bytes given back"], &shown["Node disk given back"]),
        (&json!("1.14 TB"), &json!("2.96 TB"))
    );
    let layers = shown["Layers of the images in use"].as_array().expect("bars").clone();
    assert_eq!(layers[0][0], "1.0", "buckets stand in their order");
    assert_eq!(layers.iter().filter_map(|bar| bar[1].as_u64()).sum::<u64>(), 120, "each image is in one bar");
    Ok(())
}

#[test]
fn the_figures_and_the_alerts_are_those_of_the_incident_before_and_after() -> Result<()> {
    let work = folder()?;
    let prometheus = prometheus_of_the_day(work.path())?;
    let dashboard = dashboard()?;
    let value = |title: &str, moment: u64| -> Result<f64> {
        let panel = panels(&dashboard).find(|panel| panel["title"] == title).context(title.to_owned())?;
        let query = chosen(panel["targets"][0]["expr"].as_str().expect("a query"));
        let answer = prometheus.ask(&query, Some(moment))?;
        Ok(answer[0]["value"][1].as_str().context(query)?.parse()?)
    };
    let (before, after) = (START + 10 * 3600, START + DAY);
    for (title, at_least, at_most) in [
        ("Most layers", 272.0, 50.0),
        ("Largest image", 799e9, 2.1e9),
        ("Could be given back", 700e9, 0.0),
        ("Storage of the images in use", 90.0, 30.0),
        ("Pulls on the nodes", 60.0, 30.0),
    ] {
        let (was, is) = (value(title, before)?, value(title, after)?);
        assert!(was >= at_least && is <= at_most, "{title}: {was} → {is}");
    }
    // The alerts that are shipped, not what the day says of them.
    let rules = fs::read_to_string(workspace().join("charts/unbloat/files/alerts.yaml"))?;
    let mut name = "";
    let mut checked = BTreeSet::new();
    for line in rules.lines().map(str::trim) {
        name = line.strip_prefix("- alert: ").unwrap_or(name);
        let Some(query) = line.strip_prefix("expr: ") else { continue };
        if name.starts_with("UnbloatImage") && !query.starts_with('>') {
            let fires = |moment| Ok::<_, anyhow::Error>(prometheus.ask(query, Some(moment))? != json!([]));
            assert!(fires(before)? && !fires(after)?, "{name}");
            checked.insert(name);
        }
    }
    assert_eq!(checked.len(), 3, "{checked:?}");
    Ok(())
}

#[test]
fn the_day_has_every_metric_that_is_documented_and_no_other_of_ours() -> Result<()> {
    let page = fs::read_to_string(workspace().join("docs/operator/operations.md"))?;
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|line| line.split('|').next().unwrap_or_default().split(", "))
        .map(|name| {
            name.trim_matches(|letter| letter == '`' || letter == ' ').split('{').next().unwrap_or_default()
        })
        .filter(|name| name.starts_with("unbloat_"))
        .collect();
    let day = the_day()?;
    let made: BTreeSet<String> = day
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter(|line| line.starts_with("unbloat_"))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    assert!(documented.len() > 15, "{documented:?}");
    assert_eq!(made.iter().map(String::as_str).collect::<BTreeSet<_>>(), documented);
    Ok(())
}

#[test]
fn the_file_is_what_grafana_publishes_as_a_dashboard_and_a_wrong_one_is_told() -> Result<()> {
    let check = |dashboard: &Value| -> Result<String> {
        let work = folder()?;
        let file = work.path().join("dashboard.json");
        fs::write(&file, dashboard.to_string())?;
        let mut node = command("node");
        node.arg(script("schema.mjs")).args([modules(), file, work.path().to_path_buf()]);
        let output = node.output()?;
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() == text.is_empty(), "{text}");
        Ok(text)
    };
    let right = dashboard()?;
    assert_eq!(check(&right)?, "");
    // A check that takes everything would be none.
    let at = right["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .position(|panel| panel["type"] == "timeseries")
        .expect("one");
    let mut wrong = right.clone();
    wrong["panels"][at]["options"]["legend"]["placement"] = json!("left");
    wrong["panels"][at]["fieldConfig"]["defaults"]["custom"]["drawStile"] = json!("line");
    wrong["panels"][at]["gridPos"]["w"] = json!("wide");
    wrong["templating"]["list"][0]["refresh"] = json!(7);
    let told = check(&wrong)?;
    for word in ["\"left\"", "drawStile", "'number'", "7"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    Ok(())
}
