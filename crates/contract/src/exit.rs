//! Exit codes of the command and of the worker: the one table, from which help, manual pages and documents
//! are made.

/// A check that was asked for says no.
pub const CHECK_FAILED: u8 = 1;
/// An argument cannot be used.
pub const USAGE: u8 = 2;
/// A fault of this program.
pub const INTERNAL: u8 = 70;
/// SIGINT, as a shell gives it: 128 and the signal's number.
pub const INTERRUPTED: u8 = 130;
/// SIGTERM.
pub const TERMINATED: u8 = 143;

/// Each code with its meaning.
pub(crate) const EXIT_CODES: [(u8, &str); 14] = [
    (0, "done, or nothing to do"),
    (CHECK_FAILED, "a check says no: images differ, a threshold is exceeded"),
    (USAGE, "usage: an argument or a reference cannot be parsed, or asks for what cannot be"),
    (3, "the image, tag or blob does not exist"),
    (4, "the registry wants other credentials"),
    (5, "the registry or the network failed, or the registry refused what was written"),
    (6, "the image is corrupt, hostile or of an unsupported kind"),
    (7, "the source changed meanwhile; no tag was moved"),
    (8, "a limit was hit (--max-unpacked, --max-paths, scratch space)"),
    (9, "a local file could not be read or written"),
    (INTERNAL, "a fault of this program"),
    (129, "the terminal is gone (SIGHUP)"),
    (INTERRUPTED, "interrupted (SIGINT); nothing was published"),
    (TERMINATED, "told to end (SIGTERM); nothing was published"),
];

/// What a code means.
#[must_use]
pub fn meaning(code: u8) -> Option<&'static str> {
    EXIT_CODES.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

/// The table as `--help` shows it.
#[must_use]
pub fn table() -> String {
    let mut text = String::from("Exit codes:");
    for (code, meaning) in EXIT_CODES {
        text += &format!("\n  {code:<4} {meaning}");
    }
    text
}
