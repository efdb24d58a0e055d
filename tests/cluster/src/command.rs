//! Short commands: run to their end, their output given or quoted.

use std::process::{Command, Stdio};

use tokio::io::AsyncWriteExt as _;

use crate::error::{Error, Result};

/// `cargo`, the same that runs this test, without what it tells the test of its package: build scripts watch
/// such variables (ring's does), and half of all crates would be built again.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start)) || name == "OUT_DIR"
        {
            cargo.env_remove(variable);
        }
    }
    cargo
}

/// Runs a command without input; gives its standard output.
///
/// # Errors
/// When it cannot be started or ends with another code than 0; the message has both outputs.
pub async fn run(command: Command) -> Result<String> {
    run_with(command, "").await
}

/// Runs a command with `input` as its standard input; gives its standard output.
///
/// # Errors
/// As [`run`].
pub async fn run_with(command: Command, input: &str) -> Result<String> {
    let text = line(&command);
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io(format!("start `{text}`")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read all of its input says why by its exit code.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(Error::io(format!("wait for `{text}`")))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Command {
        command: text,
        status: output.status.to_string(),
        output: format!("{stdout}{stderr}"),
    })
}

/// The command as a person would type it, without how it enters the cluster.
fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match words.iter().position(|word| word == "--") {
        Some(end) if words[0] == "nsenter" => words[end + 1..].join(" "),
        _ => words.join(" "),
    }
}
