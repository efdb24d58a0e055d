//! kubelet's credential provider plugins: small programs that answer as those of the clouds do.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{client, descriptor, destination, location, noise, options, publish, server};
use unbloat_registry::{Client, ClientOptions, Credential, ErrorKind, Keyring, Secret, Timeouts};
use unbloat_registry_server::{Access, Options, Server};

const PASSWORD: &str = "open-sesame";

/// What the registries of these tests ask for.
fn accesses() -> [Access; 2] {
    let (username, password) = ("user".to_owned(), PASSWORD.to_owned());
    [
        Access::Basic { username: username.clone(), password: password.clone() },
        Access::Token { username, password, lifetime: Duration::from_secs(300), anonymous_pull: false },
    ]
}

/// A folder with plugins, kubelet's file of them, and what they wrote down.
struct Plugins(tempfile::TempDir);

impl Plugins {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A program that keeps each question in a file of its own and then does this.
    fn program(&self, name: &str, body: &str) {
        let path = self.folder().join(name);
        let script = format!(
            "#!/bin/sh\nfolder={}\nrun=$(($(ls \"$folder\" | grep -c '^{name}.run') + 1))\n\
             cat > \"$folder/{name}.run$run\"\n{body}\n",
            self.folder().display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A program with this answer, in which `$run` is how often it has run.
    fn answers(&self, name: &str, more: &str) {
        self.answers_where(name, "true", more);
    }

    /// The same, where this holds.
    fn answers_where(&self, name: &str, condition: &str, more: &str) {
        let answer = format!(
            r#"{{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",{more}}}"#
        );
        self.program(name, &format!("{condition} || exit 3\ncat <<END\n{answer}\nEND"));
    }

    /// A client that asks these, each for the images that match a glob.
    fn client(&self, plugins: &[(&str, &str)], timeout: Duration) -> Client {
        let mut keyring = Keyring::anonymous();
        self.add_to(&mut keyring, plugins);
        let timeouts = Timeouts { helper: timeout, ..options().timeouts };
        Client::new(ClientOptions { keyring, timeouts, ..options() })
    }

    fn add_to(&self, keyring: &mut Keyring, plugins: &[(&str, &str)]) {
        let mut text =
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n".to_owned();
        for (name, glob) in plugins {
            text += &format!(
                "- name: {name}\n  matchImages: ['{glob}']\n  defaultCacheDuration: 10m\n  \
                 apiVersion: credentialprovider.kubelet.k8s.io/v1\n  args: [first, 'second one']\n  \
                 env: [{{name: PROVIDED, value: by-the-file}}]\n"
            );
        }
        let config = self.folder().join("config.yaml");
        std::fs::write(&config, text).unwrap();
        keyring.add_credential_providers(&config, self.folder()).unwrap();
    }

    /// What a plugin was asked, in order.
    fn asked(&self, name: &str) -> Vec<serde_json::Value> {
        let read = |run: usize| std::fs::read(self.folder().join(format!("{name}.run{run}"))).ok();
        (1..).map_while(read).map(|bytes| serde_json::from_slice(&bytes).unwrap()).collect()
    }
}

/// Parts of an answer: how long it is good, for what, and the password for a key.
fn entry(duration: &str, kind: &str, key: &str, password: &str) -> String {
    format!(
        r#""cacheKeyType":"{kind}","cacheDuration":"{duration}","auth":{{"{key}":{{"username":"user","password":"{password}"}}}}"#
    )
}

async fn image() -> (Server, Bytes) {
    let plain = server().await;
    let layer = noise(5, 300_000);
    for name in ["a/b:t", "a/c:t"] {
        publish(&destination(&client(), &plain, name).await, std::slice::from_ref(&layer)).await;
    }
    (plain, layer)
}

async fn with(plain: &Server, access: Access) -> Server {
    Server::start_beside(plain, Options { access, ..Options::default() }).await.unwrap()
}

async fn pull(client: &Client, server: &Server, name: &str, layer: &Bytes) -> Result<(), ErrorKind> {
    let source = client.source(&location(server, name)).await.unwrap();
    match source.blob(&descriptor(layer)).collect(u64::MAX).await {
        Ok(bytes) => {
            assert_eq!(&bytes, layer);
            Ok(())
        }
        Err(error) => {
            assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
            Err(match error.kind() {
                ErrorKind::Unauthorized { status, message } => {
                    ErrorKind::Unauthorized { status: *status, message: message.clone() }
                }
                ErrorKind::Credentials(reason) => ErrorKind::Credentials(reason.clone()),
                other => panic!("{other}"),
            })
        }
    }
}

#[tokio::test]
async fn a_plugin_is_asked_as_kubelet_asks_and_pulls_and_pushes_go_through() {
    let (plain, layer) = image().await;
    for access in accesses() {
        let plugins = Plugins::new();
        let server = with(&plain, access).await;
        plugins.answers_where(
            "cloud",
            r#"[ "$*" = 'first second one' ] && [ "$PROVIDED" = by-the-file ] && [ -n "$PATH" ]"#,
            &entry("6h", "Registry", &server.host(), PASSWORD),
        );
        let client =
            plugins.client(&[("cloud", &server.host()), ("other", "other.example")], Duration::from_secs(20));
        pull(&client, &server, "a/b:t", &layer).await.unwrap();
        publish(&destination(&client, &server, "new:t").await, &[noise(6, 700_000)]).await;
        let asked = plugins.asked("cloud");
        assert_eq!(
            asked,
            [serde_json::json!({
                "kind": "CredentialProviderRequest",
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "image": format!("{}/a/b", server.host()),
            })],
            "the answer is good for the whole registry"
        );
    }
}

#[tokio::test]
async fn a_plugin_is_run_only_when_it_is_its_turn() {
    let (plain, layer) = image().await;
    let plugins = Plugins::new();
    let open = with(&plain, Access::Open).await;
    for access in accesses() {
        let server = with(&plain, access).await;
        plugins.answers("cloud", &entry("1h", "Image", &server.host(), PASSWORD));
        // Nobody asks; another image; what was given by hand comes first.
        for (server, glob, name, by_hand) in [
            (&open, open.host(), "a/b:t", false),
            (&server, format!("{}/other", server.host()), "a/b:t", false),
            (&server, "127.0.0.1".to_owned(), "a/b:t", false),
            (&server, server.host(), "a/b:t", true),
        ] {
            let mut keyring = Keyring::anonymous();
            plugins.add_to(&mut keyring, &[("cloud", &glob)]);
            let user = Credential::Basic { username: "user".to_owned(), password: Secret::new(PASSWORD) };
            if by_hand {
                keyring.insert(&server.host(), user);
            }
            let client = Client::new(ClientOptions { keyring, ..options() });
            let pulled = pull(&client, server, name, &layer).await;
            let expected = by_hand || server.host() == open.host();
            assert_eq!(pulled.is_ok(), expected, "{glob}: {pulled:?}");
            assert_eq!(plugins.asked("cloud").len(), 0, "{glob}");
        }
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_what_it_says_and_as_long() {
    let (plain, layer) = image().await;
    let [basic, _] = accesses();
    // How long, for what, how often it runs for two repositories that are read twice each.
    for (duration, kind, runs) in
        [("1h", "Image", 2), ("1h", "Registry", 1), ("1h", "Global", 1), ("0s", "Global", 4)]
    {
        let plugins = Plugins::new();
        let server = with(&plain, basic.clone()).await;
        plugins.answers("cloud", &entry(duration, kind, &server.host(), PASSWORD));
        let mut keyring = Keyring::anonymous();
        plugins.add_to(&mut keyring, &[("cloud", &server.host())]);
        for _ in 0..2 {
            // Another client of the same credentials, as the two sides of a copy are.
            let client = Client::new(ClientOptions { keyring: keyring.clone(), ..options() });
            for name in ["a/b:t", "a/c:t", "a/b:t"] {
                pull(&client, &server, name, &layer).await.unwrap();
            }
        }
        assert_eq!(plugins.asked("cloud").len(), runs, "{duration} {kind}");
    }
    // One that does not say is good for as long as the file says.
    let plugins = Plugins::new();
    let server = with(&plain, basic.clone()).await;
    let silent = entry("", "Registry", &server.host(), PASSWORD).replace(r#""cacheDuration":"","#, "");
    plugins.answers("cloud", &silent);
    let client = plugins.client(&[("cloud", &server.host())], Duration::from_secs(20));
    for name in ["a/b:t", "a/c:t"] {
        pull(&client, &server, name, &layer).await.unwrap();
    }
    assert_eq!(plugins.asked("cloud").len(), 1);
    // After its time it is asked for anew, before the registry refuses anything.
    let plugins = Plugins::new();
    plugins.answers("cloud", &entry("50ms", "Global", &server.host(), PASSWORD));
    let client = plugins.client(&[("cloud", &server.host())], Duration::from_secs(20));
    pull(&client, &server, "a/b:t", &layer).await.unwrap();
    let (before, refused) = (plugins.asked("cloud").len(), server.requests().len());
    tokio::time::sleep(Duration::from_millis(100)).await;
    pull(&client, &server, "a/b:t", &layer).await.unwrap();
    assert!(plugins.asked("cloud").len() > before);
    assert!(server.requests()[refused..].iter().all(|request| request.status != 401));
}

#[tokio::test]
async fn an_expired_answer_is_asked_for_once_more_and_a_second_entry_is_tried() {
    let (plain, layer) = image().await;
    for access in accesses() {
        let server = with(&plain, access).await;
        let plugins = Plugins::new();
        // The first answer is the one of yesterday.
        plugins.answers(
            "cloud",
            &entry("1h", "Global", &server.host(), "$([ $run = 1 ] && echo old || echo open-sesame)"),
        );
        let client = plugins.client(&[("cloud", &server.host())], Duration::from_secs(20));
        pull(&client, &server, "a/b:t", &layer).await.unwrap();
        assert_eq!(plugins.asked("cloud").len(), 2);
        // One that goes on answering the same is asked twice, and then it is over.
        plugins.answers("stubborn", &entry("1h", "Global", &server.host(), "wrong"));
        let client = plugins.client(&[("stubborn", &server.host())], Duration::from_secs(20));
        let error = pull(&client, &server, "a/b:t", &layer).await.unwrap_err();
        assert!(matches!(error, ErrorKind::Unauthorized { .. }), "{error}");
        assert_eq!(plugins.asked("stubborn").len(), 2);
        // Keys for a path and for the registry: what the first is refused, the second may do.
        let host = server.host();
        let both = format!(
            r#""cacheKeyType":"Image","auth":{{"{host}":{{"username":"user","password":"{PASSWORD}"}},"{host}/a":{{"username":"user","password":"wrong"}}}}"#
        );
        plugins.answers("both", &both);
        let client = plugins.client(&[("both", &host)], Duration::from_secs(20));
        pull(&client, &server, "a/b:t", &layer).await.unwrap();
        assert!(plugins.asked("both").len() <= 2, "{:?}", plugins.asked("both"));
        assert!(server.requests_with("wrong").iter().all(|request| request.status == 401));
    }
}

#[tokio::test]
async fn a_plugin_that_is_missing_hangs_fails_or_answers_nonsense_is_passed_over() {
    let (plain, layer) = image().await;
    for access in accesses() {
        let server = with(&plain, access).await;
        let host = server.host();
        let plugins = Plugins::new();
        plugins.answers("good", &entry("1h", "Global", &host, PASSWORD));
        plugins.program("hangs", "exec sleep 600");
        plugins.program("fails", "echo 'no role is bound' >&2; echo open-sesame; exit 7");
        plugins.program("nonsense", "echo '{\"password\":\"open-sesame\"}'");
        plugins.answers("nothing", r#""cacheKeyType":"Global","auth":{}"#);
        std::fs::write(plugins.folder().join("no-program"), "open-sesame").unwrap();
        for (name, words) in [
            ("missing", None),
            ("hangs", Some("no answer")),
            ("fails", Some("no role is bound")),
            ("nonsense", Some("CredentialProviderResponse")),
            ("nothing", None),
            ("no-program", Some("denied")),
        ] {
            let begin = Instant::now();
            let both = plugins.client(&[(name, &host), ("good", &host)], Duration::from_secs(1));
            pull(&both, &server, "a/b:t", &layer).await.unwrap();
            let alone = plugins.client(&[(name, &host)], Duration::from_secs(1));
            let error = pull(&alone, &server, "a/b:t", &layer).await.unwrap_err();
            match (&error, words) {
                (ErrorKind::Credentials(reason), Some(words)) => assert!(reason.contains(words), "{reason}"),
                (ErrorKind::Unauthorized { .. }, None) => {}
                other => panic!("{name}: {other:?}"),
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{name} was run over and over");
        }
        // Not for each of the entries that an answer might have.
        assert!(plugins.asked("fails").len() <= 4, "{:?}", plugins.asked("fails"));
    }
}

#[tokio::test]
async fn sixteen_requests_at_once_run_a_plugin_once() {
    let (plain, layer) = image().await;
    for access in accesses() {
        let server = with(&plain, access).await;
        let plugins = Plugins::new();
        plugins.answers("cloud", &entry("1h", "Registry", &server.host(), PASSWORD));
        let client = plugins.client(&[("cloud", &server.host())], Duration::from_secs(20));
        let pulls = (0..16).map(|number| {
            let name = if number % 2 == 0 { "a/b:t" } else { "a/c:t" };
            pull(&client, &server, name, &layer)
        });
        for pulled in futures::future::join_all(pulls).await {
            pulled.unwrap();
        }
        assert_eq!(plugins.asked("cloud").len(), 1);
    }
}
