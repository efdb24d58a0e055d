//! `unbloat report`: what is known of the images in use, the most worthwhile first.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::io::Write as _;

use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use unbloat_api::image_report::Verdict;
use unbloat_api::{ImageReport, ImageReportStatus};
use unbloat_text::count;

use super::Shared;
use super::commands::print;
use super::connect::Connection;
use super::error::Error;
use super::table;
use crate::args::ReportArgs;

/// Shows all, or one.
pub(super) async fn report(args: &ReportArgs, shared: Shared) -> Result<(), Error> {
    let connection = Connection::open(&args.cluster).await?;
    let api: Api<ImageReport> = match &args.cluster.namespace {
        Some(namespace) => Api::namespaced(connection.client.clone(), namespace),
        None => Api::all(connection.client.clone()),
    };
    let listed = match api.list(&ListParams::default()).await {
        // Who may not read the reports of all namespaces sees those of the context's.
        Err(kube::Error::Api(status)) if status.code == 403 && args.cluster.namespace.is_none() => {
            let own: Api<ImageReport> = Api::namespaced(connection.client.clone(), &connection.namespace);
            own.list(&ListParams::default()).await
        }
        listed => listed,
    };
    let mut reports = listed.map_err(Error::kube("cannot list ImageReports"))?.items;
    for report in &mut reports {
        report.metadata.managed_fields = None;
    }
    if let Some(image) = &args.image {
        reports.retain(|report| is(report, image));
        if reports.is_empty() {
            return Err(Error::Unknown(format!(
                "there is no report of {image}: no policy matches it, or nobody uses it"
            )));
        }
    }
    reports.sort_by_cached_key(|report| (Reverse(worth(report)), report.namespace(), report.name_any()));
    if shared.json {
        return print(&json!({"items": reports}));
    }
    let text = match (&args.image, reports.as_slice()) {
        (Some(_), [one]) => details(one),
        _ => rows(&reports, Timestamp::now()),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// What a squash gives back; of what isn't analysed, nothing is claimed, so its size decides among those.
fn worth(report: &ImageReport) -> (i64, i64) {
    let status = report.status.clone().unwrap_or_default();
    let is_done = matches!(status.verdict, Verdict::Squashed | Verdict::Flat);
    let bytes = status.platforms.iter().map(|platform| platform.compressed_bytes).max().unwrap_or(0);
    (if is_done { 0 } else { status.reclaimable_bytes.unwrap_or(0) }, bytes)
}

/// Whether a word names a report: its name, its image with or without tag, its digest.
fn is(report: &ImageReport, word: &str) -> bool {
    let spec = &report.spec;
    let (name, digest) = word.split_once('@').unwrap_or((word, ""));
    let hex = spec.digest.split_once(':').map_or("", |(_, hex)| hex);
    report.name_any() == word
        || spec.reference == word
        || spec.repository == word
        || spec.digest == word
        || (word.len() >= 12 && hex.starts_with(word))
        || (!digest.is_empty() && spec.digest == digest && spec.reference.starts_with(name))
        || spec.reference == format!("docker.io/library/{word}")
        || spec.repository == format!("docker.io/library/{word}")
}

fn rows(reports: &[ImageReport], now: Timestamp) -> String {
    let mut rows = vec![
        [
            "NAMESPACE",
            "IMAGE",
            "LAYERS",
            "SIZE",
            "WASTED",
            "RECLAIMABLE",
            "VERDICT",
            "USED-BY",
            "RESULT",
            "AGE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for report in reports {
        let status = report.status.clone().unwrap_or_default();
        let age = report.creation_timestamp().map(|time| table::age(now.as_second() - time.0.as_second()));
        rows.push(vec![
            report.namespace().unwrap_or_default(),
            report.spec.reference.clone(),
            status.layers.map(|layers| layers.to_string()).unwrap_or_default(),
            status.size.unwrap_or_default(),
            status.wasted.unwrap_or_default(),
            status.reclaimable_bytes.map(unbloat_text::signed_bytes).unwrap_or_default(),
            verdict(status.verdict),
            status.used_by.count.to_string(),
            status.result.map(|result| result.reference).unwrap_or_default(),
            age.unwrap_or_default(),
        ]);
    }
    table::layout(&rows)
}

fn verdict(verdict: Verdict) -> String {
    format!("{verdict:?}")
}

fn details(report: &ImageReport) -> String {
    let status = report.status.clone().unwrap_or_default();
    let ImageReportStatus {
        observed_at: _,
        verdict: found,
        conditions,
        layers,
        size,
        wasted,
        platforms,
        wasted_bytes: _,
        wasted_percent: _,
        reclaimable_bytes,
        causes,
        paths,
        secret_paths,
        used_by,
        policies,
        result,
        failures,
        unused_since,
    } = status;
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name:<12} {value}");
        }
    };
    let human = unbloat_text::signed_bytes;
    line("Image", Some(report.spec.reference.clone()));
    line("Digest", Some(report.spec.digest.clone()));
    line("Namespace", report.namespace());
    line("Verdict", Some(verdict(found)));
    line("Layers", layers.map(|layers| layers.to_string()));
    line("Size", size);
    line("Wasted", wasted);
    line("Reclaimable", reclaimable_bytes.map(human));
    for platform in platforms.iter().filter(|_| platforms.len() > 1) {
        let words = format!(
            "{}: {}, {}",
            platform.platform,
            count(usize::try_from(platform.layers).unwrap_or(0), "layer"),
            human(platform.compressed_bytes)
        );
        line("Platform", Some(words));
    }
    for cause in causes {
        line(
            "Cause",
            Some(format!(
                "{}: {} in {}",
                cause.cause,
                human(cause.wasted_bytes),
                count(usize::try_from(cause.paths).unwrap_or_default(), "path")
            )),
        );
    }
    for path in paths {
        let words = format!("{}: {} copies, {} wasted", path.path, path.copies, human(path.wasted_bytes));
        line("Path", Some(words));
    }
    line(
        "Secrets",
        secret_paths.map(|count| format!("{count} deleted files that look like secrets can still be read")),
    );
    line("Used by", Some(format!("{} workloads", used_by.count)));
    for user in used_by.workloads {
        line("", Some(format!("{}/{}", user.kind, user.name)));
    }
    for policy in policies {
        line("Policy", Some(format!("{}: {:?}, {}", policy.name, policy.verdict, policy.reason)));
    }
    for condition in conditions {
        line(
            "Condition",
            Some(format!(
                "{}={} {}: {}",
                condition.type_, condition.status, condition.reason, condition.message
            )),
        );
    }
    if let Some(result) = result {
        line("Result", Some(result.reference));
        line("Rollout", result.rollout);
    }
    if let Some(failures) = failures {
        let words = format!("{} jobs and {} readings in a row failed", failures.jobs, failures.reads);
        line("Failures", Some(words));
    }
    line("Unused since", unused_since.map(|time| time.0.to_string()));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const DIGEST: &str = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";

    fn report(name: &str, status: &Value) -> ImageReport {
        serde_json::from_value(json!({
            "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageReport",
            "metadata": {"name": name, "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"reference": format!("a.example/{name}:v1"), "repository": format!("a.example/{name}"), "digest": DIGEST},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_report_is_found_by_each_of_its_names() {
        let one = report("app", &json!({}));
        for word in [
            "app",
            "a.example/app",
            "a.example/app:v1",
            DIGEST,
            "4355a46b19d3",
            &format!("a.example/app@{DIGEST}"),
        ] {
            assert!(is(&one, word), "{word}");
        }
        for word in ["a.example/ap", "other", "4355", "a.example/app:v2", &format!("b.example/app@{DIGEST}")]
        {
            assert!(!is(&one, word), "{word}");
        }
    }

    #[test]
    fn what_gives_back_most_comes_first_and_what_is_squashed_last() {
        let mut reports = [
            report("little", &json!({"reclaimableBytes": 5})),
            report("done", &json!({"reclaimableBytes": 500, "verdict": "Squashed"})),
            report(
                "much",
                &json!({"reclaimableBytes": 50, "verdict": "OverThreshold", "usedBy": {"count": 2}}),
            ),
        ];
        reports.sort_by_cached_key(|report| (Reverse(worth(report)), report.name_any()));
        let text = rows(&reports, "2026-01-01T00:03:00Z".parse().unwrap());
        let names: Vec<&str> =
            text.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(names, ["a.example/much:v1", "a.example/little:v1", "a.example/done:v1"]);
        assert!(text.contains("OverThreshold") && text.contains("50 B"), "{text}");
    }

    #[test]
    fn the_details_of_one_report_name_causes_and_what_policies_say() {
        let text = details(&report(
            "app",
            &json!({
                "verdict": "OverThreshold", "layers": 60,
                "causes": [{"cause": "growingLog", "paths": 1, "wastedBytes": 1000}],
                "policies": [{"name": "p", "verdict": "OverThreshold", "reason": "Reported"}],
                "secretPaths": 2,
            }),
        ));
        for words in [
            "growingLog: 1000 B in 1 path",
            "p: OverThreshold, Reported",
            "2 deleted files",
            "Layers       60",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
