//! Docker's own daemon, alone in a temporary folder, without a network.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::tools::{command, fast_folder, run};

/// A running dockerd. It ends, and its folder goes, with the value.
pub struct Docker {
    folder: tempfile::TempDir,
    daemon: Child,
}

impl Docker {
    /// Starts a daemon and waits until it answers.
    pub fn start() -> Result<Self> {
        let folder = fast_folder()?;
        let at = |name: &str| folder.path().join(name);
        let log = fs::File::create(at("log"))?;
        // Without a bridge and without rules nothing of the machine's network is touched.
        let daemon = command("dockerd")
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .arg("--data-root")
            .arg(at("root"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--host")
            .arg(format!("unix://{}", at("docker.sock").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd")?;
        let started = Self { folder, daemon };
        let begin = Instant::now();
        while run(started.docker().arg("version")).is_err() {
            if begin.elapsed() > Duration::from_secs(60) {
                bail!("dockerd does not answer: {}", started.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(started)
    }

    /// `docker` for this daemon.
    pub fn docker(&self) -> Command {
        let mut docker = command("docker");
        docker.arg("--host").arg(format!("unix://{}/docker.sock", self.folder.path().display()));
        docker
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// Loads an archive; what the command says of it.
    pub fn load(&self, archive: &Path) -> Result<String> {
        let loaded = run(self.docker().args(["load", "--input"]).arg(archive))?;
        Ok(String::from_utf8_lossy(&loaded.stdout).into_owned())
    }

    /// What the daemon knows of an image.
    pub fn inspect(&self, image: &str) -> Result<serde_json::Value> {
        let told = run(self.docker().args(["image", "inspect", image]))?;
        let mut list: Vec<serde_json::Value> = serde_json::from_slice(&told.stdout)?;
        list.pop().with_context(|| format!("docker knows no {image}"))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It ends its containerd too when it is told to end.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) && matches!(self.daemon.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
