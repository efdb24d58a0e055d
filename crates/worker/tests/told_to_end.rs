//! SIGTERM, to the real program in the middle of its work.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use unbloat_contract::FailureKind;
use unbloat_contract::worker::{Outcome, Termination};

#[test]
fn a_worker_that_is_told_to_end_does_so_within_a_second_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    // A registry that takes connections and never answers.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = registry.local_addr().unwrap();
    let spec = format!(
        r#"{{"version": 2, "task": {{"squash": {{"source": "{host}/a/b:c", "destination": "{host}/a/b:d"}}}}}}"#
    );
    std::fs::write(folder.path().join("spec.json"), spec).unwrap();
    let endpoint = free_address();
    let mut worker = Command::new(env!("CARGO_BIN_EXE_unbloat-worker"))
        .arg("--spec")
        .arg(folder.path().join("spec.json"))
        .arg("--termination")
        .arg(folder.path().join("termination"))
        .arg(format!("--address={endpoint}"))
        .spawn()
        .unwrap();
    let (_asking, _) = registry.accept().unwrap();
    assert!(progress(endpoint).contains(r#""stage":"resolving""#));

    let told = Instant::now();
    let kill = Command::new("kill").args(["-TERM", &worker.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let status = worker.wait().unwrap();
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    assert_eq!(status.code(), Some(143));
    let message = std::fs::read_to_string(folder.path().join("termination")).unwrap();
    let Outcome::Failed(failed) = serde_json::from_str::<Termination>(&message).unwrap().outcome else {
        panic!("not a failure: {message}");
    };
    assert_eq!((failed.reason, failed.retryable), (FailureKind::Cancelled, true));
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

fn progress(endpoint: SocketAddr) -> String {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream.write_all(b"GET /progress HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
