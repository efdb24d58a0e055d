//! `docs/commands.md` shows what the command prints today: its examples are run, in order, and compared.
//!
//! What a clock decides (`0.28 s`) is compared as a number of seconds. A line `…` stands for any lines.
//! Examples that need a cluster or a terminal are not run here. `UNBLOAT_PAGE=write cargo test -p
//! unbloat-proof --test commands_page` writes the outputs of today into the page.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use unbloat_proof::{
    command::unbloat,
    tools::{fast_folder, workspace},
};

/// What the page calls the demo's registry.
const CALLED: &str = "localhost:5000";
/// Commands that need what is not here.
const ELSEWHERE: [&str; 7] = [
    "unbloat run ",
    "unbloat get",
    "unbloat watch ",
    "unbloat logs ",
    "unbloat cancel ",
    "kubectl ",
    "echo ",
];

/// A command of the page with the lines that are shown below it.
struct Example {
    command: String,
    /// Index of the first line of output in the page.
    from: usize,
    /// Index after the last one.
    to: usize,
}

impl Example {
    fn is_elsewhere(&self) -> bool {
        let is_screen = self.command.starts_with("unbloat explore ") && !self.command.contains('|');
        is_screen || ELSEWHERE.iter().any(|start| self.command.starts_with(start))
    }
}

/// The examples of a page: in `console` blocks, commands after `$ ` with continuation lines, and what follows
/// each.
fn examples(lines: &[String]) -> Vec<Example> {
    let (mut found, mut index) = (Vec::<Example>::new(), 0);
    while index < lines.len() {
        if lines[index] != "```console" {
            index += 1;
            continue;
        }
        index += 1;
        while lines[index] != "```" {
            if let Some(first) = lines[index].strip_prefix("$ ") {
                let mut command = first.to_owned();
                while command.ends_with('\\') {
                    index += 1;
                    command.pop();
                    command.push_str(lines[index].trim_start());
                }
                found.push(Example { command, from: index + 1, to: index + 1 });
            } else if let Some(example) = found.last_mut() {
                example.to = index + 1;
            }
            index += 1;
        }
    }
    found
}

/// The demo, which serves its registry until it is dropped.
struct Demo {
    process: Child,
    host: String,
    /// Where it says that it serves; closed, it could say nothing more.
    _says: BufReader<ChildStderr>,
}

impl Demo {
    fn start() -> Self {
        let mut demo = Command::new(unbloat());
        demo.args(["demo", "--keep", "--progress", "none"]);
        demo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = demo.spawn().expect("the demo starts");
        let mut says = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("127.0.0.1:") {
            line.clear();
            assert!(says.read_line(&mut line).expect("text") > 0, "the demo ended");
        }
        let port = line.split_once("127.0.0.1:").expect("it was looked for").1;
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Self { process, host: format!("127.0.0.1:{port}"), _says: says }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a shell shows of a command, both outputs, in the page's words.
fn shown(command: &str, demo: &Demo, folder: &Path) -> Vec<String> {
    let programs = unbloat().canonicalize().expect("the program is built");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{{ {}\n}} 2>&1", command.replace(CALLED, &demo.host))).current_dir(folder);
    let first = program_folder(&programs, folder);
    shell.env("HOME", folder).env("PATH", format!("{}:{path}", first.display())).env("COLUMNS", "100");
    let output = shell.stdin(Stdio::null()).output().expect("a shell");
    let text = String::from_utf8(output.stdout).expect("text").replace(&demo.host, CALLED);
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// A folder where the program under test is called `unbloat`.
fn program_folder(program: &Path, folder: &Path) -> PathBuf {
    let programs = folder.join("programs");
    if !programs.exists() {
        fs::create_dir(&programs).expect("a folder");
        std::os::unix::fs::symlink(program, programs.join("unbloat")).expect("a link");
    }
    programs
}

/// A line with what a clock decides taken out, and what is estimated from the samples that threads took
/// first.
fn timeless(line: &str) -> String {
    let line = match line.split_once("\"durationSeconds\": ") {
        Some((before, _)) => format!("{before}\"durationSeconds\": 0,"),
        None => line.to_owned(),
    };
    let words: Vec<&str> = line.split(' ').collect();
    let is_seconds = |index: usize| {
        matches!(words.get(index + 1), Some(&"s" | &"s." | &"s,")) && words[index].parse::<f64>().is_ok()
    };
    let is_estimate = |index: usize| index >= 2 && words[index - 2..index] == ["saves", "about"];
    let word = |(index, word): (usize, &&str)| match is_seconds(index) || is_estimate(index) {
        true => "N".to_owned(),
        false => (*word).to_owned(),
    };
    words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// Whether the page's lines, with their gaps, are these.
fn fits(page: &[String], found: &[String]) -> bool {
    let found: Vec<String> = found.iter().map(|line| timeless(line)).collect();
    let parts: Vec<Vec<String>> =
        parts(page).iter().map(|part| part.iter().map(|line| timeless(line)).collect()).collect();
    let [first, rest @ ..] = &parts[..] else { return found.is_empty() };
    if !found.starts_with(first) {
        return false;
    }
    let Some((last, middle)) = rest.split_last() else { return found.len() == first.len() };
    let mut left = &found[first.len()..];
    for part in middle {
        let Some(at) = (0..left.len()).find(|at| left[*at..].starts_with(part)) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// The lines between gaps; one more than there are gaps.
fn parts(page: &[String]) -> Vec<&[String]> {
    page.split(|line| line.trim() == "…").collect()
}

/// The output with gaps where the page has them: as many lines before the first and after the last, and
/// between two of them the lines that begin as the page's do.
fn with_gaps(page: &[String], found: &[String]) -> Vec<String> {
    let parts = parts(page);
    let [first, rest @ ..] = &parts[..] else { return found.to_vec() };
    let Some((last, middle)) = rest.split_last() else { return found.to_vec() };
    let gap = || page.iter().find(|line| line.trim() == "…").cloned().unwrap_or_default();
    let mut written = found[..first.len().min(found.len())].to_vec();
    for part in middle {
        let start = part.first().and_then(|line| line.split_whitespace().next()).unwrap_or_default();
        let at = found.iter().position(|line| line.split_whitespace().next() == Some(start)).unwrap_or(0);
        written.push(gap());
        written.extend_from_slice(&found[at..(at + part.len()).min(found.len())]);
    }
    written.push(gap());
    written.extend_from_slice(&found[found.len().saturating_sub(last.len())..]);
    written
}

#[test]
fn every_example_of_the_page_prints_what_the_page_says() {
    let path = workspace().join("docs/commands.md");
    let page = fs::read_to_string(&path).expect("the page");
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    let examples = examples(&lines);
    let (demo, folder) = (Demo::start(), fast_folder().expect("a folder"));
    let (mut stale, mut run, mut outputs) = (Vec::new(), 0, Vec::new());
    for example in &examples {
        if example.is_elsewhere() {
            continue;
        }
        run += 1;
        let (page, found) = (&lines[example.from..example.to], shown(&example.command, &demo, folder.path()));
        // Where nothing is shown, only that it runs is meant.
        if !page.is_empty() && !fits(page, &found) {
            stale.push(format!("$ {}\n{}", example.command, found.join("\n")));
            outputs.push((example.from, example.to, with_gaps(page, &found)));
        }
    }
    assert!(run >= 15, "{run} examples were run");
    if std::env::var_os("UNBLOAT_PAGE").is_some_and(|value| value == "write") {
        for (from, to, output) in outputs.into_iter().rev() {
            lines.splice(from..to, output);
        }
        return fs::write(path, lines.join("\n") + "\n").expect("written");
    }
    assert!(stale.is_empty(), "{} examples print something else:\n{}", stale.len(), stale.join("\n\n"));
}

#[test]
fn gaps_stand_for_lines_and_seconds_for_seconds() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a\n…\nz in 0.1 s"), &lines("a\nb\nc\nz in 22 s")));
    assert!(!fits(&lines("a\n…\nz"), &lines("a\nb\ny")));
    assert!(!fits(&lines("a\nb 1 B"), &lines("a\nb 2 B")));
    assert_eq!(with_gaps(&lines("a\n…\nz"), &lines("1\n2\n3\n4")), lines("1\n…\n4"));
}
