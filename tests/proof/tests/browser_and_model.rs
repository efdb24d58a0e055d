//! The browser's catalogue against the plain model: what it shows after each layer, and which bytes it calls
//! wasted.

use std::collections::BTreeMap;

use unbloat_analysis::{AnalysisOptions, ImageFacts, LayerFacts, analyze};
use unbloat_explore::{Catalogue, Limits, Scope, Sign, View, read};
use unbloat_layers::{MemoryLayers, Options, flatten};
use unbloat_proof::{
    model::{self, Kind, Tree},
    stack::{Body, Profile, Record, Stack, generate, shrink},
};

fn catalogue(tars: &[Vec<u8>], jobs: usize) -> Result<Catalogue, String> {
    let layers: Vec<_> = tars.iter().map(|tar| tar.clone().into()).collect();
    let count = layers.len();
    let source = MemoryLayers { layers, chunk_bytes: 1 << 16 };
    read(&source, count, &Limits { jobs, ..Limits::default() }).map_err(|error| error.to_string())
}

/// Type and size of everything that is shown, by path.
type Shown = BTreeMap<Vec<u8>, char>;

fn shown_by_the_model(tree: &Tree) -> Shown {
    let letter = |kind: &Kind| match kind {
        Kind::Directory => 'd',
        Kind::File(_) => '-',
        Kind::Symlink(_) => 'l',
        Kind::Character(..) => 'c',
        Kind::Block(..) => 'b',
        Kind::Fifo => 'p',
    };
    tree.paths
        .iter()
        .filter(|(path, _)| !path.is_empty())
        .map(|(path, inode)| (path.clone(), letter(&tree.inodes[inode].kind)))
        .collect()
}

fn content_of_the_model(tree: &Tree) -> u64 {
    let used: std::collections::BTreeSet<_> = tree.paths.values().collect();
    used.into_iter()
        .map(|inode| match &tree.inodes[inode].kind {
            Kind::File(content) => content.len() as u64,
            _ => 0,
        })
        .sum()
}

fn shown_by_the_browser(catalogue: &Catalogue, view: &View) -> Shown {
    let mut shown = Shown::new();
    for row in view.rows() {
        let Some(version) = view.version(catalogue, row.node) else { continue };
        if matches!(view.sign(catalogue, row.node), Sign::Removed | Sign::Gone) {
            continue;
        }
        // A link is what it links to.
        let letter = version.linked.unwrap_or(version.sort).letter();
        shown.insert(catalogue.path(row.node), letter);
    }
    shown
}

/// `analyze` and `explore` say the same of the same image.
fn differs_from_the_analysis(tars: &[Vec<u8>], catalogue: &Catalogue) -> Option<String> {
    let layers: Vec<_> = tars.iter().map(|tar| tar.clone().into()).collect();
    let facts = ImageFacts { layers: vec![LayerFacts::default(); layers.len()], ..ImageFacts::default() };
    let source = MemoryLayers { layers, chunk_bytes: 1 << 16 };
    let analysis = match analyze(&source, &facts, &AnalysisOptions::default()) {
        Ok(analysis) => analysis,
        // What cannot be squashed cannot be analysed; it can still be looked at.
        Err(_) if flatten(&source, &Options::default()).is_err() => return None,
        Err(error) => return Some(format!("the analysis refuses what the browser shows: {error}")),
    };
    match flatten(&source, &Options::default()) {
        Ok((_, summary)) => {
            // What a squash does not see, as a higher layer hides it, the analysis may still tell.
            let both = |warning: &String| !warning.contains("--follow-symlinked-parents");
            let told: Vec<_> = analysis.warnings.iter().filter(|one| both(one)).cloned().collect();
            let warnings = summary.warnings.iter().map(ToString::to_string).filter(both);
            let warnings: Vec<_> = warnings.collect();
            if told != warnings {
                return Some(format!("the analysis warns {told:?}, the squash {warnings:?}"));
            }
        }
        Err(error) => return Some(format!("the analysis shows what the squash refuses: {error}")),
    }
    let (a, b) = (&analysis.totals, catalogue);
    if (a.unpacked_bytes, a.merged_bytes) != (b.unpacked_bytes(), b.merged_bytes()) {
        return Some(format!(
            "the analysis has {a:?}, the browser {} and {}",
            b.unpacked_bytes(),
            b.merged_bytes()
        ));
    }
    let a: Vec<_> = analysis.layers.iter().map(|layer| (layer.unpacked_bytes, layer.wasted_bytes)).collect();
    let b: Vec<_> = catalogue.layers().iter().map(|layer| (layer.bytes, layer.wasted_bytes)).collect();
    (a != b).then(|| format!("the analysis has {a:?} in the layers, the browser {b:?}"))
}

fn wrong(stack: &Stack) -> Option<String> {
    let tars = stack.tars();
    let expected = model::merge(&tars).ok()?;
    let catalogue = match catalogue(&tars, 1) {
        Ok(catalogue) => catalogue,
        Err(error) => return Some(format!("refused: {error}")),
    };
    let merged = content_of_the_model(&expected);
    if catalogue.merged_bytes() != merged {
        return Some(format!("{} merged bytes instead of {merged}", catalogue.merged_bytes()));
    }
    let wasted: u64 = catalogue.layers().iter().map(|layer| layer.wasted_bytes).sum();
    if wasted != catalogue.wasted_bytes() {
        return Some(format!("the layers waste {wasted}, the image {}", catalogue.wasted_bytes()));
    }
    if let Some(differs) = differs_from_the_analysis(&tars, &catalogue) {
        return Some(differs);
    }
    let mut view = View::new(&catalogue);
    if view.wasted(0) != wasted || view.bytes(0) != merged {
        return Some(format!("the tree has {} bytes, {} wasted", view.bytes(0), view.wasted(0)));
    }
    view.set_all_open(&catalogue, 0, true);
    let mut tree = model::empty();
    for (layer, tar) in tars.iter().enumerate() {
        model::add_layer(&mut tree, tar).ok()?;
        view.set_scope(&catalogue, Scope::Until(layer));
        let (found, expected) = (shown_by_the_browser(&catalogue, &view), shown_by_the_model(&tree));
        if found != expected {
            let differs = |a: &Shown, b: &Shown| -> Vec<String> {
                a.iter()
                    .filter(|(path, letter)| b.get(*path) != Some(letter))
                    .map(|(path, letter)| format!("{letter}{}", String::from_utf8_lossy(path)))
                    .collect()
            };
            return Some(format!(
                "after layer {layer}: too much {:?}, missing {:?}",
                differs(&found, &expected),
                differs(&expected, &found)
            ));
        }
        let content = content_of_the_model(&tree);
        if view.bytes(0) != content {
            return Some(format!("after layer {layer}: {} bytes instead of {content}", view.bytes(0)));
        }
    }
    None
}

/// A stack with names that can be read.
fn told(stack: &Stack) -> String {
    let mut text = String::new();
    for (layer, records) in stack.layers.iter().enumerate() {
        for record in records {
            let name = String::from_utf8_lossy(&record.name);
            let body = match &record.body {
                Body::HardLink(target) => format!("= {}", String::from_utf8_lossy(target)),
                Body::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                Body::File(content) => format!("{} bytes", content.len()),
                Body::GnuSparse(_, size) | Body::PaxSparse(_, size) => format!("{size} bytes, sparse"),
                other => format!("{other:?}"),
            };
            text += &format!("layer {layer}: {name} {body}\n");
        }
    }
    text
}

#[test]
fn the_browser_shows_what_the_model_has_after_every_layer_of_random_stacks() {
    let mut compared = 0;
    for seed in 0..1500 {
        let profile = [Profile::Full, Profile::Portable, Profile::Wide, Profile::Runtime][seed as usize % 4];
        let stack = generate(seed, profile);
        compared += usize::from(model::merge(&stack.tars()).is_ok());
        if let Some(reason) = wrong(&stack) {
            let small = shrink(&stack, |stack| wrong(stack).is_some());
            panic!(
                "seed {seed}: {reason}\nsmallest: {}\n{}",
                wrong(&small).unwrap_or_default(),
                told(&small)
            );
        }
    }
    assert!(compared > 1400, "only {compared} stacks are valid");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for seed in 0..100 {
        let tars = generate(seed, Profile::Full).tars();
        let (Ok(one), Ok(three)) = (catalogue(&tars, 1), catalogue(&tars, 3)) else { continue };
        let listed = |catalogue: &Catalogue| -> Vec<_> {
            (0..catalogue.len() as u32).map(|node| (catalogue.path(node), catalogue.versions(node))).collect()
        };
        assert_eq!(listed(&one), listed(&three), "seed {seed}");
    }
}

/// Found by fuzzing the merge.
#[test]
fn a_hard_link_to_a_symlink_of_its_layer_leads_paths_as_the_symlink_does() {
    let layer = vec![
        Record::plain("a", Body::Symlink(b"b".to_vec())),
        Record::plain("a/a", Body::HardLink(b"a".to_vec())),
        Record::plain("b/a/a", Body::File(b"content".to_vec())),
    ];
    assert_eq!(wrong(&Stack { seed: 0, layers: vec![layer] }), None);
}
