//! Flags as an ImageSquashJob.

use kube::api::ObjectMeta;
use unbloat_api::squash_job::{Base, Condition, SecretRef, Source, Target};
use unbloat_api::{ImageSquashJob, ImageSquashJobSpec, labels};

use super::error::Error;
use crate::args::RunArgs;

/// Names of jobs are at most this long; what is made up leaves room for a suffix of the server's.
const MADE_UP: usize = 46;

/// Builds it. What is left out is left to the server's defaults.
pub(crate) fn job(args: &RunArgs) -> Result<ImageSquashJob, Error> {
    let secret = |name: &String| SecretRef { name: name.clone() };
    let default = defaults()?;
    let is_plain = |image: &str| {
        let reference = image.parse::<unbloat_oci::Reference>();
        reference.is_ok_and(|reference| args.plain_http.iter().any(|host| host == reference.registry()))
    };
    let spec = ImageSquashJobSpec {
        source: Source {
            image: args.source.clone(),
            pull_secrets: args.pull_secret.iter().map(secret).collect(),
            plain_http: is_plain(&args.source),
        },
        target: Target {
            image: args.target.clone(),
            move_tag: args.target.is_none(),
            push_secret: args.push_secret.as_ref().map(secret),
            plain_http: args.target.as_deref().is_some_and(is_plain),
        },
        remove: args.remove.clone(),
        truncate: args.truncate.clone(),
        strict: args.strict,
        base: base(args),
        condition: condition(args),
        platforms: args.platform.clone(),
        compression: args.compression,
        format: args.format,
        verify: !args.no_verify,
        backoff_limit: args.backoff_limit.unwrap_or(default.backoff_limit),
        active_deadline_seconds: args.deadline.unwrap_or(default.active_deadline_seconds),
        ttl_seconds_after_finished: args.ttl,
        ..default
    };
    let mut job = ImageSquashJob::new("", spec);
    job.metadata = match &args.name {
        Some(name) => ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        None => {
            ObjectMeta { generate_name: Some(format!("{}-", name_of(&args.source))), ..ObjectMeta::default() }
        }
    };
    job.metadata.labels = args.class.as_ref().map(|class| [(labels::CLASS.to_owned(), class.clone())].into());
    Ok(job)
}

fn condition(args: &RunArgs) -> Option<Condition> {
    let min_wasted_bytes = args.if_wasted.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    (args.if_layers.is_some() || min_wasted_bytes.is_some())
        .then_some(Condition { min_layers: args.if_layers, min_wasted_bytes })
}

/// The defaults of the schema, which the type has where it is read.
fn defaults() -> Result<ImageSquashJobSpec, Error> {
    let least = serde_json::json!({"source": {"image": ""}, "target": {}});
    serde_json::from_value(least).map_err(|error| Error::Usage(error.to_string()))
}

fn base(args: &RunArgs) -> Option<Base> {
    match (args.base_layers, &args.base) {
        (Some(layers), _) => Some(Base { layers: Some(layers), image: None }),
        (None, Some(image)) => Some(Base { layers: None, image: Some(image.clone()) }),
        (None, None) => None,
    }
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
    use crate::args::ClusterCommand;

    #[derive(Parser)]
    struct Command {
        #[command(subcommand)]
        command: ClusterCommand,
    }

    fn parsed(words: &[&str]) -> Result<ImageSquashJob, String> {
        let words = ["unbloat", "run"].iter().chain(words);
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?.command;
        let ClusterCommand::Run(args) = command else { return Err("not run".into()) };
        job(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn a_class_is_a_label() {
        let places = ["reg.example/team/app:v1", "reg.example/team/app:flat"];
        assert_eq!(parsed(&places).unwrap().metadata.labels, None);
        let job = parsed(&[&places[..], &["--class", "fast"]].concat()).unwrap();
        assert_eq!(job.metadata.labels.unwrap()["unbloat.dev/class"], "fast");
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
    fn bounds_become_the_jobs_condition_and_none_is_no_condition() {
        let condition = |more: &[&str]| {
            let words = [&["reg.example/a:b", "--move-tag"], more].concat();
            parsed(&words).unwrap().spec.condition
        };
        assert_eq!(condition(&[]), None);
        let both = Condition { min_layers: Some(25), min_wasted_bytes: Some(1 << 30) };
        assert_eq!(condition(&["--if-layers", "25", "--if-wasted", "1GiB"]), Some(both));
    }

    #[test]
    fn a_target_or_move_tag_is_needed_and_not_both() {
        assert!(parsed(&["reg.example/a:b"]).is_err());
        assert!(parsed(&["reg.example/a:b", "reg.example/a:c", "--move-tag"]).is_err());
        assert!(parsed(&["reg.example/a:b", "--move-tag"]).unwrap().spec.target.move_tag);
    }
}
