//! How commands end that do not get to their end: by a signal, for want of room, by a wrong word. Nothing is
//! published, nothing temporary stays, the exit code says why, and nothing is said twice.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use unbloat_proof::{
    command,
    image::{Layout, Packing},
    random::Random,
    stack::{Body, Profile, Record, generate, tarball},
    tools::{fast_folder, run},
};

/// What is promised is a second; a busy machine gets another two.
const SOON: Duration = Duration::from_secs(3);

/// A folder with a layout `in` of the image `s`, whose largest layer is `bytes` of noise, and room for
/// temporary files.
struct Ground {
    folder: tempfile::TempDir,
    layout: Layout,
}

impl Ground {
    fn new(bytes: usize) -> Self {
        let folder = fast_folder().expect("a folder");
        let layout = Layout::create(folder.path().join("in")).expect("a layout");
        let mut noise = vec![0; bytes];
        Random::new(7).fill(&mut noise);
        let file = |name: &str, content: &[u8]| Record::plain(name, Body::File(content.to_vec()));
        let tars = [tarball::write(&[file("large", &noise)]), tarball::write(&[file("small", b"x")])];
        layout.add("s", &tars, |_| Packing::Plain).expect("written");
        fs::create_dir(folder.path().join("tmp")).expect("made");
        Self { folder, layout }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self) -> String {
        self.layout.reference("s")
    }

    /// `unbloat` with these words, whose temporary files are in a folder of their own.
    fn unbloat(&self, words: &[&str]) -> Command {
        let mut command = Command::new(command::unbloat());
        command.args(words).env("TMPDIR", self.at("tmp")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Whatever lies in a folder and has a temporary name, or anything at all in that of temporary files.
    fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_temporary = entry.file_name().to_string_lossy().starts_with(".unbloat-");
                if is_temporary || folder == self.at("tmp") {
                    found.push(path);
                } else if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }
}

/// Tells a running command to end, once it does what `is_there` sees, and waits for it.
fn ended_by(signal: &str, mut child: Child, is_there: impl Fn() -> bool) -> Output {
    let begin = Instant::now();
    while !is_there() && begin.elapsed() < Duration::from_secs(20) {
        assert!(
            child.try_wait().expect("asked").is_none(),
            "it ended by itself: {:?}",
            child.wait_with_output()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = Instant::now();
    run(Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string())).expect("told");
    let output = child.wait_with_output().expect("it ends");
    assert!(told.elapsed() < SOON, "{signal}: it took {:?}", told.elapsed());
    output
}

/// That what was said is said once: no line twice, and no part of the error twice.
fn assert_said_once(what: &str, stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr).into_owned();
    let mut seen = BTreeSet::new();
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        assert!(seen.insert(line), "{what}: twice {line:?} in\n{said}");
    }
    if let Some(error) = said.lines().find(|line| line.starts_with("error: ")) {
        let mut seen = BTreeSet::new();
        for part in error.split(": ").filter(|part| part.len() > 12) {
            assert!(seen.insert(part), "{what}: twice {part:?} in {error}");
        }
    }
    said
}

fn assert_ended(ground: &Ground, what: &str, signal: &str, output: &Output) {
    let code = if signal == "INT" { 130 } else { 143 };
    let said = assert_said_once(what, &output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what} {signal}: {said}");
    assert!(said.contains("interrupted; nothing was published"), "{what}: {said}");
    assert_eq!(ground.leftovers(), [] as [PathBuf; 0], "{what} {signal}");
    assert!(!ground.at("out").exists(), "{what} {signal}: a folder that nobody asked for without its image");
    assert!(!ground.at("out.tar").exists(), "{what} {signal}: published");
}

#[test]
fn a_signal_ends_every_command_that_waits_for_its_input() {
    let ground = Ground::new(1 << 20);
    let (source, target) = ("oci-archive:-", format!("oci:{}:t", ground.at("out").display()));
    let other = ground.source();
    let commands: [&[&str]; 9] = [
        &["copy", source, &target],
        &["squash", source, &target],
        &["remove", "/small", source, &target],
        &["rebase", source, &target, "--old-base", &other, "--new-base", &other],
        &["tag", source, &target],
        &["analyze", source],
        &["verify", source, &other],
        &["history", source],
        &["tags", source],
    ];
    for signal in ["INT", "TERM"] {
        for words in commands {
            let mut child = ground.unbloat(words).stdin(Stdio::piped()).spawn().expect("starts");
            let mut input = child.stdin.take().expect("piped");
            input.write_all(&[0; 4096]).expect("taken");
            // The signal has to come when there is somebody who handles it; that it reads shows it.
            let waits = || is_reading(&child_files(&child));
            let begin = Instant::now();
            while !waits() && begin.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let output = ended_by(signal, child, || true);
            drop(input);
            assert_ended(&ground, words[0], signal, &output);
        }
    }
}

fn child_files(child: &Child) -> PathBuf {
    format!("/proc/{}/fd", child.id()).into()
}

/// Whether a process has a file that is deleted open: where standard input is kept.
fn is_reading(files: &Path) -> bool {
    let links = fs::read_dir(files).into_iter().flatten().flatten();
    links
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|to| to.to_string_lossy().ends_with("(deleted)"))
}

#[test]
fn a_signal_ends_every_command_whose_output_nobody_takes() {
    let ground = Ground::new(1 << 20);
    let fifo = ground.at("fifo");
    run(Command::new("mkfifo").arg(&fifo)).expect("made");
    let (source, target) = (ground.source(), format!("oci-archive:{}", fifo.display()));
    let docker = format!("docker-archive:{}:team/app:1", fifo.display());
    let commands: [&[&str]; 5] = [
        &["copy", &source, &target],
        &["squash", &source, &target],
        &["squash", &source, &docker],
        &["remove", "/small", &source, &target],
        &["rebase", &source, &target, "--old-base", &source, "--new-base", &source],
    ];
    for signal in ["INT", "TERM"] {
        for words in commands {
            let child = ground.unbloat(words).stdin(Stdio::null()).spawn().expect("starts");
            // All of the image is there, and only the fifo is left.
            let is_staged = || {
                let staged = fs::read_dir(ground.at("tmp")).into_iter().flatten().flatten().next();
                staged.is_some_and(|folder| folder.path().join("index.json").is_file())
            };
            let output = ended_by(signal, child, is_staged);
            assert_ended(&ground, words[0], signal, &output);
        }
    }
}

#[test]
fn a_signal_ends_a_squash_in_the_middle_of_its_encoder() {
    let ground = Ground::new(96 << 20);
    let places = [
        format!("oci:{}:t", ground.at("out").display()),
        format!("oci-archive:{}", ground.at("out.tar").display()),
    ];
    for (signal, target) in ["INT", "TERM"].into_iter().zip(&places) {
        let words = [
            "squash",
            &ground.source(),
            target,
            "--compression",
            "zstd",
            "--level",
            "19",
            "--progress",
            "none",
        ];
        let child = ground.unbloat(&words).stdin(Stdio::null()).spawn().expect("starts");
        let begin = Instant::now();
        let output = ended_by(signal, child, || begin.elapsed() > Duration::from_millis(700));
        assert_ended(&ground, "squash", signal, &output);
    }
}

/// A file system of so many bytes; it goes with the value.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, bytes: usize) -> Self {
        fs::create_dir(&at).expect("made");
        let size = format!("size={bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at))
            .expect("root may mount");
        Self(at)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_ends_every_command_that_writes_and_leaves_nothing_there() {
    let ground = Ground::new(3 << 20);
    let small = Small::mount(ground.at("small"), 1 << 20);
    let source = ground.source();
    let below = |text: &str| format!("{text}:{}", small.0.join("out").display());
    for target in ["oci", "oci-archive", "docker-archive"].map(below) {
        let commands: [&[&str]; 4] = [
            &["copy", &source, &target],
            &["squash", &source, &target, "--compression", "gzip"],
            &["remove", "/small", &source, &target],
            &["rebase", &source, &target, "--old-base", &source, "--new-base", &source],
        ];
        for words in commands {
            let output = ground.unbloat(words).stdin(Stdio::null()).output().expect("runs");
            let said = assert_said_once(words[0], &output.stderr);
            assert_eq!(output.status.code(), Some(9), "{words:?}: {said}");
            assert!(said.contains("No space left") && said.contains("small/out"), "{words:?}: {said}");
            assert_eq!(ground.leftovers(), [] as [PathBuf; 0], "{words:?}");
            assert!(!small.0.join("out").exists(), "{words:?}");
        }
    }
    // What is kept of an input that cannot be read anywhere.
    let archive = ground.at("all.tar");
    ground.layout.archive(&archive).expect("an archive");
    run(Command::new("gzip").arg("--keep").arg(&archive)).expect("packed");
    let packed = format!("oci-archive:{}.gz", archive.display());
    for (from, input) in [("oci-archive:-", Some(&archive)), (&packed, None)] {
        let mut copy = ground.unbloat(&["copy", from, &format!("oci:{}", ground.at("o2").display())]);
        copy.env("TMPDIR", &small.0).stdin(match input {
            Some(path) => fs::File::open(path).expect("there").into(),
            None => Stdio::null(),
        });
        let output = copy.output().expect("runs");
        let said = assert_said_once(from, &output.stderr);
        assert_eq!(output.status.code(), Some(9), "{from}: {said}");
        assert!(said.contains("TMPDIR names another folder"), "{from}: {said}");
    }
}

#[test]
fn errors_have_their_code_say_each_thing_once_and_name_what_to_do() {
    let ground = Ground::new(1000);
    let (source, at) = (ground.source(), |name: &str| ground.at(name).display().to_string());
    fs::write(ground.at("junk"), "junk\n").expect("written");
    let out = format!("oci:{}:t", at("out"));
    let (missing, junk, below_a_file) = (at("missing"), at("junk"), format!("{}/x", at("junk")));
    let (into_nothing, no_layout) = (format!("oci-archive:{missing}/x.tar"), format!("oci:{missing}"));
    let below = format!("oci:{below_a_file}");
    let page = format!("{missing}/page.html");
    let cases: [(&[&str], i32, &str); 15] = [
        // A target that cannot be written.
        (&["copy", &source, &below], 9, "junk/x"),
        (&["squash", &source, &below], 9, "junk/x"),
        (&["squash", &source, &into_nothing], 9, "missing"),
        (&["analyze", &source, "--html", &page], 9, "page.html"),
        // Files that an option names.
        (&["squash", &source, &out, "--ca-file", &missing], 9, "missing"),
        (&["squash", &source, &out, "--ca-file", &junk], 9, "it holds no PEM certificate"),
        (&["squash", &source, &out, "--cert-dir", &missing], 9, "missing"),
        (&["squash", &source, &out, "--authfile", &missing], 9, "does not exist"),
        (&["squash", &source, &out, "--authfile", &junk], 9, "not a valid list of credentials"),
        (&["analyze", &source, "--lint", &missing], 9, "missing"),
        // What is not there, or for somebody else.
        (&["history", &no_layout], 3, "check the path"),
        (&["copy", &source, &out, "--platform", "linux/s390x"], 2, "linux/amd64"),
        (&["squash", &source, &out, "--platform", "linux/s390x"], 2, "linux/amd64"),
        (&["remove", "/nope", &source, &out], 2, "--ignore-missing"),
        (&["squash", &source, "docker-archive:-", "--verify"], 2, "write a file"),
    ];
    for (words, code, part) in cases {
        let output = ground.unbloat(words).stdin(Stdio::null()).output().expect("runs");
        let said = assert_said_once(words[0], &output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(part), "{words:?}: no {part:?} in {said}");
        assert!(!said.contains(" at : "), "{words:?}: {said}");
        assert!(!ground.at("out").exists(), "{words:?}: it left a folder");
    }
    // A cache that cannot be written costs its speed, and is said.
    let words = ["squash", &source, &out, "--base-layers", "1", "--cache", &below_a_file];
    let squashed = command::run(words).expect("runs").success().expect("squashed");
    assert!(squashed.stdout.contains("warning: --cache"), "{}{}", squashed.stdout, squashed.stderr);
}

fn blob_of(layout: &Layout, tag: &str) -> PathBuf {
    let image = layout.image(tag).expect("sound");
    layout.path_of(image.manifest["layers"][0]["digest"].as_str().expect("a digest")).expect("a path")
}

#[test]
fn a_local_blob_that_is_cut_is_an_invalid_image_for_every_command() {
    let ground = Ground::new(100_000);
    let blob: PathBuf = blob_of(&ground.layout, "s");
    let bytes = fs::read(&blob).expect("there");
    fs::write(&blob, &bytes[..bytes.len() - 1]).expect("written");
    let (source, out) = (ground.source(), format!("oci:{}:t", ground.at("out").display()));
    let commands: [&[&str]; 6] = [
        &["copy", &source, &out],
        &["squash", &source, &out],
        &["remove", "/small", &source, &out],
        &["rebase", &source, &out, "--old-base", &source, "--new-base", &source],
        &["analyze", &source],
        &["verify", &source, &source],
    ];
    for words in commands {
        let output = ground.unbloat(words).stdin(Stdio::null()).output().expect("runs");
        let said = assert_said_once(words[0], &output.stderr);
        assert_eq!(output.status.code(), Some(6), "{words:?}: {said}");
        assert!(!said.contains("again helps") && !said.contains("run it again"), "{words:?}: {said}");
        assert!(!ground.at("out").exists(), "{words:?}: it left a folder");
    }
}

/// The words of an error about `text`, for each command that takes an image.
fn told(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(command::unbloat());
    // A registry that nobody listens at: what is meant is never asked over a network here.
    command.args(words).current_dir(folder).env("HTTPS_PROXY", "http://127.0.0.1:9").stdin(Stdio::null());
    let output = command.output().expect("runs");
    assert!(!output.status.success(), "{words:?}");
    assert_said_once(words[0], &output.stderr)
}

#[test]
fn a_path_that_is_there_is_named_as_what_it_is() {
    let folder = fast_folder().expect("a folder");
    let layout = Layout::create(folder.path().join("lay")).expect("a layout");
    layout.add("s", &generate(3, Profile::Portable).tars(), |_| Packing::Gzip(6)).expect("written");
    layout.archive(&folder.path().join("oci.tar")).expect("an archive");
    let save = format!("docker-archive:{}:team/app:1", folder.path().join("save.tar").display());
    command::run(["copy", &layout.reference("s"), &save]).expect("runs").success().expect("copied");
    let cases = [
        ("./lay", "write oci:./lay"),
        ("lay", "write oci:lay"),
        ("lay:s", "write oci:lay"),
        ("oci.tar", "write oci-archive:oci.tar"),
        ("./save.tar", "write docker-archive:./save.tar"),
        ("oci:oci.tar", "write oci-archive:oci.tar"),
        ("oci-archive:lay", "write oci:lay"),
        ("docker-archive:lay", "write oci:lay"),
    ];
    // Side by side: a registry that cannot be reached is asked several times.
    std::thread::scope(|scope| {
        for (text, right) in cases {
            for words in [vec!["history", text], vec!["tags", text], vec!["squash", text, "oci:out"]] {
                let folder = folder.path();
                scope.spawn(move || {
                    let said = told(folder, &words);
                    assert!(said.contains(right), "{words:?}: {said}");
                });
            }
        }
    });
    let said = told(folder.path(), &["squash", "oci:lay:s", "./out"]);
    assert!(said.contains("a path needs what it is in front: oci:DIR"), "{said}");
    let said = told(folder.path(), &["verify", "oci:lay:s", "lay"]);
    assert!(said.contains("write oci:lay"), "{said}");
}
