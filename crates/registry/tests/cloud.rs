//! Cloud identity against stand-ins of the clouds' token services. One test: variables belong to the whole
//! process.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{client, destination, location, noise, options, publish, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use unbloat_oci::Digest;
use unbloat_registry::{Client, ClientOptions, Cloud, ErrorKind, Guard, Keyring, Location, UploadOptions};
use unbloat_registry_server::{Access, Options, Quirk, Server};

/// One request: its head and its body.
type Request = (String, String);
type Answers = Arc<Mutex<HashMap<&'static str, Vec<String>>>>;

/// Answers a path with its answers, one after the other, the last one for ever; keeps what was asked.
struct StandIn {
    address: String,
    answers: Answers,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl StandIn {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (answers, requests) = (Answers::default(), Arc::new(Mutex::new(Vec::<Request>::new())));
        let (shared, kept) = (Arc::clone(&answers), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let (head, body) = loop {
                    let mut piece = [0; 4096];
                    let read = stream.read(&mut piece).await.unwrap_or(0);
                    bytes.extend_from_slice(&piece[..read]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        if read == 0 {
                            break (text, String::new());
                        }
                        continue;
                    };
                    let length = head.to_lowercase().lines().find_map(|line| {
                        line.strip_prefix("content-length:").and_then(|value| value.trim().parse().ok())
                    });
                    if body.len() >= length.unwrap_or(0) || read == 0 {
                        break (head.to_owned(), body.to_owned());
                    }
                };
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = {
                    let mut answers = shared.lock().unwrap();
                    answers.get_mut(path.as_str()).map(|list| match list.len() {
                        1 => list[0].clone(),
                        _ => list.remove(0),
                    })
                };
                kept.lock().unwrap().push((head, body));
                let (status, answer) =
                    answer.map_or(("404 Not Found", String::new()), |answer| ("200 OK", answer));
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                    answer.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, answers, requests }
    }

    fn answer(&self, path: &'static str, answers: &[&str]) {
        self.answers.lock().unwrap().insert(path, answers.iter().map(ToString::to_string).collect());
    }

    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

#[expect(unsafe_code, reason = "identities come in variables")]
fn set(variables: &[(&str, &str)]) {
    for (name, value) in variables {
        // SAFETY: the only test of this process, between requests; an empty value counts as none.
        unsafe { std::env::set_var(name, value) };
    }
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn basic(username: &str, password: &str) -> Access {
    Access::Basic { username: username.to_owned(), password: password.to_owned() }
}

fn as_cloud(cloud: Cloud, server: &Server) -> Client {
    let mut keyring = Keyring::anonymous();
    keyring.use_cloud(cloud, &[&server.host()]);
    Client::new(ClientOptions { keyring, ..options() })
}

async fn digest_of(client: &Client, server: &Server) -> Result<Digest, unbloat_registry::Error> {
    let source = client.source(&location(server, "a/b:t")).await?;
    Ok(source.resolve().await?.descriptor.digest().clone())
}

fn ecr(password: &str) -> String {
    let token = STANDARD.encode(format!("AWS:{password}"));
    format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":9999999999.5}}]}}"#)
}

#[tokio::test]
async fn each_clouds_identity_reads_and_pushes_and_is_renewed_when_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = StandIn::start().await;
    let origin = format!("http://{}", stand_in.address);
    let plain = server().await;
    let digest = publish(&destination(&client(), &plain, "a/b:t").await, &[noise(1, 1000)]).await;
    let beside = async |access: Access, quirks: Vec<Quirk>| {
        Server::start_beside(&plain, Options { access, quirks, ..Options::default() }).await.unwrap()
    };

    // Amazon, by a web identity token (IRSA).
    let token = file(folder.path(), "aws-token", "projected.token.of-the-account\n");
    set(&[
        ("AWS_ENDPOINT_URL_STS", &origin),
        ("AWS_ENDPOINT_URL_ECR", &format!("{origin}/ecr")),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/unbloat"),
    ]);
    let keys = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
        <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s&amp;k</SecretAccessKey><SessionToken>session</SessionToken>\
        <Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
        </AssumeRoleWithWebIdentityResponse>";
    stand_in.answer("/", &[keys]);
    stand_in.answer("/ecr", &[&ecr("first"), &ecr("second")]);
    for quirks in [vec![], vec![Quirk::RefusedIs403]] {
        stand_in.answer("/ecr", &[&ecr("first"), &ecr("second")]);
        let registry = beside(basic("AWS", "first"), quirks).await;
        let client = as_cloud(Cloud::Aws, &registry);
        assert_eq!(digest_of(&client, &registry).await.unwrap(), digest);
        let asked = stand_in.asked();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(asked[0].1.contains("WebIdentityToken=projected.token.of-the-account"), "{asked:?}");
        assert!(asked[0].1.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Funbloat"));
        let head = asked[1].0.to_lowercase();
        assert!(
            head.contains("credential=asia1/") && head.contains("/eu-central-1/ecr/aws4_request"),
            "{head}"
        );
        assert!(head.contains("x-amz-security-token: session"), "{head}");
        // The password expires between two chunks of an upload.
        let to = client.destination(&location(&registry, "a/b:pushed")).await.unwrap();
        let mut upload = to.upload(UploadOptions { hash: true }).await.unwrap();
        upload.write(noise(2, 250_000)).await.unwrap();
        registry.set_access(basic("AWS", "second"));
        upload.write(noise(3, 250_000)).await.unwrap();
        let (pushed, size) = upload.finish(None).await.unwrap();
        assert_eq!(size, 500_000);
        assert!(registry.has_blob("a/b", &pushed));
        assert_eq!(stand_in.asked().len(), 2, "one more exchange");
    }

    // Amazon, by EKS Pod Identity.
    let token = file(folder.path(), "pod-token", "pod.identity.token");
    set(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", ""),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{origin}/v1/credentials")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
    ]);
    stand_in.answer(
        "/v1/credentials",
        &[r#"{"AccessKeyId":"ASIA2","SecretAccessKey":"x","Token":"t","Expiration":"2030-01-01T00:00:00Z"}"#],
    );
    stand_in.answer("/ecr", &[&ecr("pod")]);
    let registry = beside(basic("AWS", "pod"), Vec::new()).await;
    assert_eq!(digest_of(&as_cloud(Cloud::Aws, &registry), &registry).await.unwrap(), digest);
    assert!(stand_in.asked()[0].0.to_lowercase().contains("authorization: pod.identity.token"));
    set(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/credentials")]);
    let error = digest_of(&as_cloud(Cloud::Aws, &registry), &registry).await.unwrap_err();
    assert!(error.to_string().contains("not encrypted"), "{error}");
    assert!(stand_in.asked().is_empty());

    // Google, by the metadata server, whose token expires.
    set(&[("GCE_METADATA_HOST", &stand_in.address)]);
    let metadata = "/computeMetadata/v1/instance/service-accounts/default/token";
    stand_in.answer(
        metadata,
        &[
            r#"{"access_token":"ya29.first","expires_in":3600,"token_type":"Bearer"}"#,
            r#"{"access_token":"ya29.second","expires_in":3600,"token_type":"Bearer"}"#,
        ],
    );
    let registry = beside(basic("oauth2accesstoken", "ya29.first"), Vec::new()).await;
    let client = as_cloud(Cloud::Gcp, &registry);
    assert_eq!(digest_of(&client, &registry).await.unwrap(), digest);
    registry.set_access(basic("oauth2accesstoken", "ya29.second"));
    assert_eq!(digest_of(&client, &registry).await.unwrap(), digest);
    let asked = stand_in.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].0.to_lowercase().contains("metadata-flavor: google"));

    // A guard that refuses the node's addresses to everybody lets the identity's own question through: no
    // image's name leads there, and no token goes to a service that is not on the node.
    let guard = Arc::new(Guard::own().but_for(["localhost".to_owned()]));
    let guarded = |keyring: Keyring| {
        Client::new(ClientOptions { keyring, guard: Some(Arc::clone(&guard)), ..options() })
    };
    let named = format!("localhost:{}", registry.address().port());
    let mut keyring = Keyring::anonymous();
    keyring.use_cloud(Cloud::Gcp, &[&named]);
    let client = guarded(keyring.clone());
    let at = |place: &str| format!("{place}/a/b:t").parse::<Location>().unwrap();
    let found = client.source(&at(&named)).await.unwrap().resolve().await.unwrap();
    assert_eq!(found.descriptor.digest(), &digest);
    assert_eq!(stand_in.asked().len(), 1);
    let error = client.source(&at(&stand_in.address)).await.unwrap().resolve().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RefusedAddress), "{error}");
    let error = guarded(Keyring::anonymous()).source(&at(&named)).await.unwrap().resolve().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unauthorized { .. }), "{error}");
    assert!(stand_in.asked().is_empty(), "without an identity nothing is asked there");

    // Google, by federation and impersonation.
    let subject = file(folder.path(), "gcp-token", "projected.for.google");
    let account = format!(
        r#"{{"type":"external_account","audience":"//iam.googleapis.com/projects/1/x","token_url":"{origin}/sts",
        "subject_token_type":"urn:ietf:params:oauth:token-type:jwt","service_account_impersonation_url":"{origin}/impersonate",
        "credential_source":{{"file":"{subject}"}}}}"#
    );
    set(&[("GOOGLE_APPLICATION_CREDENTIALS", &file(folder.path(), "gcp.json", &account))]);
    stand_in.answer("/sts", &[r#"{"access_token":"federated","expires_in":3600}"#]);
    stand_in
        .answer("/impersonate", &[r#"{"accessToken":"ya29.acting","expireTime":"2030-01-01T00:00:00Z"}"#]);
    let registry = beside(basic("oauth2accesstoken", "ya29.acting"), Vec::new()).await;
    assert_eq!(digest_of(&as_cloud(Cloud::Gcp, &registry), &registry).await.unwrap(), digest);
    let asked = stand_in.asked();
    assert!(asked[0].1.contains("subject_token=projected.for.google"), "{asked:?}");
    assert!(asked[1].0.to_lowercase().contains("authorization: bearer federated"), "{asked:?}");

    // Azure, by workload identity: the exchange is at the registry, here a stand-in that is asked nothing
    // else.
    let assertion = file(folder.path(), "azure-token", "projected.for.azure");
    set(&[
        ("AZURE_AUTHORITY_HOST", &format!("{origin}/")),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_FEDERATED_TOKEN_FILE", &assertion),
    ]);
    stand_in.answer(
        "/tenant-1/oauth2/v2.0/token",
        &[r#"{"access_token":"entra","expires_in":3599,"token_type":"Bearer"}"#],
    );
    let access = Access::Token {
        username: "nobody".to_owned(),
        password: "refresh-of-the-registry".to_owned(),
        lifetime: Duration::from_secs(300),
        anonymous_pull: false,
    };
    let registry = beside(access, vec![Quirk::Exchange("refresh-of-the-registry".to_owned())]).await;
    assert_eq!(digest_of(&as_cloud(Cloud::Azure, &registry), &registry).await.unwrap(), digest);
    let asked = stand_in.asked();
    assert!(
        asked[0].1.contains("client_assertion=projected.for.azure")
            && asked[0].1.contains("client_id=client-1")
    );

    // An identity is for its own registries: nothing is asked for another.
    let other = beside(basic("AWS", "pod"), Vec::new()).await;
    assert!(digest_of(&as_cloud(Cloud::Azure, &registry), &other).await.is_err());
    let mut keyring = Keyring::anonymous();
    keyring.use_cloud_environment();
    let environment = Client::new(ClientOptions { keyring, ..options() });
    assert!(digest_of(&environment, &other).await.is_err());
    assert!(stand_in.asked().is_empty());
}
