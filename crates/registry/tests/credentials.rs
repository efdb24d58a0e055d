//! Who is known where: token servers with quirks, other hosts, programs, several credentials.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use common::{client, descriptor, destination, location, noise, options, publish, server};
use unbloat_oci::Digest;
use unbloat_registry::{Client, ClientOptions, Credential, ErrorKind, Keyring, Secret};
use unbloat_registry_server::{Access, Fault, Options, Quirk, Rule, Server};

const PASSWORD: &str = "open-sesame";

fn basic() -> Access {
    Access::Basic { username: "user".to_owned(), password: PASSWORD.to_owned() }
}

fn token(anonymous_pull: bool) -> Access {
    Access::Token {
        username: "user".to_owned(),
        password: PASSWORD.to_owned(),
        lifetime: Duration::from_secs(300),
        anonymous_pull,
    }
}

fn user(password: &str) -> Credential {
    Credential::Basic { username: "user".to_owned(), password: Secret::new(password) }
}

/// A client that knows the user on these servers.
fn known_on(servers: &[&Server]) -> Client {
    let mut keyring = Keyring::anonymous();
    for server in servers {
        keyring.insert(&server.host(), user(PASSWORD));
    }
    Client::new(ClientOptions { keyring, ..options() })
}

async fn image() -> (Server, Bytes, Digest) {
    let plain = server().await;
    let layer = noise(5, 700_000);
    let digest = publish(&destination(&client(), &plain, "a/b:t").await, std::slice::from_ref(&layer)).await;
    (plain, layer, digest)
}

async fn with(plain: &Server, access: Access, quirks: Vec<Quirk>) -> Server {
    Server::start_beside(plain, Options { access, quirks, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn a_redirect_to_a_host_with_its_own_tokens_gets_one_there_and_never_ours() {
    let (plain, layer, digest) = image().await;
    let store = with(&plain, token(true), Vec::new()).await;
    for access in [token(false), basic()] {
        let quirks = vec![Quirk::RedirectBlobs(store.origin()), Quirk::RedirectManifests(store.origin())];
        let server = with(&plain, access, quirks).await;
        let source = known_on(&[&server]).source(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &digest);
        assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer);
    }
    assert!(store.requests().iter().any(|request| request.path == "/token"));
    assert!(store.requests_with(PASSWORD).is_empty(), "the password reached another origin");
    // Where that host wants somebody, it is not us.
    let private = with(&plain, token(false), Vec::new()).await;
    let server = with(&plain, basic(), vec![Quirk::RedirectBlobs(private.origin())]).await;
    let source = known_on(&[&server]).source(&location(&server, "a/b:t")).await.unwrap();
    let error = source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unauthorized { .. }), "{error}");
    assert!(private.requests_with(PASSWORD).is_empty());
}

#[tokio::test]
async fn odd_answers_of_token_servers_are_read() {
    let (plain, layer, _) = image().await;
    for lifetime in ["", "0", "-7", "300.5", "\"300\"", "\"soon\"", "null", "1e20"] {
        let quirks = vec![Quirk::ExpiresIn(lifetime.to_owned()), Quirk::AccessToken];
        let server = with(&plain, token(false), quirks).await;
        let source = known_on(&[&server]).source(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer, "{lifetime}");
    }
}

#[tokio::test]
async fn a_token_server_that_takes_post_alone_gets_that_with_the_password() {
    let (plain, layer, _) = image().await;
    for (status, more) in [(404, None), (405, None), (501, None), (405, Some(Quirk::Compresses))] {
        let quirks = [Some(Quirk::PostedTokens(status)), more].into_iter().flatten().collect();
        let server = with(&plain, token(false), quirks).await;
        let source = known_on(&[&server]).source(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer, "{status}");
        // Who has no password has nothing to post, and is told what GET said.
        let unknown = client().source(&location(&server, "a/b:t")).await.unwrap();
        assert!(unknown.resolve().await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_scope_of_the_request_and_no_other() {
    let (plain, layer, _) = image().await;
    // Who may only pull is refused a scope with push; who reads asks for none.
    let refuse = vec![Quirk::OneScope, Quirk::RefuseScope("push".to_owned())];
    for more in [vec![], vec![Quirk::NoScopeInChallenge]] {
        let server = with(&plain, token(false), [refuse.clone(), more].concat()).await;
        let known = known_on(&[&server]);
        let source = known.source(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer);
        let destination = known.destination(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(destination.has_blob(descriptor(&layer).digest()).await.unwrap(), Some(700_000));
    }
    // A server that takes one scope is pushed to, a mount that it refuses included.
    let one = vec![Quirk::OneScope];
    let server = with(&plain, token(false), one).await;
    let known = known_on(&[&server]);
    let from = known.source(&location(&server, "a/b:t")).await.unwrap();
    let to = known.destination(&location(&server, "other:t")).await.unwrap();
    unbloat_registry::copy(&from, &to, &[]).await.unwrap();
    for request in server.requests().iter().filter(|request| request.path == "/token") {
        let scopes: Vec<String> = url_pairs(&request.query, "scope");
        assert!(
            scopes
                .iter()
                .all(|scope| scope.starts_with("repository:a/b:") || scope.starts_with("repository:other:")),
            "{scopes:?}"
        );
    }
}

fn url_pairs(query: &str, name: &str) -> Vec<String> {
    url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .collect()
}

#[tokio::test]
async fn explicit_credentials_go_to_one_registry_only() {
    let (plain, _, _) = image().await;
    let first = with(&plain, basic(), Vec::new()).await;
    let target = server().await;
    for access in [basic(), token(false), token(true)] {
        let second = Server::start_beside(&target, Options { access, ..Options::default() }).await.unwrap();
        let mut keyring = Keyring::anonymous();
        keyring.insert(&first.host(), user(PASSWORD));
        let only = Client::new(ClientOptions { keyring, ..options() });
        let from = only.source(&location(&first, "a/b:t")).await.unwrap();
        let to = only.destination(&location(&second, "x:t")).await.unwrap();
        let error = unbloat_registry::copy(&from, &to, &[]).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unauthorized { .. }), "{error}");
        assert!(second.requests_with(PASSWORD).is_empty());
    }
}

#[tokio::test]
async fn a_user_without_a_registry_belongs_to_the_first_that_refuses_everybody_else() {
    let (plain, _, _) = image().await;
    let target = server().await;
    let unbound = || {
        let mut keyring = Keyring::anonymous();
        keyring.insert_unbound(user(PASSWORD));
        Client::new(ClientOptions { keyring, ..options() })
    };
    // The source is open to everybody: the destination gets it.
    for access in [basic(), token(false), token(true)] {
        let public = with(&plain, token(true), Vec::new()).await;
        let second = Server::start_beside(&target, Options { access, ..Options::default() }).await.unwrap();
        let client = unbound();
        let from = client.source(&location(&public, "a/b:t")).await.unwrap();
        let to = client.destination(&location(&second, "x:t")).await.unwrap();
        unbloat_registry::copy(&from, &to, &[]).await.unwrap();
        assert!(public.requests_with(PASSWORD).is_empty());
    }
    // Both want somebody: the source has it, the destination does not.
    let (first, second) = (with(&plain, basic(), Vec::new()).await, with(&plain, basic(), Vec::new()).await);
    let client = unbound();
    let from = client.source(&location(&first, "a/b:t")).await.unwrap();
    let to = client.destination(&location(&second, "x:t")).await.unwrap();
    assert!(unbloat_registry::copy(&from, &to, &[]).await.is_err());
    assert!(second.requests_with(PASSWORD).is_empty());
}

fn helper(folder: &Path, name: &str, body: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\nread server\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// One test for all of it: the search path belongs to the whole process.
#[tokio::test]
async fn helpers_are_run_when_they_are_needed_and_again_after_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let runs = |name: &str| {
        std::fs::read_to_string(folder.path().join(format!("{name}.runs")))
            .map_or(0, |text| text.lines().count())
    };
    let at = folder.path().display();
    // The first answer has expired, as those of a cloud do after twelve hours.
    let body = format!(
        "echo x >> {at}/renewing.runs\nif [ $(wc -l < {at}/renewing.runs) -gt 1 ]; then secret={PASSWORD}; else secret=stale; fi\n\
         echo '{{\"Username\":\"user\",\"Secret\":\"'$secret'\"}}'"
    );
    helper(folder.path(), "renewing", &body);
    helper(
        folder.path(),
        "counting",
        &format!("echo x >> {at}/counting.runs\necho '{{\"Username\":\"user\",\"Secret\":\"wrong\"}}'"),
    );
    let path = std::env::var("PATH").unwrap_or_default();
    #[expect(unsafe_code, reason = "the only way to put a helper on the search path")]
    // SAFETY: the other tests of this file neither read nor write the environment.
    unsafe {
        std::env::set_var("PATH", format!("{at}:{path}"));
    }
    let (plain, layer, _) = image().await;
    let client_with = |config: &str| {
        let file = folder.path().join("config.json");
        std::fs::write(&file, config).unwrap();
        let mut keyring = Keyring::anonymous();
        keyring.add_file(&file).unwrap();
        Client::new(ClientOptions { keyring, ..options() })
    };
    for access in [basic(), token(false)] {
        let _ = std::fs::remove_file(folder.path().join("renewing.runs"));
        let server = with(&plain, access, Vec::new()).await;
        let client = client_with(&format!(r#"{{"credHelpers":{{"{}":"renewing"}}}}"#, server.host()));
        let source = client.source(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer);
        assert_eq!(runs("renewing"), 2);
    }
    // Where nobody asks, or a file knows, no program is run.
    let open = with(&plain, Access::Open, Vec::new()).await;
    let source_of = |client: Client, server: &Server| {
        let location = location(server, "a/b:t");
        async move { client.source(&location).await.unwrap() }
    };
    let store = r#"{"credsStore":"counting"}"#;
    source_of(client_with(store), &open).await.resolve().await.unwrap();
    let server = with(&plain, basic(), Vec::new()).await;
    let known = format!(
        r#"{{"auths":{{"{}":{{"username":"user","password":"{PASSWORD}"}}}},"credsStore":"counting"}}"#,
        server.host()
    );
    source_of(client_with(&known), &server).await.resolve().await.unwrap();
    assert_eq!(runs("counting"), 0);
    // One that goes on answering the same is asked twice, and then it is over.
    let error = source_of(client_with(store), &server).await.resolve().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unauthorized { .. }), "{error}");
    assert_eq!(runs("counting"), 2);
    // A program that is not there is passed over.
    let missing = client_with(r#"{"credsStore":"is-not-there"}"#);
    source_of(missing, &open).await.resolve().await.unwrap();
}

#[tokio::test]
async fn a_login_is_tried_before_it_is_kept_and_the_file_is_its_owners() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/auth.json");
    for access in [basic(), token(false), token(true)] {
        let server = Server::start(Options { access, ..Options::default() }).await.unwrap();
        let client = client();
        client.verify_login(&server.host(), &user(PASSWORD)).await.unwrap();
        let error = client.verify_login(&server.host(), &user("wrong")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unauthorized { .. }), "{error}");
    }
    let store = |registry: &'static str| {
        let file = file.clone();
        async move {
            unbloat_registry::store_login(&file, registry, "user", &Secret::new(PASSWORD)).await.unwrap()
        }
    };
    store("a.example").await;
    store("docker.io").await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("https://index.docker.io/v1/") && !text.contains(PASSWORD), "{text}");
    let mut keyring = Keyring::anonymous();
    keyring.add_named_file(&file).unwrap();
    for registry in ["a.example", "docker.io"] {
        let found = keyring.lookup(registry, "x", Duration::from_secs(1)).await.unwrap();
        assert_eq!(found, [user(PASSWORD)]);
    }
    // What else is in the file stays, and so does a link to it.
    std::fs::write(
        &file,
        r#"{"auths":{"b.example":{"auth":"eDp5"}},"HttpHeaders":{"X":"y"},"credHelpers":{}}"#,
    )
    .unwrap();
    let link = folder.path().join("link.json");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    unbloat_registry::store_login(&link, "a.example", "user", &Secret::new(PASSWORD)).await.unwrap();
    assert!(unbloat_registry::remove_login(&link, "a.example").await.unwrap());
    assert!(!unbloat_registry::remove_login(&link, "a.example").await.unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("b.example") && text.contains("HttpHeaders") && !text.contains("a.example"),
        "{text}"
    );
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_where_the_registry_says_403_of_it() {
    let (plain, layer, digest) = image().await;
    for method in [reqwest::Method::GET, reqwest::Method::PATCH, reqwest::Method::PUT] {
        let server = with(&plain, token(false), vec![Quirk::RefusedIs403]).await;
        let rule = Rule::new("a/b/", Fault::ExpireTokens).method(method.clone()).times(2);
        server.faults().add(rule);
        let client = known_on(&[&server]);
        let source = client.source(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &digest);
        for _ in 0..2 {
            assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer);
        }
        let to = client.destination(&location(&server, "a/b:new")).await.unwrap();
        publish(&to, &[noise(77, 700_000)]).await;
    }
    // What is refused at once is not asked for over and over.
    let server = with(&plain, token(false), vec![Quirk::RefusedIs403]).await;
    server.faults().add(Rule::new("/manifests/", Fault::Status(403, Vec::new())));
    let source = known_on(&[&server]).source(&location(&server, "a/b:t")).await.unwrap();
    let error = source.resolve().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unauthorized { status: 403, .. }), "{error}");
    let tokens = server.requests().iter().filter(|request| request.path == "/token").count();
    assert!(tokens <= 1, "{tokens} tokens");
}

#[tokio::test]
async fn a_registry_that_asks_at_its_base_alone_is_asked_there_once() {
    let (plain, layer, digest) = image().await;
    for status in [401, 403, 404] {
        for access in [basic(), token(false), token(true)] {
            let server = with(&plain, access.clone(), vec![Quirk::Unchallenged(status)]).await;
            let known = known_on(&[&server]);
            let source = known.source(&location(&server, "a/b:t")).await.unwrap();
            assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &digest, "{status} {access:?}");
            assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer);
            publish(&destination(&known, &server, "a/b:new").await, &[noise(78, 700_000)]).await;
            let base =
                |server: &Server| server.requests().iter().filter(|request| request.path == "/v2/").count();
            assert_eq!(base(&server), 1, "{status} {access:?}");
            // Nobody gets what anybody may have, and no more.
            let server = with(&plain, access.clone(), vec![Quirk::Unchallenged(status)]).await;
            let source = client().source(&location(&server, "a/b:t")).await.unwrap();
            let anybody = matches!(access, Access::Token { anonymous_pull: true, .. });
            match source.resolve().await {
                Ok(found) => assert!(anybody && found.descriptor.digest() == &digest, "{status}"),
                Err(error) => {
                    let kind = error.kind();
                    let refused = matches!(kind, ErrorKind::Unauthorized { .. })
                        || (status == 404 && matches!(kind, ErrorKind::NotFound { .. }));
                    assert!(!anybody && refused, "{status} {access:?}: {error}");
                }
            }
        }
        // One that says so to everybody is not asked over and over.
        let server = with(&plain, Access::Open, Vec::new()).await;
        server.faults().add(Rule::new("/manifests/", Fault::Status(status, Vec::new())));
        let source = known_on(&[&server]).source(&location(&server, "a/b:t")).await.unwrap();
        for _ in 0..3 {
            source.resolve().await.unwrap_err();
        }
        assert_eq!(server.requests().iter().filter(|request| request.path == "/v2/").count(), 1);
    }
    // A token that ran out is renewed where the refusal names no challenge.
    let server = with(&plain, token(false), vec![Quirk::Unchallenged(401)]).await;
    let rule = Rule::new("a/b/", Fault::ExpireTokens).times(3);
    server.faults().add(rule);
    let source = known_on(&[&server]).source(&location(&server, "a/b:t")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(source.blob(&descriptor(&layer)).collect(u64::MAX).await.unwrap(), layer);
    }
}

#[tokio::test]
async fn a_token_server_may_be_a_path_of_the_registry_and_may_have_moved() {
    let (plain, layer, digest) = image().await;
    for quirks in [
        vec![Quirk::RelativeRealm],
        vec![Quirk::MovedTokens(301)],
        vec![Quirk::MovedTokens(302)],
        vec![Quirk::MovedTokens(307)],
        vec![Quirk::MovedTokens(308), Quirk::RelativeRealm],
    ] {
        for credential in [user(PASSWORD), Credential::IdentityToken(Secret::new(PASSWORD))] {
            let server = with(&plain, token(false), quirks.clone()).await;
            let mut keyring = Keyring::anonymous();
            keyring.insert(&server.host(), credential);
            let known = Client::new(ClientOptions { keyring, ..options() });
            let source = known.source(&location(&server, "a/b:t")).await.unwrap();
            assert_eq!(source.resolve().await.unwrap().descriptor.digest(), &digest, "{quirks:?}");
            publish(&destination(&known, &server, "a/b:new").await, std::slice::from_ref(&layer)).await;
        }
    }
    // At another origin it gets nothing of ours.
    for credential in [user(PASSWORD), Credential::IdentityToken(Secret::new(PASSWORD))] {
        let other = with(&plain, token(true), Vec::new()).await;
        let server = with(&plain, token(false), vec![Quirk::RedirectTokens(other.origin())]).await;
        let mut keyring = Keyring::anonymous();
        keyring.insert(&server.host(), credential);
        let known = Client::new(ClientOptions { keyring, ..options() });
        let source = known.source(&location(&server, "a/b:t")).await.unwrap();
        source.resolve().await.unwrap_err();
        assert!(other.requests_with(PASSWORD).is_empty(), "a secret at another origin");
    }
}
