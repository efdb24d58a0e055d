//! What image clients survive of what registries do: `cargo run -p unbloat-proof --example clients [WORD…]`
//! runs the built `unbloat`, and skopeo, crane and regctl (`target/tools/bin`, `PATH`) against a server for
//! each behaviour whose row has one of the words, and prints the tables of `docs/registries.md`. `--serve
//! WORD` serves the first such behaviour until it is interrupted: its address, and that of a server without
//! it on the same content.
//!
//! A client survives if one run ends well and the image is there byte for byte, or the list is the whole
//! list.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use unbloat_oci::{Codec, Digest, Family, Manifest};
use unbloat_proof::{command::unbloat, tools::workspace};
use unbloat_registry::{Client, ClientOptions, Location};
use unbloat_registry_server::{
    Access, LinkForm, LocationForm, Naming, Options, Quirk, RangeForm, RetryForm, Server,
};

/// Longer than any of them waits for something that comes.
const PATIENCE: Duration = Duration::from_secs(120);
const USER: (&str, &str) = ("user", "open-sesame");
const TAGS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "t"];

/// What is asked of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// A copy to the server.
    Push,
    /// A copy within the server.
    Within,
    /// A copy from the server.
    Pull,
    /// The list of tags.
    Tags,
}

struct Case {
    row: &'static str,
    task: Task,
    quirks: Vec<Quirk>,
    access: Access,
}

const CLIENTS: [&str; 4] = ["unbloat", "skopeo", "crane", "regctl"];

/// Each table with its cases; `store` is a server that gives what is signed for GET.
fn tables(store: &str) -> Vec<(&'static str, Vec<Case>)> {
    let case =
        |task: Task, row: &'static str, quirks: Vec<Quirk>| Case { row, task, quirks, access: Access::Open };
    let push = |row, quirks| case(Task::Push, row, quirks);
    let pull = |row, quirks| case(Task::Pull, row, quirks);
    let tags = |row, form| case(Task::Tags, row, vec![Quirk::Pages(2, form)]);
    let (username, password) = (USER.0.to_owned(), USER.1.to_owned());
    let lifetime = Duration::from_secs(300);
    let private = move |row: &'static str, quirks: Vec<Quirk>| {
        let (username, password) = (username.clone(), password.clone());
        let access = Access::Token { username, password, lifetime, anonymous_pull: false };
        Case { row, task: Task::Within, quirks, access }
    };
    let range = Quirk::RangeSays;
    let location = Quirk::LocationSays;
    let sha512 = format!("sha512:{}", "0".repeat(128));
    vec![
        (
            "sent to",
            vec![
                push("nothing", vec![]),
                push("`Range` stuck at the first chunk", vec![range(RangeForm::Stuck)]),
                push("`Range` names the last chunk", vec![range(RangeForm::LastChunk)]),
                push("`Range: 0-0`", vec![range(RangeForm::Zero)]),
                push("`Range: bytes=`", vec![range(RangeForm::Empty)]),
                push("`Range` one byte too many", vec![range(RangeForm::OneTooMany)]),
                push("no `Range`", vec![range(RangeForm::Absent)]),
                push("`PATCH` answered with 200", vec![Quirk::PatchAnswers(200)]),
                push("`PATCH` answered with 201", vec![Quirk::PatchAnswers(201)]),
                push("`PATCH` answered with 204", vec![Quirk::PatchAnswers(204)]),
                push("`PATCH` with `Content-Range` refused (416)", vec![Quirk::RefuseChunks(0, 416)]),
                push("second chunk refused (400)", vec![Quirk::RefuseChunks(1, 400)]),
                push("`PATCH` without `Content-Range` refused (400)", vec![Quirk::RefuseStreams(400)]),
                push("body without a length refused (411)", vec![Quirk::RefuseCoded(411)]),
                push("`PUT` with a body refused (405)", vec![Quirk::RefuseWhole(405)]),
                push(
                    "every `PATCH` refused (405)",
                    vec![Quirk::RefuseChunks(0, 405), Quirk::RefuseStreams(405)],
                ),
                push("bodies above 4 MiB refused (413)", vec![Quirk::BodyLimit(4 << 20, 413)]),
                push("bodies above 4 MiB refused (416)", vec![Quirk::BodyLimit(4 << 20, 416)]),
                push("a chunk after one below 5 MiB refused (400)", vec![Quirk::LeastChunk(5 << 20, 400)]),
                push("GET of an upload refused (404)", vec![Quirk::NoUploadStatus(404)]),
                push("the last `PATCH` alone is kept", vec![Quirk::KeepLastChunk]),
                push("session forgotten at the first `PATCH`", vec![Quirk::ForgetSessions(0)]),
                push("session forgotten at the second `PATCH`", vec![Quirk::ForgetSessions(1)]),
                push(
                    "commit 504 though done, blob late",
                    vec![Quirk::CommitAnswers(1, 504), Quirk::LateBlobs(3)],
                ),
                push(
                    "commit 404 though done, blob late",
                    vec![Quirk::CommitAnswers(1, 404), Quirk::LateBlobs(3)],
                ),
                push("`Location` relative to the request", vec![location(LocationForm::Relative)]),
                push("no `Location` after `PATCH`", vec![location(LocationForm::AbsentAfterPatch)]),
                push("307 to `POST`, `PATCH`, `PUT`", vec![Quirk::MovedUploads(307)]),
                push("HEAD of blobs 403", vec![Quirk::HeadOfBlobs(403)]),
                push("HEAD of blobs 405", vec![Quirk::HeadOfBlobs(405)]),
                push("manifest `PUT` answered with 202", vec![Quirk::ManifestAnswers(202)]),
                push("manifest `PUT` answered with 204", vec![Quirk::ManifestAnswers(204)]),
                push("manifest `PUT` answered with a digest by SHA-512", vec![Quirk::ManifestSays(sha512)]),
                push("a blob missed once, and named", vec![Quirk::MissesSent(1, Naming::Named)]),
                push("a blob missed once, without a name", vec![Quirk::MissesSent(1, Naming::Unnamed)]),
                push("each path 429 once, `Retry-After: 1`", vec![Quirk::TooMany(1, RetryForm::Seconds(1))]),
                push("connection closed after each answer", vec![Quirk::CloseConnections]),
                push("HTTP/1.0", vec![Quirk::OldProtocol]),
                case(Task::Within, "mount 403", vec![Quirk::MountAnswers(403)]),
                case(Task::Within, "mount 500", vec![Quirk::MountAnswers(500)]),
                case(Task::Within, "mount 201 without a mount", vec![Quirk::MountLies]),
            ],
        ),
        (
            "read",
            vec![
                pull("nothing", vec![]),
                pull("HEAD of manifests 404", vec![Quirk::HeadOfManifests(404)]),
                pull("everything compressed unasked", vec![Quirk::Compresses]),
                pull("blobs labelled as compressed", vec![Quirk::LabelsBlobs]),
                pull("HEAD of manifests 405", vec![Quirk::HeadOfManifests(405)]),
                pull("HEAD of manifests with a stale digest", vec![Quirk::StaleDigestOnHead]),
                pull("no digest beside manifests", vec![Quirk::NoDigestHeader]),
                pull("blobs at URLs signed for GET", vec![Quirk::SignedBlobs(store.to_owned())]),
                pull("manifests at URLs signed for GET", vec![Quirk::SignedManifests(store.to_owned())]),
                pull("a byte of each blob changed once", vec![Quirk::CorruptBlobs(1)]),
                pull("a byte of each blob changed twice", vec![Quirk::CorruptBlobs(2)]),
                pull("a byte of each manifest changed once", vec![Quirk::CorruptManifests(1)]),
                pull("manifests break off once", vec![Quirk::BreakManifests(1)]),
                pull("each path 429 once, `Retry-After: 1`", vec![Quirk::TooMany(1, RetryForm::Seconds(1))]),
                pull("each path 429 once, a date", vec![Quirk::TooMany(1, RetryForm::Date(2))]),
                pull("each path 429 once, a Unix time", vec![Quirk::TooMany(1, RetryForm::UnixTime(2))]),
                pull("each path 429 once, nonsense", vec![Quirk::TooMany(1, RetryForm::Nonsense)]),
                pull("connection closed after each answer", vec![Quirk::CloseConnections]),
                pull("HTTP/1.0", vec![Quirk::OldProtocol]),
            ],
        ),
        (
            "asked for its tags, in pages",
            vec![
                tags("`Link` as specified", LinkForm::Usual),
                tags("`Link` without brackets", LinkForm::Bare),
                tags("`rel` unquoted, in capitals, among others", LinkForm::Unquoted),
                tags("`Link` of a query alone", LinkForm::QueryOnly),
                tags("`Link` at another host", LinkForm::Elsewhere("http://inside.example:8080".to_owned())),
                tags("several values in one `Link`", LinkForm::SeveralValues),
                tags("several `Link` headers", LinkForm::SeveralHeaders),
                tags("several relations in one `rel`", LinkForm::SeveralRelations),
                tags("empty pages between", LinkForm::EmptyPages),
            ],
        ),
        (
            "asked who one is, within a copy",
            vec![
                private("a token, nothing else", vec![]),
                private("one scope to a token only", vec![Quirk::OneScope]),
                private("no scope in the challenge", vec![Quirk::NoScopeInChallenge]),
                private("refusals by 403", vec![Quirk::RefusedIs403]),
                private("no `expires_in`", vec![Quirk::ExpiresIn(String::new())]),
                private("`expires_in` as text", vec![Quirk::ExpiresIn("\"300\"".to_owned())]),
                private("`expires_in` negative", vec![Quirk::ExpiresIn("-1".to_owned())]),
                private("`access_token` alone", vec![Quirk::AccessToken]),
                private("challenge at `/v2/` alone, else 401", vec![Quirk::Unchallenged(401)]),
                private("challenge at `/v2/` alone, else 404", vec![Quirk::Unchallenged(404)]),
                private("realm without a host", vec![Quirk::RelativeRealm]),
                private("token server has moved (307)", vec![Quirk::MovedTokens(307)]),
            ],
        ),
    ]
}

/// An image that every case begins with: its digest, and the server that has it.
async fn content() -> anyhow::Result<(Server, Digest)> {
    let server = Server::start(Options::default()).await?;
    let mut published = None;
    for tag in TAGS {
        let to = verifying().destination(&location(&server, &format!("from/image:{tag}"))?).await?;
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = to.put_blob(Family::Oci.config(), Bytes::from_static(config)).await?;
        let mut layers = Vec::new();
        // The large one is of three chunks at least, whoever cuts them.
        for (seed, size) in [(1, 12_000_000), (2, 30_000)] {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            packed.write_all(&noise(seed, size))?;
            let kind = Family::Oci.layer(Codec::Gzip).expect("OCI has layers with gzip");
            layers.push(to.put_blob(kind, packed.finish()?.into()).await?);
        }
        let manifest = Manifest::new(Family::Oci, config, layers);
        let bytes = Bytes::from(manifest.to_bytes());
        published = Some(to.publish(manifest.media_type(), bytes, None).await?.descriptor.digest().clone());
    }
    Ok((server, published.expect("there are tags")))
}

fn noise(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..size.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(size).collect::<Vec<u8>>().into()
}

fn verifying() -> Client {
    Client::new(ClientOptions::default())
}

fn location(server: &Server, path: &str) -> anyhow::Result<Location> {
    Ok(format!("{}/{path}", server.host()).parse()?)
}

/// Whether an image is there, each blob of it with its own bytes.
async fn is_whole(server: &Server, path: &str, expected: &Digest) -> anyhow::Result<bool> {
    let source = verifying().source(&location(server, path)?).await?;
    let found = source.resolve().await?;
    let manifest = Manifest::parse(Some(found.descriptor.media_type()), &found.bytes)?;
    for blob in manifest.layers().iter().chain([manifest.config()]) {
        source.blob(blob).collect(u64::MAX).await?;
    }
    Ok(found.descriptor.digest() == expected)
}

/// A home folder with what the clients have to know of these servers.
fn home(hosts: &[String]) -> anyhow::Result<tempfile::TempDir> {
    let home = tempfile::tempdir()?;
    let auth = STANDARD.encode(format!("{}:{}", USER.0, USER.1));
    let auths: Value = hosts
        .iter()
        .map(|host| (host.clone(), json!({"auth": auth})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let plain: Value = hosts
        .iter()
        .map(|host| (host.clone(), json!({"tls": "disabled"})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (file, text) in
        [(".docker/config.json", json!({"auths": auths})), (".regctl/config.json", json!({"hosts": plain}))]
    {
        let file = home.path().join(file);
        std::fs::create_dir_all(file.parent().expect("below the home"))?;
        std::fs::write(file, text.to_string())?;
    }
    Ok(home)
}

fn program(client: &str) -> PathBuf {
    let ours = workspace().join("target/tools/bin").join(client);
    match client {
        "unbloat" => unbloat(),
        _ if ours.exists() => ours,
        _ => client.into(),
    }
}

fn copy(client: &str, from: &str, to: &str) -> Vec<String> {
    let words: &[&str] = match client {
        "unbloat" => &["copy", from, to],
        "skopeo" => {
            let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
            let options = ["copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"];
            return options.into_iter().map(str::to_owned).chain([from, to]).collect();
        }
        "crane" => &["copy", "--insecure", from, to],
        _ => &["image", "copy", from, to],
    };
    words.iter().map(ToString::to_string).collect()
}

fn list(client: &str, repository: &str) -> Vec<String> {
    let words: &[&str] = match client {
        "unbloat" => &["tags", repository, "--output", "json"],
        "skopeo" => &["list-tags", "--tls-verify=false", &format!("docker://{repository}")],
        "crane" => &["ls", "--insecure", repository],
        _ => &["tag", "ls", repository],
    };
    words.iter().map(ToString::to_string).collect()
}

/// Runs a client; its output where it ended well.
async fn run(client: &str, arguments: &[String], home: &Path) -> anyhow::Result<Option<String>> {
    let child = tokio::process::Command::new(program(client))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    match tokio::time::timeout(PATIENCE, child.wait_with_output()).await {
        Ok(output) => {
            let output = output?;
            Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        Err(_) => Ok(None),
    }
}

/// The words of a list that are tags here.
fn listed(output: &str) -> BTreeSet<&str> {
    let words = output.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| TAGS.contains(word)).collect()
}

async fn survives(client: &str, case: &Case, content: &Server, image: &Digest) -> anyhow::Result<bool> {
    let options = Options { quirks: case.quirks.clone(), access: case.access.clone(), ..Options::default() };
    let server = match case.task {
        Task::Push => Server::start(options).await?,
        Task::Within | Task::Pull | Task::Tags => Server::start_beside(content, options).await?,
    };
    let empty = Server::start(Options::default()).await?;
    let home = home(&[server.host(), content.host(), empty.host()])?;
    let (from, to) = match case.task {
        Task::Push => (content.host(), &server),
        Task::Within => (server.host(), &server),
        Task::Pull => (server.host(), &empty),
        Task::Tags => {
            let repository = format!("{}/from/image", server.host());
            let output = run(client, &list(client, &repository), home.path()).await?;
            return Ok(output.is_some_and(|output| listed(&output).len() == TAGS.len()));
        }
    };
    // Of its own for each: what one has brought there is not there for the next.
    let path = format!("to/{client}-{}:t", server.address().port());
    let arguments = copy(client, &format!("{from}/from/image:t"), &format!("{}/{path}", to.host()));
    if run(client, &arguments, home.path()).await?.is_none() {
        return Ok(false);
    }
    let plain = Server::start_beside(to, Options::default()).await?;
    Ok(is_whole(&plain, &path, image).await.unwrap_or(false))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let serve = words.first().is_some_and(|word| word == "--serve");
    words.retain(|word| word != "--serve");
    let (content, image) = content().await?;
    let store = Options { quirks: vec![Quirk::SignedForGet], ..Options::default() };
    let store = Server::start_beside(&content, store).await?;
    let is_meant =
        |case: &Case| words.is_empty() || words.iter().any(|word| case.row.contains(word.as_str()));
    for (what, cases) in tables(&store.origin()) {
        let cases: Vec<Case> = cases.into_iter().filter(is_meant).collect();
        if cases.is_empty() {
            continue;
        }
        if serve {
            let Case { row, quirks, access, .. } = cases.into_iter().next().expect("there is one");
            let server =
                Server::start_beside(&content, Options { quirks, access, ..Options::default() }).await?;
            println!("{row}\n{} {}", server.host(), content.host());
            return std::future::pending().await;
        }
        println!("| the server, {what} | {} |\n|---|{}", CLIENTS.join(" | "), "---|".repeat(CLIENTS.len()));
        for case in cases {
            let mut row = format!("| {} |", case.row);
            for client in CLIENTS {
                row += if survives(client, &case, &content, &image).await? { " yes |" } else { " no |" };
            }
            println!("{row}");
        }
        println!();
    }
    Ok(())
}
