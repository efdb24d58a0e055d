//! Any fields as a header with any extended records before it: what is read and written anew reads as the same.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use unbloat_layers::tar::{BLOCK, Header, Kind, Meter, TRAILER, TarReader, encode, padding};
use unbloat_layers::{LayerSource, MemoryLayers};

#[derive(Arbitrary, Debug)]
struct Input {
    /// Blocks in front of the entry: type and body.
    special: Vec<(Special, Vec<u8>)>,
    /// The entry's own block as it comes, and fields that are put over it where the fuzzer wants a likely one.
    block: Vec<u8>,
    name: Option<Vec<u8>>,
    kind: u8,
    size: u8,
    gnu: Option<bool>,
}

#[derive(Arbitrary, Debug)]
enum Special {
    Pax,
    Global,
    LongName,
    LongLink,
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn octal(field: &mut [u8], value: usize) {
    let digits = field.len() - 1;
    field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
    field[digits] = 0;
}

fn tar(input: &Input) -> Vec<u8> {
    let mut out = Vec::new();
    for (special, body) in &input.special {
        let mut block = [0; BLOCK];
        block[0] = b'x';
        octal(&mut block[124..136], body.len());
        block[156] = match special {
            Special::Pax => b'x',
            Special::Global => b'g',
            Special::LongName => b'L',
            Special::LongLink => b'K',
        };
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        out.extend(block);
        out.extend(body);
        out.resize(out.len() + padding(body.len() as u64), 0);
    }
    let mut block = input.block.clone();
    block.resize(BLOCK, 0);
    if let Some(name) = &input.name {
        let cut = name.len().min(100);
        block[..100].fill(0);
        block[..cut].copy_from_slice(&name[..cut]);
    }
    octal(&mut block[124..136], usize::from(input.size));
    block[156] = input.kind;
    match input.gnu {
        Some(true) => block[257..265].copy_from_slice(b"ustar  \0"),
        Some(false) => block[257..265].copy_from_slice(b"ustar\x0000"),
        None => {}
    }
    seal(&mut block);
    out.extend(block);
    out.resize(out.len() + usize::from(input.size) + padding(u64::from(input.size)), b'c');
    out.extend(TRAILER);
    out
}

/// The first entry of an archive, and the bytes of its content.
fn first(tar: Vec<u8>, chunk_bytes: usize) -> Result<Option<(Header, Vec<u8>)>, String> {
    let layers = MemoryLayers { layers: vec![Bytes::from(tar)], chunk_bytes };
    let stream = layers.open(0).expect("there is one layer");
    let mut reader = TarReader::new(stream, 0, Arc::new(Meter::new(1 << 20)));
    let mut raw = Vec::new();
    let Some(header) = reader.next(&mut raw).map_err(|error| error.to_string())? else { return Ok(None) };
    let mut content = Vec::new();
    reader
        .content::<unbloat_layers::LayerError>(|piece| {
            content.extend_from_slice(piece.bytes());
            Ok(())
        })
        .map_err(|error| error.to_string())?;
    while reader.next(&mut raw).map_err(|error| error.to_string())?.is_some() {}
    Ok(Some((header, content)))
}

fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    &path[..end]
}

fuzz_target!(|input: Input| {
    let tar = tar(&input);
    let whole = first(tar.clone(), tar.len());
    match (&whole, first(tar, 7)) {
        (Ok(Some((one, a))), Ok(Some((other, b)))) => {
            assert_eq!(
                (&one.path, &one.link, one.kind, one.meta),
                (&other.path, &other.link, other.kind, other.meta)
            );
            assert_eq!(a, &b);
        }
        (Ok(None), Ok(None)) => {}
        (Err(one), Err(other)) => assert_eq!(one, &other),
        (one, other) => panic!("whole: {one:?}, in chunks: {other:?}"),
    }
    let Ok(Some((header, content))) = whole else { return };
    // A directory is written with a slash behind its name, which a name that ends with one has already.
    let path = if header.kind == Kind::Directory { trimmed(&header.path) } else { &header.path };
    if path.is_empty() {
        return;
    }
    let size = if header.kind == Kind::Regular { header.size } else { 0 };
    let mut again = encode(&header, path, header.kind, &header.link, size);
    if header.kind == Kind::Regular {
        again.extend(&content);
    }
    again.extend(TRAILER);
    let (read, same) = first(again, BLOCK).expect("what is written can be read").expect("an entry");
    assert_eq!(
        (trimmed(&read.path), &read.link, read.kind, read.meta),
        (trimmed(path), &header.link, header.kind, header.meta)
    );
    assert_eq!((&read.user, &read.group), (&header.user, &header.group));
    if matches!(header.kind, Kind::CharDevice | Kind::BlockDevice) {
        assert_eq!(read.device, header.device);
    }
    assert!(read.xattrs().eq(header.xattrs()), "other attributes");
    if header.kind == Kind::Regular {
        assert_eq!(same, content);
    }
});
