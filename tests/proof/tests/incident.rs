//! The main job on real input: the incident's image, squashed from registry to registry.

use unbloat_proof::{
    command,
    image::Layout,
    incident::{self, incident, pull, push},
    model::{self, Mask, Tree},
    oracle::{Containerd, trees_differ},
    registry::{Flavour, Registry},
    tools::fast_folder,
};

/// Design, section 3: what one squash may hold, beside 150 bytes a path.
const FIXED_MEMORY: u64 = 64 << 20;

fn tree_of(layout: &Layout, tag: &str) -> (Tree, usize, Vec<Vec<u8>>) {
    let image = layout.image(tag).expect("digests, sizes, diffIDs and history fit");
    (model::merge(&image.tars).expect("valid"), image.tars.len(), image.tars)
}

/// Squashes the image inside one registry; answers with the result as a third party pulls it.
fn squash_in(registry: &Registry, paths: usize, folder: &std::path::Path) -> Layout {
    let layout = incident().expect("the image");
    let (source, target) = (registry.reference("incident:full"), registry.reference("incident:flat"));
    push(&layout, "incident", &source).expect("pushed");
    let since = registry.log().expect("a log").len();
    // On a real disk, where the kernel counts what is written.
    let scratch = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let run = command::run([
        "squash",
        &source,
        &target,
        "--output",
        "json",
        "--scratch",
        &scratch.path().display().to_string(),
    ])
    .and_then(command::Run::success)
    .expect("squashed");
    println!(
        "{:.2} s, {:.1} MB resident, {:?} CPU",
        run.wall.as_secs_f64(),
        run.peak_memory as f64 / 1e6,
        run.cpu
    );
    let result = run.json().expect("one JSON object");
    assert_eq!(
        (result["layersBefore"].as_u64(), result["layersAfter"].as_u64()),
        (Some(273), Some(1)),
        "{result}"
    );
    assert!(
        run.peak_memory <= FIXED_MEMORY + 150 * paths as u64,
        "{} bytes resident for {paths} paths",
        run.peak_memory
    );
    assert_eq!(run.disk_written, 0, "bytes written to disk");
    let reads = registry.blob_reads("incident", since).expect("a log");
    assert!(reads.len() >= 273, "{} blobs read", reads.len());
    let twice: Vec<_> = reads.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "read more than once: {twice:?}");
    let pulled = pull(&target, folder).expect("skopeo pulls the result");
    assert_eq!(pulled.image("pulled").expect("sound").digest, result["digest"].as_str().unwrap_or_default());
    pulled
}

#[test]
fn the_incident_is_squashed_between_registries_and_is_the_same_tree_in_containerd() {
    let layout = incident().expect("the image");
    let (expected, layers, tars) = tree_of(&layout, "incident");
    assert_eq!(layers, incident::LAYERS + 1);
    let times = model::invented_times(&tars).expect("valid");
    drop(tars);
    let folder = fast_folder().expect("a folder");
    for flavour in [Flavour::Debian, Flavour::DistributionV3] {
        let registry = Registry::start(flavour).expect("a registry");
        let flat = squash_in(&registry, expected.paths.len(), &folder.path().join(format!("{flavour:?}")));
        let (found, layers, _) = tree_of(&flat, "pulled");
        assert_eq!(layers, 1);
        let differences = model::diff(&expected, &found);
        assert!(differences.is_empty(), "{flavour:?}\n{}", differences.join("\n"));
        if flavour == Flavour::Debian {
            let mut containerd = Containerd::start().expect("containerd");
            let mut tree = |tag: &str| {
                let reference = registry.reference(&format!("incident:{tag}"));
                containerd.pull(&reference).expect("containerd pulls");
                containerd.tree(&reference).expect("containerd mounts")
            };
            let (original, squashed) = (tree("full"), tree("flat"));
            let mask = Mask { times: times.clone(), root: true, ..Mask::default() };
            assert_eq!(trees_differ("containerd", &original, &squashed, &mask), None);
            assert_eq!(trees_differ("model and containerd", &expected, &squashed, &mask), None);
        }
    }
}
