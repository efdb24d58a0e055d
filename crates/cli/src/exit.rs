//! How a command ends: its exit code, and the error's text with its causes.

use std::process::ExitCode;

use unbloat_contract::FailureKind;
use unbloat_contract::exit::{CHECK_FAILED, INTERNAL, USAGE};

use crate::error::{CheckFailed, Usage};

pub(crate) fn code(ended: anyhow::Result<()>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    if error.is::<CheckFailed>() {
        return ExitCode::from(CHECK_FAILED);
    }
    // Names in a layer and words of a server are part of it: nothing in them reaches a terminal as a command.
    for (at, line) in text(&error).lines().enumerate() {
        eprintln!("{}{}", if at == 0 { "error: " } else { "" }, unbloat_text::terminal(line));
    }
    let code = error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<unbloat_squash::Error>() {
            return Some(error.exit_code());
        }
        if let Some(error) = cause.downcast_ref::<unbloat_registry::Error>() {
            return Some(unbloat_squash::kind_of_registry(error).exit_code());
        }
        #[cfg(feature = "cluster")]
        if let Some(error) = cause.downcast_ref::<crate::cluster::Error>() {
            return Some(error.exit_code());
        }
        if cause.is::<unbloat_registry::LocationError>() || cause.is::<Usage>() {
            return Some(USAGE);
        }
        cause.is::<std::io::Error>().then_some(FailureKind::LocalFile.exit_code())
    });
    ExitCode::from(code.unwrap_or(INTERNAL))
}

/// An error with its causes, each told once: many of ours end with the words of their cause.
fn text(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text {
        text if text.is_empty() => cause,
        text if text.ends_with(&cause) => text,
        text => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use unbloat_squash::{Error, LayerFault};

    #[test]
    fn a_cause_is_told_once() {
        let full = std::io::Error::other("no space left");
        let error = Error::Layer {
            index: 3,
            digest: unbloat_oci::Digest::sha256_of(b""),
            media_type: "tar".into(),
            source: LayerFault::Stream(Box::new(full)),
        };
        let told = super::text(&anyhow::Error::new(error).context("squashing"));
        assert_eq!(told.matches("no space left").count(), 1, "{told}");
        assert!(told.starts_with("squashing: layer 3 (") && told.ends_with(": no space left"), "{told}");
    }
}
