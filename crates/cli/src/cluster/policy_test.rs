//! `unbloat policy test FILE`: which running pods a policy would match and what it would do. Nothing is
//! changed.
//!
//! The decision is the operator's own, on what this user may read now: pods, namespaces, owners, reports,
//! policies and jobs. Where the user may, the API server checks the file first, without keeping it.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use unbloat_api::{Finding, ImageReport, ImageSquashJob, ImageSquashPolicy, finding};
use unbloat_policy::decide::{Picture, Settings, decide};
use unbloat_policy::facts::Facts;
use unbloat_policy::image::ImageKey;
use unbloat_policy::inventory::{Owner, Pod as PodRecord, World};
use unbloat_policy::job::PolicyJob;

use super::Shared;
use super::commands::print;
use super::connect::Connection;
use super::error::Error;
use super::table;
use crate::args::PolicyTestArgs;

/// Largest file.
const MOST_BYTES: u64 = 1 << 20;
/// Objects in a page of a list.
const PAGE: u32 = 500;
/// The uid of a policy that isn't in the cluster.
const NEW: &str = "not-in-the-cluster";

/// What would be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    policy: String,
    ready: bool,
    reason: String,
    message: String,
    matched_pods: usize,
    matched_images: usize,
    images: Vec<Image>,
}

/// An image that the policy matches.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    image: String,
    namespaces: Vec<String>,
    pods: usize,
    workloads: Vec<String>,
    layers: Option<i32>,
    compressed_bytes: Option<i64>,
    verdict: String,
    reason: String,
    would_do: String,
    target: Option<String>,
}

/// Tests a policy.
pub(super) async fn test(args: &PolicyTestArgs, shared: Shared) -> Result<(), Error> {
    let document = read(&args.file)?;
    let connection = Connection::open(&args.cluster).await?;
    let policy = checked(&connection.client, &document).await?;
    let known = Known::read(&connection.client).await?;
    let outcome = known.outcome(policy, Timestamp::now());
    if shared.json {
        return print(&outcome);
    }
    Ok(std::io::stdout().write_all(text(&outcome).as_bytes())?)
}

fn read(path: &Path) -> Result<Value, Error> {
    let usage = |error: &dyn std::fmt::Display| Error::Usage(format!("{}: {error}", path.display()));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(MOST_BYTES).read_to_string(&mut text).map_err(|error| usage(&error))?;
    } else {
        let file = std::fs::File::open(path).map_err(|error| usage(&error))?;
        file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| usage(&error))?;
    }
    let document: Value = serde_saphyr::from_str(&text).map_err(|error| usage(&error))?;
    let is = |field: &str, value: &str| document.get(field).and_then(Value::as_str) == Some(value);
    if !is("kind", "ImageSquashPolicy") || !is("apiVersion", "unbloat.dev/v1alpha1") {
        return Err(usage(&"it is no ImageSquashPolicy of unbloat.dev/v1alpha1"));
    }
    Ok(document)
}

/// The policy as the API server would have it. Who may not create policies gets it read here.
async fn checked(client: &Client, document: &Value) -> Result<ImageSquashPolicy, Error> {
    let mut policy: ImageSquashPolicy = serde_json::from_value(document.clone())
        .map_err(|error| Error::Usage(format!("the policy can't be read: {error}")))?;
    let name = policy.metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(Error::Usage("metadata.name is missing".to_owned()));
    }
    let api: Api<ImageSquashPolicy> = Api::all(client.clone());
    let parameters =
        PatchParams { dry_run: true, ..PatchParams::apply("unbloat").force().validation_strict() };
    match api.patch(&name, &parameters, &Patch::Apply(document)).await {
        Ok(checked) => policy = checked,
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        Err(error) => return Err(Error::kube(format!("the policy {name} would be refused"))(error)),
    }
    let found = api.get_opt(&name).await.map_err(Error::kube("cannot read ImageSquashPolicies"))?;
    match found {
        Some(found) => {
            policy.metadata.uid = found.metadata.uid;
            policy.metadata.creation_timestamp = found.metadata.creation_timestamp;
            policy.status = found.status;
        }
        None => {
            policy.metadata.uid = Some(NEW.to_owned());
            policy.metadata.creation_timestamp = Some(Time(Timestamp::now()));
        }
    }
    Ok(policy)
}

/// What can be read of the cluster.
struct Known {
    world: World,
    policies: Vec<Arc<ImageSquashPolicy>>,
    reports: Vec<ImageReport>,
    jobs: Vec<PolicyJob>,
}

impl Known {
    async fn read(client: &Client) -> Result<Self, Error> {
        let mut world = World::default();
        for pod in all(Api::<Pod>::all(client.clone()), "pods").await? {
            let record = PodRecord::of(&pod);
            world.pods.insert((record.namespace.clone(), record.name.clone()), record);
        }
        let namespaces = Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await;
        for namespace in namespaces.map_err(Error::kube("cannot list namespaces"))? {
            let name = namespace.metadata.name.unwrap_or_default();
            world.namespaces.insert(name, namespace.metadata.labels.unwrap_or_default());
        }
        let mut owners = HashMap::new();
        add::<ReplicaSet>(client, &mut owners).await;
        add::<Deployment>(client, &mut owners).await;
        add::<StatefulSet>(client, &mut owners).await;
        add::<DaemonSet>(client, &mut owners).await;
        add::<Job>(client, &mut owners).await;
        add::<CronJob>(client, &mut owners).await;
        world.owners = owners;
        let policies = all(Api::<ImageSquashPolicy>::all(client.clone()), "ImageSquashPolicies").await?;
        let reports = all(Api::<ImageReport>::all(client.clone()), "ImageReports").await?;
        let jobs = all(Api::<ImageSquashJob>::all(client.clone()), "ImageSquashJobs").await?;
        Ok(Self {
            world,
            policies: policies.into_iter().map(Arc::new).collect(),
            reports,
            jobs: jobs.iter().filter_map(PolicyJob::of).collect(),
        })
    }

    fn outcome(mut self, policy: ImageSquashPolicy, now: Timestamp) -> Outcome {
        let name = policy.metadata.name.clone().unwrap_or_default();
        self.policies.retain(|known| known.metadata.name.as_deref() != Some(&name));
        let mut facts: HashMap<ImageKey, Vec<&ImageReport>> = HashMap::new();
        for report in &self.reports {
            let spec = &report.spec;
            let key = ImageKey { repository: spec.repository.clone(), digest: spec.digest.clone() };
            facts.entry(key).or_default().push(report);
        }
        let facts = facts.into_iter().map(|(key, reports)| (key, Facts::of(reports))).collect();
        self.policies.push(Arc::new(policy));
        let uses = self.world.uses();
        let decision = decide(&Picture {
            policies: &self.policies,
            world: &self.world,
            uses: &uses,
            facts: &facts,
            jobs: &self.jobs,
            settings: &Settings::default(),
            now,
        });
        let own = decision.policies.iter().find(|one| one.policy.metadata.name.as_deref() == Some(&name));
        let ready = own.and_then(|own| unbloat_api::condition::find(&own.status.conditions, finding::READY));
        let starts: BTreeMap<&ImageKey, _> =
            own.into_iter().flat_map(|own| &own.start).map(|start| (&start.image, start)).collect();
        let mut images = Vec::new();
        for (key, image) in &decision.images {
            let Some(said) = image.policies.iter().find(|said| said.name == name) else { continue };
            let of = || uses.iter().filter(|((image, _), _)| image == key).map(|(_, using)| using);
            let mut workloads: Vec<String> = of()
                .flat_map(|using| &using.users)
                .map(|user| format!("{}/{}", user.kind, user.name))
                .collect();
            workloads.sort();
            workloads.dedup();
            let inspection = facts.get(key).and_then(|facts: &Facts| facts.inspection.as_ref());
            let start = starts.get(key);
            let would_do = match start {
                Some(start) if start.is_suspended => "a job that waits for approval".to_owned(),
                Some(_) => "a job".to_owned(),
                None => Finding::parse(&said.reason)
                    .map_or_else(|| said.reason.clone(), |finding| finding.meaning().to_owned()),
            };
            images.push(Image {
                image: key.to_string(),
                namespaces: of().map(|using| using.namespace.to_owned()).collect(),
                pods: of().map(|using| using.pods.len()).sum(),
                workloads,
                layers: inspection.map(unbloat_policy::facts::Inspection::layers),
                compressed_bytes: inspection.map(unbloat_policy::facts::Inspection::bytes),
                verdict: format!("{:?}", said.verdict),
                reason: said.reason.clone(),
                would_do,
                target: start
                    .map(|start| start.places.target.clone().unwrap_or_else(|| start.places.source.clone())),
            });
        }
        Outcome {
            policy: name,
            ready: ready.is_some_and(|ready| ready.status == "True"),
            reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
            message: ready.map(|ready| ready.message.clone()).unwrap_or_default(),
            matched_pods: images.iter().map(|image| image.pods).sum(),
            matched_images: images.len(),
            images,
        }
    }
}

/// All objects of a kind, page by page.
async fn all<K>(api: Api<K>, what: &str) -> Result<Vec<K>, Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut items = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&parameters).await.map_err(Error::kube(format!("cannot list {what}")))?;
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(items),
        }
    }
}

/// Owners of a kind; where the user may not read them, pods are shown with the owners that are known.
async fn add<K>(client: &Client, owners: &mut HashMap<String, Owner>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let Ok(list) = api.list_metadata(&ListParams::default()).await else { return };
    for owner in list.items {
        let owner: PartialObjectMeta<K> = owner;
        owners.insert(
            owner.metadata.uid.clone().unwrap_or_default(),
            Owner::of(&K::kind(&()), &owner.metadata),
        );
    }
}

fn text(outcome: &Outcome) -> String {
    let Outcome { policy, ready, reason, message, matched_pods, matched_images, images } = outcome;
    let mut text = if *ready {
        String::new()
    } else {
        format!("the policy {policy} would not be followed: {reason}: {message}\n")
    };
    text +=
        &format!("{policy} matches {matched_pods} pods with {matched_images} images; nothing was changed\n");
    if images.is_empty() {
        return text;
    }
    let header = ["IMAGE", "NAMESPACES", "PODS", "LAYERS", "SIZE", "VERDICT", "REASON", "WOULD DO"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for image in images {
        rows.push(vec![
            image.image.clone(),
            image.namespaces.join(","),
            image.pods.to_string(),
            image.layers.map(|layers| layers.to_string()).unwrap_or_default(),
            image.compressed_bytes.map(unbloat_text::signed_bytes).unwrap_or_default(),
            image.verdict.clone(),
            image.reason.clone(),
            match &image.target {
                Some(target) => format!("{}: {target}", image.would_do),
                None => image.would_do.clone(),
            },
        ]);
    }
    text + &table::layout(&rows)
}
