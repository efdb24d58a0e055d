//! Any stack of layers over a few names: what the plain model merges, the engine merges to the same tree, with one job and
//! two, with memory and without, whole and above every kept base; what the model refuses must not hurt the engine.
#![no_main]

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use unbloat_layers::Options;
use unbloat_model::{
    engine, model,
    stack::{Body, Dialect, Record, Stack},
};

#[derive(Arbitrary, Debug)]
struct Entry {
    name: Name,
    kind: Kind,
    mode: u16,
    owner: u8,
    time: (i32, u32),
    attribute: bool,
    dialect: Writing,
}

#[derive(Arbitrary, Debug)]
struct Name {
    first: Part,
    second: Option<Part>,
    third: Option<Part>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Part {
    A,
    B,
    C,
    WhiteoutA,
    WhiteoutB,
    Opaque,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    File(Vec<u8>),
    Directory,
    Symlink(Name),
    HardLink(Name),
    Fifo,
    Device(u8, u8),
}

#[derive(Arbitrary, Debug)]
enum Writing {
    V7,
    Ustar,
    Gnu,
    Pax,
}

impl Name {
    fn parts(&self) -> impl Iterator<Item = Part> {
        [Some(self.first), self.second, self.third].into_iter().flatten()
    }

    /// The name with no whiteout in it.
    fn plain(&self) -> Vec<u8> {
        self.parts().map(plain).collect::<Vec<_>>().join(&b'/')
    }

    /// The name. The engine refuses a whiteout's name as a directory; the model, which only says what is visible, does not:
    /// so only the last part may be one.
    fn bytes(&self) -> Vec<u8> {
        let parts: Vec<Part> = self.parts().collect();
        let (last, parents) = parts.split_last().expect("a name has a first part");
        let last = match last {
            Part::WhiteoutA => &b".wh.a"[..],
            Part::WhiteoutB => b".wh.b",
            Part::Opaque => b".wh..wh..opq",
            part => plain(*part),
        };
        parents.iter().map(|part| plain(*part)).chain([last]).collect::<Vec<_>>().join(&b'/')
    }
}

/// A part of a name that is no whiteout's.
fn plain(part: Part) -> &'static [u8] {
    match part {
        Part::A | Part::WhiteoutA => b"a",
        Part::B | Part::WhiteoutB => b"b",
        Part::C | Part::Opaque => b"c",
    }
}

fn record(entry: Entry) -> Record {
    let body = match entry.kind {
        Kind::File(content) => Body::File(content),
        Kind::Directory => Body::Directory,
        Kind::Symlink(to) => Body::Symlink(to.plain()),
        Kind::HardLink(to) => Body::HardLink(to.plain()),
        Kind::Fifo => Body::Fifo,
        Kind::Device(major, minor) => Body::Character(major.into(), minor.into()),
    };
    let device = matches!(body, Body::Character(..));
    let attribute = (b"user.mark".to_vec(), vec![entry.owner]);
    Record {
        name: entry.name.bytes(),
        body,
        mode: u32::from(entry.mode) & 0o7777,
        uid: entry.owner.into(),
        gid: entry.owner.into(),
        mtime: (entry.time.0.into(), entry.time.1 % 1_000_000_000),
        xattrs: entry.attribute.then_some(attribute).into_iter().collect(),
        unknown: Vec::new(),
        dialect: match entry.dialect {
            // Seventh-edition headers have no device numbers, which the model does not know.
            Writing::V7 if device => Dialect::Ustar,
            Writing::V7 => Dialect::V7,
            Writing::Ustar => Dialect::Ustar,
            Writing::Gnu => Dialect::Gnu,
            Writing::Pax => Dialect::Pax,
        },
    }
}

/// A path below a hard link of its own layer: the one thing that the engine is known to take otherwise, when the link is to
/// a lower layer's symlink. The link alone makes runtimes refuse the layer.
fn goes_through_a_link(records: &[Record]) -> bool {
    records.iter().filter(|record| matches!(record.body, Body::HardLink(_))).any(|link| {
        let below = [&link.name[..], b"/"].concat();
        records.iter().any(|record| record.name.starts_with(&below))
    })
}

fuzz_target!(|layers: Vec<Vec<Entry>>| {
    if layers.is_empty() || layers.len() > 6 || layers.iter().map(Vec::len).sum::<usize>() > 40 {
        return;
    }
    let layers: Vec<Vec<Record>> =
        layers.into_iter().map(|entries| entries.into_iter().map(record).collect()).collect();
    let known = layers.iter().any(|records| goes_through_a_link(records));
    let stack = Stack { seed: 0, layers };
    let tars = stack.tars();
    if known || model::merge(&tars).is_err() {
        let _ = engine::flatten(&tars, &Options::default(), 1 << 20);
        let _ = engine::flatten(&tars, &Options { jobs: 2, hold_bytes: 0, ..Options::default() }, 100);
        return;
    }
    // A link that replaces its own target, and a path through a loop of symlinks, are what runtimes refuse and the model lets be.
    let refused = ["does not exist at that point", "symlink loop"];
    if let Err(error) = engine::flatten(&tars, &Options::default(), 1 << 20)
        && refused.iter().any(|reason| error.contains(reason))
    {
        return;
    }
    if let Some(why) = engine::wrong(&stack) {
        panic!("{}=> {why}", stack.describe());
    }
});
