//! `history`, `tags`, `tag`, `copy`: the everyday reads and writes around a squash.

use std::path::Path;

use serde::Serialize;
use unbloat_registry::{LayoutName, Location};
use unbloat_squash::ImageHistory;
use unbloat_text::terminal;

use crate::args::{CopyArgs, ImageArgs, TagsArgs};
use crate::commands::{print, print_json, reserve_output};
use crate::connection::{Images, Needs};
use crate::error::Usage;
use crate::report::bytes;
use crate::settings::Settings;

pub(crate) async fn history(settings: &Settings, args: ImageArgs) -> anyhow::Result<()> {
    let client = args.connection.client(Images::one(&args.image), Needs::small())?;
    let history = unbloat_squash::history(&client, &args.image, args.platform.as_deref()).await?;
    if settings.is_json() {
        return print_json(&history);
    }
    let ImageHistory { digest, platform, created, steps, other_platforms, .. } = &history;
    let mut lines = vec![format!("{digest} {platform} {}", created.as_deref().unwrap_or(""))];
    for step in steps {
        let size = step.compressed_bytes.map_or("-".to_owned(), bytes);
        let layer = step.layer.map_or("-".to_owned(), |layer| layer.to_string());
        lines.push(format!("{layer:>5} {size:>10}  {}", terminal(step.created_by.as_deref().unwrap_or(""))));
    }
    if !other_platforms.is_empty() {
        let others = other_platforms.join(", ");
        lines.push(format!("there are images for other platforms too, which --platform chooses: {others}"));
    }
    print(&lines.join("\n"))
}

pub(crate) async fn tags(settings: &Settings, args: TagsArgs) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Tags {
        repository: String,
        tags: Vec<String>,
    }
    let client = args.connection.client(Images::one(&args.repository), Needs::small())?;
    let location: Location = args.repository.parse()?;
    let tags = client.source(&location).await?.tags().await?;
    if settings.is_json() {
        return print_json(&Tags { repository: args.repository, tags });
    }
    if tags.is_empty() { Ok(()) } else { print(&tags.join("\n")) }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Copied {
    digest: String,
    reference: String,
    bytes_written: u64,
    /// Manifests that were copied because they refer to the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers: Option<u64>,
}

pub(crate) async fn tag(settings: &Settings, args: CopyArgs) -> anyhow::Result<()> {
    if !args.platform.is_empty() {
        return Err(Usage("tag takes no --platform: it gives a name to what is there".into()).into());
    }
    if args.referrers {
        return Err(Usage("tag takes no --referrers: they are there already".into()).into());
    }
    let source: Location = args.source.parse()?;
    let bare = !args.destination.contains(['/', ':', '@']);
    let named = |path: &Path| (path.to_owned(), Some(LayoutName::Tag(args.destination.clone())));
    let destination = match &source {
        Location::Registry(reference) if bare => Location::Registry(
            reference.with_tag(&args.destination).map_err(|error| Usage(error.to_string()))?,
        ),
        Location::OciDir { path, .. } if bare => {
            let (path, name) = named(path);
            Location::OciDir { path, name }
        }
        Location::OciArchive { .. } | Location::DockerArchive { .. } if bare => {
            return Err(Usage("an archive takes no further tag; copy it to a layout, oci:DIR".into()).into());
        }
        _ => args.destination.parse()?,
    };
    copy_to(settings, (&source, &destination), &args).await
}

pub(crate) async fn copy(settings: &Settings, args: CopyArgs) -> anyhow::Result<()> {
    let source: Location = args.source.parse()?;
    let destination = named_like(&source, args.destination.parse()?);
    copy_to(settings, (&source, &destination), &args).await
}

/// A layout or archive without a name takes that which the image has in another one.
fn named_like(source: &Location, destination: Location) -> Location {
    let name = match source {
        Location::OciDir { name: Some(LayoutName::Tag(tag)), .. }
        | Location::OciArchive { name: Some(LayoutName::Tag(tag)), .. } => Some(LayoutName::Tag(tag.clone())),
        _ => None,
    };
    match destination {
        Location::OciDir { path, name: None } => Location::OciDir { path, name },
        Location::OciArchive { path, name: None } => Location::OciArchive { path, name },
        named => named,
    }
}

async fn copy_to(
    settings: &Settings,
    (source, destination): (&Location, &Location),
    args: &CopyArgs,
) -> anyhow::Result<()> {
    let CopyArgs { platform, referrers, connection, places, .. } = args;
    reserve_output(&destination.to_string());
    let (from, to) = (source.to_string(), destination.to_string());
    let client = connection.client_for(places, Images::two(&from, &to), Needs::small())?;
    let platforms = platform
        .iter()
        .map(|text| text.parse().map_err(|error| Usage(format!("--platform {text}: {error}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let source = client.source(source).await?;
    let destination = client.destination_for(destination, &source).await?;
    let report = match referrers {
        true => unbloat_registry::copy_with_referrers(&source, &destination, &platforms).await?,
        false => unbloat_registry::copy(&source, &destination, &platforms).await?,
    };
    let copied = Copied {
        digest: report.published.descriptor.digest().to_string(),
        reference: report.published.reference.clone(),
        bytes_written: destination.bytes_written(),
        referrers: referrers.then_some(report.referrers.manifests),
    };
    if settings.is_json() {
        return print_json(&copied);
    }
    let also = copied.referrers.map(|count| format!(", {count} that refer to it")).unwrap_or_default();
    print(&format!("{} ({} written{also})", copied.reference, bytes(copied.bytes_written)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_between_layouts_keeps_the_tag_unless_another_is_given() {
        for (source, destination, expected) in [
            ("oci:a:x", "oci:b", "oci:b:x"),
            ("oci-archive:a.tar:x", "oci:b", "oci:b:x"),
            ("oci:a:x", "oci-archive:b.tar", "oci-archive:b.tar:x"),
            ("oci:a:x", "oci:b:y", "oci:b:y"),
            ("oci:a", "oci:b", "oci:b"),
            ("localhost:5000/a:x", "oci:b", "oci:b"),
        ] {
            let named = named_like(&source.parse().unwrap(), destination.parse().unwrap());
            assert_eq!(named.to_string(), expected, "{source} {destination}");
        }
    }
}
