//! ImageSquashJobs as a table.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use unbloat_api::ImageSquashJob;

/// The same columns as `kubectl get isj`.
pub(crate) fn table(jobs: &[ImageSquashJob], with_namespace: bool, now: Timestamp) -> String {
    let mut rows = vec![
        [
            "NAMESPACE",
            "NAME",
            "IMAGE",
            "LAYERS",
            "SIZE",
            "RECLAIMED",
            "SUCCEEDED",
            "REASON",
            "PROGRESS",
            "AGE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for job in jobs {
        let status = job.status.clone().unwrap_or_default();
        let condition = status.succeeded().cloned();
        let age = job.creation_timestamp().map(|time| age(now.as_second() - time.0.as_second()));
        rows.push(vec![
            job.namespace().unwrap_or_default(),
            job.name_any(),
            job.spec.source.image.clone(),
            status.layers.unwrap_or_default(),
            status.size.unwrap_or_default(),
            status.reclaimed.unwrap_or_default(),
            condition.as_ref().map(|condition| condition.status.clone()).unwrap_or_default(),
            condition.map(|condition| condition.reason).unwrap_or_default(),
            status.progress.map(|progress| progress.summary).unwrap_or_default(),
            age.unwrap_or_default(),
        ]);
    }
    if !with_namespace {
        for row in &mut rows {
            row.remove(0);
        }
    }
    layout(&rows)
}

/// Columns that line up.
pub(super) fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("   ").trim_end();
        text.push('\n');
    }
    text
}

/// As kubectl shows ages: the largest unit, two for the small ones.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let job = |name: &str, status: serde_json::Value| -> ImageSquashJob {
            serde_json::from_value(json!({
                "apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashJob",
                "metadata": {"name": name, "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"source": {"image": "a.example/b:c"}, "target": {"moveTag": true}},
                "status": status,
            }))
            .unwrap()
        };
        let jobs = [
            job("a", json!({})),
            job("a-longer-name", json!({"layers": "272→2", "size": "210.8 MiB→3.0 MiB"})),
        ];
        let now = "2026-01-01T00:03:00Z".parse().unwrap();
        let text = table(&jobs, false, now);
        let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        let column = lines[0].windows(5).position(|word| word == ['I', 'M', 'A', 'G', 'E']).unwrap();
        assert!(lines[1..].iter().all(|line| line[column] == 'a' && line[column - 1] == ' '), "{text}");
        assert!(text.contains("272→2") && text.trim_end().ends_with("3m"), "{text}");
        assert!(!text.contains("NAMESPACE") && table(&jobs, true, now).contains("NAMESPACE"));
    }
}
