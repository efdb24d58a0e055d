//! `remove` and `rebase` by the built command, on random stacks, against the plain model and containerd.

use std::collections::{BTreeMap, BTreeSet};

use unbloat_proof::{
    command,
    image::{Layout, Packing},
    model::{self, Kind, Mask, Node, Tree},
    oracle::{Containerd, trees_differ},
    random::Random,
    stack::{Profile, Stack, count, generate},
    tools::fast_folder,
};

/// Stacks of each profile; `UNBLOAT_STACKS` says another number.
const STACKS: u64 = 25;
/// The first seed; other files of this folder use others.
const FIRST: u64 = 40_000;

/// Paths that somebody can write on a command line without meaning a pattern or a marker.
fn can_be_written(path: &[u8]) -> bool {
    let part = |part: &[u8]| !part.starts_with(b".wh.") && part != b"..";
    std::str::from_utf8(path).is_ok_and(|text| !text.contains(['*', '?', '[', '{', '\\', ']', '}']))
        && path.split(|byte| *byte == b'/').all(part)
}

/// A path as it is written, and where it really is; nothing where nothing is there.
type Written = (String, Option<Vec<u8>>);

/// Some paths of a tree: as they are, through symlinks of the image, and some that lead nowhere.
fn draw_paths(random: &mut Random, tree: &Tree) -> Vec<Written> {
    let real: Vec<&Vec<u8>> = tree.paths.keys().filter(|path| !path.is_empty()).collect();
    let mut written: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    if real.is_empty() {
        return vec![("nothing/here".to_owned(), None)];
    }
    let links: Vec<(&[u8], Vec<u8>)> = tree
        .paths
        .iter()
        .filter(|(_, number)| matches!(tree.inodes[number].kind, Kind::Symlink(_)))
        .filter_map(|(path, _)| Some((&path[..], tree.resolve(path, true)?)))
        .filter(|(_, real)| tree.is_directory(real))
        .collect();
    for _ in 0..random.between(1, 4) {
        let path = (*random.pick(&real)).clone();
        written.push((path.clone(), Some(path.clone())));
        if !links.is_empty() {
            let (link, folder) = random.pick(&links);
            let prefix = if folder.is_empty() { Vec::new() } else { [&folder[..], b"/"].concat() };
            let below: Vec<&&Vec<u8>> =
                real.iter().filter(|path| path.starts_with(&prefix) && path.len() > prefix.len()).collect();
            if !below.is_empty() {
                let path = (**random.pick(&below)).clone();
                written.push(([link, &b"/"[..], &path[prefix.len()..]].concat(), Some(path)));
            }
        }
        if random.chance(20) {
            // Below what is no directory, and beside what there is.
            let nowhere = [&path[..], b"/not/there"].concat();
            written.push((nowhere, None));
        }
    }
    let mut paths = Vec::new();
    for (text, real) in written.into_iter().filter(|(text, _)| can_be_written(text)) {
        let text = String::from_utf8(text).expect("checked");
        let slash = if random.chance(50) { "/" } else { "" };
        paths.push((format!("{slash}{text}"), real));
    }
    paths
}

fn packing(seed: u64) -> impl Fn(usize) -> Packing {
    move |layer| {
        *Random::new(seed ^ layer as u64).pick(&[Packing::Gzip(6), Packing::Gzip(1), Packing::Zstd(3)])
    }
}

/// What is wrong with an image that has lost `gone`, by the model; the tree that it should have.
fn wrong_without(layout: &Layout, stack: &Stack, tag: &str, gone: &[Vec<u8>]) -> (Tree, Option<String>) {
    let tars = stack.tars();
    let mut expected = model::merge(&tars).expect("valid");
    gone.iter().for_each(|path| expected.remove(path));
    let result = match layout.image(tag) {
        Ok(result) => result,
        Err(error) => return (expected, Some(format!("{tag}: {error:#}"))),
    };
    let mut mask = Mask { times: model::invented_times(&tars).expect("valid"), ..Mask::default() };
    mask.times.extend(model::invented_times(&result.tars).expect("the result merges"));
    let merged = model::merge(&result.tars).expect("the result merges");
    let kept = result.tars.len() >= tars.len() && result.tars[..tars.len()] == tars[..];
    let changed = (!kept).then(|| format!("{tag}: a layer of the original changed"));
    let differs = trees_differ(&format!("{tag}, model"), &expected, &merged, &mask);
    (expected, changed.or(differs))
}

fn check_removals(profile: Profile, stacks: u64) {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let mut wrong = Vec::new();
    let mut removed = Vec::new();
    let mut through_links = 0;
    for seed in FIRST..FIRST + stacks {
        let stack = generate(seed, profile);
        let tree = model::merge(&stack.tars()).expect("valid");
        let paths = draw_paths(&mut Random::new(seed), &tree);
        let (tag, result) = (format!("r{seed}"), format!("r{seed}-less"));
        layout.add(&tag, &stack.tars(), packing(seed)).expect("written");
        let words: Vec<&str> = paths.iter().map(|(text, _)| &text[..]).collect();
        let places = [layout.reference(&tag), layout.reference(&result)];
        let run = |more: &[&str]| {
            let ends = [places[0].as_str(), places[1].as_str()];
            command::run([&["remove"], more, &["--"], &words[..], &ends].concat()).expect("runs")
        };
        if words.is_empty() {
            continue;
        }
        let describe = || format!("{}remove {words:?}\n", stack.describe());
        let leads_nowhere = paths.iter().any(|(_, real)| real.is_none());
        let strict = run(&[]);
        if (strict.code() != 0) != leads_nowhere || (leads_nowhere && strict.code() != 2) {
            wrong.push(format!("{}ended with {}: {}", describe(), strict.code(), strict.stderr));
            continue;
        }
        if leads_nowhere && let Err(error) = run(&["--ignore-missing"]).success() {
            wrong.push(format!("{}{error}", describe()));
            continue;
        }
        let gone: Vec<Vec<u8>> = paths.iter().filter_map(|(_, real)| real.clone()).collect();
        through_links += paths
            .iter()
            .filter(|(text, real)| real.as_deref().is_some_and(|real| !text.as_bytes().ends_with(real)))
            .count();
        let (_, differs) = wrong_without(&layout, &stack, &result, &gone);
        wrong.extend(differs.map(|differs| format!("{}{differs}", describe())));
        removed.push((stack, tag, result, gone));
    }
    assert!(wrong.is_empty(), "{} of {stacks} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(through_links > 0, "no path went through a link");
    if !profile.is_portable() {
        return;
    }
    let name = "proof.invalid/remove";
    let mut containerd = Containerd::start().expect("containerd");
    let archive = folder.path().join("all.tar");
    layout.archive(&archive).expect("an archive");
    // One image that containerd refuses stops a whole archive; then it gets them one by one.
    let takes_all = containerd.import(&archive, name).is_ok();
    let (all, mut taken) = (removed.len(), 0);
    for (stack, tag, result, gone) in removed {
        if !takes_all {
            if containerd.take(&layout, &tag, name).is_err() {
                // An image that is none to containerd is none without some of its paths.
                continue;
            }
            if let Err(error) = containerd.take(&layout, &result, name) {
                let describe = stack.describe();
                wrong.push(format!("{describe}containerd takes {tag} and not {result}: {error:#}"));
                continue;
            }
        }
        taken += 1;
        let tars = stack.tars();
        let mut expected = containerd.tree(&format!("{name}:{tag}")).expect("mounted");
        gone.iter().for_each(|path| expected.remove(path));
        let found = containerd.tree(&format!("{name}:{result}")).expect("mounted");
        let mut mask =
            Mask { root: true, times: model::invented_times(&tars).expect("valid"), ..Mask::default() };
        mask.times
            .extend(model::invented_times(&layout.image(&result).expect("sound").tars).expect("merges"));
        wrong.extend(
            trees_differ(&format!("{result}, containerd"), &expected, &found, &mask)
                .map(|differs| format!("{}{differs}", stack.describe())),
        );
    }
    assert!(taken * 10 > all * 9, "containerd took {taken} of {all}");
    assert!(wrong.is_empty(), "{} of {stacks} differ in containerd\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_removed_from_portable_stacks_is_gone_and_all_else_stays() {
    check_removals(Profile::Portable, count(STACKS));
}

#[test]
fn what_is_removed_from_stacks_of_the_rarer_kinds_is_gone_and_all_else_stays() {
    check_removals(Profile::Runtime, count(STACKS));
    check_removals(Profile::Wide, count(STACKS));
}

/// An image on a base, and another base: the old one with layers of somebody else on it, or without its last.
struct Rebase {
    seed: u64,
    old: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
    upper: Vec<Vec<u8>>,
}

impl Rebase {
    /// `None` where the seed gives no such pair.
    fn draw(seed: u64, profile: Profile) -> Option<Self> {
        let mut random = Random::new(seed);
        let tars = generate(seed, profile).tars();
        if tars.len() < 2 {
            return None;
        }
        let base = random.between(1, tars.len() - 1);
        let (old, upper) = (tars[..base].to_vec(), tars[base..].to_vec());
        let mut new = old.clone();
        if base > 1 && random.chance(40) {
            new.pop();
        }
        let changes = generate(seed + 500_000, profile).tars();
        new.extend(changes.into_iter().take(random.between(1, 2)));
        // Layers that were not drawn for this base may not go together at all.
        let is_valid = |below: &[Vec<u8>]| model::merge(&[below, &upper[..]].concat()).is_ok();
        (model::merge(&new).is_ok() && is_valid(&new)).then_some(Self { seed, old, new, upper })
    }

    fn tags(&self) -> [String; 4] {
        ["old", "new", "image", "rebased"].map(|kind| format!("b{}-{kind}", self.seed))
    }
}

/// The kind of thing at a path, as far as another layer can rely on it.
fn kind(tree: &Tree, path: &[u8]) -> &'static str {
    match tree.get(path).map(|inode| &inode.kind) {
        None => "nothing",
        Some(Kind::Directory) => "a directory",
        Some(Kind::Symlink(_)) => "a symlink",
        Some(_) => "a file",
    }
}

fn leads_to(tree: &Tree, path: &[u8]) -> &'static str {
    match tree.resolve(path, true) {
        None => "nothing",
        Some(real) if tree.is_directory(&real) => "a directory",
        Some(_) => "a file",
    }
}

/// Why a rebase that was done should have been refused: something that the image's own layers show is another
/// thing on the new base, or something of the new base is lost that they did not mean.
fn should_be_refused(rebase: &Rebase) -> Option<String> {
    let Rebase { old, new, upper, .. } = rebase;
    let (mut image, mut rebased) = (model::merge(old).ok()?, model::merge(new).ok()?);
    let (before, after) = (image.clone(), rebased.clone());
    let mut shown: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
    let mut taken: BTreeSet<Vec<u8>> = BTreeSet::new();
    for tar in upper {
        let layer = model::add_layer(&mut image, tar).ok()?;
        model::add_layer(&mut rebased, tar).ok()?;
        for (path, node) in &layer.nodes {
            shown.insert(path.clone(), ());
            if matches!(node, Node::Other(_)) {
                taken.insert(path.clone());
            }
        }
        taken.extend(layer.whiteouts.iter().chain(&layer.opaque).cloned());
    }
    let bytes = |path: &[u8]| path.escape_ascii().to_string();
    for path in shown.keys().filter(|path| image.paths.contains_key(*path)) {
        if kind(&image, path) != kind(&rebased, path) {
            let (was, is) = (kind(&image, path), kind(&rebased, path));
            return Some(format!("/{} of the image is {was}, and {is} when rebased", bytes(path)));
        }
        let is_link = matches!(image.get(path).map(|inode| &inode.kind), Some(Kind::Symlink(_)));
        let (led, leads) = (leads_to(&image, path), leads_to(&rebased, path));
        if is_link && led != "nothing" && led != leads {
            return Some(format!("/{} led to {led}, and leads to {leads} when rebased", bytes(path)));
        }
    }
    // What the new base has and nobody removed: the reason is a path that was something else before.
    for path in after.paths.keys().filter(|path| !rebased.paths.contains_key(*path)) {
        let above: Vec<&[u8]> = std::iter::successors(Some(&path[..]), |path| model::parent(path)).collect();
        let by = above.into_iter().find(|path| taken.contains(*path));
        let Some(by) = by else { return Some(format!("/{} is lost, and nobody took it", bytes(path))) };
        if kind(&after, by) == "a directory" && kind(&before, by) != "a directory" {
            return Some(format!("/{} is lost with /{}, no directory before", bytes(path), bytes(by)));
        }
    }
    None
}

/// Why a rebase that was refused need not have been: a path that it names means the same in both bases.
fn should_be_done(rebase: &Rebase, stderr: &str) -> Option<String> {
    let Rebase { old, new, upper, .. } = rebase;
    let (before, after) = (model::merge(old).ok()?, model::merge(new).ok()?);
    let image = model::merge(&[&old[..], upper].concat()).ok()?;
    let rebased = model::merge(&[&new[..], upper].concat()).ok()?;
    let means_the_same = |path: &[u8]| kind(&before, path) == kind(&after, path);
    // As refusals show them.
    let mut shown: BTreeMap<String, BTreeSet<&Vec<u8>>> = BTreeMap::new();
    for path in [&before, &after, &image, &rebased].into_iter().flat_map(|tree| tree.paths.keys()) {
        shown.entry(unbloat_text::printable(path)).or_default().insert(path);
    }
    let lines: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("  /")).collect();
    if lines.is_empty() {
        return Some(format!("no path is named: {stderr}"));
    }
    for line in lines {
        let names = [" is used as", " is replaced or", " is the target of", " is a symlink to"];
        let Some(end) = names.iter().filter_map(|name| line.find(name)).min() else {
            return Some(format!("no reason is told: {line}"));
        };
        let Some(paths) = shown.get(&line[..end]) else {
            return Some(format!("it names a path that no tree has: {line}"));
        };
        let is_right = match line.contains(" is a symlink to") {
            true => paths.iter().any(|path| leads_to(&image, path) != leads_to(&rebased, path)),
            false => paths.iter().any(|path| !means_the_same(path)),
        };
        if !is_right {
            return Some(format!("it is the same in both: {line}"));
        }
    }
    None
}

/// Whether a layer makes a directory by a path alone where lower layers have a symlink: containerd gives that
/// directory the attributes of the one that the symlink led to (`docs/layer-semantics.md#section-3`).
fn implies_directories_over_links(tars: &[Vec<u8>]) -> bool {
    let mut tree = Tree::default();
    tars.iter().any(|tar| {
        let below = tree.clone();
        let layer = model::add_layer(&mut tree, tar).expect("valid");
        let mut implied = layer.nodes.iter().filter(|(_, node)| **node == Node::Implied);
        implied.any(|(path, _)| kind(&below, path) == "a symlink")
    })
}

/// Whether a layer makes a directory by a path alone below what is no directory in one of the layers below,
/// even if that is hidden: containerd looks for its attributes there, and fails.
fn implies_directories_below_others(tars: &[Vec<u8>]) -> bool {
    let mut tree = Tree::default();
    let mut others: BTreeSet<Vec<u8>> = BTreeSet::new();
    tars.iter().any(|tar| {
        let layer = model::add_layer(&mut tree, tar).expect("valid");
        let implied = layer.nodes.iter().filter(|(_, node)| **node == Node::Implied);
        let fails = implied.map(|(path, _)| path).any(|path| {
            std::iter::successors(model::parent(path), |path| model::parent(path))
                .any(|above| others.contains(above))
        });
        others.extend(layer.whiteouts.iter().cloned());
        let is_other = |node: &&Node| matches!(node, Node::Other(_));
        others.extend(layer.nodes.iter().filter(|(_, node)| is_other(node)).map(|(path, _)| path.clone()));
        fails
    })
}

fn check_rebases(profile: Profile, stacks: u64) {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let mut wrong = Vec::new();
    let mut done = Vec::new();
    let (mut drawn, mut refused) = (0, 0);
    for rebase in (FIRST..).filter_map(|seed| Rebase::draw(seed, profile)).take(stacks as usize) {
        drawn += 1;
        let [old, new, image, target] = rebase.tags();
        let add = |tag: &str, tars: &[Vec<u8>]| layout.add(tag, tars, packing(rebase.seed)).expect("written");
        add(&old, &rebase.old);
        add(&new, &rebase.new);
        add(&image, &[&rebase.old[..], &rebase.upper].concat());
        let places = [&image, &target, &old, &new].map(|tag| layout.reference(tag));
        let [from, to, old, new] = places.each_ref().map(String::as_str);
        let run = command::run(["rebase", from, to, "--old-base", old, "--new-base", new]).expect("runs");
        let found = match run.code() {
            0 => {
                done.push((rebase.seed, [&rebase.new[..], &rebase.upper].concat()));
                should_be_refused(&rebase)
            }
            2 => {
                refused += 1;
                should_be_done(&rebase, &run.stderr)
            }
            code => Some(format!("ended with {code}: {}", run.stderr)),
        };
        wrong.extend(found.map(|found| format!("{profile:?} seed {}: {found}\n{}", rebase.seed, run.stderr)));
    }
    assert!(wrong.is_empty(), "{} of {drawn} are wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(!done.is_empty() && refused > 0, "{} done and {refused} refused", done.len());
    for (seed, tars) in &done {
        let result = layout.image(&format!("b{seed}-rebased")).expect("sound");
        assert_eq!(&result.tars, tars, "seed {seed}: other layers");
    }
    if !profile.is_portable() {
        return;
    }
    let mut containerd = Containerd::start().expect("containerd");
    let (name, mut taken) = ("proof.invalid/rebase", 0);
    for (seed, tars) in &done {
        let tag = format!("b{seed}-rebased");
        if let Err(error) = containerd.take(&layout, &tag, name) {
            // Layers of a random base, and those above one, may be none to containerd.
            let takes = |of: &str| containerd.take(&layout, &format!("b{seed}-{of}"), name).is_ok();
            if !implies_directories_below_others(tars) && takes("new") && takes("image") {
                wrong.push(format!(
                    "seed {seed}: containerd takes new base and image, and not the image on it: {error}"
                ));
            }
            continue;
        }
        taken += 1;
        if implies_directories_over_links(tars) {
            continue;
        }
        let found = containerd.tree(&format!("{name}:{tag}")).expect("mounted");
        let expected = model::merge(tars).expect("valid");
        let mask = Mask { root: true, times: model::invented_times(tars).expect("valid"), ..Mask::default() };
        wrong.extend(trees_differ(&format!("seed {seed}, containerd"), &expected, &found, &mask));
    }
    assert!(taken * 2 > done.len(), "containerd took {taken} of {}", done.len());
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), done.len(), wrong.join("\n"));
}

#[test]
fn what_is_rebased_means_the_same_on_the_new_base_and_what_is_refused_does_not() {
    check_rebases(Profile::Portable, count(STACKS));
}

#[test]
fn stacks_of_the_rarer_kinds_are_rebased_or_refused_as_rightly() {
    check_rebases(Profile::Full, count(STACKS));
    check_rebases(Profile::Wide, count(STACKS));
}
