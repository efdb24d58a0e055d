//! Which images, read from where, squashed how.

use crate::{
    image::{Layout, Packing},
    random::Random,
    ready,
    stack::{Body, Dialect, Record, tarball},
};

/// Random stacks of every rule, as a generator of some day drew them.
const STACKS: &[u8] = include_bytes!("../../golden/stacks.json.zst");

/// What the command names: a folder, a file, a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `oci:DIR:TAG`
    Folder,
    /// `oci-archive:FILE`
    Archive,
    /// `HOST/REPO:TAG`
    Registry,
}

const PLACES: [Place; 3] = [Place::Folder, Place::Archive, Place::Registry];

/// One image in one packing.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name, and its tag.
    pub name: String,
    /// Layers as tars, lowest first.
    pub tars: Vec<Vec<u8>>,
    /// Which of the packings its layers have, see [`pack`].
    pub packing: usize,
}

/// One squash of an image.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name in the table.
    pub name: String,
    /// Which of the inputs.
    pub input: usize,
    /// Where the image is.
    pub from: Place,
    /// Where the result goes.
    pub to: Place,
    /// Options of `unbloat squash`.
    pub options: Vec<String>,
}

/// How a layer is packed: each of six ways for a whole image, one way another each layer.
pub fn pack(packing: usize, layer: usize) -> Packing {
    match packing % 6 {
        0 => Packing::Gzip(6),
        1 => Packing::GzipMembers(3000),
        2 => Packing::Zstd(3),
        3 => Packing::Plain,
        4 => Packing::Gzip(1 + layer as u32 % 9),
        _ => [Packing::Gzip(6), Packing::Zstd(1), Packing::Plain, Packing::GzipMembers(700)][layer % 4],
    }
}

impl Input {
    /// Writes the image into a layout; answers with its digest.
    pub fn write(&self, layout: &Layout) -> anyhow::Result<String> {
        layout.add(&self.name, &self.tars, |layer| pack(self.packing, layer))
    }
}

/// Every image and every case.
pub fn cases() -> (Vec<Input>, Vec<Case>) {
    let (mut inputs, mut cases) = (Vec::new(), Vec::new());
    for (index, ready) in ready::cases().into_iter().enumerate() {
        inputs.push(Input {
            name: format!("ready-{}", ready.id).to_lowercase(),
            tars: ready.layers,
            packing: index,
        });
        cases.push(case(&inputs, "flat", Place::Folder, Place::Folder, &[]));
    }
    let stacks = zstd::decode_all(STACKS).expect("frozen stacks");
    let stacks = ready::stacks(std::str::from_utf8(&stacks).expect("JSON is text"));
    for (index, stack) in stacks.into_iter().enumerate() {
        let layers = stack.layers.len();
        inputs.push(Input { name: stack.id, tars: stack.layers, packing: index });
        let (from, to) = (PLACES[index % 3], PLACES[index / 3 % 3]);
        for compression in ["keep", "gzip", "zstd", "none"] {
            cases.push(case(&inputs, compression, from, to, &["--compression", compression]));
        }
        if layers > 1 {
            let kept = (1 + index % (layers - 1)).to_string();
            cases.push(case(&inputs, "base", from, to, &["--base-layers", &kept]));
        }
        let more: &[&str] = match index % 4 {
            0 => &["--format", "docker", "--compression", "gzip"],
            1 => &["--remove", "*a*", "--truncate", "**/b*"],
            2 => &["--follow-symlinked-parents"],
            _ => &["--compression", "zstd", "--level", "9", "--jobs", "1"],
        };
        cases.push(case(&inputs, "more", from, to, more));
    }
    let mut random = Random::new(77);
    for packing in 0..6 {
        let tars = large(&mut random);
        inputs.push(Input { name: format!("large-{packing}"), tars, packing });
        let (from, to) = (PLACES[packing % 3], PLACES[(packing + 1) % 3]);
        for compression in ["keep", "gzip", "zstd", "none"] {
            cases.push(case(&inputs, compression, from, to, &["--compression", compression]));
        }
        cases.push(case(&inputs, "base", from, to, &["--base-layers", "3"]));
        cases.push(case(&inputs, "removed", from, to, &["--remove", "data/*1*", "--truncate", "data/?"]));
    }
    (inputs, cases)
}

fn case(inputs: &[Input], what: &str, from: Place, to: Place, options: &[&str]) -> Case {
    let input = inputs.len() - 1;
    Case {
        name: format!("{} {what}", inputs[input].name),
        input,
        from,
        to,
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}

/// Eight layers of files that span several deflate blocks, a part of them hidden: what copying of blocks is
/// about.
fn large(random: &mut Random) -> Vec<Vec<u8>> {
    (0..8_usize)
        .map(|layer| {
            let mut records = Vec::new();
            for file in 0..6 {
                let mut content = vec![0; 40_000 + random.below(120_000)];
                random.fill(&mut content);
                for chunk in content.chunks_mut(3000).step_by(2) {
                    chunk.fill(b'a' + layer as u8);
                }
                records.push(Record {
                    name: format!("data/{}", (layer * 3 + file) % 17).into_bytes(),
                    body: Body::File(content),
                    mode: 0o644,
                    uid: 0,
                    gid: 0,
                    mtime: (1_600_000_000 + layer as i64, 5),
                    xattrs: Default::default(),
                    unknown: Vec::new(),
                    dialect: Dialect::Pax,
                });
            }
            tarball::write(&records)
        })
        .collect()
}
