//! What an analysis says of small images, and that it agrees with the merge on all ready cases.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::images::{Layer, analysis_of, facts, layer, path, try_analyze};
use base64::Engine as _;
use unbloat_analysis::{Analysis, AnalysisOptions, Change, EntryKind, analyze};
use unbloat_layers::tar::{Kind, Meter, TarReader, simple_header};
use unbloat_layers::{Error, LayerError, LayerSource, MemoryLayers, Options, flatten};

#[track_caller]
fn assert_wasted(layers: &[Layer], wasted: u64) -> Analysis {
    let analysis = analysis_of(layers);
    assert_eq!(analysis.totals.wasted_bytes, wasted);
    analysis
}

#[test]
fn a_replaced_file_is_wasted_in_its_layer_and_hidden_by_the_other() {
    let analysis = assert_wasted(&[layer().file("a/f", 100).file("a/g", 7), layer().file("a/f", 30)], 100);
    let [lower, upper] = &analysis.layers[..] else { panic!() };
    assert_eq!((lower.wasted_bytes, lower.unpacked_bytes, lower.hides_bytes), (100, 107, 0));
    assert_eq!(
        (upper.wasted_bytes, upper.hides_bytes, upper.changed.paths, upper.changed.bytes),
        (0, 100, 1, 30)
    );
    assert_eq!((analysis.totals.unpacked_bytes, analysis.totals.merged_bytes), (137, 37));
    assert!((analysis.totals.efficiency - 37.0 / 137.0).abs() < 1e-12);
    assert_eq!(analysis.estimate.unpacked_bytes, 100);
    let worst = &analysis.paths[0];
    assert_eq!(
        (worst.path.as_str(), worst.copies, worst.total_bytes, &worst.layers[..]),
        ("/a/f", 2, 130, &[0, 1][..])
    );
    assert_eq!(worst.cause.as_deref(), Some("replaced-later"));
    assert_eq!(
        worst.versions.iter().map(|version| version.change).collect::<Vec<_>>(),
        [Change::Added, Change::Changed]
    );
}

#[test]
fn a_whiteout_names_what_it_hides() {
    let analysis = assert_wasted(
        &[
            layer().directory("d/").file("d/x", 10).file("d/e/y", 20).file("z", 5),
            layer().content(".wh.d", b""),
        ],
        30,
    );
    let upper = &analysis.layers[1];
    assert_eq!((upper.whiteouts, upper.removed.bytes, upper.hides_bytes, upper.entries), (1, 30, 30, 1));
    let whiteout = &upper.worst_whiteouts[0];
    assert_eq!(
        (whiteout.path.as_str(), whiteout.opaque, whiteout.paths, whiteout.bytes),
        ("/d", false, 3, 30)
    );
    assert_eq!(path(&analysis, "/d/e/y").cause.as_deref(), Some("deleted-later"));
    assert_eq!(path(&analysis, "/d/e/y").shows, None);
    assert_eq!(path(&analysis, "/z").shows, Some(EntryKind::File));
}

#[test]
fn an_opaque_mark_hides_lower_children_and_not_those_of_its_layer() {
    let analysis =
        assert_wasted(&[layer().file("d/x", 10), layer().file("d/y", 3).content("d/.wh..wh..opq", b"")], 10);
    assert!(analysis.layers[1].worst_whiteouts[0].opaque);
    assert_eq!(analysis.layers[1].worst_whiteouts[0].path, "/d");
}

#[test]
fn linked_content_counts_once_and_is_wasted_with_its_last_name() {
    let linked = layer().file("a", 50).link("b", "a");
    assert_wasted(std::slice::from_ref(&linked), 0);
    assert_wasted(&[linked.clone(), layer().content(".wh.a", b"")], 0);
    let gone = assert_wasted(&[linked, layer().content(".wh.a", b""), layer().content(".wh.b", b"")], 50);
    assert_eq!((gone.layers[1].hides_bytes, gone.layers[2].hides_bytes), (0, 50));
    assert_eq!(path(&gone, "/a").wasted_bytes, 50);
}

#[test]
fn a_link_to_a_lower_layer_keeps_its_content() {
    let analysis = assert_wasted(&[layer().file("a", 50), layer().link("b", "a").content(".wh.a", b"")], 0);
    assert_eq!(path(&analysis, "/b").shows, Some(EntryKind::HardLink));
    assert_eq!(analysis.warnings.len(), 1, "{:?}", analysis.warnings);
}

#[test]
fn a_link_that_leads_nowhere_is_an_error_only_where_it_shows() {
    let error = try_analyze(&[layer().file("a", 1), layer().link("b", "nothing")]).unwrap_err();
    assert!(matches!(error, Error::Layer { layer: 1, source: LayerError::LinkTarget { .. } }), "{error}");
    assert_wasted(&[layer().link("b", "nothing"), layer().content(".wh.b", b"")], 0);
    let error = try_analyze(&[layer().directory("d"), layer().link("b", "d")]).unwrap_err();
    assert!(matches!(error, Error::Layer { source: LayerError::LinkToDirectory { .. }, .. }), "{error}");
}

#[test]
fn the_last_of_a_name_in_one_layer_is_what_counts() {
    let analysis = assert_wasted(&[layer().file("a", 10).file("a", 4)], 10);
    assert_eq!(path(&analysis, "/a").cause.as_deref(), Some("repeated-entry"));
    assert_eq!((path(&analysis, "/a").copies, &path(&analysis, "/a").layers[..]), (2, &[0][..]));
}

#[test]
fn a_directory_after_a_file_of_its_layer_hides_nothing_below() {
    assert_wasted(&[layer().file("d/x", 10), layer().file("d", 3).directory("d")], 3);
    assert_wasted(&[layer().file("d/x", 10), layer().file("d", 3)], 10);
}

#[test]
fn a_path_below_a_lower_file_replaces_it() {
    let analysis = assert_wasted(&[layer().file("a", 10), layer().file("a/b", 2)], 10);
    assert_eq!(analysis.layers[1].hides_bytes, 10);
    let analysis = assert_wasted(&[layer().symlink("l", "usr").file("usr/f", 5), layer().file("l/f", 2)], 0);
    assert!(analysis.warnings[0].contains("symlink"), "{:?}", analysis.warnings);
}

#[test]
fn what_was_removed_and_comes_back_is_counted_each_time() {
    let gone = layer().content(".wh.d", b"");
    let there = layer().file("d/x", 10);
    let analysis = assert_wasted(&[there.clone(), gone.clone(), there.clone(), gone, there], 20);
    let path = path(&analysis, "/d/x");
    assert_eq!((path.copies, path.total_bytes, &path.layers[..]), (3, 30, &[0, 2, 4][..]));
    assert_eq!(
        path.versions.iter().map(|version| (version.change, version.wasted_bytes)).collect::<Vec<_>>(),
        [
            (Change::Added, 10),
            (Change::Removed, 0),
            (Change::Added, 10),
            (Change::Removed, 0),
            (Change::Added, 0)
        ]
    );
}

#[test]
fn equal_files_are_told_and_their_extra_bytes_counted() {
    let analysis = analysis_of(&[
        layer().file("a", 4000).file("b", 4000).file("c", 3999).link("d", "a"),
        layer().file("e", 4000),
    ]);
    let [group] = &analysis.duplicates[..] else { panic!("{:?}", analysis.duplicates) };
    assert_eq!((group.bytes, group.copies, group.extra_bytes), (4000, 3, 8000));
    assert_eq!(group.paths, ["/a", "/b", "/e"]);
    let cause = analysis.causes.iter().find(|cause| cause.cause == "duplicate-content").unwrap();
    assert_eq!((cause.paths, cause.removable_bytes, cause.wasted_bytes), (3, 8000, 0));
}

#[test]
fn an_upgrade_in_a_layer_is_told_from_other_changes() {
    let analysis = analysis_of(&[
        layer().file("var/lib/dpkg/status", 900).file("usr/lib/libssl.so.3", 5000).file("srv/data", 300),
        layer().file("var/lib/dpkg/status", 901).file("usr/lib/libssl.so.3", 5001).file("srv/data", 301),
    ]);
    assert_eq!(path(&analysis, "/usr/lib/libssl.so.3").cause.as_deref(), Some("upgraded-base"));
    assert_eq!(path(&analysis, "/srv/data").cause.as_deref(), Some("replaced-later"));
    assert_eq!(path(&analysis, "/var/lib/dpkg/status").cause.as_deref(), Some("package-database"));
}

#[test]
fn zeros_are_told_in_large_files() {
    let mut content = vec![0; 2 << 20];
    content[5000] = 1;
    let analysis = analysis_of(&[layer().content("disk.img", &content).content("small.img", &[0; 4096])]);
    let found: Vec<_> = analysis.causes.iter().map(|cause| (cause.cause.as_str(), cause.paths)).collect();
    assert_eq!(found, [("preallocated-file", 1)]);
}

#[test]
fn options_hold_names_as_patterns_that_mean_these_names_alone() {
    let layers: Vec<_> = (1..9).map(|index| layer().file("var/log/a[1]*.log", index * 100)).collect();
    let analysis = analysis_of(&layers);
    assert_eq!(analysis.causes[0].options, ["--truncate", "/var/log/a\\[1\\]\\*.log"]);
    let layers: Vec<_> = layers.iter().map(|layer| layer.0.clone().into()).collect();
    let options =
        Options { truncate: vec![analysis.causes[0].options[1].clone()], strict: true, ..Options::default() };
    flatten(&MemoryLayers { layers, chunk_bytes: 1 << 20 }, &options).unwrap();
}

#[test]
fn the_worst_paths_are_listed_and_all_are_counted() {
    let many = (0..50).fold(layer(), |layer, index| layer.file(&format!("f{index:02}"), 100 + index));
    let layers: Vec<_> = [many.clone(), many].iter().map(|layer| layer.0.clone().into()).collect();
    let source = MemoryLayers { layers, chunk_bytes: 1 << 20 };
    let options = AnalysisOptions { top: Some(3), ..AnalysisOptions::default() };
    let analysis = analyze(&source, &facts(2), &options).unwrap();
    let listed: Vec<_> = analysis.paths.iter().map(|path| (path.path.as_str(), path.wasted_bytes)).collect();
    assert_eq!(listed, [("/f49", 149), ("/f48", 148), ("/f47", 147)]);
    assert_eq!(analysis.paths_total, 50);
    let all =
        analyze(&source, &facts(2), &AnalysisOptions { top: None, ..AnalysisOptions::default() }).unwrap();
    assert_eq!(all.paths.len(), 50);
    assert_eq!(all.totals, analysis.totals);
}

#[test]
fn details_tell_mode_owner_and_target() {
    let layers: Vec<_> =
        [layer().owned("a", 7, 3).symlink("s", "a")].iter().map(|layer| layer.0.clone().into()).collect();
    let options = AnalysisOptions { top: None, detailed: true, ..AnalysisOptions::default() };
    let analysis = analyze(&MemoryLayers { layers, chunk_bytes: 1 << 20 }, &facts(1), &options).unwrap();
    let a = path(&analysis, "/a").versions[0].attributes.clone().unwrap();
    assert_eq!((a.mode, a.uid, a.link), (0o644, 7, None));
    assert_eq!(path(&analysis, "/s").versions[0].attributes.clone().unwrap().link.as_deref(), Some("a"));
}

#[test]
fn a_name_that_is_no_text_is_given_in_hexadecimal_too() {
    let mut block = simple_header(b"x", b'0', 0o644, 0);
    block[0] = 0xff;
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let analysis = analysis_of(&[Layer(block.to_vec())]);
    assert_eq!(analysis.paths[0].path_hex.as_deref(), Some("ff"));
}

#[test]
fn the_error_of_the_lowest_bad_layer_is_told() {
    let bad = Layer(vec![b'x'; 600]);
    for _ in 0..20 {
        let layers = [layer().file("a", 5000), bad.clone(), layer().file("b", 5), bad.clone()];
        assert!(matches!(try_analyze(&layers).unwrap_err(), Error::Layer { layer: 1, .. }));
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limits() {
    let layers: Vec<_> =
        [layer().file("a", 5000).file("b", 1)].iter().map(|layer| layer.0.clone().into()).collect();
    let source = MemoryLayers { layers, chunk_bytes: 512 };
    let small = AnalysisOptions { max_unpacked_bytes: 2000, ..AnalysisOptions::default() };
    let error = analyze(&source, &facts(1), &small).unwrap_err();
    assert!(matches!(error, Error::Layer { source: LayerError::UnpackedLimit { .. }, .. }), "{error}");
    let few = AnalysisOptions { max_paths: 2, ..AnalysisOptions::default() };
    let error = analyze(&source, &facts(1), &few).unwrap_err();
    assert!(matches!(error, Error::Layer { source: LayerError::PathLimit { .. }, .. }), "{error}");
}

#[test]
fn many_small_layers_and_a_large_one_are_the_same_with_any_number_of_threads() {
    let mut layers: Vec<Layer> =
        (0..120).map(|index| layer().file(&format!("d{}/f", index % 7), index + 1)).collect();
    let large = (0..20_000).fold(layer(), |layer, index| layer.file(&format!("big/{index}"), 1));
    layers.insert(0, large.clone());
    layers.insert(60, large);
    let source = MemoryLayers {
        layers: layers.iter().map(|layer| layer.0.clone().into()).collect(),
        chunk_bytes: 4000,
    };
    let run = |jobs| {
        let options = AnalysisOptions { jobs, ..AnalysisOptions::default() };
        analyze(&source, &facts(layers.len()), &options).unwrap()
    };
    let one = run(1);
    assert_eq!(one.totals.unpacked_bytes, 40_000 + (1..=120).sum::<u64>());
    for jobs in [2, 5, 16] {
        assert_eq!(run(jobs), one, "{jobs} threads");
    }
}

#[derive(serde::Deserialize)]
struct Case {
    layers: Vec<String>,
    expect: String,
}

/// Content of a merged tar: an inode is written once, and its other names are links.
fn content_of(tar: Vec<u8>) -> u64 {
    let layers = MemoryLayers { layers: vec![tar.into()], chunk_bytes: 1 << 20 };
    let mut reader = TarReader::new(layers.open(0).unwrap(), 0, Arc::new(Meter::new(u64::MAX)));
    let mut raw = Vec::new();
    let mut bytes = 0;
    while let Some(header) = reader.next(&mut raw).unwrap() {
        bytes += if header.kind == Kind::Regular { header.size } else { 0 };
    }
    bytes
}

#[test]
fn every_ready_case_has_the_content_that_its_merge_writes() {
    let cases: BTreeMap<String, Case> =
        serde_json::from_str(include_str!("../../../layers/tests/torture/cases.json")).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for (name, case) in cases {
        let decode = |text: &String| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let layers: Vec<bytes::Bytes> = case.layers.iter().map(|text| decode(text).into()).collect();
        let count = layers.len();
        let source = MemoryLayers { layers, chunk_bytes: 700 };
        let merged = flatten(&source, &Options::default());
        let analysed =
            analyze(&source, &facts(count), &AnalysisOptions { jobs: 3, ..AnalysisOptions::default() });
        match (merged, analysed) {
            (Ok((tar, summary)), Ok(analysis)) => {
                agreed += 1;
                assert_eq!(analysis.totals.merged_bytes, content_of(tar), "{name}: {}", case.expect);
                let warnings: Vec<String> = summary.warnings.iter().map(ToString::to_string).collect();
                assert_eq!(analysis.warnings, warnings, "{name}");
            }
            (Err(_), Err(_)) => refused += 1,
            (merged, analysed) => {
                panic!("{name}: merge {:?}, analysis {:?}", merged.map(|_| ()), analysed.map(|_| ()))
            }
        }
    }
    assert!(agreed > 70 && refused > 3, "{agreed} agreed, {refused} refused");
}
