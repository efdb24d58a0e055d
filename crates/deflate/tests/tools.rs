//! The tools of others, where they are installed: what they compress is read and spliced, and they read the
//! result.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{cut, splice, tarlike};
use unbloat_deflate::GzipOptions;

/// Runs a filter; `None` when it is not installed.
fn filter(command: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?} refuses its input");
    Some(output.stdout)
}

fn installed(tool: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).exists()))
}

/// Every compressor here, by its command line from standard input to standard output.
const COMPRESSORS: &[&[&str]] = &[
    &["gzip", "-1"],
    &["gzip", "-6"],
    &["gzip", "-9", "--rsyncable"],
    &["pigz", "-6", "-p", "4"],
    &["pigz", "-1", "-i", "-b", "128"],
    &["pigz", "-9", "-R"],
    &["pigz", "-11", "-F", "-p", "2"],
    &["igzip", "-0"],
    &["igzip", "-1"],
    &["igzip", "-3"],
    &["libdeflate-gzip", "-12"],
];

#[test]
fn what_other_tools_compress_is_spliced_and_what_is_spliced_other_tools_read() {
    let data = tarlike(31, 1_500_000);
    let kept = [0..400_000, 400_512..900_000, 960_000..1_500_000];
    let expected = cut(&data, &kept);
    let go = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/gunzip.go");
    let go = go.to_str().unwrap();
    let mut used = 0;
    for compressor in COMPRESSORS.iter().filter(|command| installed(command[0])) {
        let packed = filter(compressor, &data).unwrap();
        let (output, _) = splice(&packed, &kept, 50_000, usize::MAX, GzipOptions::default());
        support::inflate_everywhere(&output, &expected);
        assert!(filter(&["gzip", "-dc"], &output).unwrap() == expected, "gzip, after {compressor:?}");
        assert_eq!(filter(&["gzip", "-t"], &output).unwrap(), b"");
        let others: [&[&str]; 4] = [
            &["igzip", "-dc"],
            &["pigz", "-dc"],
            &["go", "run", go],
            &[
                "python3",
                "-c",
                "import sys,gzip; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))",
            ],
        ];
        for other in others.iter().filter(|command| installed(command[0])) {
            assert!(filter(other, &output).unwrap() == expected, "{other:?}, after {compressor:?}");
        }
        used += 1;
    }
    assert!(used >= 3, "gzip at least is on every machine that builds this");
}

#[test]
fn zopflis_long_blocks_are_spliced() {
    if !installed("zopfli") {
        return;
    }
    let data = tarlike(32, 600_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, &data).unwrap();
    let packed = Command::new("zopfli").args(["--i1", "-c"]).arg(&file).output().unwrap();
    assert!(packed.status.success());
    let kept = [0..300_000, 310_000..600_000];
    let (output, summary) = splice(&packed.stdout, &kept, 10_000, usize::MAX, GzipOptions::default());
    support::inflate_everywhere(&output, &cut(&data, &kept));
    assert!(summary.copied > 100_000, "{summary:?}");
}
