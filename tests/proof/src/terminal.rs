//! A pseudo-terminal that can be looked at: tmux, with a server of its own.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::tools::command;

/// A shell in a terminal; both end with the value.
pub struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// A terminal of this size in which a shell was told `line`.
    pub fn new(columns: u16, lines: u16, line: &str) -> Self {
        let terminal = Self { folder: tempfile::tempdir().expect("a folder") };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines, "sh"]);
        terminal.tell(&format!("PS1='ready> '; clear; {line}"));
        terminal
    }

    /// A folder that is thrown away with the terminal.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = self.server();
        let output = tmux.args(arguments).output().expect("tmux runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn server(&self) -> Command {
        let mut tmux = command("tmux");
        tmux.arg("-S").arg(self.folder.path().join("socket"));
        tmux.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        tmux
    }

    /// Presses keys, by tmux's names.
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    pub fn tell(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    /// Makes the terminal another size.
    pub fn resize(&self, columns: u16, lines: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What is on the screen, with its colours.
    pub fn coloured_screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// A variable of the terminal, as `alternate_on`.
    pub fn variable(&self, name: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    /// Waits until the screen holds a text, and returns it.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
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

    /// Asserts that a program left the terminal as it found it: its first screen, a cursor, lines and echo.
    #[track_caller]
    pub fn assert_given_back(&self) {
        self.wait_for("ready>");
        assert_eq!((self.variable("alternate_on"), self.variable("cursor_flag")), ("0".into(), "1".into()));
        self.tell("clear; stty -a");
        let screen = self.wait_for("icanon");
        assert!(screen.contains(" echo ") && !screen.contains("-icanon"), "{screen}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.server().arg("kill-server").output();
    }
}
