//! Registries that no one here wrote: Debian's docker-registry (2.8) and distribution v3, each on a free
//! loopback port.

use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::tools::{cache, command, fast_folder};

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Debian's package, distribution 2.8.
    Debian,
    /// distribution v3, built from its Go module.
    DistributionV3,
}

/// A running registry with storage of its own. It ends, and its storage goes, with the value.
pub struct Registry {
    folder: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl Registry {
    /// Starts a registry that asks nobody who they are, and waits until it takes connections.
    pub fn start(flavour: Flavour) -> Result<Self> {
        Self::configured(flavour, fast_folder()?, "")
    }

    /// Starts a registry for one user, whose line of a htpasswd file (bcrypt) this is.
    pub fn start_for(flavour: Flavour, user: &str) -> Result<Self> {
        let folder = fast_folder()?;
        let file = folder.path().join("htpasswd");
        fs::write(&file, user)?;
        let access = format!("auth:\n  htpasswd:\n    realm: proof\n    path: {}\n", file.display());
        Self::configured(flavour, folder, &access)
    }

    fn configured(flavour: Flavour, folder: tempfile::TempDir, more: &str) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\n  formatter: text\n  accesslog:\n    disabled: false\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n  cache:\n    blobdescriptor: inmemory\n\
             http:\n  addr: 127.0.0.1:{port}\n  secret: of-no-importance\n{more}",
            folder.path().join("storage").display()
        );
        fs::write(&config, text)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut server = match flavour {
            Flavour::Debian => command("docker-registry"),
            Flavour::DistributionV3 => {
                let own = cache().join("bin/registry");
                anyhow::ensure!(
                    own.is_file(),
                    "distribution v3 is not built: run `cargo xtask test --only tools` first"
                );
                std::process::Command::new(own)
            }
        };
        let server = server.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let server =
            server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("registry")?;
        let started = Self { folder, server, port };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("the registry does not answer: {}", started.log()?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }

    /// `127.0.0.1:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Everything that was logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.folder.path().join("log"))?).into_owned())
    }

    /// The address of a blob.
    pub fn blob_url(&self, repository: &str, digest: &str) -> String {
        format!("http://127.0.0.1:{}/v2/{repository}/blobs/{digest}", self.port)
    }

    /// User and system time that it has used so far.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.server.id()))?;
        // proc(5): fields 14 and 15, in ticks of 10 ms; the second field is a name in brackets.
        let after = stat.rsplit_once(')').context("proc/stat")?.1;
        let ticks: u64 =
            after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Where its blobs lie.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// Bytes of blobs of a repository that were sent, counted from a position in the log.
    pub fn bytes_sent(&self, repository: &str, since: usize) -> Result<u64> {
        let log = self.log()?;
        let wanted = format!("\"GET /v2/{repository}/blobs/");
        let sent =
            log[since.min(log.len())..].lines().filter(|line| line.contains(&wanted)).filter_map(|line| {
                // Combined log format: "GET … HTTP/1.1" STATUS BYTES "referrer" "agent".
                let after = line.split_once(" HTTP/1.1\" ")?.1;
                after.split_whitespace().nth(1)?.parse::<u64>().ok()
            });
        Ok(sent.sum())
    }

    /// How often each blob of a repository was sent, counted from a position in the log.
    pub fn blob_reads(&self, repository: &str, since: usize) -> Result<BTreeMap<String, usize>> {
        let log = self.log()?;
        let mut reads = BTreeMap::new();
        let wanted = format!("\"GET /v2/{repository}/blobs/");
        for line in log[since.min(log.len())..].lines() {
            if let Some((_, rest)) = line.split_once(&wanted) {
                let digest = rest.split_whitespace().next().unwrap_or_default();
                *reads.entry(digest.to_owned()).or_insert(0) += 1;
            }
        }
        Ok(reads)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
