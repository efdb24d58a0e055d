//! The ready cases: layers as raw tar bytes, and what must come out.
//!
//! Each is merged with every setting that may change the way but not the result: all of a layer held, nothing
//! held (so that every layer streams), one thread and several, chunks that cut records anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use unbloat_layers::tar::{Kind, Meter, TarReader};
use unbloat_layers::{LayerSource, MemoryLayers, Options, flatten};

#[derive(serde::Deserialize)]
struct Case {
    layers: Vec<String>,
    expect: String,
}

fn cases() -> BTreeMap<String, Case> {
    serde_json::from_str(include_str!("torture/cases.json")).unwrap()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The listing that the cases are written in, of one merged tar.
fn listing(tar: &[u8]) -> String {
    let layers = MemoryLayers { layers: vec![tar.to_vec().into()], chunk_bytes: 1 << 20 };
    let mut reader = TarReader::new(layers.open(0).unwrap(), 0, Arc::new(Meter::new(u64::MAX)));
    let mut raw = Vec::new();
    let mut entries: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(header) = reader.next(&mut raw).unwrap() {
        let path = latin1(&header.path);
        let path = path.strip_prefix("./").unwrap_or(&path).trim_end_matches('/').to_owned();
        if path.is_empty() {
            continue;
        }
        let mut inode = path.clone();
        let text = match header.kind {
            Kind::Directory => "/".to_owned(),
            Kind::Symlink => format!("->{}", latin1(&header.link)),
            Kind::CharDevice | Kind::BlockDevice => format!("<{}:{}>", header.device.0, header.device.1),
            Kind::Fifo => String::new(),
            Kind::HardLink => {
                let target = latin1(&header.link);
                let (known, first) =
                    entries.get(target.trim_start_matches("./")).expect("a link after its target");
                inode = first.clone();
                known.clone()
            }
            Kind::Regular => {
                let mut content = Vec::new();
                let size = header.size as usize;
                reader
                    .content(|piece| {
                        content.extend_from_slice(piece.bytes());
                        Ok::<_, unbloat_layers::LayerError>(())
                    })
                    .unwrap();
                content.truncate(size);
                if size == 8192
                    && content[4096..4100] == *b"data"
                    && content.iter().filter(|b| **b != 0).count() == 4
                {
                    "=sparse:8192".to_owned()
                } else {
                    format!("={}", latin1(&content))
                }
            }
        };
        *names.entry(inode.clone()).or_default() += 1;
        let text = match header.kind {
            Kind::CharDevice => format!("\0c{text}"),
            Kind::BlockDevice => format!("\0b{text}"),
            _ => text,
        };
        assert!(entries.insert(path.clone(), (text, inode)).is_none(), "{path} is written twice");
    }
    let shown = entries.iter().map(|(path, (text, inode))| {
        let linked = if names[inode] > 1 { "{hl}" } else { "" };
        match text.strip_prefix('\0') {
            // The cases write a device as its name and numbers: c<1:3> is a device named c.
            Some(device) => format!("{path}{}{linked}", &device[1..]),
            None => format!("{path}{text}{linked}"),
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn settings() -> Vec<(usize, Options)> {
    let options = |jobs, hold_bytes| Options { jobs, hold_bytes, ..Options::default() };
    vec![
        (1 << 20, options(1, 1 << 20)),
        (1 << 20, options(1, 0)),
        (7, options(1, 1 << 20)),
        (513, options(3, 0)),
    ]
}

#[test]
fn every_case_comes_out_as_written_whatever_the_settings() {
    let mut failures = Vec::new();
    for (name, case) in cases() {
        let decode = |layer: &String| base64::engine::general_purpose::STANDARD.decode(layer).unwrap().into();
        let layers: Vec<bytes::Bytes> = case.layers.iter().map(decode).collect();
        let mut first: Option<Vec<u8>> = None;
        for (chunk_bytes, options) in settings() {
            let result = flatten(&MemoryLayers { layers: layers.clone(), chunk_bytes }, &options);
            let found = match &result {
                Ok((tar, _)) => listing(tar),
                Err(_) => "error".to_owned(),
            };
            if found != case.expect {
                failures.push(format!(
                    "{name}: expected {:?}, found {found:?} ({:?})",
                    case.expect,
                    result.err()
                ));
                break;
            }
            let Ok((tar, _)) = result else { continue };
            if let Some(first) = &first {
                assert!(*first == tar, "{name}: the bytes depend on {options:?}");
            }
            first = Some(tar);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
