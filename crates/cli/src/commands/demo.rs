//! `demo`: the incident at small scale, from the bloated image to the repaired one, without network or root.
//!
//! A base of a few thousand files and a stack of commits, each of which touches a little and copies a growing
//! log up whole: what overlayfs does when something appends to a file of a lower layer. The image is served
//! by a real registry in this process, so other clients can look at it too.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use serde::Serialize;
use unbloat_analysis::{CauseReport, PathReport};
use unbloat_contract::{AnalyzeRequest, Limits, RemoveRequest, SquashRequest, SquashResult, VerifyRequest};
use unbloat_oci::{Codec, Descriptor, Digest, Family, Manifest};
use unbloat_registry::{Client, Location};
use unbloat_registry_server::{Options, Server};
use unbloat_squash::Progress;

use unbloat_text::wrap;

use crate::args::DemoArgs;
use crate::commands::{print, print_json};
use crate::connection::{ConnectionArgs, Images, Needs};
use crate::progress::watch;
use crate::report::{self, bytes};
use crate::settings::Settings;

/// The log that every commit copies up: records of 384 bytes, as in `btmp` (utmp(5)).
const LOG: &str = "var/log/btmp";
const RECORD: usize = 384;
/// Bytes that the log grows by in each commit.
const GROWTH: usize = 96 * RECORD;
/// Files of the base.
const FILES: usize = 3_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DemoResult {
    image: String,
    /// The path that is in most layers, and in how many.
    worst_path: String,
    worst_path_layers: u64,
    squash: SquashResult,
    removed: SquashResult,
    verified_paths: u64,
}

pub(crate) async fn demo(settings: &Settings, args: DemoArgs) -> anyhow::Result<()> {
    let quiet = settings.is_json();
    let say = |text: String| {
        if !quiet {
            // Somebody who reads no further does not stop the demo.
            let _ = print(&text);
        }
    };
    let server =
        Server::start(Options::default()).await.context("the embedded registry cannot be started")?;
    let image = format!("{}/demo/devbox:bloated", server.host());
    let client = ConnectionArgs::default().client(Images::default(), Needs::of(&Limits::default(), false))?;

    say(format!("A development environment, committed {} times: {image}", args.layers - 1));
    let layers = make_layers(usize::from(args.layers));
    push(&client, &image, &layers).await?;
    let history = unbloat_squash::history(&client, &image, None).await?;
    say(format!("  {} layers, {} compressed", history.layers, bytes(history.compressed_bytes)));
    let steps = history.steps.iter().rev();
    for step in steps.clone().take(3).chain(steps.skip(history.steps.len().saturating_sub(1)).take(1)) {
        let layer = step.layer.map_or("-".into(), |layer| layer.to_string());
        let size = step.compressed_bytes.map_or("-".into(), bytes);
        say(format!("  layer {layer:>4} {size:>10}  {}", step.created_by.as_deref().unwrap_or("")));
    }

    say(format!("\n$ unbloat analyze {image}"));
    let (worst, cause) = worst_path(&client, &image).await?;
    say(format!(
        "{}: {} is in {} layers, {} in all, of which {} are visible",
        cause.title,
        worst.path,
        worst.copies,
        bytes(worst.total_bytes),
        bytes(worst.total_bytes - worst.wasted_bytes)
    ));
    for line in wrap(&cause.advice, 100) {
        say(format!("  {line}"));
    }

    let removed_at = format!("{}/demo/devbox:removed", server.host());
    let request = RemoveRequest {
        source: image.clone(),
        destination: removed_at.clone(),
        paths: vec![worst.path.clone()],
        ..RemoveRequest::default()
    };
    let progress = Arc::new(Progress::default());
    let removed = unbloat_squash::remove(&client, &request, &progress).await?;
    say(format!(
        "\nDeleting it in one more layer frees nothing: {} -> {}",
        bytes(removed.figures.compressed_bytes_before),
        bytes(removed.figures.compressed_bytes_after)
    ));

    let squashed_at = format!("{}/demo/devbox:squashed", server.host());
    say(format!("\n$ unbloat squash --truncate {} --verify {image} {squashed_at}", worst.path));
    let request = SquashRequest {
        truncate: vec![worst.path.clone()],
        verify: true,
        ..SquashRequest::new(&image, &squashed_at)
    };
    let progress = Arc::new(Progress::default());
    let squash =
        watch(&progress, settings.progress, unbloat_squash::squash(&client, &request, &progress)).await?;
    say(report::squash(&squash, false));

    let request = VerifyRequest {
        a: image.clone(),
        b: squashed_at.clone(),
        paths: vec!["usr".into(), "etc".into(), "home".into()],
        ..VerifyRequest::default()
    };
    let verified = unbloat_squash::verify(&client, &request, &Arc::new(Progress::default())).await?;
    anyhow::ensure!(
        verified.equal,
        "the squashed image differs from the original: {:?}",
        verified.differences
    );
    say(format!(
        "\nVerified: all {} paths below /usr, /etc and /home are the same in both images",
        verified.paths
    ));

    if quiet {
        print_json(&DemoResult {
            image: image.clone(),
            worst_path: worst.path,
            worst_path_layers: u64::from(worst.copies),
            squash,
            removed,
            verified_paths: verified.paths,
        })?;
    }
    if args.keep {
        eprintln!(
            "The registry stays at {} until Ctrl-C; try: crane ls --insecure {}/demo/devbox",
            server.host(),
            server.host()
        );
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

/// The path that wastes most, with its cause.
async fn worst_path(client: &Client, image: &str) -> anyhow::Result<(PathReport, CauseReport)> {
    let request = AnalyzeRequest { image: image.to_owned(), top: Some(1), ..AnalyzeRequest::default() };
    let analysis = unbloat_squash::analyze(client, &request, &Arc::new(Progress::default())).await?;
    let worst = analysis.paths.into_iter().next().context("the image has no files")?;
    let is_its = |cause: &CauseReport| worst.cause.as_deref() == Some(&cause.cause);
    let cause = analysis.causes.into_iter().find(is_its).context("the worst path has a cause")?;
    Ok((worst, cause))
}

/// The layers as tar, lowest first.
fn make_layers(count: usize) -> Vec<Vec<u8>> {
    let mut random = Noise(0x9e37_79b9_7f4a_7c15);
    let mut log = Vec::new();
    (0..count)
        .map(|layer| {
            let mut tar = Tar::default();
            if layer == 0 {
                for directory in
                    ["etc", "home", "home/devbox", "usr", "usr/lib", "usr/share", "var", "var/log"]
                {
                    tar.entry(directory, b'5', 0o755, b"");
                }
                for index in 0..FILES {
                    let size = 200 + random.below(6_000);
                    let content = random.text(size);
                    tar.entry(&format!("usr/lib/module-{index:04}.py"), b'0', 0o644, content.as_bytes());
                }
            } else {
                let content = random.text(4_000);
                tar.entry(&format!("home/devbox/work-{layer:03}.py"), b'0', 0o644, content.as_bytes());
                tar.entry("etc/hosts", b'0', 0o644, format!("127.0.0.1 devbox-{layer}\n").as_bytes());
            }
            for _ in 0..GROWTH / RECORD {
                log.extend_from_slice(&random.login());
            }
            tar.entry(LOG, b'0', 0o660, &log);
            tar.finish()
        })
        .collect()
}

/// Pushes the layers as an image with the history that commits leave.
async fn push(client: &Client, image: &str, layers: &[Vec<u8>]) -> anyhow::Result<()> {
    let location: Location = image.parse()?;
    let destination = client.destination(&location).await?;
    let family = Family::Oci;
    let media_type = family.layer(Codec::Gzip).context("gzip layers")?;
    let mut descriptors = Vec::new();
    for tar in layers {
        let mut gzip = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
        gzip.write_all(tar)?;
        descriptors.push(destination.put_blob(media_type.clone(), gzip.finish()?.into()).await?);
    }
    let diff_ids: Vec<String> = layers.iter().map(|tar| Digest::sha256_of(tar).to_string()).collect();
    let history: Vec<_> = (0..layers.len())
        .map(|layer| {
            let by = if layer == 0 { "base system".to_owned() } else { format!("devbox commit {layer}") };
            serde_json::json!({"created": "2026-01-01T00:00:00Z", "created_by": by})
        })
        .collect();
    let config = serde_json::json!({
        "created": "2026-01-01T00:00:00Z",
        "architecture": unbloat_oci::Platform::host().architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let config: Descriptor =
        destination.put_blob(family.config(), Bytes::from(serde_json::to_vec(&config)?)).await?;
    let manifest = Manifest::new(family, config, descriptors);
    destination.publish(manifest.media_type(), manifest.to_bytes().into(), None).await?;
    Ok(())
}

/// A layer in plain ustar.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(&mut self, name: &str, kind: u8, mode: u32, content: &[u8]) {
        self.0.extend_from_slice(&unbloat_layers::tar::simple_header(
            name.as_bytes(),
            kind,
            mode,
            content.len() as u64,
        ));
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&unbloat_layers::tar::TRAILER);
        self.0
    }
}

/// The same bytes on every machine (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Words that compress as source text does.
    fn text(&mut self, size: usize) -> String {
        const WORDS: [&str; 12] = [
            "def ", "return ", "self.", "value", "index", " = ", "import ", "None", "(", ")", "\n    ",
            "config",
        ];
        let mut text = String::with_capacity(size + 16);
        while text.len() < size {
            text.push_str(WORDS[self.below(WORDS.len())]);
            if self.below(6) == 0 {
                text.push_str(&format!("{:x}", self.next() as u16));
            }
        }
        text
    }

    /// A failed login: terminal, user, host and time in a record of zeros.
    fn login(&mut self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[0] = 6;
        record[8..14].copy_from_slice(b"ssh:no");
        record[44..48].copy_from_slice(&(self.next() as u32).to_le_bytes());
        let host = format!("203.0.113.{}", self.below(255));
        record[76..76 + host.len()].copy_from_slice(host.as_bytes());
        record[340..348].copy_from_slice(&self.next().to_le_bytes());
        record
    }
}
