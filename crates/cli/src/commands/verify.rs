//! `verify`.

use std::sync::Arc;

use unbloat_squash::{Progress, VerifyRequest};

use crate::args::VerifyArgs;
use crate::commands::print_json;
use crate::exit::CheckFailed;
use crate::progress::watch;
use crate::settings::Settings;

pub(crate) async fn verify(settings: &Settings, args: VerifyArgs) -> anyhow::Result<()> {
    let VerifyArgs { a, b, path, platform, allow_split_links, limits } = args;
    let client = settings.client(limits.memory, limits.scratch.clone(), true)?;
    let limits = limits.limits();
    let request = VerifyRequest { a, b, platform, paths: path, allow_split_links, limits };
    let progress = Arc::new(Progress::default());
    let result =
        watch(&progress, settings.progress, unbloat_squash::verify(&client, &request, &progress)).await?;
    if settings.is_json() {
        print_json(&result)?;
    } else if result.equal {
        println!("equal: {} paths", result.paths);
    } else {
        for difference in &result.differences {
            println!("{}: {}", difference.path, difference.what);
        }
        println!("{} differences in {} paths", result.different, result.paths);
    }
    if result.equal { Ok(()) } else { Err(CheckFailed.into()) }
}
