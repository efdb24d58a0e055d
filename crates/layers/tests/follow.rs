//! `follow_symlinked_parents`: what a path below a lower layer's symlink means.

mod common;

use common::{Builder, paths};
use unbloat_layers::{MemoryLayers, Options, flatten};

#[test]
fn a_path_below_a_lower_symlink_replaces_it_unless_asked_to_follow() {
    let lower = Builder::new().directory("usr/lib").symlink("lib", "usr/lib").file("usr/lib/a", "a").finish();
    let upper = Builder::new().file("lib/b", "b").finish();
    let layers = MemoryLayers { layers: vec![lower.into(), upper.into()], chunk_bytes: 4096 };
    let (tar, summary) = flatten(&layers, &Options::default()).unwrap();
    assert_eq!(paths(&tar), ["lib", "lib/b", "usr", "usr/lib", "usr/lib/a"]);
    assert_eq!(summary.warnings.len(), 1);
    let follow = Options { follow_symlinked_parents: true, ..Options::default() };
    let (tar, summary) = flatten(&layers, &follow).unwrap();
    assert_eq!(paths(&tar), ["lib", "usr", "usr/lib", "usr/lib/a", "usr/lib/b"]);
    assert_eq!(summary.warnings, []);
}
