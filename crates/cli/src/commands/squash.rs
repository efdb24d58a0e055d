//! `squash`, `remove`, `rebase`.

use std::sync::Arc;

use unbloat_contract::{Base, RebaseRequest, RemoveRequest, SquashResult};
use unbloat_squash::Progress;

use crate::args::{RebaseArgs, RemoveArgs, SquashArgs};
use crate::commands::{self, print_json};
use crate::connection::{Images, Needs};
use crate::error::Usage;
use crate::progress::watch;
use crate::report;
use crate::settings::Settings;

fn print(settings: &Settings, result: &SquashResult, dry_run: bool) -> anyhow::Result<()> {
    if settings.is_json() {
        return print_json(result);
    }
    commands::print(&report::squash(result, dry_run))
}

pub(crate) async fn squash(settings: &Settings, args: SquashArgs) -> anyhow::Result<()> {
    let (connection, places) = (args.connection.clone(), args.places.clone());
    let request = args.request()?;
    commands::reserve_output(&request.destination);
    let needs = Needs::of(&request.limits, request.allow_foreign);
    let base = match &request.base {
        Some(Base::Image(image)) => Some(image.as_str()),
        _ => None,
    };
    let destination = Some(request.destination.as_str()).filter(|destination| !destination.is_empty());
    let images = Images { source: Some(&request.source), destination, others: base.as_slice() };
    let client = connection.client_for(&places, images, needs)?;
    let progress = Arc::new(Progress::default());
    let result =
        watch(&progress, settings.progress, unbloat_squash::squash(&client, &request, &progress)).await?;
    print(settings, &result, request.dry_run)
}

pub(crate) async fn remove(settings: &Settings, args: RemoveArgs) -> anyhow::Result<()> {
    let RemoveArgs { mut arguments, ignore_missing, strict, platform, limits, connection, places } = args;
    let (Some(destination), Some(source)) = (arguments.pop(), arguments.pop()) else {
        return Err(Usage("remove wants PATH… SRC DST".into()).into());
    };
    let request = RemoveRequest {
        source,
        destination,
        paths: arguments,
        ignore_missing,
        strict,
        platforms: platform,
        limits: limits.limits(),
    };
    commands::reserve_output(&request.destination);
    let images = Images::two(&request.source, &request.destination);
    let client = connection.client_for(&places, images, Needs::of(&request.limits, true))?;
    let progress = Arc::new(Progress::default());
    let result =
        watch(&progress, settings.progress, unbloat_squash::remove(&client, &request, &progress)).await?;
    print(settings, &result, false)
}

pub(crate) async fn rebase(settings: &Settings, args: RebaseArgs) -> anyhow::Result<()> {
    let RebaseArgs {
        source,
        destination,
        old_base,
        new_base,
        allow_conflicts,
        strict,
        platform,
        limits,
        connection,
        places,
    } = args;
    let limits = limits.limits();
    commands::reserve_output(&destination);
    let images = Images { others: &[&old_base, &new_base], ..Images::two(&source, &destination) };
    let client = connection.client_for(&places, images, Needs::of(&limits, true))?;
    let request = RebaseRequest {
        source,
        destination,
        old_base,
        new_base,
        allow_conflicts,
        strict,
        platforms: platform,
        limits,
    };
    let progress = Arc::new(Progress::default());
    let result =
        watch(&progress, settings.progress, unbloat_squash::rebase(&client, &request, &progress)).await?;
    print(settings, &result, false)
}
