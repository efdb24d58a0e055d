//! Many jobs at once on one node: limits hold, all end, few writes, little memory. `UNBLOAT_JOBS` says how
//! many; 1,000 is the long form.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use unbloat_cluster::{Error, Result, termination};
use unbloat_operator_tests::{Ground, Jobs, Layered, are_quick, job, reason};

/// Jobs where nothing else is asked for.
const JOBS: usize = 100;
const GLOBAL: usize = 6;
const PER_NAMESPACE: usize = 4;

#[tokio::test]
async fn many_jobs_at_once_keep_to_the_limits_and_all_end() -> Result<()> {
    let count = std::env::var("UNBLOAT_JOBS").map_or(JOBS, |text| text.parse().expect("a number of jobs"));
    let limit = Duration::from_secs(500 + 4 * count as u64);
    let ground = Ground::start().await?;
    let limits =
        json!({"concurrency": {"global": GLOBAL, "perNamespace": PER_NAMESPACE}, "worker": {"cpu": "200m"}});
    let operator = ground.operator("operator-a", &limits).await?;
    let image = Layered { layers: 3, step: 1000, seed: 5, programs: false }
        .write(&ground.cluster.folder().join("small"));
    let source = ground.cluster.push(&ground.registry, &image, "many/app:v1").await?;
    let namespaces = ["team-a", "team-b"];
    for namespace in namespaces {
        ground.cluster.restricted_namespace(namespace).await?;
    }
    let manifests: Vec<String> = (0..count)
        .map(|number| {
            let target = format!("{}/many/app:flat-{number}", ground.registry.host());
            let spec = json!({"source": {"image": source, "plainHTTP": true}, "target": {"image": target}});
            job(namespaces[number % 2], &format!("many-{number}"), &spec).to_string()
        })
        .collect();
    ground.cluster.apply(&manifests.join("\n---\n")).await?;

    let start = Instant::now();
    let lists =
        [Jobs::of(&ground.cluster, namespaces[0]).await?, Jobs::of(&ground.cluster, namespaces[1]).await?];
    let mut most = 0.0_f64;
    loop {
        let mut running = Vec::new();
        let mut done = 0;
        for jobs in &lists {
            let listed = jobs.list().await?;
            let working =
                listed.iter().filter(|job| ["WorkerPending", "Running"].contains(&reason(job).1.as_str()));
            running.push(working.count());
            done += listed.iter().filter(|job| reason(job).0 == "True").count();
            let failed: Vec<_> =
                listed.iter().filter(|job| reason(job).0 == "False").map(|job| job.status.clone()).collect();
            assert!(failed.is_empty(), "{failed:#?}\n{}", operator.log());
        }
        assert!(running.iter().all(|count| *count <= PER_NAMESPACE), "{running:?} at once");
        assert!(running.iter().sum::<usize>() <= GLOBAL, "{running:?} at once");
        most = most.max(ground.metric(&operator, "process_resident_memory_bytes").await?);
        if done == count {
            break;
        }
        assert!(start.elapsed() < limit, "{done} of {count} after {limit:?}\n{}", operator.log());
        // A list of 200 jobs is work for both sides; what comes between two looks is found in the pods'
        // times.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("{count} jobs in {:?}, {:.1} MiB at most", start.elapsed(), most / f64::from(1 << 20));
    assert!(are_quick() || most <= f64::from(60 << 20), "{most} bytes of memory");

    let mut all = Vec::new();
    for namespace in namespaces {
        let times = working_times(&ground, namespace).await?;
        assert!(most_at_once(&times) <= PER_NAMESPACE, "{} at once in {namespace}", most_at_once(&times));
        all.extend(times);
    }
    assert_eq!(all.len(), count);
    println!("{} workers at once at most", most_at_once(&all));
    assert!(most_at_once(&all) <= GLOBAL, "{} at once", most_at_once(&all));

    let mut writes: HashMap<String, usize> = HashMap::new();
    for write in ground.cluster.writes(|write| write.user.ends_with(":unbloat-operator"))? {
        // Jobs and events are named after the ImageSquashJob.
        let parts: Vec<&str> = write.name.splitn(3, ['-', '.']).collect();
        if let ["many", number, ..] = parts[..] {
            *writes.entry(number.to_owned()).or_default() += 1;
        }
    }
    let worst = writes.values().max().copied().unwrap_or(0);
    println!("writes: {} at most, {} in all", worst, writes.values().sum::<usize>());
    assert!(writes.len() == count && worst <= 12, "{worst} writes for one job");
    for jobs in &lists {
        for job in jobs.list().await? {
            assert_eq!(job.status.clone().unwrap_or_default().attempts, 1, "{}", job.name_any());
        }
    }
    Ok(())
}

/// When the workers of a namespace began and ended, in seconds.
async fn working_times(ground: &Ground, namespace: &str) -> Result<Vec<(i64, i64)>> {
    let pods: Api<Pod> = Api::namespaced(ground.cluster.client().await?, namespace);
    let of_jobs = ListParams::default().labels(unbloat_api::labels::SQUASH_JOB);
    let pods = pods.list(&of_jobs).await.map_err(Error::kube("list pods"))?;
    let ends = pods.items.iter().filter_map(termination);
    Ok(ends.filter_map(|end| Some((end.started_at?.0.as_second(), end.finished_at?.0.as_second()))).collect())
}

/// The most that worked in the same second, from its begin to its end.
fn most_at_once(times: &[(i64, i64)]) -> usize {
    let at = |second: i64| times.iter().filter(|(begin, end)| (*begin..*end).contains(&second)).count();
    times.iter().map(|(begin, _)| at(*begin)).max().unwrap_or(0)
}
