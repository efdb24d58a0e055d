//! ImageSquashJobs that policies made: how they are named, recognised and where they stand.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use unbloat_api::squash_policy::{JobTemplate, JobTemplateMetadata, JobTemplateSpec};
use unbloat_api::{ImageSquashJob, ImageSquashPolicy, labels};

use crate::image::{ImageKey, name};
use crate::target::Places;

/// Bytes of the policy's name in a job's name: with hash and number it stays below 52.
const NAME_WORDS: usize = 28;

/// A job of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyJob {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid of the policy.
    pub policy_uid: String,
    /// [`ImageKey::id`] of the image.
    pub image: String,
    /// Number of the try, from 1.
    pub number: i32,
    /// When it was made.
    pub created: Timestamp,
    /// Where it stands.
    pub state: JobState,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Suspended.
    Planned,
    /// Waits or runs.
    Running,
    /// A result exists.
    Succeeded {
        /// Since when.
        at: Timestamp,
        /// Whether something was written: an image that was flat gives no result.
        has_result: bool,
    },
    /// It failed.
    Failed {
        /// Since when.
        at: Timestamp,
        /// Reason of its condition.
        reason: String,
    },
}

impl PolicyJob {
    /// The job as one of a policy, if it is.
    ///
    /// A label is no proof: anybody may write one. The job has to be where the policy's jobs are, which
    /// `decide` checks, and has to be named as the policy's jobs are.
    pub fn of(job: &ImageSquashJob) -> Option<Self> {
        let all = job.metadata.labels.as_ref()?;
        let policy_uid = all.get(labels::SQUASH_POLICY_UID)?.clone();
        let policy = all.get(labels::SQUASH_POLICY)?;
        let image = all.get(labels::IMAGE)?.clone();
        let own_name = job.metadata.name.clone()?;
        let number = own_name.rsplit_once('-')?.1.parse().ok()?;
        if own_name != job_name_of(policy, &image, number) {
            return None;
        }
        let created = job.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let status = job.status.as_ref();
        let condition = status.and_then(|status| status.succeeded());
        let ended = status.and_then(|status| status.completion_time.as_ref()).map_or(created, |time| time.0);
        let state = match condition.map(|condition| (condition.status.as_str(), condition.reason.clone())) {
            Some(("True", reason)) => JobState::Succeeded { at: ended, has_result: reason != "AlreadyFlat" },
            Some(("False", reason)) => JobState::Failed { at: ended, reason },
            _ if job.spec.suspend => JobState::Planned,
            _ => JobState::Running,
        };
        Some(Self {
            namespace: job.metadata.namespace.clone()?,
            name: own_name,
            policy_uid,
            image,
            number,
            created,
            state,
        })
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, JobState::Succeeded { .. } | JobState::Failed { .. })
    }
}

/// Name of a policy's job for an image. The same in every process: a job that exists is not made again.
pub fn job_name(policy: &str, image: &ImageKey, number: i32) -> String {
    job_name_of(policy, &image.id(), number)
}

fn job_name_of(policy: &str, image: &str, number: i32) -> String {
    let hash = &image[..image.len().min(12)];
    name(policy, NAME_WORDS, &format!("{hash}-{number}"))
}

/// What a job is made of.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The policy.
    pub policy: &'a ImageSquashPolicy,
    /// Class of the release that makes it; none, when empty.
    pub class: &'a str,
    /// The image.
    pub image: &'a ImageKey,
    /// Source and target.
    pub places: &'a Places,
    /// Number of the try.
    pub number: i32,
    /// Whether a person has to approve it.
    pub is_suspended: bool,
    /// Whether the registry is plain HTTP, by the operator's configuration.
    pub is_plain_http: bool,
    /// Platform secrets for the hosts of source and target, used where the template names none.
    pub platform_secrets: &'a [String],
}

/// Builds the ImageSquashJob, as JSON: what the template leaves out, the API server's defaults fill in.
pub fn build(order: &Order<'_>) -> Value {
    let Order { policy, class, image, places, number, is_suspended, is_plain_http, platform_secrets } = order;
    let JobTemplate { metadata: JobTemplateMetadata { labels: own, annotations }, spec } =
        &policy.spec.job_template;
    let policy_name = policy.metadata.name.clone().unwrap_or_default();
    let uid = policy.metadata.uid.clone().unwrap_or_default();
    let foreign = |key: &String| !key.contains("unbloat.dev/");
    let mut all: std::collections::BTreeMap<String, String> =
        own.iter().filter(|(key, _)| foreign(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    all.extend([
        (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
        (labels::SQUASH_POLICY.to_owned(), policy_name.clone()),
        (labels::SQUASH_POLICY_UID.to_owned(), uid.clone()),
        (labels::IMAGE.to_owned(), image.id()),
    ]);
    if !class.is_empty() {
        all.insert(labels::CLASS.to_owned(), (*class).to_owned());
    }
    let annotations = annotations
        .iter()
        .filter(|(key, _)| foreign(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // A namespaced object may be owned by one of the cluster: the jobs go with the policy.
    let owner = OwnerReference {
        api_version: format!("{}/{}", unbloat_api::GROUP, unbloat_api::VERSION),
        kind: "ImageSquashPolicy".to_owned(),
        name: policy_name.clone(),
        uid,
        controller: Some(true),
        block_owner_deletion: Some(false),
    };
    let metadata = ObjectMeta {
        name: Some(job_name(&policy_name, image, *number)),
        namespace: Some(policy.spec.job_namespace.clone()),
        labels: Some(all),
        annotations: Some(annotations),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    json!({
        "apiVersion": format!("{}/{}", unbloat_api::GROUP, unbloat_api::VERSION),
        "kind": "ImageSquashJob",
        "metadata": metadata,
        "spec": job_spec(spec, places, *is_suspended, *is_plain_http, platform_secrets),
    })
}

fn job_spec(
    template: &JobTemplateSpec,
    places: &Places,
    is_suspended: bool,
    is_plain_http: bool,
    platform_secrets: &[String],
) -> Value {
    let JobTemplateSpec { pull_secrets, push_secret, plain_http, .. } = template;
    let names: Vec<Value> = if pull_secrets.is_empty() {
        platform_secrets.iter().map(|name| json!({"name": name})).collect()
    } else {
        pull_secrets.iter().map(|secret| json!(secret)).collect()
    };
    let mut source = json!({"image": places.source, "plainHTTP": plain_http.unwrap_or(is_plain_http)});
    if !names.is_empty() {
        source["pullSecrets"] = json!(names);
    }
    let mut target = match &places.target {
        // A repository elsewhere is spoken to as the template says.
        Some(image) => {
            let is_plain = plain_http.unwrap_or(is_plain_http && places.is_same_repository);
            json!({"image": image, "plainHTTP": is_plain})
        }
        None => json!({"moveTag": true}),
    };
    let push = push_secret.as_ref().map(|secret| secret.name.clone());
    if let Some(push) = push.or_else(|| platform_secrets.first().cloned()) {
        target["pushSecret"] = json!({"name": push});
    }
    // The rest of the template has the names of the job's own fields.
    let mut spec = serde_json::to_value(template).unwrap_or_else(|_| json!({}));
    if let Some(fields) = spec.as_object_mut() {
        for own in ["pullSecrets", "pushSecret", "plainHTTP"] {
            fields.remove(own);
        }
        fields.insert("source".to_owned(), source);
        fields.insert("target".to_owned(), target);
        fields.insert("suspend".to_owned(), json!(is_suspended));
    }
    spec
}
