//! The incident at its real proportions: a Debian root file system, and 272 layers that each copy a growing
//! login log up.
//!
//! What comes out: 273 layers, about 1.8 GB of tar and 220 MB of gzip, of which some 215 MB of tar survive.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    image::{Layout, Packing, digest, pack},
    random::Random,
    stack::{Body, Dialect, Record, tarball},
    tools::{cache, command, run},
};

/// Layers above the base.
pub const LAYERS: usize = 272;
/// Bytes of one record of `/var/log/btmp` (`struct utmp` on x86-64).
const RECORD: usize = 384;
/// The log's size in the last layer.
const LOG: usize = 11 << 20;
/// The path that is in every layer.
pub const LOG_PATH: &str = "var/log/btmp";

/// A root file system of Debian as tar, made by debootstrap once and kept under `target/tools`.
pub fn debian() -> Result<Vec<u8>> {
    let kept = cache().join("debian-minbase-2.tar");
    if !kept.is_file() {
        let work = tempfile::Builder::new().prefix("unbloat-debootstrap-").tempdir_in("/var/tmp")?;
        let root = work.path().join("root");
        run(command("debootstrap").args(["--variant=minbase", "bookworm"]).arg(&root))
            .context("debootstrap")?;
        let partial = kept.with_extension("partial");
        fs::create_dir_all(cache())?;
        let mut tar = command("tar");
        tar.args(["--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--format=pax", "-C"]);
        run(tar.arg(&root).arg("-cf").arg(&partial).arg("."))?;
        fs::rename(partial, &kept)?;
    }
    Ok(fs::read(kept)?)
}

/// The image in an OCI layout under `target/tools`, tag `incident`; made once.
pub fn incident() -> Result<Layout> {
    let folder = cache().join("incident-3");
    if folder.join("done").is_file() {
        return Ok(Layout::open(folder));
    }
    let _ = fs::remove_dir_all(&folder);
    let layout = Layout::create(&folder)?;
    let base = debian()?;
    let log = &login_log(LOG);
    let layers: Vec<Box<dyn Fn() -> Vec<u8> + Sync + '_>> = (0..=LAYERS)
        .map(|index| -> Box<dyn Fn() -> Vec<u8> + Sync + '_> {
            if index == 0 { Box::new(|| base.clone()) } else { Box::new(move || commit(index, log)) }
        })
        .collect();
    write_image(&layout, "incident", &layers, Packing::Gzip(6))?;
    fs::write(folder.join("done"), "")?;
    Ok(layout)
}

/// Writes an image whose layers are made one at a time on every core, so that it may be larger than memory.
pub fn write_image(
    layout: &Layout,
    tag: &str,
    layers: &[Box<dyn Fn() -> Vec<u8> + Sync + '_>],
    packing: Packing,
) -> Result<String> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Value, String)>> = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(make) = layers.get(index) else {
                return Ok(());
            };
            let tar = make();
            let (blob, media_type) = pack(&tar, packing);
            let descriptor = layout.blob(&blob, media_type)?;
            done.lock().expect("no thread panics").push((index, descriptor, digest(&tar)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().expect("no thread panics")?;
        }
        Ok(())
    })?;
    let mut done = done.into_inner().expect("no thread panics");
    ensure!(done.len() == layers.len(), "a layer is missing");
    done.sort_by_key(|(index, ..)| *index);
    let history: Vec<Value> = done
        .iter()
        .map(
            |(index, ..)| json!({"created": "2024-05-06T07:08:09Z", "created_by": format!("commit {index}")}),
        )
        .collect();
    let config = json!({
        "created": "2024-05-06T07:08:09Z", "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/bash"]},
        "rootfs": {"type": "layers", "diff_ids": done.iter().map(|(_, _, diff_id)| diff_id).collect::<Vec<_>>()},
        "history": history,
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(&serde_json::to_vec(&config)?, "application/vnd.oci.image.config.v1+json")?,
        "layers": done.iter().map(|(_, descriptor, _)| descriptor).collect::<Vec<_>>(),
    });
    layout.tag(tag, &serde_json::to_vec(&manifest)?)
}

/// Failed logins: user, host and time differ, the rest is zeroes, as in the real log.
fn login_log(size: usize) -> Vec<u8> {
    const USERS: [&str; 12] = [
        "root", "admin", "ubuntu", "test", "oracle", "postgres", "git", "user", "ftp", "deploy", "pi",
        "jenkins",
    ];
    let mut random = Random::new(0xb7);
    let mut log = vec![0; size / RECORD * RECORD];
    let mut time = 1_700_000_000_u32;
    for record in log.chunks_exact_mut(RECORD) {
        let address = random.word().to_le_bytes();
        let host = format!("{}.{}.{}.{}", address[0], address[1], address[2], address[3]);
        time += random.below(20) as u32;
        record[0] = 6;
        record[4..8].copy_from_slice(&(random.between(1000, 400_000) as u32).to_le_bytes());
        record[8..17].copy_from_slice(b"ssh:notty");
        let user = random.pick(&USERS).as_bytes();
        record[44..44 + user.len()].copy_from_slice(user);
        record[76..76 + host.len()].copy_from_slice(host.as_bytes());
        record[340..344].copy_from_slice(&time.to_le_bytes());
        record[344..348].copy_from_slice(&(random.below(1_000_000) as u32).to_le_bytes());
        record[348..352].copy_from_slice(&address[..4]);
    }
    log
}

/// One commit of the environment: the log as far as it got, and a little work.
fn commit(index: usize, log: &[u8]) -> Vec<u8> {
    let mut random = Random::new(index as u64);
    let mut work = vec![0; random.between(2_000, 40_000)];
    for byte in &mut work {
        *byte = b" etaoinshrdlucm\n"[random.below(16)];
    }
    let length = log.len() * index / LAYERS / RECORD * RECORD;
    let seconds = 1_700_000_000 + index as i64 * 3600;
    let record = |name: String, body: Body, mode: u32| Record {
        name: name.into_bytes(),
        body,
        mode,
        uid: 0,
        gid: 0,
        mtime: (seconds, 123_456_789),
        xattrs: Default::default(),
        unknown: Vec::new(),
        dialect: Dialect::Pax,
    };
    let mut records = vec![
        record("home/".to_owned(), Body::Directory, 0o755),
        record("home/devbox/".to_owned(), Body::Directory, 0o755),
        record("home/devbox/.bash_history".to_owned(), Body::File(work[..work.len() / 4].to_vec()), 0o600),
        record(format!("home/devbox/file-{}", index % 40), Body::File(work), 0o644),
        record("var/log/".to_owned(), Body::Directory, 0o755),
        record(LOG_PATH.to_owned(), Body::File(log[..length].to_vec()), 0o660),
    ];
    if index.is_multiple_of(7) {
        records.push(record(
            format!("home/devbox/.wh.file-{}", (index - 1) % 40),
            Body::File(Vec::new()),
            0o644,
        ));
    }
    tarball::write(&records)
}

/// Copies an image of a layout into a registry on loopback.
pub fn push(layout: &Layout, tag: &str, reference: &str) -> Result<()> {
    let mut copy = command("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]);
    run(copy.arg(layout.reference(tag)).arg(format!("docker://{reference}"))).map(drop)
}

/// Copies an image from a registry on loopback into a new layout.
pub fn pull(reference: &str, folder: impl Into<PathBuf>) -> Result<Layout> {
    let layout = Layout::open(folder);
    let mut copy = command("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false"]);
    run(copy.arg(format!("docker://{reference}")).arg(layout.reference("pulled")))?;
    Ok(layout)
}

/// The sum of the sizes of all files below a folder, in bytes.
pub fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(stat) if stat.is_dir() => size_of(&entry.path()),
            Ok(stat) => stat.len(),
            Err(_) => 0,
        })
        .sum()
}
