//! A worker that is its service account in a cloud: kubelet's token for it goes to the cloud's token service
//! and nowhere else, and what comes back opens the cloud's registry. The service and the registry are
//! stand-ins on the node, which the platform's settings lead to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use unbloat_cluster::{Entrance, RegistryOptions, Result};
use unbloat_operator_tests::{CA_CONFIG_MAP, Ground, Jobs, Layered, WORKER_IMAGE, fresh, helm, reason};

const LONG: Duration = Duration::from_secs(120);
/// A registry of Elastic Container Registry, by its name.
const REGISTRY: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
/// Where the platform says that Amazon's services are: an address that workers are kept from otherwise.
const SERVICES: &str = "169.254.170.2";
const ROLE: &str = "arn:aws:iam::123456789012:role/squash";
const PASSWORD: &str = "of-this-hour";

/// Requests to the token service: its path, and the body.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A proxy to which every name leads: Amazon's services answer here, the rest is the registry's.
async fn stand_in(listener: TcpListener, registry: SocketAddr, asked: Asked) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, registry, Arc::clone(&asked)));
    }
}

async fn answer(mut client: TcpStream, registry: SocketAddr, asked: Asked) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let Some(path) = target.strip_prefix(&format!("http://{SERVICES}")) else {
        let mut server = TcpStream::connect(registry).await?;
        server.write_all(&head).await?;
        return copy_bidirectional(&mut client, &mut server).await.map(drop);
    };
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_owned(), body));
    let answer = match path {
        "/sts" => "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                   <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>key</SecretAccessKey>\
                   <SessionToken>session</SessionToken></Credentials></AssumeRoleWithWebIdentityResult>\
                   </AssumeRoleWithWebIdentityResponse>"
            .to_owned(),
        _ => {
            let token = STANDARD.encode(format!("AWS:{PASSWORD}"));
            json!({"authorizationData": [{"authorizationToken": token, "expiresAt": 9_999_999_999_u64}]})
                .to_string()
        }
    };
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
    client.write_all(format!("{head}{answer}").as_bytes()).await
}

/// The policy for workers as the chart renders it with these clouds allowed, under the name of the ground's.
async fn policy_of_the_chart(clouds: &[&str]) -> Result<String> {
    let (repository, tag) = WORKER_IMAGE.rsplit_once(':').expect("a tag");
    let made = helm::rendered(&[
        "--set=fullnameOverride=unbloat-operator",
        "--set=workerImage.registry=",
        &format!("--set=workerImage.repository={repository}"),
        &format!("--set=workerImage.tag={tag}"),
        &format!("--set=config.worker.caConfigMap={CA_CONFIG_MAP}"),
        &format!("--set=config.overrides.cloudIdentities={{{}}}", clouds.join(",")),
    ])
    .await?;
    let policies = helm::of_kind(&made, "ValidatingAdmissionPolicy");
    let own = policies.iter().find(|policy| policy["metadata"]["name"] == "unbloat-operator-workers");
    Ok(own.expect("the chart makes it").to_string())
}

#[tokio::test]
async fn a_workers_token_for_a_cloud_opens_the_clouds_registry() -> Result<()> {
    let ground = Ground::shared().await?;
    let cluster = &ground.cluster;
    // What the chart makes for a platform that allows a cloud: its policy lets a token for that one pass.
    cluster.apply(&policy_of_the_chart(&["AWS"]).await?).await?;

    let login = Some(("AWS".to_owned(), PASSWORD.to_owned()));
    let registry = cluster.start_registry("cloud", RegistryOptions { login, ..Default::default() }).await?;
    let image =
        Layered { layers: 5, step: 2000, seed: 61, programs: true }.write(&cluster.folder().join("image"));
    cluster.push(&registry, &image, "team/app:v1").await?;
    let way = cluster.tunnel(Entrance::Machine, registry.host().parse().expect("an address"))?;
    let (listener, asked) = (cluster.listen().expect("a port"), Asked::default());
    let proxy = listener.local_addr().expect("an address");
    tokio::spawn(stand_in(listener, way.address(), Arc::clone(&asked)));

    let changes = json!({
        "overrides": {"cloudIdentities": ["AWS"]},
        "worker": {
            "env": {
                "HTTP_PROXY": format!("http://{proxy}"),
                "AWS_ENDPOINT_URL_STS": format!("http://{SERVICES}/sts"),
                "AWS_ENDPOINT_URL_ECR": format!("http://{SERVICES}/ecr"),
            },
            "network": {"allowHosts": [SERVICES]},
        },
    });
    let mut operator = ground.operator(&fresh("operator"), &changes).await?;
    let jobs = Jobs::of(cluster, "team").await?;
    let mut spec = json!({
        "source": {"image": format!("{REGISTRY}/team/app:v1"), "plainHTTP": true},
        "target": {"image": format!("{REGISTRY}/team/app:flat"), "plainHTTP": true},
    });
    // Nobody is nobody there.
    jobs.apply("nobody", &spec).await?;
    let failed = jobs.wait_for_end("nobody", LONG).await?;
    assert_eq!(reason(&failed).1, "PullUnauthorized", "{:#?}", failed.status);
    assert!(asked.lock().unwrap_or_else(PoisonError::into_inner).is_empty(), "asked without an identity");

    spec["worker"] = json!({"cloudIdentity": {"aws": {"roleARN": ROLE}}});
    jobs.apply("somebody", &spec).await?;
    let done = jobs.wait_for_end("somebody", LONG).await?;
    assert_eq!(reason(&done).1, "Squashed", "{:#?}", done.status);
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let paths: Vec<&str> = asked.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/sts", "/ecr"], "each once");
    let sent =
        asked[0].1.split('&').find_map(|pair| pair.strip_prefix("WebIdentityToken=")).expect("a token");
    let payload = sent.split('.').nth(1).expect("a signed token");
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON");
    assert_eq!(claims["aud"], json!(["sts.amazonaws.com"]), "for the cloud and nobody else");
    assert_eq!(claims["sub"], "system:serviceaccount:team:default");
    assert!(asked[0].1.contains("squash"), "the role: {}", asked[0].1.replace(sent, "…"));
    let shown = serde_json::to_string(&done).expect("JSON");
    assert!(!shown.contains(PASSWORD) && !shown.contains(sent), "a secret in {shown}");

    // A cloud that the platform does not allow is refused before anything runs.
    spec["worker"] = json!({"cloudIdentity": {"gcp": {}}});
    jobs.apply("elsewhere", &spec).await?;
    let refused = jobs.wait_for_end("elsewhere", LONG).await?;
    let shown = serde_json::to_string(&refused.status).expect("JSON");
    assert!(shown.contains("cloudIdentity.gcp"), "{shown}");
    assert!(jobs.pods("elsewhere").await?.is_empty());

    operator.terminate()?;
    cluster.check_parts()
}
