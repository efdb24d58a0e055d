//! The built command on random portable stacks, original and result unpacked by containerd and by umoci.

use std::{collections::BTreeSet, sync::Mutex};

use unbloat_proof::{
    command,
    image::{Layout, Packing},
    model::{self, Mask},
    oracle::{self, Containerd, trees_differ},
    random::Random,
    stack::{Profile, Stack, count, generate},
    tools::fast_folder,
};

/// Stacks of each kind, each unpacked as the original, fully squashed and with a kept base.
const STACKS: u64 = 100;
/// The first seed; other files of this folder use lower ones.
const FIRST: u64 = 10_000;
/// The images' name in containerd.
const NAME: &str = "proof.invalid/squash";

/// How many base layers the kept-base squash of a stack keeps.
fn kept(stack: &Stack) -> Option<usize> {
    (stack.layers.len() > 1).then(|| 1 + stack.seed as usize % (stack.layers.len() - 1))
}

fn squash(layout: &Layout, stack: &Stack) -> Result<(), String> {
    let seed = stack.seed;
    let run = |target: String, more: &[String]| {
        let mut arguments =
            vec!["squash".to_owned(), layout.reference(&format!("s{seed}")), layout.reference(&target)];
        arguments.extend_from_slice(more);
        let run = command::run(&arguments).map_err(|error| error.to_string())?;
        run.success().map(drop).map_err(|error| format!("{target}: {error}"))
    };
    run(format!("s{seed}-full"), &[])?;
    match kept(stack) {
        Some(layers) => run(format!("s{seed}-base"), &["--base-layers".to_owned(), layers.to_string()]),
        None => Ok(()),
    }
}

fn packing(seed: u64) -> impl Fn(usize) -> Packing {
    move |layer| {
        let mut random = Random::new(seed.wrapping_add(layer as u64));
        *random.pick(&[
            Packing::Gzip(1),
            Packing::Gzip(6),
            Packing::Gzip(9),
            Packing::Gzip(0),
            Packing::GzipMembers(700),
        ])
    }
}

/// Everything that is wrong with one stack's results. The rarer kinds umoci unpacks by rules of its own.
fn compare(layout: &Layout, containerd: &Mutex<Containerd>, stack: &Stack, profile: Profile) -> Vec<String> {
    let tars = stack.tars();
    let original = format!("s{}", stack.seed);
    let mount = |tag: &str| {
        let mut containerd = containerd.lock().expect("no thread panics");
        containerd.tree(&format!("{NAME}:{tag}")).expect("containerd mounts")
    };
    let expected = model::merge(&tars).expect("valid");
    let unpack = |tag: &str| (!profile.is_wide()).then(|| oracle::unpack(layout, tag)).transpose();
    let (by_umoci, by_containerd) = (unpack(&original).expect("umoci"), mount(&original));
    let times = model::invented_times(&tars).expect("valid");
    let mut wrong = Vec::new();
    let mut targets = vec![(format!("{original}-full"), 0)];
    targets.extend(kept(stack).map(|layers| (format!("{original}-base"), layers)));
    for (tag, base_layers) in targets {
        let result = match layout.image(&tag) {
            Ok(image) => image,
            Err(error) => {
                wrong.push(format!("{tag}: {error:#}"));
                continue;
            }
        };
        if result.tars.len() != base_layers + 1 || result.tars[..base_layers] != tars[..base_layers] {
            wrong.push(format!("{tag}: {} layers, or the kept ones changed", result.tars.len()));
        }
        let mut mask = Mask { times: times.clone(), ..Mask::default() };
        model::mask_split_links(&mut mask, &tars, base_layers).expect("valid");
        mask.times.extend(model::invented_times(&result.tars).expect("the result merges"));
        let root = Mask { root: true, ..mask.clone() };
        let merged = model::merge(&result.tars).expect("the result merges");
        let umoci = match unpack(&tag) {
            Ok(tree) => tree,
            Err(error) => {
                wrong.push(format!("{tag}: umoci refuses the result: {error:#}"));
                continue;
            }
        };
        wrong.extend(trees_differ(&format!("{tag}, model"), &expected, &merged, &mask));
        if let (Some(expected), Some(found)) = (&by_umoci, &umoci) {
            wrong.extend(trees_differ(&format!("{tag}, umoci"), expected, found, &mask));
        }
        wrong.extend(trees_differ(&format!("{tag}, containerd"), &by_containerd, &mount(&tag), &root));
    }
    wrong
}

#[test]
fn portable_stacks_are_the_same_tree_in_containerd_and_umoci_after_a_squash() {
    check(Profile::Portable, count(STACKS));
}

/// Capabilities on hard links, directories named late and twice, opaque marks where no directory is, global
/// headers.
#[test]
fn stacks_of_the_rarer_kinds_are_the_same_tree_in_containerd_after_a_squash() {
    check(Profile::Runtime, count(STACKS));
}

fn check(profile: Profile, stacks: u64) {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let stacks: Vec<Stack> = (FIRST..FIRST + stacks).map(|seed| generate(seed, profile)).collect();
    let mut wrong = Vec::new();
    for stack in &stacks {
        layout.add(&format!("s{}", stack.seed), &stack.tars(), packing(stack.seed)).expect("written");
        if let Err(error) = squash(&layout, stack) {
            wrong.push(format!("{}{error}", stack.describe()));
        }
    }
    assert!(wrong.is_empty(), "{} stacks are refused\n{}", wrong.len(), wrong.join("\n"));
    let archive = folder.path().join("all.tar");
    layout.archive(&archive).expect("an archive");
    let containerd = Containerd::start().expect("containerd");
    let mut refused = BTreeSet::new();
    if containerd.import(&archive, NAME).is_err() {
        // One image that containerd refuses stops a whole archive: tell which.
        for stack in &stacks {
            let original = format!("s{}", stack.seed);
            let is_image = containerd.take(&layout, &original, NAME).is_ok();
            for kind in ["-full", "-base"] {
                let tag = format!("{original}{kind}");
                // What refuses the original may be in the layers that are kept.
                if (kind == "-base" && !is_image) || layout.resolve(&tag).is_err() {
                    continue;
                }
                if let Err(error) = containerd.take(&layout, &tag, NAME) {
                    wrong.push(format!("{}containerd refuses {tag}: {error}", stack.describe()));
                    refused.insert(stack.seed);
                }
            }
            if !is_image {
                refused.insert(stack.seed);
            }
        }
    }
    let all = stacks.len();
    let stacks: Vec<Stack> = stacks.into_iter().filter(|stack| !refused.contains(&stack.seed)).collect();
    assert!(stacks.len() * 20 > all * 19, "containerd took {} of {all}\n{}", stacks.len(), wrong.join("\n"));
    let containerd = Mutex::new(containerd);
    let wrong = Mutex::new(wrong);
    let half = stacks.len() / 2;
    std::thread::scope(|scope| {
        for part in [&stacks[..half], &stacks[half..]] {
            let (layout, containerd, wrong) = (&layout, &containerd, &wrong);
            scope.spawn(move || {
                for stack in part {
                    let found = compare(layout, containerd, stack, profile);
                    if !found.is_empty() {
                        wrong.lock().expect("held shortly").push(format!(
                            "{}{}",
                            stack.describe(),
                            found.join("\n")
                        ));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panics");
    assert!(wrong.is_empty(), "{} stacks differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn links_to_files_of_lower_layers_are_repaired_so_that_containerd_takes_the_image() {
    // Containerd refuses the originals; umoci and the rules agree on them.
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let mut checked = 0;
    let mut containerd = Containerd::start().expect("containerd");
    for seed in 0..40 {
        let (tars, links) = cross_linked(seed);
        let tag = format!("x{seed}");
        layout.add(&tag, &tars, |_| Packing::Gzip(6)).expect("written");
        let run =
            command::run(["squash", &layout.reference(&tag), &layout.reference(&format!("{tag}-full"))])
                .expect("runs");
        run.success().expect("squashed");
        let expected = oracle::unpack(&layout, &tag).expect("umoci");
        let result = layout.image(&format!("{tag}-full")).expect("sound");
        let mut mask = Mask { times: model::invented_times(&tars).expect("valid"), ..Mask::default() };
        mask.times.extend(model::invented_times(&result.tars).expect("valid"));
        let found = oracle::unpack(&layout, &format!("{tag}-full")).expect("umoci");
        assert_eq!(trees_differ("umoci", &expected, &found, &mask), None, "{tag}");
        checked += links;
    }
    let archive = folder.path().join("all.tar");
    let results = Layout::create(folder.path().join("results")).expect("a layout");
    for seed in 0..40 {
        let image = layout.image(&format!("x{seed}-full")).expect("sound");
        results.add(&format!("x{seed}"), &image.tars, |_| Packing::Gzip(1)).expect("written");
    }
    results.archive(&archive).expect("an archive");
    containerd.import(&archive, "proof.invalid/links").expect("containerd takes the results");
    for seed in 0..40 {
        let expected = model::merge(&cross_linked(seed).0).expect("valid");
        let found = containerd.tree(&format!("proof.invalid/links:x{seed}")).expect("mounted");
        let mask = Mask { root: true, times: expected.paths.keys().cloned().collect(), ..Mask::default() };
        assert_eq!(trees_differ("containerd", &expected, &found, &mask), None, "x{seed}");
    }
    assert!(checked > 40, "{checked} links");
}

/// A portable stack, and above it a layer of links to files that the stack leaves visible.
fn cross_linked(seed: u64) -> (Vec<Vec<u8>>, usize) {
    use unbloat_proof::stack::{Body, Dialect, Record, tarball};
    let mut tars = generate(20_000 + seed, Profile::Portable).tars();
    let tree = model::merge(&tars).expect("valid");
    let mut records = Vec::new();
    for (path, number) in &tree.paths {
        let inode = &tree.inodes[number];
        let of = &inode.metadata;
        // The kernel drops setuid bits and capabilities when an unpacker sets the owner again.
        let plain = of.mode & 0o6000 == 0 && of.xattrs.is_empty();
        if matches!(inode.kind, model::Kind::File(_)) && plain && path.len() < 60 && records.len() < 3 {
            records.push(Record {
                name: format!("link-{}", records.len()).into_bytes(),
                body: Body::HardLink(path.clone()),
                mode: of.mode,
                uid: of.uid,
                gid: of.gid,
                mtime: of.mtime,
                xattrs: Default::default(),
                unknown: Vec::new(),
                dialect: Dialect::Pax,
            });
        }
    }
    tars.push(tarball::write(&records));
    (tars, records.len())
}
