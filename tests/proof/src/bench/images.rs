//! The images that are measured, each made once and kept under `target/tools`.

use std::{collections::HashMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    image::{Layout, Packing},
    incident::{debian, incident, write_image},
    model::{Entry, EntryKind, TarReader},
    random::Random,
    stack::{Body, Dialect, Record, tarball},
    tools::{cache, command, run},
};

/// Every image.
pub const IMAGES: [&str; 7] =
    ["incident", "healthy", "healthy-from-zstd", "million", "hidden", "node", "python"];

type Layer<'a> = Box<dyn Fn() -> Vec<u8> + Sync + 'a>;

/// The layout of an image; its tag is its name.
pub fn make(name: &str) -> Result<Layout> {
    if name == "incident" {
        return incident();
    }
    let folder = cache().join(format!("bench-{name}-1"));
    if folder.join("done").is_file() {
        return Ok(Layout::open(folder));
    }
    let _ = fs::remove_dir_all(&folder);
    let layout = Layout::create(&folder)?;
    match name {
        "healthy" => healthy(&layout, name, Packing::Gzip(6))?,
        "healthy-from-zstd" => healthy(&layout, name, Packing::Zstd(3))?,
        "million" => files(&layout, name, 125)?,
        "hidden" => hidden(&layout, name)?,
        "node" => application(
            &layout,
            name,
            &[
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "express",
                "typescript",
                "webpack",
                "lodash",
                "react",
                "eslint",
            ],
        )?,
        "python" => {
            application(
                &layout,
                name,
                &[
                    "sh",
                    "-c",
                    "python3 -m venv env && env/bin/pip install --quiet numpy requests django sqlalchemy",
                ],
            )?;
        }
        other => bail!("no image {other}"),
    }
    fs::write(folder.join("done"), "")?;
    Ok(layout)
}

/// A Debian root file system in ten layers that hide nothing of each other.
fn healthy(layout: &Layout, tag: &str, packing: Packing) -> Result<()> {
    let tar = debian()?;
    let part = tar.len() / 10 + 1;
    let mut layers: Vec<Vec<Record>> = (0..10).map(|_| Vec::new()).collect();
    let mut home: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut reader = TarReader::new(&tar);
    let mut bytes = 0;
    while let Some(entry) = reader.next_entry().context("debootstrap's tar")? {
        let record = as_record(entry);
        let mut layer = bytes / part;
        if let Body::File(content) = &record.body {
            bytes += content.len() + 1024;
        }
        if let Body::HardLink(target) = &record.body {
            // A link stands in the layer of its file: runtimes refuse others.
            layer = *home.get(target).context("a link after its file")?;
        }
        home.insert(record.name.clone(), layer);
        layers[layer.min(9)].push(record);
    }
    let layers: Vec<Layer<'_>> =
        layers.iter().map(|records| -> Layer<'_> { Box::new(|| tarball::write(records)) }).collect();
    write_image(layout, tag, &layers, packing).map(drop)
}

fn as_record(entry: Entry) -> Record {
    let body = match entry.kind {
        EntryKind::File(content) => Body::File(content),
        EntryKind::HardLink(target) => Body::HardLink(target),
        EntryKind::Symlink(target) => Body::Symlink(target),
        EntryKind::Character(major, minor) => Body::Character(major, minor),
        EntryKind::Block(major, minor) => Body::Block(major, minor),
        EntryKind::Directory => Body::Directory,
        EntryKind::Fifo => Body::Fifo,
    };
    let of = entry.metadata;
    Record {
        name: entry.name,
        body,
        mode: of.mode,
        uid: of.uid,
        gid: of.gid,
        mtime: of.mtime,
        xattrs: of.xattrs,
        unknown: Vec::new(),
        dialect: Dialect::Ustar,
    }
}

fn plain(name: String, body: Body) -> Record {
    let mode = if body == Body::Directory { 0o755 } else { 0o644 };
    let (uid, gid, mtime) = (0, 0, (1_600_000_000, 0));
    let (xattrs, unknown, dialect) = (Default::default(), Vec::new(), Dialect::Ustar);
    Record { name: name.into_bytes(), body, mode, uid, gid, mtime, xattrs, unknown, dialect }
}

/// Part of an image of small files: folders of a thousand files of some hundred bytes each.
fn small_files(part: usize, folders: usize) -> Vec<u8> {
    let mut random = Random::new(part as u64);
    let mut records = Vec::new();
    for folder in 0..folders {
        records.push(plain(format!("data/{part}-{folder}/"), Body::Directory));
        for file in 0..1000 {
            let words = random.between(3, 40);
            let text: String =
                (0..words).map(|_| ["alpha ", "beta ", "gamma ", "delta ", "42 "][random.below(5)]).collect();
            records.push(plain(format!("data/{part}-{folder}/file-{file}"), Body::File(text.into_bytes())));
        }
    }
    tarball::write(&records)
}

/// Eight layers of small files, so many thousands in each.
pub fn files(layout: &Layout, tag: &str, thousands: usize) -> Result<()> {
    let layers: Vec<Layer<'_>> =
        (0..8).map(|part| -> Layer<'_> { Box::new(move || small_files(part, thousands)) }).collect();
    write_image(layout, tag, &layers, Packing::Gzip(6)).map(drop)
}

/// So many layers of 100 kB: one file that each layer has, and one of its own.
pub fn small_layers(layout: &Layout, tag: &str, count: usize) -> Result<()> {
    let layer = |index: usize| {
        let content = || Body::File((0..50_000).map(|at| (at * (index + 3) % 251) as u8).collect());
        tarball::write(&[plain("log".into(), content()), plain(format!("file-{index}"), content())])
    };
    let layers: Vec<Layer<'_>> =
        (0..count).map(|index| -> Layer<'_> { Box::new(move || layer(index)) }).collect();
    write_image(layout, tag, &layers, Packing::Gzip(6)).map(drop)
}

/// Debian, one file of 2 GiB above it, and its removal.
fn hidden(layout: &Layout, tag: &str) -> Result<()> {
    let base = debian()?;
    let large = || {
        let mut random = Random::new(2);
        let mut content = vec![0; 2 << 30];
        for chunk in content.chunks_mut(4096) {
            // A tenth is noise: a database more than a film.
            random.fill(&mut chunk[..400]);
        }
        tarball::write(&[plain("srv/dump".to_owned(), Body::File(content))])
    };
    let removal = || tarball::write(&[plain("srv/.wh.dump".to_owned(), Body::File(Vec::new()))]);
    let layers: [Layer<'_>; 3] = [Box::new(|| base.clone()), Box::new(large), Box::new(removal)];
    write_image(layout, tag, &layers, Packing::Gzip(6)).map(drop)
}

/// Debian, an application's dependencies from the ordinary registry, and the same files once more with
/// another owner.
fn application(layout: &Layout, tag: &str, install: &[&str]) -> Result<()> {
    let work = tempfile::Builder::new().prefix("unbloat-app-").tempdir_in("/var/tmp")?;
    let app = work.path().join("app");
    fs::create_dir(&app)?;
    run(Command::new(install[0]).args(&install[1..]).current_dir(&app).env("HOME", work.path()))?;
    let base = debian()?;
    let (first, second) = (pack_folder(work.path(), "0")?, pack_folder(work.path(), "1000")?);
    let layers: [Layer<'_>; 3] =
        [Box::new(|| base.clone()), Box::new(|| first.clone()), Box::new(|| second.clone())];
    write_image(layout, tag, &layers, Packing::Gzip(6)).map(drop)
}

fn pack_folder(folder: &Path, owner: &str) -> Result<Vec<u8>> {
    let mut tar = command("tar");
    tar.args([
        "--sort=name",
        "--format=pax",
        "--numeric-owner",
        "--mtime=@1600000000",
        "--owner",
        owner,
        "--group",
        owner,
    ]);
    Ok(run(tar.arg("-C").arg(folder).args(["-cf", "-", "app"]))?.stdout)
}
