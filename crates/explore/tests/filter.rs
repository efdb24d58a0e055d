//! The filter of a tree against the plain rule, path by path, on random trees of few letters.

use std::collections::BTreeSet;

use proptest::prelude::*;
use unbloat_explore::View;

mod tars;
use tars::{Tar, catalogue};

/// What a filter leaves, as paths in the order of the walk: every path that holds the text within its last
/// component's reach, all below it, and the folders above it, which are open.
fn by_the_rule(paths: &BTreeSet<String>, filter: &str) -> Vec<String> {
    let any_case = !filter.bytes().any(|byte| byte.is_ascii_uppercase());
    let folded = |text: &str| if any_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let text = folded(filter);
    // The text ends in the path's own name: folders that hold it were hits before what lies below them.
    let hits: Vec<&String> = paths
        .iter()
        .filter(|path| {
            let whole = folded(&format!("/{path}"));
            let name = whole.rfind('/').map_or(0, |slash| slash + 1);
            (0..=whole.len()).any(|at| {
                let ends_in_name = at + text.len() >= name && at + text.len() <= whole.len();
                ends_in_name && whole[at..].starts_with(&text) && (text.contains('/') || at >= name)
            })
        })
        .collect();
    let is_below =
        |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    // What lies below a hit is kept, and shown where a hit below it opens the way.
    let opened = |folder: &str| hits.iter().any(|hit| is_below(hit, folder));
    paths
        .iter()
        .filter(|path| {
            let kept = hits.iter().any(|hit| hit == path || is_below(path, hit) || is_below(hit, path));
            let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
            kept && above.into_iter().all(opened)
        })
        .cloned()
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_shows_what_the_rule_says(
        files in prop::collection::vec("[abAB]{1,3}(/[abAB]{1,3}){0,3}", 1..30),
        filters in prop::collection::vec("[abAB/]{1,4}", 1..6),
    ) {
        // Folders alone: a file at one place and a folder at another would be the matter of two layers.
        let mut paths = BTreeSet::new();
        for file in &files {
            paths.extend(file.match_indices('/').map(|(at, _)| file[..at].to_owned()));
            paths.insert(file.clone());
        }
        let tar = paths.iter().fold(Tar::default(), |tar, path| tar.folder(path));
        let catalogue = catalogue(vec![tar.end()]);
        let mut view = View::new(&catalogue);
        // The walk's order is by name, folder by folder.
        let mut walk: Vec<&String> = paths.iter().collect();
        walk.sort_by_key(|path| path.split('/').map(str::to_owned).collect::<Vec<_>>());
        for filter in filters {
            view.set_filter(&catalogue, filter.as_bytes());
            let shown: Vec<String> = view
                .rows()
                .iter()
                .map(|row| String::from_utf8(catalogue.path(row.node)).expect("letters"))
                .collect();
            let expected = by_the_rule(&paths, &filter);
            let expected: Vec<String> =
                walk.iter().filter(|path| expected.contains(**path)).map(|path| (*path).clone()).collect();
            prop_assert_eq!(&shown, &expected, "filter {:?} of {:?}", filter, paths);
        }
    }
}
