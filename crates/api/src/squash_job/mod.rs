//! `ImageSquashJob`: one squash of one image, shaped like a `batch/v1` Job.

mod shape;
mod source;
mod spec;
mod status;
mod target;
mod worker;
mod worth;

#[cfg(test)]
mod tests;

pub use shape::Shape;
pub use source::{Base, Source};
pub use spec::{ImageSquashJob, ImageSquashJobSpec};
pub use status::{Failure, ImageFigures, ImageSquashJobStatus, Progress, WorkerRef};
pub use target::Target;
pub use unbloat_contract::{Compression, Format};
pub use worker::{
    AwsIdentity, AzureIdentity, ClaimScratch, CloudIdentity, EmptyDirScratch, EphemeralScratch, Scratch,
    WorkerOverrides, WorkerResources,
};
pub use worth::Condition;

use schemars::Schema;
use serde::{Deserialize, Serialize};

/// A secret of the job's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of a secret of type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Server-side apply merges the list by the given key.
pub(crate) fn list_map(schema: &mut Schema, key: &str) {
    let object = schema.ensure_object();
    object.insert("x-kubernetes-list-type".to_owned(), "map".into());
    object.insert("x-kubernetes-list-map-keys".to_owned(), serde_json::json!([key]));
}

pub(crate) fn list_map_by_name(schema: &mut Schema) {
    list_map(schema, "name");
}

pub(crate) fn list_map_by_type(schema: &mut Schema) {
    list_map(schema, "type");
}

/// Server-side apply replaces the list as one.
pub(crate) fn list_atomic(schema: &mut Schema) {
    schema.ensure_object().insert("x-kubernetes-list-type".to_owned(), "atomic".into());
}
