//! `unbloat policies` and `unbloat approve`.

use std::io::Write as _;

use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use unbloat_api::{ImageSquashJob, ImageSquashPolicy, condition, finding};

use super::Shared;
use super::commands::print;
use super::connect::Connection;
use super::error::Error;
use super::follow::not_found;
use super::table;
use crate::args::{JobArgs, PoliciesArgs};

/// Shows policies.
pub(super) async fn policies(args: &PoliciesArgs, shared: Shared) -> Result<(), Error> {
    let connection = Connection::open(&args.cluster).await?;
    let api: Api<ImageSquashPolicy> = Api::all(connection.client.clone());
    let listed = api.list(&ListParams::default()).await;
    let mut policies = listed.map_err(Error::kube("cannot list ImageSquashPolicies"))?.items;
    for policy in &mut policies {
        policy.metadata.managed_fields = None;
    }
    if let Some(name) = &args.name {
        policies.retain(|policy| policy.name_any() == *name);
        if policies.is_empty() {
            return Err(Error::Unknown(format!("there is no ImageSquashPolicy {name}")));
        }
    }
    if shared.json {
        return print(&json!({"items": policies}));
    }
    let text = rows(&policies, Timestamp::now());
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn rows(policies: &[ImageSquashPolicy], now: Timestamp) -> String {
    let mut rows = vec![
        ["NAME", "MODE", "MATCHED", "OVER", "SQUASHED", "RECLAIMABLE", "READY", "REASON", "LIMITED", "AGE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for policy in policies {
        let status = policy.status.clone().unwrap_or_default();
        let ready = condition::find(&status.conditions, finding::READY);
        let limited = condition::find(&status.conditions, finding::LIMITED)
            .filter(|condition| condition.status == "True")
            .map(|condition| condition.reason.clone());
        let age = policy.creation_timestamp().map(|time| table::age(now.as_second() - time.0.as_second()));
        rows.push(vec![
            policy.name_any(),
            format!("{:?}", policy.spec.mode),
            status.images.matched.to_string(),
            status.images.over_threshold.to_string(),
            status.images.squashed.to_string(),
            status.reclaimable.summary.clone(),
            ready.map(|ready| ready.status.clone()).unwrap_or_default(),
            ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
            limited.unwrap_or_default(),
            age.unwrap_or_default(),
        ]);
    }
    table::layout(&rows)
}

/// Clears `spec.suspend` of a job.
pub(super) async fn approve(args: &JobArgs, shared: Shared) -> Result<(), Error> {
    let connection = Connection::open(&args.cluster).await?;
    let jobs = connection.jobs();
    let found = jobs.get_opt(&args.name).await.map_err(Error::kube("cannot read the ImageSquashJob"))?;
    let job = found.ok_or_else(|| not_found(&args.name))?;
    if job.status.as_ref().is_some_and(unbloat_api::ImageSquashJobStatus::is_finished) {
        return Err(Error::Usage(format!("the ImageSquashJob {} is finished", args.name)));
    }
    let was_planned = job.spec.suspend;
    let job = if was_planned { resume(&jobs, &job).await? } else { job };
    if shared.json {
        return print(&json!({
            "name": job.name_any(), "namespace": job.namespace(), "approved": true, "changed": was_planned,
        }));
    }
    let words = if was_planned { "approved" } else { "was approved before" };
    Ok(writeln!(std::io::stdout(), "imagesquashjob.unbloat.dev/{} {words}", job.name_any())?)
}

/// Only the job that was read: one that was made anew under its name is another decision.
async fn resume(jobs: &Api<ImageSquashJob>, job: &ImageSquashJob) -> Result<ImageSquashJob, Error> {
    let patch = json!({"metadata": {"uid": job.uid()}, "spec": {"suspend": false}});
    let patched = jobs.patch(&job.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map_err(Error::kube(format!("cannot approve the ImageSquashJob {}", job.name_any())))
}
