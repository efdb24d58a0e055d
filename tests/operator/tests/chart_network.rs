//! The chart's and the kustomize base's NetworkPolicies: what is needed passes, nothing else does.

use serde_json::Value;
use unbloat_cluster::Result;
use unbloat_operator_tests::helm::{objects, of_kind, project_file, rendered};
use unbloat_operator_tests::reach::{End, may_connect};

const REGISTRY: End<'_> = End::Address("203.0.113.7");
const METADATA: End<'_> = End::Address("169.254.169.254");
const NODE: End<'_> = End::Address("192.0.2.1");

fn pod<'a>(namespace: &'a str, name: &'a str) -> End<'a> {
    End::Pod { namespace, name }
}

/// What has to hold of both, whatever the operator's pods are called.
fn assert_what_is_needed_passes_and_nothing_else(policies: &[&Value], operator: &str) {
    let operator = pod("unbloat-system", operator);
    let worker = pod("unbloat-system", "unbloat-worker");
    let (prometheus, stranger) = (pod("monitoring", "prometheus"), pod("team", "app"));
    let (names, server) = (pod("kube-system", "kube-dns"), End::Address("10.96.0.1"));
    let passes: [(End<'_>, End<'_>, u16, &str); 16] = [
        (operator, names, 53, "UDP"),
        (operator, names, 53, "TCP"),
        (operator, server, 443, "TCP"),
        (operator, server, 6443, "TCP"),
        (operator, REGISTRY, 443, "TCP"),
        (operator, End::Address("2001:db8::1"), 443, "TCP"),
        (operator, worker, 9090, "TCP"),
        (operator, pod("team", "unbloat-worker"), 9090, "TCP"),
        (prometheus, operator, 8080, "TCP"),
        (NODE, operator, 8081, "TCP"),
        (worker, names, 53, "UDP"),
        (worker, names, 53, "TCP"),
        (worker, REGISTRY, 443, "TCP"),
        (worker, End::Address("2001:db8::1"), 443, "TCP"),
        (prometheus, worker, 9090, "TCP"),
        // Held by nobody.
        (stranger, REGISTRY, 80, "TCP"),
    ];
    for (from, to, port, protocol) in passes {
        assert!(may_connect(policies, from, to, port, protocol), "{from:?} → {to:?}:{port}/{protocol}");
    }
    let stays: [(End<'_>, End<'_>, u16, &str); 16] = [
        (operator, REGISTRY, 80, "TCP"),
        (operator, REGISTRY, 53, "UDP"),
        (operator, stranger, 9090, "TCP"),
        (operator, pod("kube-system", "kube-dns"), 9153, "TCP"),
        (stranger, operator, 8080, "TCP"),
        (NODE, operator, 8080, "TCP"),
        (pod("monitoring", "prometheus"), operator, 9090, "TCP"),
        (worker, operator, 8080, "TCP"),
        (worker, METADATA, 443, "TCP"),
        (worker, METADATA, 80, "TCP"),
        (worker, End::Address("fe80::1"), 443, "TCP"),
        (worker, REGISTRY, 22, "TCP"),
        (worker, server, 6443, "TCP"),
        (stranger, worker, 9090, "TCP"),
        (pod("team", "unbloat-operator"), worker, 9090, "TCP"),
        (worker, worker, 9090, "TCP"),
    ];
    for (from, to, port, protocol) in stays {
        assert!(!may_connect(policies, from, to, port, protocol), "{from:?} → {to:?}:{port}/{protocol}");
    }
}

#[tokio::test]
async fn the_charts_policies_let_pass_what_is_needed_and_nothing_else() -> Result<()> {
    assert!(of_kind(&rendered(&[]).await?, "NetworkPolicy").is_empty());
    let made = rendered(&["--set", "networkPolicy.enabled=true"]).await?;
    let policies = of_kind(&made, "NetworkPolicy");
    assert_eq!(policies.len(), 2);
    assert_what_is_needed_passes_and_nothing_else(&policies, "unbloat");
    assert!(may_connect(
        &policies,
        pod("unbloat-system", "unbloat-test"),
        pod("unbloat-system", "unbloat"),
        8080,
        "TCP"
    ));
    Ok(())
}

#[test]
fn the_same_holds_without_helm() {
    let mut made = objects(&project_file("config/network/operator.yaml"));
    made.extend(objects(&project_file("config/network/workers.yaml")));
    assert_what_is_needed_passes_and_nothing_else(&of_kind(&made, "NetworkPolicy"), "unbloat-operator");
    let base = project_file("config/network/kustomization.yaml");
    assert!(base.contains("- operator.yaml") && base.contains("- workers.yaml"));
}

#[tokio::test]
async fn values_narrow_and_widen_it() -> Result<()> {
    let made = rendered(&[
        "--set=networkPolicy.enabled=true",
        "--set=networkPolicy.workerNamespaces={team-a,team-b,unbloat-system}",
        "--set=networkPolicy.registries.ports={443,5000}",
        "--set=networkPolicy.registries.cidrs={203.0.113.0/24}",
        "--set-json=networkPolicy.registries.pods=[{\"namespaceSelector\":{\"matchLabels\":{\"kubernetes.io/metadata.name\":\"registry\"}}}]",
        "--set=networkPolicy.apiServer.cidrs={10.96.0.1/32}",
        "--set=networkPolicy.apiServer.ports={443}",
        "--set-json=networkPolicy.extraEgress=[{\"to\":[{\"ipBlock\":{\"cidr\":\"198.51.100.1/32\"}}],\"ports\":[{\"port\":3128,\"protocol\":\"TCP\"}]}]",
        "--set=service.port=9000",
        "--set=probePort=9001",
    ])
    .await?;
    let policies = of_kind(&made, "NetworkPolicy");
    assert_eq!(policies.len(), 4, "one of a namespace, named twice or not");
    let operator = pod("unbloat-system", "unbloat");
    for worker in ["unbloat-system", "team-a", "team-b"].map(|namespace| pod(namespace, "unbloat-worker")) {
        for (to, port, is_allowed) in [
            (REGISTRY, 443, true),
            (REGISTRY, 5000, true),
            (End::Address("203.0.114.7"), 443, false),
            (pod("registry", "registry"), 5000, true),
            (pod("team", "registry"), 5000, false),
            (End::Address("198.51.100.1"), 3128, true),
        ] {
            assert_eq!(
                may_connect(&policies, worker, to, port, "TCP"),
                is_allowed,
                "{worker:?} {to:?} {port}"
            );
        }
    }
    assert!(may_connect(&policies, operator, End::Address("10.96.0.1"), 443, "TCP"));
    assert!(!may_connect(&policies, operator, End::Address("10.96.0.2"), 443, "TCP"));
    assert!(may_connect(&policies, pod("monitoring", "prometheus"), operator, 9000, "TCP"));
    assert!(may_connect(&policies, NODE, operator, 9001, "TCP"));
    assert!(!may_connect(&policies, NODE, operator, 9000, "TCP"));
    Ok(())
}

#[tokio::test]
async fn an_operator_that_asks_no_registry_reaches_none() -> Result<()> {
    let operator = pod("unbloat-system", "unbloat");
    for (words, reaches) in [
        (
            [
                "--set=networkPolicy.apiServer.cidrs={10.96.0.1/32}",
                "--set=config.detection.enabled=false",
                "--set=networkPolicy.enabled=true",
            ],
            false,
        ),
        (
            [
                "--set=networkPolicy.apiServer.cidrs={10.96.0.1/32}",
                "--set=namespace=team",
                "--set=networkPolicy.enabled=true",
            ],
            false,
        ),
        (
            [
                "--set=networkPolicy.apiServer.cidrs={10.96.0.1/32}",
                "--set=config.detection.enabled=true",
                "--set=networkPolicy.enabled=true",
            ],
            true,
        ),
    ] {
        let made = rendered(&words).await?;
        let policies = of_kind(&made, "NetworkPolicy");
        assert_eq!(may_connect(&policies, operator, REGISTRY, 443, "TCP"), reaches, "{words:?}");
        let worker = if words[1].contains("namespace") { "team" } else { "unbloat-system" };
        assert!(may_connect(&policies, pod(worker, "unbloat-worker"), REGISTRY, 443, "TCP"), "{words:?}");
        assert!(may_connect(&policies, operator, pod(worker, "unbloat-worker"), 9090, "TCP"), "{words:?}");
    }
    Ok(())
}
