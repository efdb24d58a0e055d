//! Words of a shell's command line.

use crate::escape::is_unsafe;

/// One word of a shell's command line that stands for `text`.
#[must_use]
pub fn quote(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@=+,%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if !text.chars().any(is_unsafe) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    // Control characters must not reach the terminal that the command is printed on (POSIX.1-2024,
    // dollar-single-quotes).
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

/// A pattern of `--remove` and `--truncate` that matches `path` and, where a byte cannot be written in an
/// argument, as little else as possible.
#[must_use]
pub fn pattern(path: &[u8]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(quote(""), "''");
    }
}
