//! Where clusters lie on this machine, and what is left of one whose keeper was killed: found by what it
//! wrote down, ended by process id.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::enclosure::Anchor;
use crate::error::{Error, Result};

/// Overrides the folder of all clusters.
const FOLDER_VARIABLE: &str = "UNBLOAT_CLUSTER_FOLDER";
/// On disk, not in memory: images are unpacked below. Short, since a socket's path has at most 108 bytes.
const FOLDER: &str = "/var/tmp/unbloat-cluster";
/// Hidden by mounts of a cluster's own, so no cluster can lie there.
const HIDDEN: &[&str] = &["/run", "/var/run", "/var/lib", "/var/log"];

/// What is written down about a running cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) anchor: Anchor,
    pub(crate) group: String,
    pub(crate) nodes: usize,
    pub(crate) tools: PathBuf,
}

impl Record {
    const FILE: &str = "cluster.json";

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).expect("a record is plain data");
        std::fs::write(folder.join(Self::FILE), text).map_err(Error::io("write cluster.json"))
    }

    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(Self::FILE)).ok()?).ok()
    }
}

/// The folder of all clusters.
pub(crate) fn base() -> Result<PathBuf> {
    let folder = std::env::var_os(FOLDER_VARIABLE).map_or_else(|| PathBuf::from(FOLDER), PathBuf::from);
    if folder.is_relative() || HIDDEN.iter().any(|hidden| folder.starts_with(hidden)) {
        let hidden = HIDDEN.join(", ");
        return Err(Error::Misuse(format!("{FOLDER_VARIABLE} must be absolute and not below {hidden}")));
    }
    Ok(folder)
}

/// A name that no other cluster on this machine has.
pub(crate) fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The control group of the cluster `name`.
pub(crate) fn group(name: &str) -> String {
    format!("unbloat-{name}")
}

/// The names of the clusters that run now.
///
/// # Errors
/// When the folder's name, from the environment, cannot be used.
pub fn running() -> Result<Vec<String>> {
    let is_running =
        |folder: &Path| Record::read(folder).is_some_and(|record| record.anchor.keeper.is_alive());
    Ok(folders()?
        .into_iter()
        .filter(|folder| is_running(folder))
        .filter_map(|folder| name_of(&folder))
        .collect())
}

/// Ends and removes what is left of clusters whose keeper is gone. Gives their names.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for folder in folders()? {
        let Some(name) = name_of(&folder) else { continue };
        match Record::read(&folder) {
            Some(record) if record.anchor.keeper.is_alive() => continue,
            Some(record) => {
                record.anchor.first.signal(Signal::KILL);
                let deadline = Instant::now() + Duration::from_secs(20);
                while record.anchor.first.is_alive() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            // One that is being made has no record yet.
            None if is_young(&folder) => continue,
            None => {}
        }
        remove_groups(&group(&name));
        std::fs::remove_dir_all(&folder).map_err(Error::io(format!("remove {}", folder.display())))?;
        swept.push(name);
    }
    Ok(swept)
}

/// The directories of the control group `group`, in every hierarchy of this machine.
pub(crate) fn groups(group: &str) -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies.chain([root.clone()]).map(|path| path.join(group)).filter(|path| path.is_dir()).collect()
}

fn remove_groups(group: &str) {
    fn remove(folder: &Path) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                remove(&entry.path());
            }
        }
        // One that stays has a process that no signal ends; the next sweep finds it again.
        let _ = std::fs::remove_dir(folder);
    }
    groups(group).iter().for_each(|folder| remove(folder));
}

fn folders() -> Result<Vec<PathBuf>> {
    let base = base()?;
    let entries = match std::fs::read_dir(&base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("read {}", base.display()))(error)),
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn name_of(folder: &Path) -> Option<String> {
    folder.file_name()?.to_str().map(str::to_owned)
}

fn is_young(folder: &Path) -> bool {
    let age = folder.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age < Duration::from_secs(120))
}
