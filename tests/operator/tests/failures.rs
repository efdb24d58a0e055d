//! Everything that can go wrong with one job: each its own reason, a message with what to do, final or
//! retried as it should be, and no secret anywhere.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{MutexGuard, OnceCell};
use unbloat_cluster::{Look, Program, Registry, RegistryOptions, Result, Signal};
use unbloat_operator_tests::{Ground, Jobs, Layered, Operator, fresh, reason};

const LONG: Duration = Duration::from_secs(120);
const PASSWORD: &str = "open-sesame-5a3f";

/// The images that most failures are about, pushed once.
struct Images {
    private: Registry,
    open: String,
    closed: String,
}

/// What each test has: the shared ground for itself, an operator, and somebody who looks at every process.
struct Scene {
    ground: MutexGuard<'static, Ground>,
    images: &'static Images,
    operator: Operator,
    spy: Program,
}

impl Scene {
    async fn begin() -> Result<Self> {
        static IMAGES: OnceCell<Images> = OnceCell::const_new();
        let ground = Ground::shared().await?;
        let images = IMAGES.get_or_try_init(async || push(&ground).await).await?;
        // A worker that no node takes is wanted by one of the tests.
        let changes = json!({"overrides": {"nodeSelector": true}});
        let operator = ground.operator(&fresh("operator"), &changes).await?;
        let spy = watch_processes(&ground)?;
        Ok(Self { ground, images, operator, spy })
    }

    /// Whatever else a test is about: the password is nowhere, and everything still runs.
    async fn end(mut self) -> Result<()> {
        self.spy.kill(Signal::KILL)?;
        nothing_leaked(&self.ground, &self.operator, &self.spy).await?;
        self.operator.terminate()?;
        self.ground.cluster.check_parts()
    }
}

async fn push(ground: &Ground) -> Result<Images> {
    let login = Some(("alice".to_owned(), PASSWORD.to_owned()));
    let private = RegistryOptions { login, ..RegistryOptions::default() };
    let private = ground.cluster.start_registry("private", private).await?;
    let image = Layered { layers: 3, step: 2000, seed: 7, programs: true }
        .write(&ground.cluster.folder().join("image"));
    let open = ground.cluster.push(&ground.registry, &image, "team/app:v1").await?;
    let closed = ground.cluster.push(&private, &image, "team/app:v1").await?;
    Ok(Images { private, open, closed })
}

#[tokio::test]
async fn invalid_specs_are_refused_by_the_server() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    for (spec, words) in [
        (
            json!({"source": {"image": "a"}, "target": {"moveTag": true, "image": "b"}}),
            "give either image, or moveTag",
        ),
        (json!({"source": {"image": "a b"}, "target": {"moveTag": true}}), "spec.source.image"),
        (
            json!({"source": {"image": "a"}, "target": {"moveTag": true}, "backoffLimit": 99}),
            "spec.backoffLimit",
        ),
        (json!({"source": {"image": "a"}, "target": {"moveTag": true}, "remvoe": ["x"]}), "remvoe"),
        (
            json!({"source": {"image": "a"}, "target": {"moveTag": true}, "shape": {"maxLayers": 16}}),
            "shape.maxLayers: this version makes flat results alone",
        ),
    ] {
        let refused = jobs.apply("refused", &spec).await.expect_err("a rule is broken").to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let shaped = json!({"apiVersion": "unbloat.dev/v1alpha1", "kind": "ImageSquashPolicy", "metadata": {"name": "shaped"},
        "spec": {"jobTemplate": {"spec": {"shape": {"maxLayers": 16}}}}});
    let refused = ground.cluster.apply(&shaped.to_string()).await.expect_err("a rule is broken").to_string();
    assert!(refused.contains("shape.maxLayers"), "{refused}");
    let long = "a".repeat(53);
    let spec = json!({"source": {"image": "a"}, "target": {"moveTag": true}, "suspend": true});
    let refused = jobs.apply(&long, &spec).await.expect_err("the name is too long").to_string();
    assert!(refused.contains("at most 52 characters"), "{refused}");

    jobs.apply("kept", &spec).await?;
    jobs.wait_for_reason("kept", "Suspended", LONG).await?;
    let refused =
        jobs.patch("kept", &json!({"spec": {"backoffLimit": 1}})).await.expect_err("immutable").to_string();
    assert!(refused.contains("backoffLimit is immutable"), "{refused}");
    ground.cluster.kubectl(&["delete", "isj", "kept", "--namespace=team"]).await?;
    scene.end().await
}

/// Whether all that was written is there; a server adds defaults and drops what it doesn't know.
fn holds(stored: &Value, written: &Value) -> bool {
    match (stored, written) {
        (Value::Object(stored), Value::Object(written)) => {
            written.iter().all(|(key, written)| stored.get(key).is_some_and(|stored| holds(stored, written)))
        }
        (Value::Array(stored), Value::Array(written)) => {
            stored.len() == written.len()
                && stored.iter().zip(written).all(|(stored, written)| holds(stored, written))
        }
        (stored, written) => stored == written,
    }
}

/// There is no operator: what is applied is only stored.
#[tokio::test]
async fn every_sample_is_taken_as_it_is_written() -> Result<()> {
    let ground = Ground::shared().await?;
    let cluster = &ground.cluster;
    cluster.restricted_namespace("samples").await?;
    let folder = format!("{}/../../config/samples", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).expect("the samples");
    let mut files: Vec<_> = files.map(|file| file.expect("a sample").path().display().to_string()).collect();
    files.sort();
    assert!(files.len() > 5, "{files:?}");
    for file in &files {
        let run = async |words: &[&str]| {
            let more = ["--namespace=samples", "--filename", file];
            cluster.kubectl(&[words, &more].concat()).await
        };
        run(&["apply", "--dry-run=server", "--validate=strict"]).await?;
        run(&["apply", "--validate=strict"]).await?;
        let again = run(&["apply", "--validate=strict"]).await?;
        assert!(again.lines().all(|line| line.ends_with("unchanged")), "{file}: {again}");
        let written = run(&["create", "--dry-run=client", "--output=json"]).await?;
        let stored = run(&["get", "--output=json"]).await?;
        let parse = |text: &str| serde_json::from_str::<Value>(text).expect("an object")["spec"].clone();
        let (stored, written) = (parse(&stored), parse(&written));
        assert!(written.is_object() && holds(&stored, &written), "{file}: {stored:#}\n{written:#}");
        run(&["delete", "--wait=false"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_server_lets_pass_the_operator_refuses() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let target = json!({"image": format!("{}/x:y", ground.registry.host())});
    for (name, spec, wanted) in [
        (
            "reference",
            json!({"source": {"image": "reg.example/Upper:v1"}, "target": target}),
            "InvalidReference",
        ),
        (
            "override",
            json!({"source": {"image": "reg.example/a:b"}, "target": target,
                "worker": {"resources": {"memory": "1Ti"}}}),
            "OverrideNotAllowed",
        ),
    ] {
        ends(ground, name, &spec, wanted, 0).await?;
    }
    scene.end().await
}

/// Applies a job and checks how it ends; `pods` is how many workers it may have started.
async fn ends(ground: &Ground, name: &str, spec: &Value, wanted: &str, pods: usize) -> Result<()> {
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply(name, spec).await?;
    let job = jobs.wait_for_end(name, LONG).await?;
    let status = job.status.clone().unwrap_or_default();
    assert_eq!(reason(&job).1, wanted, "{name}: {status:#?}");
    let message = &status.succeeded().expect("it has ended").message;
    assert!(message.len() > 20, "{name}: {message}");
    assert_eq!(jobs.pods(name).await?.len(), pods, "{name}: {status:#?}");
    Ok(())
}

#[tokio::test]
async fn every_way_to_have_no_credentials_has_its_reason_and_no_process_shows_them() -> Result<()> {
    let scene = Scene::begin().await?;
    let (ground, Images { private, closed, .. }) = (&*scene.ground, scene.images);
    let target = format!("{}/team/app:flat", private.host());
    let spec = |pull: &[&str], push: Option<&str>| {
        let pull: Vec<Value> = pull.iter().map(|name| json!({"name": name})).collect();
        let mut spec = json!({"source": {"image": closed, "plainHTTP": true, "pullSecrets": pull},
            "target": {"image": target, "plainHTTP": true}, "backoffLimit": 1});
        if let Some(push) = push {
            spec["target"]["pushSecret"] = json!({"name": push});
        }
        spec
    };
    let open_target = |mut spec: Value| {
        spec["target"] =
            json!({"image": format!("{}/team/copy:flat", ground.registry.host()), "plainHTTP": true});
        spec
    };
    ends(ground, "no-secret", &spec(&[], None), "PullUnauthorized", 1).await?;
    ends(ground, "missing-secret", &spec(&["nowhere"], None), "SecretNotFound", 2).await?;
    let wrong = private.pull_secret("team", "wrong");
    let wrong =
        wrong.replace(&base64_of(&private.docker_config()), &base64_of(&config_with(private, "wrong")));
    ground.cluster.apply(&wrong).await?;
    ends(ground, "wrong-secret", &spec(&["wrong"], None), "PullUnauthorized", 1).await?;
    ground.cluster.apply(&private.pull_secret("team", "right")).await?;
    ends(ground, "right-secret", &spec(&["right"], Some("right")), "Squashed", 1).await?;
    ends(ground, "to-the-open-one", &open_target(spec(&["right"], None)), "Squashed", 1).await?;

    // The source is open and the target isn't.
    let mut push = spec(&[], None);
    push["source"]["image"] = json!(format!("{}/team/app:v1", ground.registry.host()));
    ends(ground, "push-without", &push, "PushUnauthorized", 1).await?;

    // As kubelet does: the secrets of the service account.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "team", "name": "puller"},
        "imagePullSecrets": [{"name": "right"}, {"name": "gone"}]});
    ground.cluster.apply(&account.to_string()).await?;
    let mut by_account = open_target(spec(&[], None));
    by_account["serviceAccountName"] = json!("puller");
    by_account["target"]["image"] = json!(format!("{}/team/account:flat", ground.registry.host()));
    ends(ground, "by-account", &by_account, "Squashed", 1).await?;
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    let warnings = jobs.wait_for_end("by-account", LONG).await?.status.unwrap_or_default().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("gone")), "{warnings:?}");
    let seen = std::fs::read_to_string(scene.spy.log()).unwrap_or_default();
    assert!(seen.contains("worker in "), "no worker's process was looked at");
    scene.end().await
}

fn config_with(registry: &Registry, password: &str) -> String {
    json!({"auths": {registry.host(): {"username": "alice", "password": password}}}).to_string()
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn unknown_and_corrupt_images_are_final_and_publish_nothing() -> Result<()> {
    let scene = Scene::begin().await?;
    let (ground, open) = (&*scene.ground, &scene.images.open);
    let host = ground.registry.host();
    let target = json!({"image": format!("{host}/team/app:never")});
    let unknown =
        json!({"source": {"image": format!("{host}/team/app:nope"), "plainHTTP": true}, "target": target});
    ends(ground, "unknown", &unknown, "ImageNotFound", 1).await?;

    // A layer whose bytes are not what its digest says.
    let manifest = ground.cluster.crane(&ground.registry, &["manifest", open]).await?;
    let manifest: Value = serde_json::from_str(&manifest).expect("a manifest");
    let digest =
        manifest["layers"][1]["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    let path = ground
        .cluster
        .folder()
        .join(format!("registry-main/data/docker/registry/v2/blobs/sha256/{}/{digest}/data", &digest[..2]));
    let good = std::fs::read(&path).expect("the registry keeps blobs as files");
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0xff;
    std::fs::write(&path, &bad).expect("the same file");
    let corrupt = json!({"source": {"image": open, "plainHTTP": true}, "target": target});
    ends(ground, "corrupt", &corrupt, "InvalidImage", 1).await?;
    std::fs::write(&path, &good).expect("the same file");
    let listed = ground.cluster.crane(&ground.registry, &["ls", &format!("{host}/team/app")]).await?;
    assert_eq!(listed.trim(), "v1", "nothing is published by a failed squash");
    scene.end().await
}

#[tokio::test]
async fn a_target_that_refuses_is_said_to() -> Result<()> {
    let scene = Scene::begin().await?;
    let (ground, open) = (&*scene.ground, &scene.images.open);
    let options = RegistryOptions { read_only: true, ..RegistryOptions::default() };
    let target = ground.cluster.start_registry("read-only", options).await?;
    let spec = json!({"source": {"image": open, "plainHTTP": true},
        "target": {"image": format!("{}/team/app:flat", target.host()), "plainHTTP": true}});
    ends(ground, "read-only", &spec, "TargetRefused", 1).await?;
    scene.end().await
}

#[tokio::test]
async fn a_flat_image_is_left_alone_and_copied_where_it_was_asked_for() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let image = Layered { layers: 1, step: 100, seed: 9, programs: true }
        .write(&ground.cluster.folder().join("flat"));
    let source = ground.cluster.push(&ground.registry, &image, "team/one:v1").await?;
    let spec = json!({"source": {"image": source, "plainHTTP": true}, "target": {"moveTag": true}});
    ends(ground, "flat", &spec, "AlreadyFlat", 1).await?;
    let copy = format!("{}/team/one-copied:v1", ground.registry.host());
    let spec = json!({"source": {"image": source, "plainHTTP": true},
        "target": {"image": copy, "plainHTTP": true}});
    ends(ground, "flat-elsewhere", &spec, "AlreadyFlat", 1).await?;
    let digest = async |image: &str| ground.cluster.crane(&ground.registry, &["digest", image]).await;
    assert_eq!(digest(&copy).await?, digest(&source).await?);
    scene.end().await
}

#[tokio::test]
async fn an_image_below_its_condition_stays_as_it_is_and_one_that_reaches_it_is_squashed() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let image = Layered { layers: 4, step: 100, seed: 10, programs: true }
        .write(&ground.cluster.folder().join("commits"));
    let source = ground.cluster.push(&ground.registry, &image, "team/commits:v1").await?;
    let digest = async || ground.cluster.crane(&ground.registry, &["digest", &source]).await;
    let before = digest().await?;
    let with = |condition: serde_json::Value| json!({"source": {"image": source, "plainHTTP": true}, "target": {"moveTag": true}, "condition": condition});
    for (name, condition) in [
        ("few-layers", json!({"minLayers": 5})),
        ("little-waste", json!({"minWastedBytes": 1_073_741_824})),
        ("not-both", json!({"minLayers": 4, "minWastedBytes": 1_073_741_824})),
    ] {
        ends(ground, name, &with(condition), "AlreadyFlat", 1).await?;
        let jobs = Jobs::of(&ground.cluster, "team").await?;
        let job = jobs.wait_for_end(name, LONG).await?;
        let message = job.status.as_ref().and_then(|status| Some(status.succeeded()?.message.clone()));
        let message = message.unwrap_or_default();
        assert!(message.contains("4 layers and is below spec.condition"), "{name}: {message}");
        assert_eq!(digest().await?, before, "{name}");
    }
    ends(ground, "enough", &with(json!({"minLayers": 4})), "Squashed", 1).await?;
    assert_ne!(digest().await?, before);
    scene.end().await
}

#[tokio::test]
async fn a_deadline_ends_a_job() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    // A worker that no node takes waits until the deadline.
    let spec = json!({"source": {"image": format!("{}/team/app:v1", ground.registry.host()), "plainHTTP": true},
        "target": {"image": format!("{}/team/late:v1", ground.registry.host())},
        "activeDeadlineSeconds": 8, "worker": {"nodeSelector": {"no": "such-node"}}});
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply("late", &spec).await?;
    jobs.wait_for_reason("late", "WorkerUnschedulable", LONG).await?;
    jobs.wait_for_reason("late", "DeadlineExceeded", LONG).await?;
    ground
        .cluster
        .wait_for("team", "the worker of a late job to be gone", LONG, async || {
            let pods = jobs.pods("late").await?;
            Ok(if pods.is_empty() { Look::Done(()) } else { Look::NotYet(format!("{} pods", pods.len())) })
        })
        .await?;
    scene.end().await
}

#[tokio::test]
async fn a_worker_that_could_only_run_out_of_memory_is_refused() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let image = Layered { layers: 40, step: 200_000, seed: 11, programs: true }
        .write(&ground.cluster.folder().join("large"));
    let source = ground.cluster.push(&ground.registry, &image, "team/large:v1").await?;
    let spec = json!({"source": {"image": source, "plainHTTP": true},
        "target": {"image": format!("{}/team/large:flat", ground.registry.host())},
        "worker": {"resources": {"memory": "20Mi"}}});
    ends(ground, "floor", &spec, "OverrideNotAllowed", 0).await?;
    scene.end().await
}

#[tokio::test]
async fn a_registry_that_is_away_is_retried() -> Result<()> {
    let scene = Scene::begin().await?;
    let (ground, open) = (&*scene.ground, &scene.images.open);
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    ground.cluster.kill(&ground.registry.part())?;
    let spec = json!({"source": {"image": open, "plainHTTP": true},
        "target": {"image": format!("{}/team/back:flat", ground.registry.host())}, "backoffLimit": 10});
    jobs.apply("back", &spec).await?;
    let waiting = jobs.wait_for_reason("back", "Retrying", LONG).await?;
    let failure = waiting.status.unwrap_or_default().last_failure.expect("an attempt failed");
    assert_eq!(failure.reason, "RegistryUnavailable", "{failure:?}");
    ground.cluster.start_part(&ground.registry.part())?;
    jobs.wait_for_reason("back", "Squashed", LONG).await?;
    scene.end().await
}

/// Looks through arguments and environments of all processes of the cluster, five times a second.
fn watch_processes(ground: &Ground) -> Result<Program> {
    let patterns = ground.cluster.folder().join("secrets");
    let encoded = base64_of(&format!("alice:{PASSWORD}"));
    std::fs::write(&patterns, format!("{PASSWORD}\n{encoded}\n")).expect("a folder of the test's own");
    let script = format!(
        "cd /proc; while sleep 0.2; do \
         grep -alF -f {} [0-9]*/cmdline [0-9]*/environ | sed 's/^/secret in /'; \
         grep -al ^/unbloat-worker [0-9]*/cmdline | sed 's/^/worker in /'; done 2> /dev/null",
        patterns.display()
    );
    ground.cluster.spawn(&fresh("spy"), &["busybox", "sh", "-c", &script], &[])
}

async fn nothing_leaked(ground: &Ground, operator: &Operator, spy: &Program) -> Result<()> {
    let seen = std::fs::read_to_string(spy.log()).unwrap_or_default();
    assert!(!seen.contains("secret in "), "{seen}");
    let mut places = vec![("the operator's log".to_owned(), operator.log())];
    for what in ["isj", "jobs", "pods", "events"] {
        let text = ground.cluster.kubectl(&["get", what, "--all-namespaces", "--output=yaml"]).await?;
        places.push((what.to_owned(), text));
    }
    let pods = ["get", "pods", "--namespace=team", "--output=name"];
    let pods = ground.cluster.kubectl(&pods).await?;
    for pod in pods.lines() {
        let log = ground.cluster.kubectl(&["logs", pod, "--namespace=team"]).await?;
        places.push((pod.to_owned(), log));
    }
    let encoded = base64_of(&format!("alice:{PASSWORD}"));
    for (place, text) in places {
        assert!(!text.contains(PASSWORD) && !text.contains(&encoded), "the password is in {place}");
    }
    Ok(())
}

/// A registry that takes no upload: it asks for patience, again and again.
async fn busy_registry(ground: &Ground) -> String {
    let listener = ground.cluster.listen().expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => request.extend_from_slice(&buffer[..count]),
                    }
                }
                let body = r#"{"errors": [{"code": "UNAVAILABLE", "message": "the storage is full"}]}"#;
                let status = match request.starts_with(b"POST") {
                    true => "503 Service Unavailable\r\nRetry-After: 60",
                    false => "404 Not Found",
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address.to_string()
}

#[tokio::test]
async fn what_a_worker_tries_again_is_named_while_it_runs_and_at_the_deadline() -> Result<()> {
    let scene = Scene::begin().await?;
    let ground = &*scene.ground;
    let busy = busy_registry(ground).await;
    let spec = json!({
        "source": {"image": scene.images.open, "plainHTTP": true},
        "target": {"image": format!("{busy}/team/app:flat"), "plainHTTP": true},
        "activeDeadlineSeconds": 40,
    });
    let jobs = Jobs::of(&ground.cluster, "team").await?;
    jobs.apply("busy", &spec).await?;
    let words = |job: &unbloat_api::ImageSquashJob| {
        let summary = job.status.as_ref().and_then(|status| status.succeeded());
        summary.map(|summary| summary.message.clone()).unwrap_or_default()
    };
    let running = jobs
        .wait_for("busy", "told what it tries again", LONG, |job| {
            reason(job).1 == "Running" && words(job).contains("503")
        })
        .await?;
    assert!(words(&running).contains("the storage is full"), "{}", words(&running));
    assert!(words(&running).contains(&busy), "{}", words(&running));
    let ended = jobs.wait_for_end("busy", LONG).await?;
    assert_eq!(reason(&ended).1, "DeadlineExceeded", "{:#?}", ended.status);
    assert!(
        words(&ended).contains("503") && words(&ended).contains("the storage is full"),
        "{}",
        words(&ended)
    );
    scene.end().await
}
