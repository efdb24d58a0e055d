//! TLS and plain HTTP: whose certificates are trusted, who the client is, and what is spoken where.

mod common;

use std::path::{Path, PathBuf};

use common::{client, destination, location, noise, options, publish, server};
use unbloat_registry::{
    Category, CertificateFault, Client, ClientOptions, Error, ErrorKind, Location, Registries,
};
use unbloat_registry_server::{Authority, Fault, Identity, Options, PlainOnTls, Rule, Server, Tls};

const NAMES: &[&str] = &["127.0.0.1", "localhost"];

async fn with_tls(plain: &Server, tls: Tls) -> Server {
    Server::start_beside(plain, Options { tls: Some(tls), ..Options::default() }).await.unwrap()
}

async fn image() -> Server {
    let plain = server().await;
    publish(&destination(&client(), &plain, "a/b:t").await, &[noise(5, 1000)]).await;
    plain
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn trusting(files: &[&PathBuf]) -> Client {
    Client::new(ClientOptions { ca_files: files.iter().map(|file| (*file).clone()).collect(), ..options() })
}

async fn read(client: &Client, location: &Location) -> Result<(), Error> {
    client.source(location).await?.resolve().await.map(|_| ())
}

#[tokio::test]
async fn loopback_speaks_plain_http_or_tls_whichever_answers() {
    let folder = tempfile::tempdir().unwrap();
    let plain = image().await;
    let authority = Authority::new().unwrap();
    let file = write(folder.path(), "ca.pem", &authority.certificate());
    for answer in [PlainOnTls::BadRequest, PlainOnTls::Alert, PlainOnTls::Close] {
        let tls = Tls { plain: answer, ..authority.issue(NAMES).unwrap().into() };
        let server = with_tls(&plain, tls).await;
        for host in [server.host(), format!("localhost:{}", server.address().port())] {
            let location = format!("{host}/a/b:t").parse().unwrap();
            read(&trusting(&[&file]), &location).await.unwrap();
            let error = read(&client(), &location).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Certificate { .. }), "{answer:?}: {error}");
            assert!(error.to_string().contains("--ca-file"), "{error}");
        }
        assert!(server.requests().iter().all(|request| request.path.starts_with("/v2/")));
    }
    // A push begins there as well.
    let server = with_tls(&plain, authority.issue(NAMES).unwrap().into()).await;
    publish(&destination(&trusting(&[&file]), &server, "new:t").await, &[noise(6, 300_000)]).await;
    // Plain HTTP that answers 400 for another reason stays plain.
    plain.faults().add(Rule::new("/manifests/", Fault::Status(400, Vec::new())).times(1));
    let error = read(&client(), &location(&plain, "a/b:t")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Status { status: 400, .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_itself_named_is_trusted_and_certificate_errors_are_not_retried() {
    let folder = tempfile::tempdir().unwrap();
    let plain = image().await;
    for authority in [true, false] {
        let identity = Identity::self_signed(NAMES, authority).unwrap();
        let file = write(folder.path(), "self.pem", &identity.certificate);
        let server = with_tls(&plain, identity.into()).await;
        let location = location(&server, "a/b:t");
        read(&trusting(&[&file]), &location).await.unwrap();
        assert!(matches!(
            read(&client(), &location).await.unwrap_err().kind(),
            ErrorKind::Certificate { .. }
        ));
    }
    // Being named overrules neither the name nor the time.
    for authority in [true, false] {
        for identity in [
            Identity::self_signed(&["other.example"], authority).unwrap(),
            Identity::expired(NAMES, authority).unwrap(),
        ] {
            let file = write(folder.path(), "wrong.pem", &identity.certificate);
            let server = with_tls(&plain, identity.into()).await;
            let error = read(&trusting(&[&file]), &location(&server, "a/b:t")).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Certificate { .. }), "{error}");
            assert!(!error.is_retryable());
        }
    }
    // A certificate is trusted for being named, not for being like one that is.
    let (named, shown) =
        (Identity::self_signed(NAMES, true).unwrap(), Identity::self_signed(NAMES, true).unwrap());
    let file = write(folder.path(), "named.pem", &named.certificate);
    let server = with_tls(&plain, shown.into()).await;
    assert!(read(&trusting(&[&file]), &location(&server, "a/b:t")).await.is_err());
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_by_type_and_in_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let plain = image().await;
    let authority = Authority::new().unwrap();
    let file = write(folder.path(), "ca.pem", &authority.certificate());
    let expired = Identity::expired(NAMES, true).unwrap();
    let named = write(folder.path(), "expired.pem", &expired.certificate);
    for (identity, trusted, fault, advice) in [
        (authority.issue(NAMES).unwrap(), None, CertificateFault::UnknownAuthority, "--ca-file"),
        (
            authority.issue(&["other.example"]).unwrap(),
            Some(&file),
            CertificateFault::WrongHost,
            "a name that is in the certificate",
        ),
        (expired, Some(&named), CertificateFault::Expired, "clock"),
        (
            Identity::valid_between(NAMES, true, (2101, 2102)).unwrap(),
            Some(&file),
            CertificateFault::NotYetValid,
            "clock",
        ),
    ] {
        let named = match fault {
            CertificateFault::NotYetValid => Some(write(folder.path(), "early.pem", &identity.certificate)),
            _ => trusted.cloned(),
        };
        let server = with_tls(&plain, identity.into()).await;
        let client = trusting(&named.iter().collect::<Vec<_>>());
        let error = read(&client, &location(&server, "a/b:t")).await.unwrap_err();
        let found = match error.kind() {
            ErrorKind::Certificate { fault, .. } => *fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, fault, "{error}");
        assert!(error.to_string().contains(advice), "{error}");
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(server.requests().len(), 0);
    }
}

#[tokio::test]
async fn insecure_is_for_the_host_that_it_was_said_of() {
    let plain = image().await;
    let first = with_tls(&plain, Identity::self_signed(NAMES, true).unwrap().into()).await;
    let second = with_tls(&plain, Identity::self_signed(NAMES, true).unwrap().into()).await;
    let mut registries = Registries::default();
    registries.host(&first.host()).insecure_skip_tls_verify = true;
    let client = Client::new(ClientOptions { registries, ..options() });
    read(&client, &location(&first, "a/b:t")).await.unwrap();
    assert!(read(&client, &location(&second, "a/b:t")).await.is_err());
    let all = Client::new(ClientOptions { insecure_skip_tls_verify: true, ..options() });
    read(&all, &location(&second, "a/b:t")).await.unwrap();
}

#[tokio::test]
async fn a_client_shows_its_certificate_to_the_registry_that_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let plain = image().await;
    let authority = Authority::new().unwrap();
    let me = authority.issue(&["somebody"]).unwrap();
    let tls =
        Tls { client_authority: Some(authority.certificate()), ..authority.issue(NAMES).unwrap().into() };
    let server = with_tls(&plain, tls).await;
    write(folder.path(), "ca.crt", &authority.certificate());
    let file = folder.path().join("ca.crt");
    assert!(read(&trusting(&[&file]), &location(&server, "a/b:t")).await.is_err());
    write(folder.path(), "client.cert", &me.certificate);
    write(folder.path(), "client.key", &me.key);
    let mut registries = Registries::default();
    registries.host(&server.host()).cert_dirs.push(folder.path().to_owned());
    let client = Client::checked(ClientOptions { registries, ..options() }).unwrap();
    read(&client, &location(&server, "a/b:t")).await.unwrap();
}

#[test]
fn files_of_certificates_that_are_missing_or_malformed_are_told_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let key = Identity::self_signed(NAMES, false).unwrap().key;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA!\n-----END CERTIFICATE-----\n";
    for (name, text) in
        [("empty.pem", ""), ("text.pem", "hello"), ("key.pem", key.as_str()), ("broken.pem", broken)]
    {
        let file = write(folder.path(), name, text);
        let error = Client::checked(ClientOptions { ca_files: vec![file], ..options() }).unwrap_err();
        assert_eq!(error.category(), Category::Io, "{name}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let missing = folder.path().join("missing.pem");
    let error = Client::checked(ClientOptions { ca_files: vec![missing], ..options() }).unwrap_err();
    assert!(error.category() == Category::Io && error.to_string().contains("missing.pem"), "{error}");
}
