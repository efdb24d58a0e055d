//! The browser in a real pseudo-terminal: tmux shows what it draws and what it leaves.

use std::process::Command;
use std::time::{Duration, Instant};

/// A tmux server of its own, ended with the test.
struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    /// Runs `command` in a shell of 80 columns and 24 lines, which stays there.
    fn new(command: &str) -> Self {
        let tmux = Self { folder: tempfile::tempdir().expect("a folder") };
        tmux.call(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh"]);
        tmux.call(&["send-keys", &format!("PS1='ready> '; clear; {command}"), "Enter"]);
        tmux
    }

    fn call(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path().join("socket"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .output()
            .expect("tmux is installed (Debian package tmux)");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.call(&["capture-pane", "-p"])
    }

    fn keys(&self, keys: &[&str]) {
        self.call(&[&["send-keys"], keys].concat());
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{text:?} does not appear:\n{screen}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ =
            Command::new("tmux").arg("-S").arg(self.folder.path().join("socket")).arg("kill-server").output();
    }
}

fn example() -> String {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "unbloat-explore", "--example", "panic"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success());
    let own = std::env::current_exe().expect("the test has a path");
    let built = own.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("examples/panic");
    assert!(built.is_file(), "{} was built", built.display());
    built.display().to_string()
}

#[test]
fn a_panic_gives_the_terminal_back_and_can_be_read() {
    let tmux = Tmux::new(&example());
    tmux.wait_for("Tree of the image");
    assert_eq!(tmux.call(&["display-message", "-p", "#{alternate_on}"]).trim(), "1");
    tmux.keys(&["Tab", "x"]);
    tmux.wait_for("write to: file");
    let name = tmux.folder.path().join("out").display().to_string();
    tmux.keys(&["C-u", &name, "Enter"]);
    tmux.wait_for("a panic on purpose");
    tmux.wait_for("ready>");
    assert_eq!(tmux.call(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim(), "0 1");
    tmux.keys(&["stty -a", "Enter"]);
    let screen = tmux.wait_for("icanon");
    assert!(screen.contains(" echo ") && !screen.contains("-icanon"), "{screen}");
}
