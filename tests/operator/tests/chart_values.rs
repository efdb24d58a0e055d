//! The chart's values: what each makes, where it goes, and what the schema refuses. Without a cluster.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use unbloat_cluster::Result;
use unbloat_operator_tests::helm::{objects, of_kind, project_file, rendered, template};

/// How many objects of each kind there are.
fn kinds(objects: &[Value]) -> BTreeMap<String, i64> {
    let mut kinds = BTreeMap::new();
    for object in objects {
        *kinds.entry(object["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
    }
    kinds
}

/// What `words` add to and take from what the chart makes by default.
async fn difference(words: &[&str]) -> Result<BTreeMap<String, i64>> {
    let mut difference = kinds(&rendered(words).await?);
    for (kind, count) in kinds(&rendered(&[]).await?) {
        *difference.entry(kind).or_default() -= count;
    }
    difference.retain(|_, count| *count != 0);
    Ok(difference)
}

#[tokio::test]
async fn each_object_is_made_when_its_value_asks_for_it_and_otherwise_not() -> Result<()> {
    let made = kinds(&rendered(&[]).await?);
    // All that there are of a kind.
    let none = |kind: &str| -made.get(kind).copied().expect("some are made by default");
    let (policies, bindings) = (none("ValidatingAdmissionPolicy"), none("ValidatingAdmissionPolicyBinding"));
    for (words, wanted) in [
        (&["--set=serviceMonitor.enabled=true"][..], json!({"ServiceMonitor": 1})),
        (&["--set=podMonitor.enabled=true"], json!({"PodMonitor": 1})),
        (&["--set=prometheusRule.enabled=true"], json!({"PrometheusRule": 1})),
        (&["--set=dashboards.enabled=true"], json!({"ConfigMap": 1})),
        (&["--set=networkPolicy.enabled=true"], json!({"NetworkPolicy": 2})),
        (&["--set=priorityClasses.create=true"], json!({"PriorityClass": 2})),
        (
            &[
                "--set=priorityClasses.create=true",
                "--set=namespace=team",
                "--set=admissionPolicy.enabled=true",
            ],
            json!({"ClusterRole": none("ClusterRole"), "ClusterRoleBinding": none("ClusterRoleBinding"), "Role": 0, "RoleBinding": 0,
                "ValidatingAdmissionPolicy": policies, "ValidatingAdmissionPolicyBinding": bindings}),
        ),
        (&["--set=replicas=1"], json!({"PodDisruptionBudget": -1})),
        (&["--set=podDisruptionBudget.enabled=false"], json!({"PodDisruptionBudget": -1})),
        (
            &["--set=admissionPolicy.enabled=false"],
            json!({"ValidatingAdmissionPolicy": policies, "ValidatingAdmissionPolicyBinding": bindings}),
        ),
        (
            &["--set=crds.enabled=false"],
            json!({"CustomResourceDefinition": none("CustomResourceDefinition")}),
        ),
        (
            &["--set=serviceAccount.create=false", "--set=serviceAccount.name=own"],
            json!({"ServiceAccount": -1}),
        ),
    ] {
        let wanted: BTreeMap<String, i64> = serde_json::from_value(wanted).expect("numbers by kind");
        let wanted: BTreeMap<String, i64> = wanted.into_iter().filter(|(_, count)| *count != 0).collect();
        assert_eq!(difference(words).await?, wanted, "{words:?}");
    }
    Ok(())
}

#[tokio::test]
async fn several_releases_share_no_name() -> Result<()> {
    let all = [
        "--set=networkPolicy.enabled=true",
        "--set=priorityClasses.create=true",
        "--set=crds.enabled=false",
        "--set=serviceMonitor.enabled=true",
        "--set=podMonitor.enabled=true",
        "--set=dashboards.enabled=true",
        "--set=prometheusRule.enabled=true",
        "--set=rbac.aggregate=false",
    ];
    let names = async |more: &str| {
        let words: Vec<&str> = all.into_iter().chain([more]).collect();
        let made = rendered(&words).await?;
        Ok::<_, unbloat_cluster::Error>(
            made.iter()
                .map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"]))
                .collect::<Vec<_>>(),
        )
    };
    let (one, other) =
        (names("--set=fullnameOverride=one").await?, names("--set=fullnameOverride=other").await?);
    for name in &one {
        assert!(!other.contains(name), "{name}");
    }
    assert_eq!(one.len(), other.len());
    Ok(())
}

fn deployment(made: &[Value]) -> &Value {
    &of_kind(made, "Deployment")[0]["spec"]["template"]["spec"]
}

fn configuration(made: &[Value]) -> Value {
    let map = of_kind(made, "ConfigMap").into_iter().find(|map| map["data"]["config.yaml"].is_string());
    serde_saphyr::from_str(map.expect("it")["data"]["config.yaml"].as_str().expect("text")).expect("YAML")
}

#[tokio::test]
async fn a_digest_names_the_image_of_operator_worker_and_test() -> Result<()> {
    let digest = format!("sha256:{}", "5".repeat(64));
    let words = ["image", "workerImage", "testImage"].map(|image| format!("--set={image}.digest={digest}"));
    let made = rendered(&words.each_ref().map(String::as_str)).await?;
    let version = env!("CARGO_PKG_VERSION");
    let operator = format!("ghcr.io/unbloat/operator:{version}@{digest}");
    assert_eq!(deployment(&made)["containers"][0]["image"], operator);
    assert_eq!(configuration(&made)["worker"]["image"], format!("ghcr.io/unbloat/worker:{version}@{digest}"));
    let image = &of_kind(&made, "Pod")[0]["spec"]["containers"][0]["image"];
    assert_eq!(*image, format!("docker.io/library/busybox:1.37@{digest}"));
    Ok(())
}

#[tokio::test]
async fn the_admission_policy_asks_for_the_image_that_workers_are_given() -> Result<()> {
    let digest = format!("sha256:{}", "6".repeat(64));
    let text = template(&[&format!("--set=workerImage.digest={digest}")]).await?;
    let made = objects(&text);
    let policy = of_kind(&made, "ValidatingAdmissionPolicy")[0].to_string();
    let image = configuration(&made)["worker"]["image"].as_str().expect("a reference").to_owned();
    assert!(policy.contains(&image), "{image} in {policy}");
    Ok(())
}

#[tokio::test]
async fn a_proxy_is_told_to_operator_and_workers_and_what_is_named_itself_goes_before() -> Result<()> {
    let made = rendered(&[]).await?;
    assert!(
        !deployment(&made).to_string().contains("PROXY")
            && !configuration(&made).to_string().contains("PROXY")
    );
    let made = rendered(&[
        "--set=proxy.https=http://proxy.example:3128",
        "--set=proxy.noProxy={registry.example,10.0.0.0/8}",
        "--set=config.worker.env.HTTPS_PROXY=http://other.example:1",
        "--set=config.worker.env.OWN=kept",
    ])
    .await?;
    let own = "registry.example,10.0.0.0/8,.svc,.cluster.local";
    let environment = deployment(&made)["containers"][0]["env"].as_array().expect("an environment").clone();
    for (name, value) in [("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", own)] {
        assert!(environment.contains(&json!({"name": name, "value": value})), "{name}: {environment:?}");
    }
    let worker = &configuration(&made)["worker"]["env"];
    assert_eq!(*worker, json!({"HTTPS_PROXY": "http://other.example:1", "NO_PROXY": own, "OWN": "kept"}));
    Ok(())
}

#[tokio::test]
async fn priorities_are_those_that_are_named_or_the_releases_own() -> Result<()> {
    let names = async |words: &[&str]| {
        let made = rendered(words).await?;
        let worker = configuration(&made)["worker"]["priorityClassName"].clone();
        Ok::<_, unbloat_cluster::Error>((deployment(&made)["priorityClassName"].clone(), worker))
    };
    assert_eq!(names(&[]).await?, (Value::Null, Value::Null));
    let create = "--set=priorityClasses.create=true";
    assert_eq!(names(&[create]).await?, (json!("unbloat-operator"), json!("unbloat-worker")));
    let named = [create, "--set=priorityClassName=a", "--set=config.worker.priorityClassName=b"];
    assert_eq!(names(&named).await?, (json!("a"), json!("b")));
    assert_eq!(names(&[create, "--set=namespace=team"]).await?, (Value::Null, Value::Null));
    let made = rendered(&[create]).await?;
    let values: Vec<&Value> = of_kind(&made, "PriorityClass").iter().map(|class| &class["value"]).collect();
    assert_eq!(values, [&json!(100_000), &json!(-100)]);
    Ok(())
}

#[tokio::test]
async fn replicas_keep_apart_by_their_own_labels_or_by_those_that_are_given() -> Result<()> {
    let made = rendered(&[]).await?;
    let spread = &deployment(&made)["topologySpreadConstraints"];
    let labels = &of_kind(&made, "Deployment")[0]["spec"]["selector"]["matchLabels"];
    assert_eq!(spread[0]["labelSelector"]["matchLabels"], *labels);
    assert_eq!(spread[0]["whenUnsatisfiable"], "ScheduleAnyway");
    let made = rendered(&["--set-json=topologySpreadConstraints=[{\"maxSkew\":2,\"topologyKey\":\"zone\",\
        \"whenUnsatisfiable\":\"DoNotSchedule\",\"labelSelector\":{\"matchLabels\":{\"own\":\"yes\"}}}]"])
    .await?;
    let given = json!([{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"own": "yes"}}}]);
    let spread = &deployment(&made)["topologySpreadConstraints"];
    assert_eq!(spread[0]["labelSelector"]["matchLabels"]["own"], "yes");
    assert_eq!(spread[0]["topologyKey"], given[0]["topologyKey"]);
    let made = rendered(&["--set-json=topologySpreadConstraints=[]"]).await?;
    assert_eq!(deployment(&made)["topologySpreadConstraints"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn every_pod_of_the_chart_is_restricted_and_the_test_is_not_the_services() -> Result<()> {
    let made = rendered(&[]).await?;
    let test = of_kind(&made, "Pod")[0];
    assert_eq!(test["spec"]["automountServiceAccountToken"], false);
    assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
    for pod in [deployment(&made), &test["spec"]] {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    }
    let selector = of_kind(&made, "Service")[0]["spec"]["selector"].as_object().expect("labels").clone();
    assert!(selector.iter().any(|(name, value)| test["metadata"]["labels"][name] != *value));
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_none_is_refused() -> Result<()> {
    for wrong in [
        "networkPolicy.enable=true",
        "networkPolicy.registries.ports={0}",
        "networkPolicy.registries.cidrs={10.0.0.1}",
        "networkPolicy.workerNamespaces={Team}",
        "image.digest=sha256:abc",
        "image.digset=x",
        "proxy.https=proxy:3128",
        "proxy.noProxy={a\\,b}",
        "priorityClasses.worker.value=2000000000",
        "priorityClasses.worker.preemptionPolicy=Sometimes",
        "podMonitor.interval=soon",
        "topologySpreadConstraints[0].maxSkew=1,topologySpreadConstraints[0].topologyKey=zone",
        "replica=3",
        "config.worker.netwrok=x",
    ] {
        let refused = template(&[&format!("--set={wrong}")]).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("schema")), "{wrong}");
    }
    Ok(())
}

#[tokio::test]
async fn artifact_hub_is_told_of_the_images_and_resources_that_there_are() -> Result<()> {
    let chart: Value = serde_saphyr::from_str(&project_file("charts/unbloat/Chart.yaml")).expect("YAML");
    let told = |name: &str| -> Vec<Value> {
        let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str().expect("it");
        serde_saphyr::from_str(text).expect("a list")
    };
    let made = rendered(&[]).await?;
    let operator = deployment(&made)["containers"][0]["image"].clone();
    let test = of_kind(&made, "Pod")[0]["spec"]["containers"][0]["image"].clone();
    let images: Vec<Value> = told("images").iter().map(|image| image["image"].clone()).collect();
    assert_eq!(images, [operator, configuration(&made)["worker"]["image"].clone(), test]);
    let mut resources: Vec<String> = told("crds")
        .iter()
        .map(|resource| format!("{} {} {}", resource["name"], resource["kind"], resource["version"]))
        .collect();
    let mut made: Vec<String> = of_kind(&made, "CustomResourceDefinition")
        .iter()
        .map(|resource| {
            let version = &resource["spec"]["versions"][0]["name"];
            format!("{} {} {version}", resource["metadata"]["name"], resource["spec"]["names"]["kind"])
        })
        .collect();
    resources.sort();
    made.sort();
    assert_eq!(resources, made);
    assert_eq!(told("crdsExamples")[0]["kind"], "ImageSquashJob");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    Ok(())
}
