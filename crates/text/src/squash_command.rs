//! A squash as a command that is ready to run.

use crate::shell::quote;

/// `unbloat squash` of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SquashCommand {
    /// The image as given.
    pub source: String,
    /// A place for the result.
    pub destination: String,
    /// Options that reading the image needed, as `--plain-http=HOST`, one word each.
    pub options: Vec<String>,
}

impl SquashCommand {
    /// The command, one option a line, with these `--remove` and `--truncate` at its end. Source and
    /// destination share a line where a terminal of 80 columns has room for both.
    #[must_use]
    pub fn with<'a>(&self, changes: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        const MOST: usize = 74;
        let (source, destination) = (quote(&self.source), quote(&self.destination));
        let first = format!("unbloat squash {source} {destination}");
        let mut lines = match first.chars().count() <= MOST {
            true => vec![first],
            false => vec![format!("unbloat squash {source}"), destination],
        };
        lines.extend(self.options.iter().map(|option| quote(option)));
        lines.extend(changes.into_iter().map(|(option, pattern)| format!("{option} {}", quote(pattern))));
        lines.join(" \\\n    ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_its_line_and_a_shell_reads_all_as_one_command() {
        let command = SquashCommand {
            source: "localhost:5000/demo/devbox:bloated".into(),
            destination: "oci:a folder:flat".into(),
            options: vec!["--platform=linux/arm64".into(), "--plain-http=localhost:5000".into()],
        };
        assert_eq!(
            command.with([("--remove", "/root/.cache/*"), ("--truncate", "/var/log/btmp")]),
            "unbloat squash localhost:5000/demo/devbox:bloated 'oci:a folder:flat' \\\n    \
             --platform=linux/arm64 \\\n    --plain-http=localhost:5000 \\\n    --remove '/root/.cache/*' \\\n    --truncate /var/log/btmp"
        );
    }
}
