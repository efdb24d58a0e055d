//! `unbloat explore` in a real pseudo-terminal.

use std::process::Command;

use unbloat_proof::{
    command::{self, unbloat},
    image::{Layout, Packing},
    model::{self, Kind},
    stack::{Body, Record, tarball},
    terminal::Terminal,
    tools::{fast_folder, workspace},
};

fn file(name: &str, size: usize) -> Record {
    Record::plain(name, Body::File((0..size).map(|index| (index * 7 % 251) as u8).collect()))
}

/// The incident, small: a log that every commit copies up.
fn image() -> (tempfile::TempDir, String) {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let tars: Vec<Vec<u8>> = (1..=12)
        .map(|commit| {
            let mut records =
                vec![file("var/log/btmp", commit * 10_000), file(&format!("home/file-{commit}"), 100)];
            if commit == 1 {
                records.push(file("etc/\u{1b}[31mred", 7));
                records.push(file("opt/cache/big", 50_000));
            }
            if commit == 12 {
                records.push(file("opt/.wh.cache", 0));
            }
            tarball::write(&records)
        })
        .collect();
    layout.add("bloated", &tars, |_| Packing::Gzip(6)).expect("an image");
    let reference = layout.reference("bloated");
    (folder, reference)
}

fn explore(reference: &str) -> String {
    format!("'{}' explore '{reference}'", unbloat().display())
}

#[test]
fn a_terminal_shows_the_image_is_resized_and_given_back() {
    let (_folder, reference) = image();
    let terminal = Terminal::new(80, 24, &explore(&reference));
    let screen = terminal.wait_for("Tree of the image");
    assert!(screen.contains("12 layers") && screen.contains("? help"), "{screen}");
    terminal.keys(&["End"]);
    let screen = terminal.wait_for("Changes of layer 11");
    assert!(screen.contains("- ") && screen.contains("cache/"), "{screen}");
    terminal.keys(&["Tab", "/"]);
    terminal.keys(&["btmp", "Enter", "v"]);
    terminal.wait_for("/var/log/btmp: Enter goes there");
    terminal.keys(&["Home", "Enter"]);
    let screen = terminal.wait_for("Changes of layer 0");
    assert!(screen.contains("\\u{1b}[31mred"), "{screen}");
    assert!(terminal.coloured_screen().contains("\u{1b}["), "a terminal gets colours");
    terminal.resize(120, 40);
    let screen = terminal.wait_for("mode           owner");
    assert!(screen.lines().count() >= 40, "{screen}");
    terminal.resize(40, 10);
    terminal.wait_for("? help");
    terminal.keys(&["q"]);
    terminal.assert_given_back();
}

#[test]
fn marks_are_printed_as_a_command_that_works_as_it_stands() {
    let (folder, reference) = image();
    let terminal = Terminal::new(200, 24, &explore(&reference));
    terminal.wait_for("Tree of the image");
    terminal.keys(&["Tab", "/"]);
    terminal.keys(&["btmp", "Enter", "t", "/"]);
    terminal.keys(&["file-3", "Enter", "r"]);
    terminal.wait_for("2 marked");
    terminal.keys(&["q"]);
    let screen = terminal.wait_for("--truncate /var/log/btmp");
    let from = screen.find("unbloat squash").expect("the command is printed");
    let line = screen[from..].split("ready>").next().expect("something");
    let path = unbloat();
    let done = Command::new("sh")
        .args(["-c", line.trim()])
        .env("PATH", format!("{}:/usr/bin:/bin", path.parent().expect("it lies in a folder").display()))
        .output()
        .expect("a shell runs");
    assert!(done.status.success(), "{line}\n{}", String::from_utf8_lossy(&done.stderr));
    let layout = Layout::open(folder.path().join("layout"));
    let flat = layout.image("bloated-flat").expect("the result is where the command says");
    let tree = model::merge(&flat.tars).expect("a tree");
    let log = &tree.get(b"var/log/btmp").expect("it is kept").kind;
    assert!(matches!(log, Kind::File(content) if content.is_empty()), "{log:?}");
    assert!(tree.get(b"home/file-3").is_none() && tree.get(b"home/file-4").is_some());
}

#[test]
fn a_file_of_any_layer_is_extracted_and_no_file_is_overwritten() {
    let (_folder, reference) = image();
    let terminal = Terminal::new(80, 24, &explore(&reference));
    terminal.wait_for("Tree of the image");
    let out = terminal.folder().join("out");
    terminal.keys(&["[", "]", "]", "]", "Tab", "/"]);
    terminal.keys(&["btmp", "Enter", "x"]);
    terminal.wait_for("write to: btmp");
    terminal.keys(&["C-u", &out.display().to_string(), "Enter"]);
    terminal.wait_for("is written");
    let content = std::fs::read(&out).expect("the file is there");
    assert_eq!(content.len(), 30_000, "as layer 2 has it");
    assert!(content.iter().enumerate().all(|(at, byte)| *byte == (at * 7 % 251) as u8));
    terminal.keys(&["x", "C-u", &out.display().to_string(), "Enter"]);
    terminal.wait_for("File exists");
    terminal.keys(&["x", "C-u", "/nowhere/out", "Enter"]);
    terminal.wait_for("/nowhere/out cannot be written: No such file or directory");
    terminal.keys(&["C-c"]);
    terminal.assert_given_back();
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let (_folder, reference) = image();
    let terminal = Terminal::new(80, 24, "true");
    let pid = terminal.folder().join("pid");
    terminal.tell(&format!(
        "sh -c 'echo $$ > {}; exec {}'",
        pid.display(),
        explore(&reference).replace('\'', "")
    ));
    terminal.wait_for("Tree of the image");
    let number = std::fs::read_to_string(&pid).expect("the shell wrote it");
    let killed = Command::new("kill").args(["-TERM", number.trim()]).status().expect("kill runs");
    assert!(killed.success());
    terminal.assert_given_back();
}

#[test]
fn a_panic_gives_the_terminal_back_and_can_be_read() {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(workspace()).args(["build", "--quiet", "-p", "unbloat-explore", "--example", "panic"]);
    assert!(build.status().expect("cargo runs").success());
    let terminal =
        Terminal::new(80, 24, &workspace().join("target/debug/examples/panic").display().to_string());
    terminal.wait_for("Tree of the image");
    assert_eq!(terminal.variable("alternate_on"), "1");
    terminal.keys(&["Tab", "x"]);
    terminal.wait_for("write to: file");
    terminal.keys(&["C-u", &terminal.folder().join("out").display().to_string(), "Enter"]);
    terminal.wait_for("a panic on purpose");
    terminal.assert_given_back();
}

#[test]
fn without_a_terminal_it_says_so_before_anything_is_read() {
    let run = command::run(["explore", "localhost:1/nowhere:x"]).expect("runs");
    assert_eq!(run.code(), 2, "{}", run.stderr);
    for part in ["standard output is not a terminal", "unbloat analyze"] {
        assert!(run.stderr.contains(part), "no {part:?} in: {}", run.stderr);
    }
    let json = command::run(["explore", "localhost:1/nowhere:x", "--output", "json"]).expect("runs");
    assert_eq!(json.code(), 2, "{}", json.stderr);
}

#[test]
fn an_image_that_cannot_be_read_leaves_the_terminal_alone() {
    let terminal = Terminal::new(100, 24, &format!("{}; echo code $?", explore("oci:/nowhere:x")));
    let screen = terminal.wait_for("code 3");
    assert!(screen.contains("error: ") && screen.contains("/nowhere"), "{screen}");
    terminal.assert_given_back();
}

#[test]
fn a_diff_id_that_is_not_the_layers_is_said_on_the_screen_and_after_it() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    layout.add("s", &[tarball::write(&[file("a", 100)])], |_| Packing::Gzip(6)).expect("written");
    let image = layout.image("s").expect("sound");
    let (mut manifest, mut config) = (image.manifest, image.config);
    config["rootfs"]["diff_ids"][0] = unbloat_proof::image::digest(b"another").into();
    let config = config.to_string().into_bytes();
    manifest["config"] = layout.blob(&config, "application/vnd.oci.image.config.v1+json").expect("written");
    layout.tag("s", &manifest.to_string().into_bytes()).expect("written");
    // Wide enough that the words stand in one line.
    let terminal = Terminal::new(300, 24, &explore(&layout.reference("s")));
    terminal.wait_for("warning: layer 0: its content is");
    terminal.keys(&["q"]);
    terminal.wait_for("runtimes refuse such an image");
    terminal.assert_given_back();
}
