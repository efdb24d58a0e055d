//! Serves an empty registry that departs from the specification in one way: `quirks CASE`, until it is
//! interrupted. Prints two addresses: of that registry, and of one without the departure on the same content,
//! to see what has arrived. Without a case it lists all. How the table of other clients in
//! `docs/registries.md` was measured.

use unbloat_registry_server::{LocationForm, Options, Quirk, RangeForm, Server};

fn cases() -> Vec<(&'static str, Vec<Quirk>)> {
    vec![
        ("none", vec![]),
        ("range-stuck", vec![Quirk::RangeSays(RangeForm::Stuck)]),
        ("range-last-chunk", vec![Quirk::RangeSays(RangeForm::LastChunk)]),
        ("range-zero", vec![Quirk::RangeSays(RangeForm::Zero)]),
        ("range-one-too-many", vec![Quirk::RangeSays(RangeForm::OneTooMany)]),
        ("range-absent", vec![Quirk::RangeSays(RangeForm::Absent)]),
        ("patch-201", vec![Quirk::PatchAnswers(201)]),
        ("patch-204", vec![Quirk::PatchAnswers(204)]),
        ("no-ranged-patch", vec![Quirk::RefuseChunks(0, 416)]),
        ("no-second-chunk", vec![Quirk::RefuseChunks(1, 400)]),
        ("no-plain-patch", vec![Quirk::RefuseStreams(400)]),
        ("no-coded-body", vec![Quirk::RefuseCoded(411)]),
        ("no-put-with-body", vec![Quirk::RefuseWhole(405)]),
        ("no-patch", vec![Quirk::RefuseChunks(0, 405), Quirk::RefuseStreams(405)]),
        ("body-limit-4m", vec![Quirk::BodyLimit(4 << 20, 413)]),
        ("keep-last-chunk", vec![Quirk::KeepLastChunk]),
        ("forget-session", vec![Quirk::ForgetSessions(0)]),
        ("commit-504-late", vec![Quirk::CommitAnswers(1, 504), Quirk::LateBlobs(3)]),
        ("commit-404-late", vec![Quirk::CommitAnswers(1, 404), Quirk::LateBlobs(3)]),
        ("location-relative", vec![Quirk::LocationSays(LocationForm::Relative)]),
        ("location-absent", vec![Quirk::LocationSays(LocationForm::AbsentAfterPatch)]),
        ("moved-307", vec![Quirk::MovedUploads(307)]),
        ("mount-403", vec![Quirk::MountAnswers(403)]),
        ("mount-500", vec![Quirk::MountAnswers(500)]),
        ("mount-lies", vec![Quirk::MountLies]),
        ("head-403", vec![Quirk::HeadOfBlobs(403)]),
        ("head-405", vec![Quirk::HeadOfBlobs(405)]),
        ("close-connections", vec![Quirk::CloseConnections]),
    ]
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let Some((_, quirks)) = cases().into_iter().find(|(name, _)| *name == wanted) else {
        for (name, quirks) in cases() {
            println!("{name}\t{quirks:?}");
        }
        return Ok(());
    };
    let plain = Server::start(Options::default()).await?;
    let server = Server::start_beside(&plain, Options { quirks, ..Options::default() }).await?;
    println!("{} {}", server.host(), plain.host());
    std::future::pending().await
}
