//! `unbloat analyze` as a user runs it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use unbloat_proof::{
    command::{self, Run},
    image::{Layout, Packing},
    stack::{Body, Record, tarball},
    tools::{self, fast_folder},
};

const CHECK_FAILED: i32 = 1;
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const INVALID_IMAGE: i32 = 6;
const LIMIT: i32 = 8;
const LOCAL_FILE: i32 = 9;

fn file(name: &str, size: usize) -> Record {
    Record::plain(name, Body::File((0..size).map(|index| (index * 7 % 251) as u8).collect()))
}

/// A layout with one image under the tag `i`.
fn layout(folder: &Path, layers: &[Vec<Record>]) -> Layout {
    let layout = Layout::create(folder.join("layout")).expect("a layout");
    add(&layout, "i", layers);
    layout
}

fn add(layout: &Layout, tag: &str, layers: &[Vec<Record>]) {
    let tars: Vec<_> = layers.iter().map(|records| tarball::write(records)).collect();
    layout.add(tag, &tars, |_| Packing::Gzip(6)).expect("written");
}

/// Three layers: a file of 1,000 bytes, the same twice more in other sizes.
fn plain(folder: &Path) -> Layout {
    layout(
        folder,
        &[
            vec![file("srv/data", 1000), file("srv/kept", 50)],
            vec![file("srv/data", 2000)],
            vec![file("srv/data", 3000)],
        ],
    )
}

fn analyze(arguments: &[&str]) -> Run {
    command::run(["analyze"].iter().chain(arguments)).expect("runs")
}

#[track_caller]
fn ends(run: &Run, code: i32, parts: &[&str]) {
    assert_eq!(run.code(), code, "{}{}", run.stdout, run.stderr);
    for part in parts {
        assert!(run.stderr.contains(part), "no {part:?} in: {}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn json_has_the_names_of_the_design_and_sums_that_fit() {
    let folder = fast_folder().expect("a folder");
    let image = plain(folder.path()).reference("i");
    let result = analyze(&[&image, "--json"]).success().expect("analysed").json().expect("one object");
    let has = |value: &Value, names: &str| {
        for name in names.split_whitespace() {
            assert!(value.get(name).is_some(), "{name} is not in {value}");
        }
    };
    has(&result, "reference digest platform layers totals paths causes estimate warnings");
    has(
        &result["layers"][0],
        "index digest diffId mediaType compressedBytes unpackedBytes wastedBytes entries createdBy",
    );
    has(&result["totals"], "layers compressedBytes unpackedBytes mergedBytes wastedBytes efficiency");
    has(&result["paths"][0], "path copies totalBytes wastedBytes layers cause");
    has(&result["causes"][0], "cause paths wastedBytes advice");
    has(&result["estimate"], "compressedBytes unpackedBytes seconds");
    let totals = &result["totals"];
    let number = |name: &str| totals[name].as_u64().expect("a number");
    assert_eq!((number("unpackedBytes"), number("mergedBytes"), number("wastedBytes")), (6050, 3050, 3000));
    assert_eq!(result["paths"][0]["path"], "/srv/data");
    assert_eq!(result["paths"][0]["layers"], serde_json::json!([0, 1, 2]));
    assert_eq!(result["layers"][1]["createdBy"], "layer 1 of i");
    let other =
        analyze(&[&image, "--output", "json"]).success().expect("analysed").json().expect("one object");
    assert_eq!(other["paths"], result["paths"]);
}

#[test]
fn the_schema_that_is_committed_takes_what_is_printed() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/schema/analysis.json")).expect("a schema");
    let folder = fast_folder().expect("a folder");
    let image = plain(folder.path()).reference("i");
    let result = analyze(&[&image, "--json"]).success().expect("analysed").json().expect("one object");
    // Every name that is printed is one of the schema's, and every one that it requires is printed.
    fn fits(value: &Value, schema: &Value, root: &Value, at: &str) {
        let schema = match schema["$ref"].as_str() {
            Some(name) => &root["$defs"][name.trim_start_matches("#/$defs/")],
            None => schema,
        };
        match value {
            Value::Object(members) if schema.get("properties").is_some() => {
                for (name, member) in members {
                    let known = schema["properties"].get(name);
                    fits(
                        member,
                        known.unwrap_or_else(|| panic!("{at}/{name} is not in the schema")),
                        root,
                        &format!("{at}/{name}"),
                    );
                }
                for name in schema["required"].as_array().into_iter().flatten() {
                    assert!(members.contains_key(name.as_str().expect("a name")), "{at} lacks {name}");
                }
            }
            Value::Array(items) => items.iter().for_each(|item| fits(item, &schema["items"], root, at)),
            _ => {}
        }
    }
    assert!(schema["properties"]["totals"].is_object(), "the schema says nothing");
    fits(&result, &schema, &schema, "");
}

#[test]
fn top_bounds_the_paths_and_all_lists_every_one() {
    let folder = fast_folder().expect("a folder");
    let many =
        |size: usize| (0..150).map(|index| file(&format!("f{index:03}"), size + index)).collect::<Vec<_>>();
    let image = layout(folder.path(), &[many(10), many(20)]).reference("i");
    let paths = |more: &[&str]| {
        let run = analyze(&[&[image.as_str(), "--json"], more].concat()).success().expect("analysed");
        let result = run.json().expect("one object");
        assert_eq!(result["pathsTotal"], 150);
        result["paths"].as_array().expect("a list").len()
    };
    assert_eq!((paths(&[]), paths(&["--top", "7"]), paths(&["--all"])), (100, 7, 150));
    ends(&analyze(&[&image, "--all", "--top", "3"]), USAGE, &["--top"]);
}

/// Names that do harm where they are shown as they are.
const HOSTILE: [&str; 5] = [
    "<script>alert(1)</script>",
    "a\u{1b}[2J\u{1b}]0;owned\u{7}",
    "b\nFAIL max-layers",
    "c|d`e`![f](g:h)",
    "\u{202e}gnp.exe\"&'",
];

#[test]
fn names_do_no_harm_in_any_output() {
    let folder = fast_folder().expect("a folder");
    let hostile = |size| HOSTILE.map(|name| file(&format!("var/log/{name}"), size)).to_vec();
    let image =
        layout(folder.path(), &[hostile(100), hostile(200), hostile(300), hostile(400)]).reference("i");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (junit, markdown, dockerfile) = (place("junit.xml"), place("summary.md"), place("Dockerfile"));
    fs::write(&dockerfile, "FROM scratch\nCOPY . /\n").expect("written");
    let run = analyze(&[
        &image,
        "--all",
        "--ci",
        "--max-layers",
        "1",
        "--junit",
        &junit,
        "--markdown",
        &markdown,
        "--lint",
        &dockerfile,
    ]);
    ends(&run, CHECK_FAILED, &[]);
    let harmful = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
    assert!(!run.stdout.contains(harmful), "{:?}", run.stdout);
    assert!(run.stdout.contains("\\u{1b}[2J") && run.stdout.contains("b\\nFAIL"), "{}", run.stdout);
    assert_eq!(run.stdout.lines().filter(|line| line.trim_start().starts_with("FAIL")).count(), 1);
    let text = fs::read_to_string(&markdown).expect("written");
    for harm in ["<script", "\u{1b}", "![f]", "\u{202e}", "g:h"] {
        assert!(!text.contains(harm), "{harm:?} in {text}");
    }
    // Somebody else's parser takes the XML, and finds the failure.
    let script = "import sys, xml.etree.ElementTree as tree\n\
                  print(len(tree.parse(sys.argv[1]).findall('.//testcase/failure')))";
    let parsed = tools::run(tools::command("python3").args(["-c", script, &junit])).expect("XML");
    assert_eq!(String::from_utf8_lossy(&parsed.stdout).trim(), "1");
    let json = analyze(&[&image, "--json", "--all"]).success().expect("analysed").json().expect("one object");
    let names: Vec<_> = json["paths"].as_array().expect("a list").iter().map(|path| &path["path"]).collect();
    for name in HOSTILE {
        assert!(
            names.iter().any(|found| **found == format!("/var/log/{name}")),
            "{name:?} is not in {names:?}"
        );
    }
}

#[test]
fn text_fits_a_terminal_of_eighty_columns() {
    let folder = fast_folder().expect("a folder");
    let deep = format!("{}/file", "directory/".repeat(12));
    let layers: Vec<_> =
        (1..5).map(|size| vec![file(&deep, size * 100), file("var/log/btmp", size * 384)]).collect();
    let image = layout(folder.path(), &layers).reference("i");
    let command =
        format!("stty cols 80 rows 24; {} analyze '{image}' --progress none", command::unbloat().display());
    let output = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output();
    let output = output.expect("script (util-linux) runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("/file") && text.contains('░'), "{text}");
    for line in text.lines() {
        assert!(line.trim_end_matches('\r').chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn thresholds_set_the_exit_code() {
    let folder = fast_folder().expect("a folder");
    let image = plain(folder.path()).reference("i");
    for (arguments, code) in [
        (&["--max-layers", "3"][..], 0),
        (&["--max-layers", "2"], CHECK_FAILED),
        (&["--max-wasted-bytes", "3000"], 0),
        (&["--max-wasted-bytes", "2999"], CHECK_FAILED),
        (&["--max-wasted-percent", "49.6"], 0),
        (&["--max-wasted-percent", "49%"], CHECK_FAILED),
        (&["--min-efficiency", "0.5"], 0),
        (&["--min-efficiency", "0.51"], CHECK_FAILED),
        (&["--max-size", "1MiB"], 0),
        (&["--max-size", "10"], CHECK_FAILED),
        (&["--max-size", "1MiB", "--max-layers", "1"], CHECK_FAILED),
        (&["--max-layers", "x"], USAGE),
        (&["--min-efficiency", "2"], USAGE),
    ] {
        let run = analyze(&[&[image.as_str(), "--ci"], arguments].concat());
        assert_eq!(run.code(), code, "{arguments:?}: {}{}", run.stdout, run.stderr);
    }
    ends(&analyze(&[&image, "--max-layers", "3"]), USAGE, &["--ci"]);
    let failed = analyze(&[&image, "--ci", "--max-layers", "2", "--json"]);
    ends(&failed, CHECK_FAILED, &[]);
    let checks = &failed.json().expect("one object")["checks"];
    assert_eq!((&checks[0]["name"], &checks[0]["passed"]), (&"max-layers".into(), &false.into()), "{checks}");
}

#[test]
fn thresholds_come_from_a_file_in_the_folder_or_a_named_one() {
    let folder = fast_folder().expect("a folder");
    let image = plain(folder.path()).reference("i");
    let configuration = folder.path().join(".unbloat.yaml");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(command::unbloat());
        command.args(["analyze", &image, "--ci"]).args(arguments).current_dir(folder.path());
        command::measured(&mut command).expect("runs")
    };
    // Nothing set: half of the image wasted is over the usual tenth.
    ends(&run(&[]), CHECK_FAILED, &[]);
    fs::write(&configuration, "ci:\n  maxWastedBytes: 2KiB\n").expect("written");
    ends(&run(&[]), CHECK_FAILED, &[]);
    ends(&run(&["--max-wasted-bytes", "1MiB"]), 0, &[]);
    fs::write(&configuration, "ci:\n  maxWastedBytes: 4KiB\n").expect("written");
    ends(&run(&[]), 0, &[]);
    fs::write(&configuration, "ci:\n  maxWasted: 4KiB\n").expect("written");
    ends(&run(&[]), USAGE, &[".unbloat.yaml", "maxWasted"]);
    let named = folder.path().join("other.yaml");
    fs::write(&named, "ci: {maxLayers: 9}\n").expect("written");
    ends(&run(&["--config", &named.display().to_string()]), 0, &[]);
    ends(&run(&["--config", "/nowhere/x.yaml"]), LOCAL_FILE, &["/nowhere/x.yaml"]);
}

/// The image `i` with this history.
fn with_history(layout: &Layout, tag: &str, steps: &[&str]) -> String {
    let manifest_path = layout.path_of(&layout.resolve("i").expect("an image")).expect("a path");
    let mut manifest: Value = serde_json::from_slice(&fs::read(manifest_path).expect("read")).expect("JSON");
    let mut config: Value =
        serde_json::from_slice(&layout.read(&manifest["config"]).expect("a config")).expect("JSON");
    config["history"] = steps.iter().map(|step| serde_json::json!({"created_by": step})).collect();
    let media_type = "application/vnd.oci.image.config.v1+json";
    manifest["config"] =
        layout.blob(&serde_json::to_vec(&config).expect("JSON"), media_type).expect("written");
    layout.tag(tag, &serde_json::to_vec(&manifest).expect("JSON")).expect("written");
    layout.reference(tag)
}

#[test]
fn lint_points_at_the_lines_of_the_dockerfile() {
    let folder = fast_folder().expect("a folder");
    let mut owned = file("app/server", 9000);
    owned.uid = 1000;
    let layout = layout(
        folder.path(),
        &[
            vec![file("etc/base", 10)],
            vec![file("var/lib/apt/lists/archive", 5000)],
            vec![file("app/server", 9000)],
            vec![owned],
        ],
    );
    let image = with_history(
        &layout,
        "built",
        &[
            "/bin/sh -c #(nop) ADD file:0a1b in /",
            "RUN /bin/sh -c apt-get update && apt-get install -y curl # buildkit",
            "COPY server /app/ # buildkit",
            "RUN /bin/sh -c chown -R 1000 /app # buildkit",
        ],
    );
    let dockerfile = folder.path().join("Dockerfile");
    let text = "FROM debian:12\n\n# tools\nRUN apt-get update && \\\n    apt-get install -y curl\nCOPY server /app/\nRUN chown -R 1000 /app\n";
    fs::write(&dockerfile, text).expect("written");
    let dockerfile = dockerfile.display().to_string();
    let run = analyze(&[&image, "--lint", &dockerfile]).success().expect("analysed");
    for (line, cause) in [(4, "apt-cache"), (7, "metadata-copy")] {
        let start = format!("{dockerfile}:{line}: ");
        let found = run.stdout.lines().find(|found| found.starts_with(&start));
        assert!(found.is_some_and(|found| found.contains(cause)), "{line}: {}", run.stdout);
    }
    let json = analyze(&[&image, "--lint", &dockerfile, "--json"])
        .success()
        .expect("analysed")
        .json()
        .expect("JSON");
    assert_eq!((&json["lint"][0]["line"], &json["lint"][0]["cause"]), (&7.into(), &"metadata-copy".into()));
    ends(&analyze(&[&image, "--lint", "/nowhere/Dockerfile"]), LOCAL_FILE, &["/nowhere/Dockerfile"]);
}

#[test]
fn lint_follows_stages_and_targets() {
    let folder = fast_folder().expect("a folder");
    let lists = |name: &str| vec![file(&format!("var/lib/apt/lists/{name}"), 5000)];
    let layout = layout(folder.path(), &[lists("base"), lists("tools")]);
    let steps = [
        "RUN /bin/sh -c apt-get install -y curl # buildkit",
        "RUN /bin/sh -c apt-get install -y git # buildkit",
    ];
    let image = with_history(&layout, "built", &steps);
    let dockerfile = folder.path().join("Dockerfile").display().to_string();
    let text = "ARG FROM=base\nFROM debian AS Base\nRUN <<'E F'\nFROM nothing\napt-get install -y curl\nE F\n\
                FROM ${FROM} AS tools\nRUN apt-get install -y git\nFROM scratch\nCOPY --from=tools /x /x\n";
    fs::write(&dockerfile, text).expect("written");
    let lines = |more: &[&str]| -> Vec<Value> {
        let run = analyze(&[&[image.as_str(), "--lint", &dockerfile, "--json"], more].concat());
        let found = run.success().expect("analysed").json().expect("JSON")["lint"].clone();
        found.as_array().expect("a list").iter().map(|finding| finding["line"].clone()).collect()
    };
    // One cause at each line that brings what it is about.
    assert_eq!(lines(&["--target", "TOOLS"]), [3, 8].map(Value::from));
    assert_eq!(lines(&[]), [Value::Null], "the last stage is another");
    ends(&analyze(&[&image, "--lint", &dockerfile, "--target", "none"]), USAGE, &["none", "Base, tools"]);
    ends(&analyze(&[&image, "--target", "tools"]), USAGE, &["--lint"]);
}

#[test]
fn the_command_at_the_end_can_be_run_as_it_stands() {
    let folder = fast_folder().expect("a folder");
    let spaced = folder.path().join("a folder");
    fs::create_dir(&spaced).expect("made");
    let zeros = Record::plain("var/log/lastlog", Body::File(vec![0; 40_000]));
    let layers = [
        vec![file("var/lib/apt/lists/it's [one]", 5000), file("etc/shadow-", 70), file("srv/a", 9), zeros],
        vec![file("srv/a", 8)],
    ];
    let image = layout(&spaced, &layers).reference("i");
    let text = analyze(&[&image, "--platform", "linux/amd64"]).success().expect("analysed").stdout;
    let (_, command) = text.split_once("  unbloat squash ").expect("a command");
    let program = command::unbloat();
    let script = format!("{} squash {command}", program.display());
    let run = command::measured(Command::new("bash").args(["-c", &script])).expect("runs");
    run.success().expect("squashed");
    let result = analyze(&[&format!("{image}-flat"), "--json"]).success().expect("analysed");
    let result = result.json().expect("JSON");
    assert_eq!(result["totals"]["unpackedBytes"], 8, "{command}");
    assert_eq!(result["causes"], serde_json::json!([]), "{command}");
    let flat = analyze(&[&format!("{image}-flat")]).success().expect("analysed").stdout;
    assert!(!flat.contains("What gives these bytes back"), "{flat}");
}

#[test]
fn two_images_are_compared_by_path_and_layer() {
    let folder = fast_folder().expect("a folder");
    let base = vec![file("usr/base", 500)];
    let layout = layout(folder.path(), &[base.clone(), vec![file("srv/a", 100)]]);
    add(&layout, "next", &[base, vec![file("srv/a", 700)], vec![file("srv/a", 900), file("srv/new", 40)]]);
    let (before, after) = (layout.reference("i"), layout.reference("next"));
    let result =
        analyze(&[&before, &after, "--json"]).success().expect("compared").json().expect("one object");
    assert_eq!(result["commonLayers"], 1);
    let path = &result["paths"][0];
    let told = (&path["path"], &path["shownBefore"], &path["shownAfter"], &path["wastedAfter"]);
    assert_eq!(told, (&"/srv/a".into(), &100.into(), &900.into(), &700.into()));
    assert_eq!(result["layers"].as_array().map(Vec::len), Some(2));
    let text = analyze(&[&before, &after]).success().expect("compared").stdout;
    assert!(text.contains("/srv/a") && text.contains("+1.5 KiB"), "{text}");
    let same =
        analyze(&[&before, &before, "--json"]).success().expect("compared").json().expect("one object");
    assert_eq!((&same["pathsTotal"], &same["commonLayers"]), (&0.into(), &2.into()));
    for alone in [&["--ci"][..], &["--max-layers", "1"], &["--min-efficiency", "1"], &["--html", "x.html"]] {
        ends(&analyze(&[&[before.as_str(), &after], alone].concat()), USAGE, &alone[..1]);
    }
}

#[test]
fn what_cannot_be_written_is_told_and_a_reader_that_leaves_is_no_error() {
    let folder = fast_folder().expect("a folder");
    let image = plain(folder.path()).reference("i");
    ends(&analyze(&[&image, "--markdown", "/nowhere/x.md"]), LOCAL_FILE, &["/nowhere/x.md"]);
    ends(&analyze(&[&image, "--ci", "--junit", "/proc/x.xml"]), LOCAL_FILE, &["/proc/x.xml"]);
    let shell = |script: &str| {
        let script = format!("set -o pipefail; {} analyze '{image}' {script}", command::unbloat().display());
        command::measured(Command::new("bash").args(["-c", &script])).expect("runs")
    };
    ends(&shell("--json --all >/dev/full"), LOCAL_FILE, &["standard output"]);
    ends(&shell("--json --all | true"), 0, &[]);
    ends(&shell("--ci --max-layers 1 | true"), CHECK_FAILED, &[]);
}

#[test]
fn bad_images_are_refused_as_for_a_squash() {
    let folder = fast_folder().expect("a folder");
    let layout = plain(folder.path());
    let image = layout.reference("i");
    ends(&analyze(&["localhost:1/x@sha256:12"]), USAGE, &["error"]);
    ends(&analyze(&[&layout.reference("nothing")]), NOT_FOUND, &["nothing"]);
    ends(&analyze(&[&image, "--platform", "plan9"]), USAGE, &["plan9"]);
    ends(&analyze(&[&image, "--max-unpacked", "1KiB"]), LIMIT, &["--max-unpacked"]);
    ends(&analyze(&[&image, "--max-paths", "2"]), LIMIT, &["--max-paths"]);
    let manifest: Value = serde_json::from_slice(
        &fs::read(layout.path_of(&layout.resolve("i").expect("an image")).expect("a path")).expect("read"),
    )
    .expect("JSON");
    let digest = manifest["layers"][1]["digest"].as_str().expect("a digest");
    let blob = layout.path_of(digest).expect("a path");
    let bytes = fs::read(&blob).expect("read");
    fs::write(&blob, &bytes[..bytes.len() - 20]).expect("written");
    let truncated = analyze(&[&image]);
    let squash = command::run(["squash", "--dry-run", &image]).expect("runs");
    assert_ne!(squash.code(), 0, "{}", squash.stdout);
    ends(&truncated, squash.code(), &["layer 1", digest]);
    fs::write(&blob, vec![b'x'; bytes.len()]).expect("written");
    ends(&analyze(&[&image]), INVALID_IMAGE, &["layer 1", digest]);
    fs::remove_file(&blob).expect("removed");
    ends(&analyze(&[&image]), NOT_FOUND, &[digest]);
}
