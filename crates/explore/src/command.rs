//! What was marked, as a command that is ready to run.

use std::collections::BTreeMap;

use crate::escape::is_unsafe;

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

/// The parts of a command that do not depend on what is marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SquashCommand {
    /// The image as given.
    pub source: String,
    /// A place for the result.
    pub destination: String,
    /// Options that reading the image needed, as `--plain-http`.
    pub options: Vec<String>,
}

impl SquashCommand {
    /// The command, one option a line.
    #[must_use]
    pub fn with(&self, marks: &Marks) -> String {
        let mut lines = vec![format!("unbloat squash {} {}", quote(&self.source), quote(&self.destination))];
        for option in &self.options {
            lines.push(quote(option));
        }
        for (path, mark) in marks {
            let option = match mark {
                Mark::Remove => "--remove",
                Mark::Truncate => "--truncate",
            };
            lines.push(format!("{option} {}", quote(&pattern(path))));
        }
        lines.join(" \\\n    ")
    }
}

/// A pattern that matches `path` and, where a byte cannot be written in an argument, as little else as possible.
fn pattern(path: &[u8]) -> String {
    let mut text = String::from("/");
    for chunk in path.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// One word of a shell's command line.
fn quote(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@=+,%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if !text.chars().any(is_unsafe) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    // Control characters must not reach the terminal that the command is printed on (POSIX.1-2024, dollar-single-quotes).
    let mut quoted = String::from("$'");
    for letter in text.chars() {
        match letter {
            '\\' | '\'' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            letter if is_unsafe(letter) => {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    quoted.push_str(&format!("\\{byte:03o}"));
                }
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('\'');
    quoted
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
        parts.with(&marks.iter().map(|(path, mark)| (path.to_vec(), *mark)).collect())
    }

    #[test]
    fn marks_become_options() {
        assert_eq!(
            command(&[(b"var/log/btmp", Mark::Truncate), (b"root/.cache", Mark::Remove)]),
            "unbloat squash localhost:5000/demo/devbox:bloated localhost:5000/demo/devbox:bloated-flat \\\n    \
             --remove /root/.cache \\\n    --truncate /var/log/btmp"
        );
    }

    #[test]
    fn a_shell_gives_back_the_pattern_of_any_name() {
        for name in
            [&b"a b"[..], b"it's", b"x*[y]", b"\x1b[31m'\\\n", b"$(reboot)`ls`", "\u{202e}".as_bytes(), b"-n"]
        {
            let printed = quote(&pattern(name));
            assert!(!printed.chars().any(is_unsafe), "{printed:?}");
            let shell = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {printed}")])
                .output()
                .expect("bash runs");
            assert_eq!(String::from_utf8_lossy(&shell.stdout), pattern(name), "{name:?}");
        }
        assert_eq!(pattern(b"a\xffb"), "/a?b");
    }
}
