//! What each layer does to each path, and which bytes nobody can see.

use unbloat_explore::{Catalogue, Order, Scope, Sign, Sort, Status, View};

mod tars;
use tars::{Tar, catalogue};

fn statuses(catalogue: &Catalogue, path: &str) -> Vec<(usize, Status, Sort)> {
    let node = catalogue.find(path.as_bytes()).unwrap_or_else(|| panic!("{path} is there"));
    catalogue
        .versions(node)
        .into_iter()
        .map(|version| (version.layer, version.status, version.sort))
        .collect()
}

/// The lines of a view as text: depth as blanks, sign, name.
fn lines(catalogue: &Catalogue, view: &View) -> Vec<String> {
    let sign = |node| match view.sign(catalogue, node) {
        Sign::Plain => ' ',
        Sign::Added => '+',
        Sign::Changed => '~',
        Sign::Removed => '-',
        Sign::Below => '.',
        Sign::Gone => 'x',
    };
    view.rows()
        .iter()
        .map(|row| {
            let name = String::from_utf8_lossy(catalogue.name(row.node)).into_owned();
            format!("{}{}{name}", "  ".repeat(usize::from(row.depth)), sign(row.node))
        })
        .collect()
}

fn incident() -> Catalogue {
    catalogue(vec![
        Tar::default()
            .folder("var")
            .folder("var/log")
            .sized("var/log/btmp", 1000)
            .sized("etc/passwd", 10)
            .end(),
        Tar::default()
            .folder("var")
            .folder("var/log")
            .sized("var/log/btmp", 1100)
            .sized("home/work", 5)
            .end(),
        Tar::default().sized("var/log/btmp", 1200).whiteout("home/work").end(),
    ])
}

#[test]
fn a_log_that_every_commit_copies_up_wastes_all_copies_but_the_last() {
    let catalogue = incident();
    assert_eq!(
        statuses(&catalogue, "/var/log/btmp"),
        [(0, Status::Added, Sort::File), (1, Status::Changed, Sort::File), (2, Status::Changed, Sort::File)]
    );
    assert_eq!(statuses(&catalogue, "var/log")[1], (1, Status::Same, Sort::Directory));
    assert_eq!(statuses(&catalogue, "home/work")[1], (2, Status::Removed, Sort::Removed));
    assert_eq!((catalogue.unpacked_bytes(), catalogue.merged_bytes()), (3315, 1210));
    let wasted: Vec<u64> = catalogue.layers().iter().map(|layer| layer.wasted_bytes).collect();
    assert_eq!(wasted, [1000, 1105, 0]);
}

#[test]
fn a_layer_shows_its_changes_and_opens_by_itself() {
    let catalogue = incident();
    let mut view = View::new(&catalogue);
    view.set_scope(&catalogue, Scope::Layer(2));
    assert_eq!(lines(&catalogue, &view), [".home", "  -work", ".var", "  .log", "    ~btmp"]);
    view.set_scope(&catalogue, Scope::Until(1));
    assert_eq!(lines(&catalogue, &view), [" etc", "+home", ".var"]);
}

#[test]
fn the_image_shows_what_is_gone_but_costs_bytes() {
    let catalogue = incident();
    let mut view = View::new(&catalogue);
    view.set_all_open(&catalogue, 0, true);
    assert_eq!(
        lines(&catalogue, &view),
        [" etc", "   passwd", " home", "  xwork", " var", "   log", "     btmp"]
    );
    view.set_only_wasted(&catalogue, true);
    view.set_order(&catalogue, Order::Wasted);
    assert_eq!(lines(&catalogue, &view), [" var", "   log", "     btmp", " home", "  xwork"]);
    assert_eq!(view.wasted(0), catalogue.wasted_bytes());
}

#[test]
fn a_filter_opens_what_leads_to_it_and_a_search_goes_around() {
    let catalogue = incident();
    let mut view = View::new(&catalogue);
    view.set_filter(&catalogue, b"LOG/");
    assert_eq!(lines(&catalogue, &view), Vec::<String>::new(), "a capital letter means that case matters");
    view.set_filter(&catalogue, b"log/b");
    assert_eq!(lines(&catalogue, &view), [" var", "   log", "     btmp"]);
    view.set_filter(&catalogue, b"var");
    assert_eq!(lines(&catalogue, &view), [" var"], "a folder that matches is not opened");
    view.set_filter(&catalogue, b"");
    let btmp = catalogue.find(b"var/log/btmp");
    assert_eq!(view.search(&catalogue, b"tmp", 0, false), btmp);
    assert_eq!(view.search(&catalogue, b"tmp", btmp.unwrap(), false), btmp, "it is the only one");
    assert_eq!(view.search(&catalogue, b"passwd", btmp.unwrap(), false), catalogue.find(b"etc/passwd"));
    assert_eq!(view.search(&catalogue, b"o", btmp.unwrap(), true), catalogue.find(b"var/log"));
    assert_eq!(view.search(&catalogue, b"nothing", 0, false), None);
}

#[test]
fn a_hard_link_keeps_the_content_of_a_hidden_name() {
    let catalogue = catalogue(vec![
        Tar::default().sized("a", 100).hard_link("b", "a").end(),
        Tar::default().whiteout("a").end(),
    ]);
    assert_eq!(catalogue.wasted_bytes(), 0);
    let mut view = View::new(&catalogue);
    assert_eq!(view.bytes(catalogue.find(b"b").unwrap()), 100, "the link is what shows it");
    view.set_scope(&catalogue, Scope::Until(0));
    assert_eq!(view.bytes(0), 100);
    assert_eq!(view.bytes(catalogue.find(b"b").unwrap()), 0, "one inode counts once");
    let version = &catalogue.versions(catalogue.find(b"b").unwrap())[0];
    assert_eq!(version.link.as_deref(), Some(&b"a"[..]));
    assert_eq!(version.content.map(|content| (content.layer, content.record)), Some((0, 0)));
}

#[test]
fn a_folder_that_is_emptied_and_filled_by_one_layer_changed() {
    let catalogue = catalogue(vec![
        Tar::default().sized("d/old", 7).sized("d/kept", 3).end(),
        Tar::default().opaque("d").sized("d/kept", 4).end(),
    ]);
    assert_eq!(statuses(&catalogue, "d/old")[1], (1, Status::Removed, Sort::Removed));
    assert_eq!(statuses(&catalogue, "d/kept")[1..], [(1, Status::Changed, Sort::File)]);
    assert_eq!(catalogue.wasted_bytes(), 10);
}

#[test]
fn a_layer_that_is_no_tar_is_named() {
    let layers = tars::source(vec![Tar::default().end(), vec![b'x'; 2048]]);
    let error = unbloat_explore::read(&layers, 2, &Default::default()).unwrap_err();
    assert!(error.to_string().starts_with("layer 1: not a valid tar header"), "{error}");
}
