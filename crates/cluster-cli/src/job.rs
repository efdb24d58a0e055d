//! Flags as an ImageSquashJob.

use kube::api::ObjectMeta;
use serde_json::{Value, json};
use unbloat_api::ImageSquashJob;

use crate::args::{Compression, Format, RunArgs, Shared};
use crate::error::Error;

/// Names of jobs are at most this long; what is made up leaves room for a suffix of the server's.
const MADE_UP: usize = 46;

/// Builds it. What is left out is left to the server's defaults.
pub(crate) fn job(args: &RunArgs, shared: Shared) -> Result<ImageSquashJob, Error> {
    let secrets: Vec<Value> = args.pull_secret.iter().map(|name| json!({"name": name})).collect();
    let mut source = json!({"image": args.source, "pullSecrets": secrets});
    if shared.plain_http {
        source["plainHTTP"] = json!(true);
    }
    let mut target = match &args.target {
        Some(target) => json!({"image": target}),
        None => json!({"moveTag": true}),
    };
    if let Some(secret) = &args.push_secret {
        target["pushSecret"] = json!({"name": secret});
    }
    let mut spec = json!({
        "source": source,
        "target": target,
        "remove": args.remove,
        "truncate": args.truncate,
        "strict": args.strict,
        "platforms": args.platform,
        "verify": !args.no_verify,
        "compression": match args.compression {
            Compression::Keep => "Keep",
            Compression::Gzip => "Gzip",
            Compression::Zstd => "Zstd",
            Compression::None => "None",
        },
        "format": match args.format {
            Format::Keep => "Keep",
            Format::Oci => "OCI",
            Format::Docker => "Docker",
        },
    });
    match (args.base_layers, &args.base) {
        (Some(layers), _) => spec["base"] = json!({"layers": layers}),
        (None, Some(image)) => spec["base"] = json!({"image": image}),
        (None, None) => {}
    }
    for (field, value) in [
        ("backoffLimit", args.backoff_limit.map(i64::from)),
        ("activeDeadlineSeconds", args.deadline),
        ("ttlSecondsAfterFinished", args.ttl.map(i64::from)),
    ] {
        if let Some(value) = value {
            spec[field] = json!(value);
        }
    }
    let spec = serde_json::from_value(spec).map_err(|error| Error::Usage(error.to_string()))?;
    let mut job = ImageSquashJob::new("", spec);
    job.metadata = match &args.name {
        Some(name) => ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        None => {
            ObjectMeta { generate_name: Some(format!("{}-", name_of(&args.source))), ..ObjectMeta::default() }
        }
    };
    Ok(job)
}

/// A name from a reference: its repository's last part and its tag.
fn name_of(source: &str) -> String {
    let last = source.split('@').next().unwrap_or(source).rsplit('/').next().unwrap_or(source);
    let clean: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(MADE_UP)
        .collect();
    let clean = clean.trim_matches('-');
    if clean.is_empty() { "squash".to_owned() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{ClusterCommand, ProgressStyle};

    #[derive(Parser)]
    struct Command {
        #[command(subcommand)]
        command: ClusterCommand,
    }

    fn parsed(words: &[&str]) -> Result<ImageSquashJob, String> {
        let words = ["unbloat", "run"].iter().chain(words);
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?.command;
        let ClusterCommand::Run(args) = command else { return Err("not run".into()) };
        let shared = Shared { json: false, progress: ProgressStyle::None, plain_http: false };
        job(&args, shared).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_the_spec_and_the_rest_its_defaults() {
        let job = parsed(&[
            "reg.example/team/App:v1.2",
            "reg.example/team/app:flat",
            "--remove",
            "/a",
            "--base-layers",
            "3",
        ]);
        let job = job.unwrap();
        assert_eq!(job.metadata.generate_name.as_deref(), Some("app-v1-2-"));
        assert_eq!(job.spec.remove, ["/a"]);
        assert_eq!(job.spec.base.unwrap().layers, Some(3));
        assert!(job.spec.verify && !job.spec.target.move_tag);
    }

    #[test]
    fn a_target_or_move_tag_is_needed_and_not_both() {
        assert!(parsed(&["reg.example/a:b"]).is_err());
        assert!(parsed(&["reg.example/a:b", "reg.example/a:c", "--move-tag"]).is_err());
        assert!(parsed(&["reg.example/a:b", "--move-tag"]).unwrap().spec.target.move_tag);
    }
}
