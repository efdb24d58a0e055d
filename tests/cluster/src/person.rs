//! A running cluster as a person meets it: by name, from another process than the one that started it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::enclosure::Enclosure;
use crate::error::{Error, Result};
use crate::place::{self, Record};
use crate::tools::{Extra, extra};

/// A cluster that some other process started.
pub struct Attached {
    folder: PathBuf,
    record: Record,
}

impl Attached {
    /// Finds the running cluster `name`.
    ///
    /// # Errors
    /// When there is none; the message lists those that run.
    pub fn find(name: &str) -> Result<Self> {
        let folder = place::base()?.join(name);
        match Record::read(&folder) {
            Some(record) if record.anchor.keeper.is_alive() => Ok(Self { folder, record }),
            _ => {
                let running = place::running()?;
                let running = if running.is_empty() {
                    "none runs".into()
                } else {
                    format!("running: {}", running.join(", "))
                };
                Err(Error::Misuse(format!("no cluster named {name} ({running})")))
            }
        }
    }

    /// Its folder: logs, certificates, images.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command inside its namespaces, in this process' folder, with kubectl, helm, crane, `ctr` and etcd at
    /// hand and set up; it may use the terminal.
    ///
    /// # Errors
    /// When helm or crane has to be built first and can't be.
    pub fn shell(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = self.enclosure().foreground_command("sh");
        let here = std::env::current_dir().map_err(Error::io("look where this is"))?;
        // In another mount namespace a process starts at the root.
        command.args(["-c", r#"cd -- "$0" && exec "$@""#]).arg(here).arg(program);
        let mut folders = vec![self.record.tools.clone()];
        for tool in [Extra::Helm, Extra::Crane] {
            folders.extend(extra(tool)?.parent().map(Path::to_path_buf));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        folders.extend(std::env::split_paths(&path));
        // A folder whose name has a colon cannot be in a PATH; then kubectl is not at hand, and all else is.
        command.env("PATH", std::env::join_paths(folders).unwrap_or(path));
        command.env("KUBECONFIG", self.folder.join("kubeconfigs/admin"));
        command
            .env("CONTAINERD_ADDRESS", "/run/containerd-0/containerd.sock")
            .env("CONTAINERD_NAMESPACE", "k8s.io");
        Ok(command)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When something is left after a minute.
    pub fn end(self) -> Result<()> {
        self.enclosure().end()
    }

    fn enclosure(&self) -> Enclosure {
        Enclosure::attach(&self.folder, self.record.anchor.clone())
    }
}
