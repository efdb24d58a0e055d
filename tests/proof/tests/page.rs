//! The page of an analysis in a real Chromium: from a file, without a network, by keyboard, in dark and
//! light.

use std::path::PathBuf;

use unbloat_analysis::{Analysis, AnalysisOptions, ImageFacts, LayerFacts, analyze};
use unbloat_layers::MemoryLayers;
use unbloat_proof::{
    browser::{Browser, Screen},
    command,
    image::{Layout, Packing},
    stack::{Body, Record, tarball},
    tools::{cache, fast_folder},
};
use unbloat_report::{PATHS, PageFile};

const WIDE: Screen = Screen { width: 1280, height: 900, dark: false };
const NARROW: Screen = Screen { width: 390, height: 844, dark: false };

/// Names that are markup, that end the element that they stand in, or that turn text around.
const HOSTILE: [&str; 5] = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    "--><!--<script>",
    "'\"&amp;&lt;{{script}}",
    "evil\u{202e}gpj.exe\u{1b}[31m\u{2028}",
];

/// A file whose content is its own: of `seed`.
fn file(name: &str, size: usize, seed: usize) -> Record {
    Record::plain(name, Body::File((0..size).map(|at| (at * (seed + 7) % 251) as u8).collect()))
}

/// Layers with the command of each: a system, an application with its usual mistakes, and commits that copy a
/// log up.
fn layers() -> Vec<(Vec<u8>, String)> {
    let mut layers: Vec<(Vec<Record>, &str)> = Vec::new();
    let system = (0..400)
        .map(|at| file(&format!("usr/lib/x86_64/lib{at}.so.{}", at % 7), 9_000 + at * 97 % 30_000, at))
        .chain((0..120).map(|at| file(&format!("usr/share/doc/package-{at}/copyright"), 700 + at * 31, at)))
        .chain([file("etc/passwd", 900, 1), file("var/log/btmp", 400_000, 2)]);
    layers.push((system.collect(), "/bin/sh -c #(nop) ADD file:4b2c0a in / "));
    let apt = (0..30)
        .map(|at| file(&format!("var/cache/apt/archives/pkg-{at}_1.0_amd64.deb"), 60_000 + at * 999, at));
    let apt =
        apt.chain([file("var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_main_Packages", 900_000, 3)]);
    layers.push((
        apt.collect(),
        "RUN /bin/sh -c apt-get update && apt-get install -y build-essential # buildkit",
    ));
    let pip = (0..25)
        .map(|at| file(&format!("root/.cache/pip/http/{at:02}/wheel-{at}.whl"), 80_000 + at * 3000, at));
    let app = (0..80).map(|at| file(&format!("app/src/module_{at}.py"), 2_000 + at * 50, at));
    layers.push((pip.chain(app).collect(), "RUN /bin/sh -c pip install -r requirements.txt # buildkit"));
    let chowned = (0..80).map(|at| Record {
        uid: 1000,
        gid: 1000,
        ..file(&format!("app/src/module_{at}.py"), 2_000 + at * 50, at)
    });
    layers.push((chowned.collect(), "RUN /bin/sh -c chown -R app:app /app # buildkit"));
    layers.push((
        vec![file("root/.ssh/id_rsa", 1_700, 5), file("app/.git/objects/pack/pack-1.pack", 700_000, 6)],
        "COPY . /app # buildkit",
    ));
    let removed = ["root/.ssh/.wh.id_rsa", "root/.cache/.wh.pip", "app/.wh..git", "var/lib/apt/.wh.lists"];
    layers.push((
        removed.iter().map(|name| file(name, 0, 0)).collect(),
        "RUN /bin/sh -c rm -rf /root/.ssh/id_rsa /root/.cache/pip /app/.git /var/lib/apt/lists # buildkit",
    ));
    let hostile = HOSTILE.iter().enumerate().map(|(at, name)| file(&format!("srv/{name}"), 5_000 + at, at));
    layers.push((hostile.collect(), "RUN <b>echo</b> </script><script>document.title='owned'</script>"));
    let again = HOSTILE.iter().enumerate().map(|(at, name)| file(&format!("srv/{name}"), 4_000 + at, at + 9));
    layers.push((again.collect(), ""));
    let mut made: Vec<(Vec<u8>, String)> =
        layers.into_iter().map(|(records, command)| (tarball::write(&records), command.to_owned())).collect();
    for commit in 0..52 {
        let mut records = vec![file("var/log/btmp", 400_000 + commit * 9_000, 2)];
        records.push(file(
            &format!("home/devbox/project/file-{}", commit % 11),
            3_000 + commit * 200,
            commit,
        ));
        made.push((tarball::write(&records), format!("devbox commit {commit}")));
    }
    made
}

fn analysis() -> Analysis {
    let layers = layers();
    let facts = ImageFacts {
        reference: "registry.example/team/devbox:today".into(),
        digest: format!("sha256:{:064x}", 0x961_6977_832d_6099_u64),
        platform: "linux/amd64".into(),
        layers: layers
            .iter()
            .enumerate()
            .map(|(at, (tar, command))| LayerFacts {
                digest: format!("sha256:{at:064x}"),
                compressed_bytes: tar.len() as u64 / 3,
                created_by: Some(command.clone()).filter(|text| !text.is_empty()),
                ..LayerFacts::default()
            })
            .collect(),
    };
    let source = MemoryLayers {
        layers: layers.into_iter().map(|(tar, _)| tar.into()).collect(),
        chunk_bytes: 1 << 20,
    };
    let options = AnalysisOptions { top: Some(PATHS), ..AnalysisOptions::default() };
    let mut analysis = analyze(&source, &facts, &options).expect("the layers are sound");
    analysis.estimate.seconds = 0.4;
    analysis
}

/// The page as a file, kept for whoever wants to look at it.
fn page(name: &str, analysis: &Analysis) -> PathBuf {
    let folder = cache().join("pages");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{name}.html"));
    PageFile::open(&path).and_then(|file| file.write(analysis)).expect("the page is written");
    path
}

fn keep(name: &str, picture: &[u8]) {
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{name}: {} bytes", picture.len());
    std::fs::write(cache().join("pages").join(format!("{name}.png")), picture).expect("the picture is kept");
}

#[test]
fn the_page_asks_for_nothing_and_no_name_becomes_markup() {
    let path = page("hostile", &analysis());
    let mut browser = Browser::open(&path, WIDE).expect("Chromium opens the page");
    assert_eq!(
        browser.evaluate("document.title").unwrap(),
        "registry.example/team/devbox:today – layers and wasted bytes"
    );
    assert_eq!(browser.evaluate("document.scripts.length").unwrap(), 2);
    assert_eq!(browser.evaluate("document.images.length").unwrap(), 0);
    // Every part that shows names is made to show all of them.
    browser.evaluate("document.querySelector('#search').value = 'srv'; document.querySelector('#search').dispatchEvent(new Event('input'))").unwrap();
    browser
        .evaluate("for (let at = 0; at < 5; at += 1) document.querySelectorAll('#paths .open')[at].click()")
        .unwrap();
    browser.evaluate("document.querySelectorAll('.chart button')[6].click()").unwrap();
    browser.evaluate("[...document.querySelectorAll('.layer button')].at(-1).click()").unwrap();
    let text = browser.evaluate("document.body.innerText").unwrap();
    let text = text.as_str().expect("text");
    for shown in [
        "</script><script>document.title='owned'</script>",
        "<img src=x onerror=",
        "'\"&amp;&lt;{{script}}",
        "\\u{202e}gpj.exe\\u{1b}[31m\\u{2028}",
        "<b>echo</b>",
    ] {
        assert!(text.contains(shown), "{shown} is not shown");
    }
    assert!(!text.contains(['\u{202e}', '\u{1b}', '\u{2028}']));
    assert_eq!(browser.evaluate("document.scripts.length").unwrap(), 2);
    assert_eq!(
        browser.evaluate("document.querySelectorAll('main img, main b:not(.map b)').length").unwrap(),
        0
    );
    assert_eq!(browser.requests, [format!("file://{}", path.display())], "nothing but the page is asked for");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn the_policy_stops_whatever_is_not_ours() {
    let path = page("policy", &analysis());
    let mut browser = Browser::open(&path, WIDE).expect("Chromium opens the page");
    let inject = "new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), { once: true });
        const image = document.createElement('img');
        image.src = 'https://example.invalid/x.png';
        document.body.append(image);
        setTimeout(() => done('nothing stopped it'), 3000);
    })";
    assert_eq!(browser.evaluate(inject).unwrap(), "img-src");
    for markup in [
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.setAttribute('onclick', 'document.title = 1')",
        "document.createElement('script').text = 'document.title = 1'",
    ] {
        let refused = browser.evaluate(markup).expect_err("text is not taken for markup");
        assert!(refused.to_string().contains("Trusted"), "{markup}: {refused}");
    }
}

#[test]
fn everything_can_be_reached_by_keyboard() {
    let path = page("keyboard", &analysis());
    let mut browser = Browser::open(&path, WIDE).expect("Chromium opens the page");
    let focus = "document.activeElement";
    let focused = |browser: &mut Browser, what: &str| browser.evaluate(&format!("{focus}.{what}")).unwrap();
    browser.key("Tab").unwrap();
    assert_eq!(focused(&mut browser, "className"), "skip");
    // The layers: arrows choose.
    browser.evaluate("document.querySelector('.chart button[tabindex=\"0\"]').focus()").unwrap();
    browser.key("Home").unwrap();
    browser.key("ArrowRight").unwrap();
    assert_eq!(browser.evaluate("document.querySelector('.layer h3').textContent").unwrap(), "Layer 1");
    // The map: Enter opens a folder, Escape goes back.
    browser.evaluate("document.querySelector('.map button.folder').focus()").unwrap();
    let before = browser.evaluate("document.querySelector('.crumbs').textContent").unwrap();
    browser.key("Enter").unwrap();
    assert_ne!(browser.evaluate("document.querySelector('.crumbs').textContent").unwrap(), before);
    browser.key("Escape").unwrap();
    assert_eq!(browser.evaluate("document.querySelector('.crumbs').textContent").unwrap(), before);
    // The table: a search, another order, a row that opens.
    browser.evaluate("document.querySelector('#search').focus()").unwrap();
    for letter in ["b", "t", "m", "p"] {
        browser.key(letter).unwrap();
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('#paths tbody tr').length").unwrap(), 1);
    browser.evaluate("document.querySelector('#paths tbody .open').focus()").unwrap();
    browser.key("Enter").unwrap();
    assert_eq!(focused(&mut browser, "getAttribute('aria-expanded')"), "true");
    assert_eq!(browser.evaluate("document.querySelectorAll('.versions > .command').length").unwrap(), 54);
    browser.evaluate("document.querySelectorAll('#paths th button')[1].focus()").unwrap();
    browser.key("Enter").unwrap();
    assert_eq!(focused(&mut browser, "parentElement.ariaSort"), "descending");
    // The tree: arrows move, open and close.
    browser.evaluate("document.querySelector('[role=tree] [tabindex=\"0\"]').focus()").unwrap();
    assert_eq!(focused(&mut browser, "ariaExpanded"), "true");
    browser.key("ArrowLeft").unwrap();
    assert_eq!(focused(&mut browser, "ariaExpanded"), "false");
    browser.key("ArrowDown").unwrap();
    assert_eq!(focused(&mut browser, "ariaLevel"), "1");
    browser.key("ArrowRight").unwrap();
    browser.key("ArrowRight").unwrap();
    assert_eq!(focused(&mut browser, "ariaLevel"), "2");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn the_numbers_on_the_page_are_those_of_the_analysis() {
    let analysis = analysis();
    let path = page("numbers", &analysis);
    let mut browser = Browser::open(&path, WIDE).expect("Chromium opens the page");
    let tiles = browser
        .evaluate("[...document.querySelectorAll('.tiles dd')].map((tile) => tile.firstChild.textContent)")
        .unwrap();
    assert_eq!(tiles[0], analysis.totals.layers.to_string());
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    assert_eq!(tiles[2], mebibytes(analysis.totals.unpacked_bytes));
    assert_eq!(tiles[3], mebibytes(analysis.totals.wasted_bytes));
    assert_eq!(
        browser.evaluate("document.querySelectorAll('.chart button').length").unwrap(),
        analysis.layers.len()
    );
    // Areas are bytes: the tiles together fill the map, whatever their number.
    let filled = browser
        .evaluate("(() => { const map = document.querySelector('.map'); const area = (box) => box.width * box.height; \
                   const tiles = [...map.querySelectorAll('[data-level]')].map((tile) => area(tile.getBoundingClientRect())); \
                   return tiles.reduce((sum, one) => sum + one, 0) / area(map.getBoundingClientRect()); })()")
        .unwrap();
    let filled = filled.as_f64().expect("a number");
    assert!((0.98..1.02).contains(&filled), "{filled} of the map is filled");
}

#[test]
fn it_fits_wide_and_narrow_screens_in_dark_and_light() {
    let path = page("look", &analysis());
    let mut browser = Browser::open(&path, WIDE).expect("Chromium opens the page");
    browser.evaluate("document.querySelector('#paths .open').click(); [...document.querySelectorAll('.layer button')].at(-1).click(); document.querySelectorAll('#tree .toggle button')[1].click(); scrollTo(0, 0)").unwrap();
    for (name, screen) in [("wide", WIDE), ("narrow", NARROW)] {
        for dark in [false, true] {
            browser.resize(Screen { dark, ..screen }).unwrap();
            let theme = if dark { "dark" } else { "light" };
            browser.wait_until(&format!("document.documentElement.dataset.theme === '{theme}'")).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            let overflow = browser
                .evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                .unwrap();
            assert_eq!(overflow, 0, "{name}: the page is wider than the screen");
            keep(&format!("{name}-{theme}"), &browser.picture().unwrap());
        }
    }
}

#[test]
fn the_command_writes_the_page_or_says_why_not_before_it_reads_anything() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let tars: Vec<Vec<u8>> = layers().into_iter().map(|(tar, _)| tar).collect();
    layout.add("x", &tars, |_| Packing::Gzip(1)).expect("an image");
    let path = folder.path().join("page.html");
    let name = path.display().to_string();
    let run = command::run(["analyze", &layout.reference("x"), "--html", &name, "--json"]).expect("runs");
    let printed = run.success().expect("succeeds").json().expect("JSON");
    assert_eq!(printed["paths"].as_array().map(Vec::len), Some(100), "the page's paths are not printed");
    let mut browser = Browser::open(&path, WIDE).expect("Chromium opens the page");
    let listed = browser.evaluate("document.querySelector('#paths [role=status]').textContent").unwrap();
    assert_eq!(listed, format!("{} paths", printed["pathsTotal"]));
    for (file, reason) in [("/nowhere/page.html", "No such file or directory"), ("/tmp", "Is a directory")] {
        let run = command::run(["analyze", "localhost:1/nowhere:x", "--html", file]).expect("runs");
        assert_eq!(run.code(), 9, "{}", run.stderr);
        let expected = format!("error: the page {file} cannot be written: {reason}");
        assert!(run.stderr.contains(&expected), "no {expected:?} in: {}", run.stderr);
    }
}

#[test]
fn an_image_without_waste_and_one_without_layers_have_pages_too() {
    for (name, analysis) in [("empty", Analysis::default()), ("clean", clean())] {
        let path = page(name, &analysis);
        let mut browser = Browser::open(&path, WIDE).expect("Chromium opens the page");
        let text = browser.evaluate("document.querySelector('#summary').innerText").unwrap();
        assert!(text.as_str().expect("text").contains("Nothing is wasted."), "{name}: {text}");
        assert_eq!(browser.complaints, Vec::<String>::new(), "{name}");
    }
}

fn clean() -> Analysis {
    let tar = tarball::write(&[file("bin/app", 10_000, 1)]);
    let source = MemoryLayers { layers: vec![tar.into()], chunk_bytes: 1 << 16 };
    let facts = ImageFacts { layers: vec![LayerFacts::default()], ..ImageFacts::default() };
    analyze(&source, &facts, &AnalysisOptions::default()).expect("the layer is sound")
}
