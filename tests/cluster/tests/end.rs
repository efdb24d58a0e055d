//! What is left after a cluster: nothing, however its owner ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use unbloat_cluster::fixture::{container, pod};
use unbloat_cluster::{Cluster, Options, Result, running, sweep};

#[tokio::test]
async fn nothing_is_left_after_an_end() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let name = cluster.name().to_owned();
    let folder = cluster.folder().to_owned();
    cluster.restricted_namespace("last").await?;
    cluster.apply(&pod("last", "sleeper", container("sleep 600")).to_string()).await?;
    cluster.wait_for_pod_ready("last", "sleeper", Duration::from_secs(60)).await?;
    let before = Traces::of(&folder, &name);
    assert!(
        before.processes > 10 && before.groups > 3 && before.folder,
        "the search finds what is there: {before:?}"
    );

    cluster.end()?;
    assert_eq!(Traces::of(&folder, &name), Traces::default());
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_after_a_panic() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let (name, folder) = (cluster.name().to_owned(), cluster.folder().to_owned());
    let test = tokio::spawn(async move {
        assert!(cluster.name().is_empty(), "a test that fails");
    });
    assert!(test.await.is_err_and(|error| error.is_panic()));
    let logs = std::env::temp_dir().join(format!("unbloat-cluster-logs-{name}"));
    assert!(logs.join("kubelet-0.log").is_file(), "after a failure the logs are what is kept");
    std::fs::remove_dir_all(&logs).expect("they are ours");
    assert_eq!(Traces::of(&folder, &name), Traces::default());
    Ok(())
}

#[test]
fn nothing_is_left_after_the_owner_was_killed_or_interrupted() {
    for (signal, name) in [("KILL", "killed"), ("INT", "interrupted")] {
        let mut owner = Owner::start(name);
        let folder = owner.folder();
        assert!(Traces::of(&folder, name).processes > 5);
        let status = Command::new("kill").arg(format!("-{signal}")).arg(owner.0.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()));
        owner.0.wait().expect("it was started here");
        wait_until(&format!("no trace after SIG{signal}"), || Traces::of(&folder, name) == Traces::default());
    }
}

#[test]
fn a_sweep_ends_what_a_killed_keeper_left() {
    let mut owner = Owner::start("orphaned");
    let folder = owner.folder();
    let record =
        std::fs::read_to_string(folder.join("cluster.json")).expect("a running cluster is written down");
    let record: serde_json::Value = serde_json::from_str(&record).expect("as JSON");
    let keeper = record["anchor"]["keeper"]["number"].as_u64().expect("with its keeper");
    let status = Command::new("kill").arg("-KILL").arg(keeper.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()));
    let runs = || running().expect("the folder can be read").iter().any(|name| name == "orphaned");
    wait_until("the keeper's end", || !runs());
    assert!(Traces::of(&folder, "orphaned").processes > 5);

    assert!(sweep().expect("it can all be removed").iter().any(|name| name == "orphaned"));
    assert_eq!(Traces::of(&folder, "orphaned"), Traces::default());
}

/// A process that has a cluster and waits; ended with the test.
struct Owner(Child);

impl Owner {
    fn start(name: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unbloat-cluster"));
        command.args(["up", "--foreground", "--name", name]).stdout(Stdio::piped());
        Self(command.spawn().expect("the command was built with this test"))
    }

    /// Waits until it says that its cluster is ready, and where.
    fn folder(&mut self) -> PathBuf {
        let output = self.0.stdout.take().expect("it is piped");
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(std::io::Result::ok);
        let logs = lines.find_map(|line| line.strip_prefix("logs:").map(|path| PathBuf::from(path.trim())));
        let logs = logs.expect("the cluster starts");
        // The rest of what it says must not fill the pipe.
        std::thread::spawn(move || lines.count());
        logs.parent().expect("logs lie in the cluster's folder").to_owned()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Fails when the test has ended it already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited 30 s in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What there is of a cluster on this machine.
#[derive(Debug, Default, PartialEq, Eq)]
struct Traces {
    /// Whose command line names its folder or its control group.
    processes: usize,
    /// In this machine's own mount namespace.
    mounts: usize,
    /// Directories, over all hierarchies.
    groups: usize,
    /// Named network namespaces, and links, of this machine.
    links: usize,
    folder: bool,
}

impl Traces {
    fn of(folder: &Path, name: &str) -> Self {
        let text = folder.display().to_string();
        let own = std::process::id().to_string();
        let group = format!("unbloat-{name}");
        let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten();
        let processes = entries("/proc").filter(|entry| entry.file_name().to_string_lossy() != own.as_str());
        let names_it = |entry: &std::fs::DirEntry| {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&text) || groups.contains(&format!("/{group}/"))
        };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let groups = entries("/sys/fs/cgroup").filter(|entry| entry.path().join(&group).exists());
        let links = entries("/run/netns")
            .map(|entry| entry.file_name())
            .filter(|file| file.to_string_lossy() == name);
        let network = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
        Self {
            processes: processes.filter(names_it).count(),
            mounts: mounts.lines().filter(|line| line.contains(&text)).count(),
            groups: groups.count(),
            links: links.count() + network.lines().filter(|line| line.trim().starts_with("node0:")).count(),
            folder: folder.exists(),
        }
    }
}
