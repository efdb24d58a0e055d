//! Docker credential helpers: the programs `docker-credential-NAME`.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::auth::credential::{Credential, basic};
use crate::error::{Error, ErrorKind, sanitize};
use crate::operation::Operation;
use crate::secret::Secret;

/// Most bytes that a helper may answer, and say besides.
const MAX_ANSWER: u64 = 1 << 20;

/// What a helper said.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A credential.
    Credential(Credential),
    /// It knows nothing of this registry.
    Unknown,
    /// There is no such program.
    Missing(String),
}

#[derive(Deserialize)]
struct Document {
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

/// What a program wrote and how it ended.
pub(crate) struct Ran {
    pub(crate) status: std::process::ExitStatus,
    pub(crate) output: Vec<u8>,
    /// What it said on standard error, fit to be shown.
    pub(crate) said: String,
}

/// Runs a program with this input, bounded in time and answer.
pub(crate) async fn run_program(
    mut command: Command,
    input: Vec<u8>,
    timeout: Duration,
) -> Result<std::io::Result<Ran>, tokio::time::error::Elapsed> {
    let run = async {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input has already decided.
                let _ = stdin.write_all(&input).await;
            }
        };
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(MAX_ANSWER).read_to_end(&mut output).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let read_errors = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(MAX_ANSWER).read_to_end(&mut errors).await;
            }
        };
        let ((), read, ()) = tokio::join!(write, read, read_errors);
        read?;
        let status = child.wait().await?;
        Ok(Ran { status, output, said: sanitize(&String::from_utf8_lossy(&errors)) })
    };
    tokio::time::timeout(timeout, run).await
}

/// Asks a helper for the credential of a registry. What it says on standard error is passed on as a warning.
pub(crate) async fn get(name: &str, registry: &str, timeout: Duration) -> Result<Answer, Error> {
    let program = format!("docker-credential-{name}");
    let fault = |reason: String| {
        Error::new(registry, Operation::RunningHelper, &program, ErrorKind::Credentials(reason))
    };
    let server = server_of(registry);
    let mut command = Command::new(&program);
    command.arg("get");
    let ran = run_program(command, format!("{server}\n").into_bytes(), timeout)
        .await
        .map_err(|_| fault(format!("no answer for {} s", timeout.as_secs_f32())))?;
    let Ran { status, output, said } = match ran {
        Ok(ran) => ran,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Answer::Missing(program)),
        Err(error) => return Err(fault(error.to_string())),
    };
    if !status.success() {
        // The protocol has no other sign for a registry that a helper does not know than these words.
        let answer = sanitize(&String::from_utf8_lossy(&output));
        if answer.contains("credentials not found") || answer.contains("no credentials") {
            return Ok(Answer::Unknown);
        }
        let words = [answer, said].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        return Err(fault(format!("it failed ({status}): {words}")));
    }
    if !said.is_empty() {
        tracing::warn!("{program} says: {said}");
    }
    // The answer holds the secret: nothing of it may be quoted.
    let answer: Document = serde_json::from_slice(&output)
        .map_err(|_| fault("its answer is not what a helper answers".to_owned()))?;
    if answer.secret.is_empty() {
        return Ok(Answer::Unknown);
    }
    Ok(Answer::Credential(basic(&answer.username, &answer.secret)))
}

/// Gives a helper a secret to keep; `false` if there is no such program.
pub(crate) async fn store(
    name: &str,
    registry: &str,
    username: &str,
    password: &Secret,
    timeout: Duration,
) -> Result<bool, Error> {
    let entry = serde_json::json!({
        "ServerURL": server_of(registry), "Username": username, "Secret": password.expose(),
    });
    change(name, registry, "store", entry.to_string().into_bytes(), timeout).await
}

/// Makes a helper forget a registry; `false` if there is no such program, or it did not know it.
pub(crate) async fn erase(name: &str, registry: &str, timeout: Duration) -> Result<bool, Error> {
    if !matches!(get(name, registry, timeout).await?, Answer::Credential(_)) {
        return Ok(false);
    }
    change(name, registry, "erase", format!("{}\n", server_of(registry)).into_bytes(), timeout).await
}

async fn change(
    name: &str,
    registry: &str,
    verb: &str,
    input: Vec<u8>,
    timeout: Duration,
) -> Result<bool, Error> {
    let program = format!("docker-credential-{name}");
    let fault = |reason: String| {
        Error::new(registry, Operation::RunningHelper, &program, ErrorKind::Credentials(reason))
    };
    let mut command = Command::new(&program);
    command.arg(verb);
    match run_program(command, input, timeout).await {
        Err(_) => Err(fault(format!("no answer for {} s", timeout.as_secs_f32()))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Ok(Err(error)) => Err(fault(error.to_string())),
        Ok(Ok(ran)) if ran.status.success() => Ok(true),
        Ok(Ok(ran)) => {
            let words = sanitize(&String::from_utf8_lossy(&ran.output));
            Err(fault(format!("it failed ({}): {words} {}", ran.status, ran.said)))
        }
    }
}

fn server_of(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}
