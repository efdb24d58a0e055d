//! The scripts that prepare and measure a squash node (`deploy/squash-node`): on loop devices with real LVM
//! records, XFS and fio, as root. What stands in for a device mapper and systemd says so in the script of the
//! tests. The measurement in a cluster is `qualify.rs` of the operator's tests.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use unbloat_proof::tools::{command, run, workspace};

fn folder() -> PathBuf {
    workspace().join("deploy/squash-node")
}

/// Every script of it.
fn scripts() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        ["squash-node", "qualify", "tests/on-loop-devices"].map(|name| folder().join(name)).into();
    for inner in ["lib", "tests/stand-ins"] {
        for entry in fs::read_dir(folder().join(inner))? {
            found.push(entry?.path());
        }
    }
    Ok(found)
}

#[test]
fn a_node_is_prepared_and_undone_and_whatever_holds_something_is_refused() -> Result<()> {
    for program in ["fio", "mkfs.xfs", "sfdisk", "systemd-escape", "vgcreate"] {
        command(program);
    }
    let output = run(command("sh").arg(folder().join("tests/on-loop-devices")))?;
    let passed = String::from_utf8(output.stdout)?;
    assert_eq!(passed.lines().filter(|line| line.starts_with("ok ")).count(), 9, "{passed}");
    Ok(())
}

#[test]
fn the_scripts_have_no_fault_that_shellcheck_knows() -> Result<()> {
    run(command("shellcheck").arg("--external-sources").args(scripts()?).current_dir(folder())).map(drop)
}

#[test]
fn each_variable_is_explained_with_its_default_and_there_is_no_other() -> Result<()> {
    let code = fs::read_to_string(folder().join("lib/variables.sh"))?;
    let mut defaults = BTreeSet::new();
    for part in code.split("\"${").skip(1) {
        let Some((inner, _)) = part.split_once("}\"") else { continue };
        let Some((name, default)) = inner.split_once('=') else { continue };
        defaults.insert((name.trim_end_matches(':').to_owned(), default.to_owned()));
    }
    // Of the tests alone.
    defaults.retain(|(name, _)| !["ROOT", "ALLOW_LOOP"].contains(&name.as_str()));
    let page = fs::read_to_string(folder().join("squash-node.env"))?;
    let assignments = page.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
    let explained: BTreeSet<(String, String)> = assignments
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect();
    assert!(defaults.len() > 10, "{defaults:?}");
    assert_eq!(defaults, explained);
    Ok(())
}

#[test]
fn a_measurement_says_what_it_would_do_and_takes_no_variable_that_is_none() -> Result<()> {
    let qualify = |change: (&str, &str)| {
        let mut qualify = command("sh");
        qualify.arg(folder().join("qualify")).arg("--dry-run");
        qualify.env("KUBECTL", folder().join("tests/stand-ins/kubectl"));
        qualify.env("IMAGE", "registry.example.com/fio:1");
        qualify.env(change.0, change.1).output().context("sh")
    };
    let output = qualify(("STORAGE_CLASS", "stripe"))?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for words in ["values: [\"node-1\"]", "storageClassName: stripe", "enforce-version: v1.30"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!text.contains('@'), "something is not filled in: {text}");
    for wrong in [("IMAGE", ""), ("IMAGE", "a b"), ("SIZE", "4"), ("WANTED_IOPS", "0"), ("NAMESPACE", "A|b")]
    {
        let output = qualify(wrong)?;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(wrong.0));
    }
    Ok(())
}
