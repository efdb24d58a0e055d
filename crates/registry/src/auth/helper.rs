//! Docker credential helpers: the programs `docker-credential-NAME`.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::auth::credential::{Credential, basic};
use crate::error::{Error, ErrorKind, sanitize};
use crate::operation::Operation;

/// Most bytes that a helper may answer.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// A helper's name becomes part of a program's name, so it may not leave the search path.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if good {
        Ok(())
    } else {
        Err("the name of a credential helper has letters, digits, '.', '_' and '-' only")
    }
}

/// Asks a helper; `None` if it knows nothing of this registry.
pub(crate) async fn get(name: &str, registry: &str, timeout: Duration) -> Result<Option<Credential>, Error> {
    let program = format!("docker-credential-{name}");
    let fault = |reason: String| {
        Error::new(registry.to_owned(), Operation::RunningHelper, &program, ErrorKind::Credentials(reason))
    };
    let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    let run = async {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A helper that does not read its input has already decided.
            let _ = input.write_all(format!("{server}\n").as_bytes()).await;
        }
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_ANSWER).read_to_end(&mut output).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, output))
    };
    let (status, output) = tokio::time::timeout(timeout, run)
        .await
        .map_err(|_| fault(format!("no answer for {} s", timeout.as_secs_f32())))?
        .map_err(|error| fault(error.to_string()))?;
    if !status.success() {
        let said = sanitize(&String::from_utf8_lossy(&output));
        if said.contains("credentials not found") || said.contains("no credentials") {
            return Ok(None);
        }
        return Err(fault(format!("it failed ({status}): {said}")));
    }
    // The answer holds the secret: nothing of it may be quoted.
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| fault("its answer is not what a helper answers".to_owned()))?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(basic(&answer.username, &answer.secret)))
}
