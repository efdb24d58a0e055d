//! What was marked, as a command that is ready to run.

use std::collections::BTreeMap;

use unbloat_text::{SquashCommand, pattern};

/// What shall happen to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is dropped, with all below it.
    Remove,
    /// It keeps its metadata and becomes empty.
    Truncate,
}

/// Marked paths, by name, without a slash in front.
pub type Marks = BTreeMap<Vec<u8>, Mark>;

/// The command with an option for each mark.
#[must_use]
pub(crate) fn command_with(command: &SquashCommand, marks: &Marks) -> String {
    let option = |mark: Mark| match mark {
        Mark::Remove => "--remove",
        Mark::Truncate => "--truncate",
    };
    let changes: Vec<_> = marks.iter().map(|(path, mark)| (option(*mark), pattern(path))).collect();
    command.with(changes.iter().map(|(option, pattern)| (*option, pattern.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(marks: &[(&[u8], Mark)]) -> String {
        let parts = SquashCommand {
            source: "localhost:5000/demo/devbox:bloated".into(),
            destination: "localhost:5000/demo/devbox:bloated-flat".into(),
            options: Vec::new(),
        };
        command_with(&parts, &marks.iter().map(|(path, mark)| (path.to_vec(), *mark)).collect())
    }

    #[test]
    fn marks_become_options() {
        assert_eq!(
            command(&[(b"var/log/btmp", Mark::Truncate), (b"root/.cache", Mark::Remove)]),
            "unbloat squash localhost:5000/demo/devbox:bloated \\\n    localhost:5000/demo/devbox:bloated-flat \\\n    \
             --remove /root/.cache \\\n    --truncate /var/log/btmp"
        );
    }
}
