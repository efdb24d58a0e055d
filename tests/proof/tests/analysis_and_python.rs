//! Wasted bytes, to the byte, against an independent walk of the layers with Python's `tarfile`.

use std::fs;

use serde_json::Value;
use unbloat_analysis::{Analysis, AnalysisOptions, ImageFacts, LayerFacts, analyze};
use unbloat_layers::MemoryLayers;
use unbloat_proof::{
    model,
    stack::{Body, Profile, Record, Stack, generate},
    tools::{command, fast_folder, run},
};

/// Stacks that are compared.
const STACKS: u64 = 200;

fn analysed(tars: &[Vec<u8>], jobs: usize, chunk_bytes: usize) -> Analysis {
    let layers = tars.iter().map(|tar| tar.clone().into()).collect();
    let facts = ImageFacts { layers: vec![LayerFacts::default(); tars.len()], ..ImageFacts::default() };
    let options = AnalysisOptions { top: None, detailed: jobs > 1, jobs, ..AnalysisOptions::default() };
    analyze(&MemoryLayers { layers, chunk_bytes }, &facts, &options).expect("the model merged it")
}

/// Stacks that are valid by the model and that Python can read.
fn stacks() -> Vec<Stack> {
    // Python takes an archive for cut off when it ends behind a global header.
    let ends_in_global =
        |records: &Vec<Record>| matches!(records.last(), Some(Record { body: Body::Global(_), .. }));
    let valid =
        |stack: &Stack| !stack.layers.iter().any(ends_in_global) && model::merge(&stack.tars()).is_ok();
    let of = |profile| move |seed| generate(seed, profile);
    let half = STACKS as usize / 2;
    let full = (1..).map(of(Profile::Full)).filter(valid).take(half);
    let portable = (100_000..).map(of(Profile::Portable)).filter(valid).take(half);
    full.chain(portable).collect()
}

#[test]
fn wasted_bytes_are_those_of_a_walk_with_python() {
    let folder = fast_folder().expect("a folder");
    let stacks = stacks();
    for (index, stack) in stacks.iter().enumerate() {
        let place = folder.path().join(format!("{index:04}"));
        fs::create_dir(&place).expect("a folder");
        for (layer, tar) in stack.tars().iter().enumerate() {
            fs::write(place.join(format!("{layer}.tar")), tar).expect("written");
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oracle/wasted.py");
    let output = run(command("python3").arg(script).arg(folder.path())).expect("Python walks the layers");
    let walked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut wasteful = 0;
    for (index, stack) in stacks.iter().enumerate() {
        let expected = &walked[format!("{index:04}")];
        let found = analysed(&stack.tars(), 1, 1 << 20);
        let by_layer: Vec<u64> = found.layers.iter().map(|layer| layer.wasted_bytes).collect();
        let told = (found.totals.unpacked_bytes, found.totals.wasted_bytes);
        let python = (expected["unpackedBytes"].as_u64(), expected["wastedBytes"].as_u64());
        assert_eq!((Some(told.0), Some(told.1)), python, "{}", stack.describe());
        assert_eq!(serde_json::json!(by_layer), expected["byLayer"], "{}", stack.describe());
        wasteful += u64::from(told.1 > 0);
    }
    assert!(
        wasteful > STACKS / 4,
        "{wasteful} of {STACKS} stacks waste anything: the comparison says little"
    );
}

#[test]
fn every_sum_of_a_result_fits_and_threads_change_nothing() {
    for stack in stacks() {
        let tars = stack.tars();
        let mut one = analysed(&tars, 1, 1 << 20);
        let totals = &one.totals;
        assert_eq!(totals.unpacked_bytes, totals.merged_bytes + totals.wasted_bytes);
        let sum = |of: &dyn Fn() -> u64, whole: u64, what: &str| {
            assert_eq!(of(), whole, "{what}\n{}", stack.describe());
        };
        sum(
            &|| one.layers.iter().map(|layer| layer.wasted_bytes).sum(),
            totals.wasted_bytes,
            "layers, wasted",
        );
        sum(
            &|| one.layers.iter().map(|layer| layer.unpacked_bytes).sum(),
            totals.unpacked_bytes,
            "layers, unpacked",
        );
        sum(&|| one.paths.iter().map(|path| path.wasted_bytes).sum(), totals.wasted_bytes, "paths, wasted");
        sum(&|| one.paths.iter().map(|path| path.total_bytes).sum(), totals.unpacked_bytes, "paths, total");
        sum(&|| one.causes.iter().map(|cause| cause.wasted_bytes).sum(), totals.wasted_bytes, "causes");
        let hidden: u64 = one.layers.iter().map(|layer| layer.hides_bytes).sum();
        assert!(hidden <= totals.wasted_bytes, "layers hide more than is wasted\n{}", stack.describe());
        for path in &one.paths {
            let wasted: u64 = path.versions.iter().map(|version| version.wasted_bytes).sum();
            assert_eq!(wasted, path.wasted_bytes, "{}\n{}", path.path, stack.describe());
        }
        let mut many = analysed(&tars, 4, 100);
        for version in many.paths.iter_mut().chain(&mut one.paths).flat_map(|path| &mut path.versions) {
            version.attributes = None;
        }
        assert_eq!(one, many, "{}", stack.describe());
    }
}
