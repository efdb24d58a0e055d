//! Which cause a path gets.

use crate::images::{Layer, analysis_of, layer, path};
use unbloat_analysis::{CAUSES, Change};

#[test]
fn chown_is_told_by_equal_content() {
    let analysis = analysis_of(&[layer().owned("app/bin", 0, 5000), layer().owned("app/bin", 1000, 5000)]);
    assert_eq!(analysis.causes[0].cause, "metadata-copy");
    assert_eq!(analysis.layers[1].metadata_only.bytes, 5000);
    assert!(analysis.causes[0].evidence[0].seen.contains("layer 1"), "{:?}", analysis.causes);
}

#[test]
fn the_log_of_the_incident_is_found_with_its_growth_and_what_to_do() {
    let layers: Vec<_> = (0..40).map(|index| layer().file("var/log/btmp", 384 * (index + 1))).collect();
    let analysis = analysis_of(&layers);
    let cause = &analysis.causes[0];
    assert_eq!((cause.cause.as_str(), cause.paths), ("copied-up-login-log", 1));
    assert_eq!(cause.options, ["--truncate", "/var/log/btmp"]);
    assert!(
        cause.evidence[0].seen.contains("40 copies, from 384 B in layer 0 to 15.0 KiB in layer 39"),
        "{cause:#?}"
    );
    assert_eq!(path(&analysis, "/var/log/btmp").layers, (0..40).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_there_once_or_twice_is_no_incident() {
    let analysis = analysis_of(&[layer().file("var/log/btmp", 100), layer().file("var/log/btmp", 200)]);
    assert_eq!(path(&analysis, "/var/log/btmp").cause.as_deref(), Some("replaced-later"));
}

#[test]
fn causes_know_names_wherever_they_stand() {
    for (name, cause) in [
        ("var/lib/apt/lists/archive", "apt-cache"),
        ("var/cache/apt/archives/x.deb", "apt-cache"),
        ("var/cache/dnf/x", "dnf-cache"),
        ("root/.cache/pip/http/a", "pip-cache"),
        ("home/u/.npm/_cacache/content", "npm-cache"),
        ("usr/local/cargo/registry/src/x", "cargo-cache"),
        ("root/go/pkg/mod/cache/x", "go-cache"),
        ("root/.m2/repository/x.jar", "maven-cache"),
        ("root/.gradle/caches/x", "gradle-cache"),
        ("opt/conda/pkgs/x.conda", "conda-cache"),
        ("app/.git/objects/pack/p", "version-control"),
        ("app/main.c~", "backup-file"),
        ("app/.main.c.swp", "backup-file"),
        ("tmp/build/x", "temporary-file"),
        ("app/target/release/deps/x.rlib", "build-output"),
        ("app/main.o", "build-output"),
    ] {
        let analysis = analysis_of(&[layer().file(name, 700)]);
        let found: Vec<_> =
            analysis.causes.iter().map(|cause| (cause.cause.as_str(), cause.removable_bytes)).collect();
        assert_eq!(found, [(cause, 700)], "{name}");
    }
    let apt = analysis_of(&[layer().file("var/lib/apt/lists/a", 700).file("var/lib/apt/lists/b/c", 600)]);
    assert_eq!(apt.causes[0].options, ["--remove", "/var/lib/apt/lists/*"]);
    for name in ["srv/var/lib/apt/lists/x", "app/git/x", "app/tmpl/x", "app/core"] {
        assert_eq!(analysis_of(&[layer().file(name, 700)]).causes, [], "{name}");
    }
}

#[test]
fn a_secret_is_a_risk_when_a_later_layer_hides_it_and_its_content_is_never_told() {
    let secret = layer().content("root/.ssh/id_ed25519", b"PRIVATE-BYTES").content("app/.env", b"PASSWORD=1");
    assert_eq!(analysis_of(std::slice::from_ref(&secret)).risks, []);
    let analysis = analysis_of(&[
        secret,
        layer().content("root/.ssh/.wh.id_ed25519", b"").content("app/.env", b"PASSWORD=22"),
    ]);
    let found: Vec<_> =
        analysis.risks.iter().map(|risk| (risk.path.as_str(), risk.replaced, &risk.layers[..])).collect();
    assert_eq!(found, [("/app/.env", true, &[0][..]), ("/root/.ssh/id_ed25519", false, &[0][..])]);
    let json = serde_json::to_string(&analysis).unwrap();
    assert!(!json.contains("PRIVATE") && !json.contains("PASSWORD"));
}

#[test]
fn a_secret_that_only_changed_its_owner_is_visible_and_no_risk() {
    let analysis = analysis_of(&[layer().owned("k/id_rsa", 0, 99), layer().owned("k/id_rsa", 5, 99)]);
    assert_eq!(analysis.risks, []);
    assert_eq!(analysis.causes[0].cause, "metadata-copy");
}

/// What the second layer did to `/app/bin`, and the cause that was found.
fn again(lower: Layer, upper: Layer) -> (Change, String) {
    let analysis = analysis_of(&[lower, upper]);
    let found = path(&analysis, "/app/bin");
    assert_eq!(found.wasted_bytes, 5000);
    assert_eq!(analysis.layers[1].metadata_only.bytes, 5000, "the content is the same");
    let change = found.versions.last().unwrap().change;
    (change, found.cause.clone().unwrap())
}

#[test]
fn the_same_content_again_is_told_apart_by_what_else_differs() {
    let file = || layer().file("app/bin", 5000);
    let told = |change, cause: &str| (change, cause.to_owned());
    assert_eq!(
        again(file(), layer().owned("app/bin", 7, 5000)),
        told(Change::Metadata, "metadata-copy"),
        "another owner"
    );
    assert_eq!(again(file(), layer().touched("app/bin", 9, 5000)), told(Change::Time, "time-only-copy"));
    assert_eq!(again(file(), file()), told(Change::Identical, "identical-rewrite"));
    assert_eq!(
        again(file(), file().link("app/name", "app/bin")),
        told(Change::Linked, "hard-link-copy"),
        "a link needs its file in the layer"
    );
    assert_eq!(
        again(file(), layer().owned("app/bin", 7, 5000).link("app/name", "app/bin")),
        told(Change::Metadata, "metadata-copy"),
        "the owner explains it without the link"
    );
    let both = || file().link("app/name", "app/bin");
    assert_eq!(again(both(), both()), told(Change::Identical, "identical-rewrite"), "no name is new");
}

#[test]
fn of_several_rewrites_the_one_that_costs_most_is_the_cause() {
    let layers = [
        layer().file("f", 100),
        layer().touched("f", 1, 100),
        layer().touched("f", 2, 100),
        layer().owned("f", 3, 100),
    ];
    let analysis = analysis_of(&layers);
    let found = path(&analysis, "/f");
    assert_eq!(found.cause.as_deref(), Some("time-only-copy"));
    let changes: Vec<_> = found.versions.iter().map(|version| version.change).collect();
    assert_eq!(changes, [Change::Added, Change::Time, Change::Time, Change::Metadata]);
}

#[test]
fn a_directory_named_again_only_for_its_time_is_no_change() {
    let analysis =
        analysis_of(&[layer().directory("d").file("d/a", 1), layer().directory("d").file("d/b", 1)]);
    assert_eq!((analysis.layers[1].changed.paths, analysis.layers[1].metadata_only.paths), (0, 0));
}

#[test]
fn backups_of_account_tools_are_told_by_their_whole_path() {
    for name in ["passwd-", "group-", "shadow-", "gshadow-", "subuid-", "subgid-"] {
        let analysis = analysis_of(&[layer().file(&format!("etc/{name}"), 900)]);
        let cause = &analysis.causes[0];
        assert_eq!((cause.cause.as_str(), cause.removable_bytes), ("account-backup", 900), "{name}");
        assert_eq!(cause.options, ["--remove".to_owned(), format!("/etc/{name}")]);
        assert_eq!(analysis.totals.removable_bytes, 900);
        assert_eq!(analysis_of(&[layer().file(&format!("srv/etc/{name}"), 900)]).causes, [], "{name}");
    }
    assert_eq!(analysis_of(&[layer().file("etc/passwd", 900)]).causes, []);
}

#[test]
fn login_records_of_zeros_are_told_at_any_size_and_those_of_logins_are_not() {
    for name in ["var/log/lastlog", "var/log/faillog", "var/log/tallylog"] {
        for size in [32_032, 3 << 20] {
            let analysis = analysis_of(&[layer().content(name, &vec![0; size])]);
            let cause = &analysis.causes[0];
            assert_eq!(cause.cause, "login-records-of-zeros", "{name}");
            assert_eq!(cause.options, ["--truncate".to_owned(), format!("/{name}")]);
            assert_eq!(cause.removable_bytes, size as u64);
        }
        assert_eq!(analysis_of(&[layer().file(name, 32_032)]).causes, [], "{name}");
    }
    assert_eq!(
        analysis_of(&[layer().content("srv/faillog", &[0; 32_032])]).causes,
        [],
        "elsewhere it is a file"
    );
}

#[test]
fn bytecode_is_told_where_its_source_is_shown() {
    let found = |layers: &[Layer]| {
        let causes = analysis_of(layers).causes;
        causes
            .into_iter()
            .map(|cause| (cause.cause, cause.wasted_bytes + cause.removable_bytes))
            .collect::<Vec<_>>()
    };
    let told = |bytes| vec![("python-bytecode".to_owned(), bytes)];
    let package = "usr/lib/python3/dist-packages/p";
    let source = format!("{package}/m.py");
    for compiled in ["__pycache__/m.cpython-313.pyc", "__pycache__/m.cpython-313.opt-1.pyc", "m.pyc", "m.pyo"]
    {
        let compiled = format!("{package}/{compiled}");
        assert_eq!(found(&[layer().file(&source, 10).file(&compiled, 700)]), told(700), "{compiled}");
        assert_eq!(found(&[layer().file(&compiled, 700)]), [], "{compiled}: a program without sources");
        let other = format!("{package}/other.py");
        assert_eq!(found(&[layer().file(&other, 10).file(&compiled, 700)]), [], "{compiled}");
    }
    let at_the_root = layer().file("m.py", 10).file("__pycache__/m.cpython-313.pyc", 700);
    assert_eq!(found(&[at_the_root]), told(700));
}

#[test]
fn what_could_go_is_counted_beside_what_is_hidden() {
    let lists = layer().file("var/lib/apt/lists/a", 700).file("srv/a", 40).file("srv/b", 40);
    let analysis = analysis_of(&[lists, layer().file("srv/c", 9)]);
    let totals = &analysis.totals;
    assert_eq!((totals.wasted_bytes, totals.removable_bytes), (0, 700), "equal files are no part of it");
}

#[test]
fn every_cause_that_a_result_can_name_is_in_the_table() {
    let names: Vec<_> = CAUSES.iter().map(|rule| rule.name).collect();
    for name in
        ["copied-up-login-log", "metadata-copy", "replaced-later", "duplicate-content", "secret-left-behind"]
    {
        assert!(names.contains(&name), "{name}");
    }
}
