//! Where and with what a job's worker runs, as far as the platform allows.

#![expect(unreachable_pub, reason = "KubeSchema's derive repeats the type inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::list_atomic;

/// What a job wants different from the operator's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerOverrides {
    /// Labels that the worker's node has; replaces the configured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "maxProperties" = 16,
        "x-kubernetes-validations" = [{
            "rule": "self.all(name, size(name) <= 317 && size(self[name]) <= 63)",
            "message": "a label has at most 317 characters in its name and 63 in its value",
        }],
    ))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that the worker's pod tolerates; replaces the configured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), transform = list_atomic, transform = bounded_tolerations)]
    pub tolerations: Option<Vec<Toleration>>,
    /// Priority class of the worker's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Processor and memory; requests and limits are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<WorkerResources>,
    /// The volume that survivors wait on when memory doesn't hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// Log in to a cloud's registries as the job's service account. Where the platform allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_identity: Option<CloudIdentity>,
}

/// Who the job's service account is in a cloud: one of three. The worker gets a token of the account for this
/// cloud alone, which is none for the Kubernetes API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.aws), has(self.azure), has(self.gcp)].exists_one(set, set)")
        .message("give exactly one of aws, azure and gcp")
)]
pub struct CloudIdentity {
    /// Elastic Container Registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsIdentity>,
    /// Azure Container Registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureIdentity>,
    /// Artifact Registry and Container Registry, as the account is known to GKE's metadata server. It needs
    /// no token. The worker may ask that server who it is whatever `worker.network.refuse` says; a network
    /// policy has to let it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp: Option<GcpIdentity>,
}

/// A role in AWS that trusts the cluster's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsIdentity {
    /// The role, as `arn:aws:iam::123456789012:role/squash`.
    #[serde(rename = "roleARN")]
    #[schemars(length(min = 20, max = 2048), regex(pattern = "^arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]+$"))]
    pub role_arn: String,
}

/// An application or managed identity in Azure that trusts the cluster's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureIdentity {
    /// Its client.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[0-9A-Za-z-]+$"))]
    pub client_id: String,
    /// Its tenant.
    #[serde(rename = "tenantID")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[0-9A-Za-z.-]+$"))]
    pub tenant_id: String,
}

/// What GKE knows of the service account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("maxProperties" = 0))]
pub struct GcpIdentity {}

/// Kubernetes' own type says no bounds.
fn bounded_tolerations(schema: &mut Schema) {
    let properties = schema.pointer_mut("/items/properties").and_then(|value| value.as_object_mut());
    for (name, property) in properties.into_iter().flatten() {
        let (bound, value) = match name.as_str() {
            "tolerationSeconds" => ("maximum", 2_147_483_647),
            "key" => ("maxLength", 317),
            _ => ("maxLength", 63),
        };
        if let Some(property) = property.as_object_mut() {
            property.insert(bound.to_owned(), value.into());
        }
    }
}

/// Processor and memory of a worker; requests and limits are the same, so that a squash neither starves nor
/// is starved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerResources {
    /// Cores, such as `4` or `500m`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::quantity::read_optional"
    )]
    pub cpu: Option<Quantity>,
    /// Memory, such as `512Mi`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::quantity::read_optional"
    )]
    pub memory: Option<Quantity>,
}

/// The scratch volume: one of three kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.emptyDir), has(self.ephemeral), has(self.persistentVolumeClaim)].exists_one(set, set)")
        .message("give exactly one of emptyDir, ephemeral and persistentVolumeClaim")
)]
pub struct Scratch {
    /// A folder on the node's own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirScratch>,
    /// A volume made for the worker's pod and deleted with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<EphemeralScratch>,
    /// A volume that is there already, such as a prepared striped volume of a squash node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimScratch>,
}

/// A folder on the node's own disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmptyDirScratch {
    /// Bytes past which kubelet evicts the worker.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::quantity::read_optional"
    )]
    pub size_limit: Option<Quantity>,
}

/// A volume made for the worker's pod and deleted with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EphemeralScratch {
    /// Storage class; the cluster's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Size of the volume.
    #[serde(deserialize_with = "crate::quantity::read")]
    pub size: Quantity,
}

/// A volume that is there already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimScratch {
    /// Name of a claim in the job's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}
