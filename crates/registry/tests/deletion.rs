//! Deleting a manifest by its digest.

mod common;

use std::time::Duration;

use common::{client, destination, location, noise, options, publish, server, source};
use reqwest::Method;
use unbloat_oci::Reference;
use unbloat_registry::{Client, ClientOptions, Credential, ErrorKind, Keyring, Secret};
use unbloat_registry_server::{Access, Fault, Options, Rule, Server};

fn at(server: &Server, name: &str) -> Reference {
    format!("{}/{name}", server.host()).parse().unwrap()
}

#[tokio::test]
async fn a_manifest_goes_with_its_tags_and_what_is_gone_already_is_told() {
    let server = server().await;
    let to = destination(&client(), &server, "a/b:t").await;
    let digest = publish(&to, &[noise(1, 5_000)]).await;
    publish(&destination(&client(), &server, "a/b:other").await, &[noise(2, 5_000)]).await;
    let reference = at(&server, &format!("a/b@{digest}"));
    assert!(client().delete(&reference).await.unwrap());
    assert!(server.manifest("a/b", &digest).is_none());
    assert_eq!(source(&client(), &server, "a/b:other").await.tags().await.unwrap(), ["other"]);
    assert!(!client().delete(&reference).await.unwrap());
    let error = client().delete(&at(&server, "a/b:other")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    assert!(server.tag("a/b", "other").is_some());
}

#[tokio::test]
async fn a_registry_that_deletes_nothing_says_so_whatever_its_status() {
    for (status, times) in
        [(405, usize::MAX), (400, usize::MAX), (501, usize::MAX), (404, 1), (403, usize::MAX)]
    {
        let server = server().await;
        let to = destination(&client(), &server, "a/b:t").await;
        let digest = publish(&to, &[noise(1, 5_000)]).await;
        let fault = Fault::Status(status, Vec::new());
        server.faults().add(Rule::new("/manifests/", fault).method(Method::DELETE).times(times));
        let error = client().delete(&at(&server, &format!("a/b@{digest}"))).await.unwrap_err();
        // That it isn't found would be a lie: it is there.
        let is_right = match (status, error.kind()) {
            (403, ErrorKind::Unauthorized { .. }) | (404, ErrorKind::NotFound { .. }) => true,
            (_, ErrorKind::Status { status: found, .. }) => *found == status,
            _ => false,
        };
        assert!(is_right, "{status}: {error}");
        assert!(error.to_string().contains("deleting manifest"), "{error}");
        assert!(server.manifest("a/b", &digest).is_some());
    }
}

#[tokio::test]
async fn the_right_to_delete_is_asked_for_where_it_is_one_of_its_own() {
    let access = Access::Token {
        username: "u".to_owned(),
        password: "p".to_owned(),
        lifetime: Duration::from_secs(60),
        anonymous_pull: true,
    };
    let server = Server::start(Options { access, ..Options::default() }).await.unwrap();
    let mut keyring = Keyring::anonymous();
    keyring
        .insert(&server.host(), Credential::Basic { username: "u".to_owned(), password: Secret::new("p") });
    let client = Client::new(ClientOptions { keyring, ..options() });
    let to = client.destination(&location(&server, "a/b:t")).await.unwrap();
    let digest = publish(&to, &[noise(1, 5_000)]).await;
    assert!(client.delete(&at(&server, &format!("a/b@{digest}"))).await.unwrap());
    assert!(server.manifest("a/b", &digest).is_none());
}
