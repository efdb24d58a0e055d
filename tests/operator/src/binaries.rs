//! The programs under test, built as the test was.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// Path of a binary of the workspace, after building it.
///
/// # Panics
/// When it can't be built.
pub fn binary(package: &str) -> PathBuf {
    // Two builds at once would wait for each other with a message on every test's output.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--quiet", "--package", package]).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot build {package}");
    // The test's own program is target/PROFILE/deps/NAME.
    let own = std::env::current_exe().expect("a process has a program");
    let profile = own.ancestors().nth(2).expect("it lies in target/PROFILE/deps").to_owned();
    profile.join(package)
}
