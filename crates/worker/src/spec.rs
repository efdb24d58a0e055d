//! Reading the spec file.

use std::path::Path;

use unbloat_contract::worker::{CONTRACT_VERSION, WorkerSpec};
use unbloat_contract::{Failure, FailureKind};

/// Kubernetes limits a pod's annotations to 256 KiB together.
const MOST_BYTES: u64 = 1 << 20;

/// Reads and checks it.
pub(crate) fn read(path: &Path) -> Result<WorkerSpec, Failure> {
    let bad = |words: String| {
        Failure::new(FailureKind::InvalidSpec, format!("the spec {}: {words}", path.display()))
    };
    let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if size > MOST_BYTES {
        return Err(bad(format!("{size} bytes are too many")));
    }
    let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    // The version first: what another version means is not for this one to complain about.
    let document: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    match document.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(CONTRACT_VERSION) => {}
        version => {
            let version =
                version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            return Err(bad(format!("it has {version}, this worker knows {CONTRACT_VERSION}")));
        }
    }
    serde_json::from_value(document).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use unbloat_contract::worker::Task;

    use super::*;

    fn written(text: &str) -> Result<WorkerSpec, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spec.json");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_squash_needs_source_and_destination_alone() {
        let spec = written(
            r#"{"version": 2, "task": {"squash": {"source": "a.example/b:c", "destination": "a.example/b:d"}}}"#,
        );
        let Task::Squash(request) = spec.unwrap().task else { panic!("not a squash") };
        assert_eq!(request.source, "a.example/b:c");
    }

    #[test]
    fn what_cannot_be_used_is_final_and_says_why() {
        for (text, words) in [
            ("{", "EOF"),
            ("{}", "no version"),
            (r#"{"version": 1, "request": {}}"#, "version 1, this worker knows 2"),
            (r#"{"version": 3, "whatever": true}"#, "version 3, this worker knows 2"),
            (
                r#"{"version": 2, "task": {"squash": {"source": "x", "destination": "y", "remvoe": []}}}"#,
                "remvoe",
            ),
        ] {
            let failure = written(text).unwrap_err();
            assert_eq!((failure.reason, failure.retryable), (FailureKind::InvalidSpec, false));
            assert!(failure.message.contains(words), "{text}: {}", failure.message);
        }
    }
}
