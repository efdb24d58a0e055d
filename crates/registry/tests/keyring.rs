//! Which credential is for which repository.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use unbloat_registry::{Category, Credential, ErrorKind, Keyring, Secret};

const WAIT: Duration = Duration::from_secs(5);

async fn users(keyring: &Keyring, registry: &str, repository: &str) -> Vec<String> {
    let found = keyring.lookup(registry, repository, WAIT).await.unwrap();
    found
        .into_iter()
        .map(|credential| match credential {
            Credential::Basic { username, .. } => username,
            Credential::IdentityToken(_) => "(identity)".to_owned(),
            Credential::RegistryToken(_) => "(token)".to_owned(),
        })
        .collect()
}

fn keyring(json: &str) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_docker_config_json(json.as_bytes()).unwrap();
    keyring
}

#[tokio::test]
async fn the_longest_path_wins_and_the_rest_follow() {
    let keyring = keyring(
        r#"{"auths":{
            "reg.example":{"username":"host","password":"x"},
            "https://reg.example/team/app":{"username":"app","password":"x"},
            "reg.example/team":{"username":"team","password":"x"},
            "*.example":{"username":"glob","password":"x"},
            "other.example":{"username":"other","password":"x"}}}"#,
    );
    assert_eq!(users(&keyring, "reg.example", "team/app").await, ["app", "team", "host", "glob"]);
    assert_eq!(users(&keyring, "reg.example", "team/apple").await, ["team", "host", "glob"]);
    assert_eq!(users(&keyring, "reg.example:5000", "team/app").await, Vec::<String>::new());
    assert_eq!(users(&keyring, "a.b.example", "x").await, Vec::<String>::new());
}

#[tokio::test]
async fn docker_hub_has_several_names() {
    // user:pass
    let keyring = keyring(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"}}}"#);
    let found = keyring.lookup("docker.io", "library/ubuntu", WAIT).await.unwrap();
    assert_eq!(found, [Credential::Basic { username: "user".to_owned(), password: Secret::new("pass") }]);
}

#[tokio::test]
async fn both_kinds_of_pull_secrets_are_read() {
    let mut keyring = keyring(r#"{"auths":{"a.example":{"auth":"dXNlcjpwYXNz"}}}"#);
    keyring.add_dockercfg(br#"{"b.example":{"username":"old","password":"x","email":"e"}}"#).unwrap();
    assert_eq!(users(&keyring, "a.example", "x").await, ["user"]);
    assert_eq!(users(&keyring, "b.example", "x").await, ["old"]);
}

#[tokio::test]
async fn tokens_are_recognised() {
    let keyring = keyring(
        r#"{"auths":{"a.example":{"identitytoken":"t"},"b.example":{"registrytoken":"t"},"c.example":{}}}"#,
    );
    assert_eq!(users(&keyring, "a.example", "x").await, ["(identity)"]);
    assert_eq!(users(&keyring, "b.example", "x").await, ["(token)"]);
    assert_eq!(users(&keyring, "c.example", "x").await, Vec::<String>::new());
}

#[test]
fn a_malformed_secret_is_an_error_that_shows_nothing_of_it() {
    for json in [r#"{"auths": hunter2"#, r#"["hunter2"]"#, "hunter2"] {
        let error = Keyring::default().add_docker_config_json(json.as_bytes()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::LocalFile(_)));
        assert_eq!(error.category(), Category::Io);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn one_broken_entry_is_a_warning_and_spoils_no_other() {
    for broken in [
        r#""hunter2""#,
        r#"{"auth":"hunter2!"}"#,
        r#"{"auth":5}"#,
        r#"{"auth":"aHVudGVyMg=="}"#,
        "null",
        "[1]",
        r#"{"username":{}, "password":"hunter2"}"#,
    ] {
        let keyring = keyring(&format!(
            r#"{{"auths":{{"a.example":{broken},"b.example":{{"username":"good","password":"x"}}}}}}"#
        ));
        assert_eq!(users(&keyring, "b.example", "x").await, ["good"], "{broken}");
        assert_eq!(users(&keyring, "a.example", "x").await, Vec::<String>::new());
        assert_eq!(keyring.warnings().len(), 1, "{broken}");
        assert!(keyring.warnings()[0].contains("a.example") && !keyring.warnings()[0].contains("hunter2"));
    }
}

#[tokio::test]
async fn what_was_given_by_hand_comes_first_and_goes_to_one_registry() {
    let mut keyring = keyring(
        r#"{"auths":{"a.example/team/app":{"username":"file","password":"x"},"b.example":{"username":"other","password":"x"}}}"#,
    );
    let by_hand = Credential::Basic { username: "hand".to_owned(), password: Secret::new("p") };
    keyring.insert("a.example", by_hand.clone());
    assert_eq!(users(&keyring, "a.example", "team/app").await, ["hand", "file"]);
    assert_eq!(users(&keyring, "b.example", "team/app").await, ["other"]);
    let mut keyring = Keyring::anonymous();
    keyring.insert_unbound(by_hand);
    assert_eq!(users(&keyring, "b.example", "x").await, ["hand"]);
    assert_eq!(users(&keyring, "a.example", "x").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_for_one_registry_says_nothing_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    let text = r#"{"auths":{"a.example/x":{"username":"a","password":"x"},"b.example":{"username":"b","password":"x"}}}"#;
    std::fs::write(&file, text).unwrap();
    let mut keyring = Keyring::anonymous();
    keyring.add_named_file_for("a.example", &file).unwrap();
    assert_eq!(users(&keyring, "a.example", "x/y").await, ["a"]);
    assert_eq!(users(&keyring, "b.example", "x").await, Vec::<String>::new());
    let missing = keyring.add_named_file(&folder.path().join("none.json")).unwrap_err();
    assert_eq!(missing.category(), Category::Io);
    assert!(missing.to_string().contains("none.json") && missing.to_string().contains("does not exist"));
}

#[test]
fn a_keyring_shows_no_secret() {
    let keyring =
        keyring(r#"{"auths":{"a":{"username":"u","password":"hunter2"},"b":{"identitytoken":"hunter2"}}}"#);
    assert!(!format!("{keyring:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_helper_cannot_be_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, r#"{"credHelpers":{"a.example":"../../tmp/evil"},"credsStore":"/bin/evil"}"#)
        .unwrap();
    let mut keyring = Keyring::default();
    keyring.add_file(&file).unwrap();
    assert_eq!(keyring.warnings().len(), 2);
    assert_eq!(users(&keyring, "a.example", "x").await, Vec::<String>::new());
}

/// One test for all of it: the search path belongs to the whole process.
#[tokio::test]
async fn helpers_are_run_and_their_failures_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let helper = |name: &str, body: &str| {
        let path = folder.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\nread server\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    helper("good", r#"echo "{\"ServerURL\":\"$server\",\"Username\":\"$server\",\"Secret\":\"s\"}""#);
    helper("none", "echo 'credentials not found in native keychain'; exit 1");
    helper("bad", "echo 'the keychain is locked'; echo 'unlock it first' >&2; exit 1");
    helper("slow", "exec sleep 60");
    helper("token", r#"echo '{"Username":"<token>","Secret":"s"}'"#);
    let path = std::env::var("PATH").unwrap_or_default();
    // Nothing else in this process reads or writes the environment at this time.
    #[expect(unsafe_code, reason = "the only way to put a helper on the search path")]
    // SAFETY: the other tests of this file neither read nor write the environment.
    unsafe {
        std::env::set_var("PATH", format!("{}:{path}", folder.path().display()));
    }
    let file = folder.path().join("config.json");
    let config = r#"{"auths":{"none.example":{"username":"fallback","password":"x"}},
        "credHelpers":{"none.example":"none","bad.example":"bad","slow.example":"slow","token.example":"token",
        "missing.example":"does-not-exist"},"credsStore":"good"}"#;
    std::fs::write(&file, config).unwrap();
    let mut keyring = Keyring::default();
    keyring.add_file(&file).unwrap();
    assert_eq!(users(&keyring, "docker.io", "x/y").await, ["https://index.docker.io/v1/"]);
    assert_eq!(users(&keyring, "none.example", "x").await, ["fallback", "none.example"]);
    assert_eq!(users(&keyring, "token.example", "x").await, ["(identity)", "token.example"]);
    let bad = keyring.lookup("bad.example", "x", WAIT).await.unwrap_err();
    assert!(bad.to_string().contains("the keychain is locked"), "{bad}");
    assert!(bad.to_string().contains("unlock it first"), "what it says on standard error is shown: {bad}");
    let slow = keyring.lookup("slow.example", "x", Duration::from_millis(200)).await.unwrap_err();
    assert!(slow.to_string().contains("no answer"), "{slow}");
    assert_eq!(
        users(&keyring, "missing.example", "x").await,
        ["missing.example"],
        "a missing one is passed over"
    );
}
