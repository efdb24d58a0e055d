//! containerd with its overlayfs snapshotter, alone in a temporary folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::walk;
use crate::{
    image::Layout,
    model::Tree,
    tools::{command, fast_folder, run},
};

/// A running containerd. It ends, and its folder goes, with the value.
pub struct Containerd {
    folder: tempfile::TempDir,
    daemon: Child,
    mounts: Vec<PathBuf>,
    /// Counts mounts: a target's path is also its snapshot's key, which cannot be used twice.
    next: usize,
}

impl Containerd {
    /// Starts a daemon and waits until it answers.
    pub fn start() -> Result<Self> {
        let folder = fast_folder()?;
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("mnt"))?;
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
             \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.snapshotter.v1.devmapper\", \
             \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {ttrpc:?}\n",
            root = at("root"),
            state = at("state"),
            socket = at("containerd.sock"),
            ttrpc = at("ttrpc.sock"),
        );
        fs::write(at("config.toml"), config)?;
        let log = fs::File::create(at("log"))?;
        let daemon = command("containerd")
            .arg("--config")
            .arg(at("config.toml"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start containerd")?;
        let started = Self { folder, daemon, mounts: Vec::new(), next: 0 };
        let begin = Instant::now();
        while run(started.ctr().arg("version")).is_err() {
            if begin.elapsed() > Duration::from_secs(30) {
                bail!("containerd does not answer: {}", started.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(started)
    }

    /// `ctr` for this daemon.
    pub fn ctr(&self) -> Command {
        let mut ctr = command("ctr");
        ctr.arg("--address").arg(self.folder.path().join("containerd.sock")).arg("--namespace").arg("proof");
        ctr
    }

    /// The end of the daemon's log.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// Imports and unpacks all images of an OCI archive, as `NAME:TAG`.
    pub fn import(&self, archive: &Path, name: &str) -> Result<()> {
        run(self
            .ctr()
            .args(["images", "import", "--snapshotter", "overlayfs", "--base-name", name])
            .arg(archive))
        .map(drop)
    }

    /// Imports and unpacks one image of a layout, as `NAME:TAG`. An error is containerd's refusal of it.
    pub fn take(&self, layout: &Layout, tag: &str, name: &str) -> Result<()> {
        let folder = fast_folder()?;
        let single = Layout::create(folder.path().join("layout"))?;
        layout.copy(tag, &single)?;
        let archive = folder.path().join("one.tar");
        single.archive(&archive)?;
        self.import(&archive, name)
    }

    /// Pulls and unpacks an image from a registry on loopback.
    pub fn pull(&self, reference: &str) -> Result<()> {
        run(self.ctr().args(["images", "pull", "--plain-http", "--snapshotter", "overlayfs", reference]))
            .map(drop)
    }

    /// Mounts an image's snapshot read-only; answers with the folder. It stays mounted as long as the value
    /// lives.
    pub fn mount(&mut self, name: &str) -> Result<PathBuf> {
        let target = self.folder.path().join("mnt").join(self.next.to_string());
        self.next += 1;
        fs::create_dir(&target)?;
        run(self.ctr().args(["images", "mount", "--snapshotter", "overlayfs", name]).arg(&target))?;
        self.mounts.push(target.clone());
        Ok(target)
    }

    /// The tree of an image that was imported or pulled.
    pub fn tree(&mut self, name: &str) -> Result<Tree> {
        let target = self.mount(name)?;
        let tree = walk(&target)?;
        unmount(&target);
        self.mounts.retain(|mounted| *mounted != target);
        Ok(tree)
    }
}

fn unmount(target: &Path) {
    // A folder that is no mount any more answers with an error, which is as good.
    let _ = Command::new("umount").arg("--lazy").arg(target).stderr(Stdio::null()).status();
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for target in &self.mounts {
            unmount(target);
        }
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) && matches!(self.daemon.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
