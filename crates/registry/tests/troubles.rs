//! What is tried again can be seen from outside, for as long as it is.

mod common;

use std::time::Duration;

use common::{location, noise, options, publish, server};
use reqwest::Method;
use unbloat_registry::{Client, ClientOptions, Retry, Troubles};
use unbloat_registry_server::{Fault, Rule};

async fn wait_for(what: &str, troubles: &Troubles, is_right: impl Fn(Option<&str>) -> bool) {
    for _ in 0..500 {
        if is_right(troubles.longest().as_deref()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: {:?}", troubles.longest());
}

#[tokio::test]
async fn a_trouble_is_told_while_it_lasts_and_no_longer() {
    let retry = Retry {
        attempts: 50,
        base: Duration::from_millis(50),
        cap: Duration::from_millis(50),
        ..options().retry
    };
    for (method, path, times) in
        [(Method::POST, "/uploads/", 20), (Method::PATCH, "/uploads/", 20), (Method::PUT, "/manifests/", 20)]
    {
        let server = server().await;
        let troubles = Troubles::default();
        let client = Client::new(ClientOptions { retry, troubles: troubles.clone(), ..options() });
        server
            .faults()
            .add(Rule::new(path, Fault::Status(503, Vec::new())).method(method.clone()).times(times));
        let to = client.destination(&location(&server, "a/b:t")).await.unwrap();
        assert_eq!(troubles.longest(), None);
        let pushing = tokio::spawn(async move { publish(&to, &[noise(1, 300_000)]).await });
        let host = server.host();
        wait_for("a trouble", &troubles, |longest| {
            longest.is_some_and(|words| words.contains("503") && words.contains(&host))
        })
        .await;
        pushing.await.unwrap();
        assert_eq!(troubles.longest(), None, "{method} {path}");
    }
    // What fails for good is told by its error alone.
    let server = server().await;
    let troubles = Troubles::default();
    let client = Client::new(ClientOptions { troubles: troubles.clone(), ..options() });
    server.faults().add(Rule::new("/manifests/", Fault::Status(503, Vec::new())));
    let source = client.source(&location(&server, "a/b:t")).await.unwrap();
    assert!(source.resolve().await.unwrap_err().to_string().contains("503"));
    assert_eq!(troubles.longest(), None);
}
