//! A worker that is its service account in a cloud: a token of that account for the cloud's audience and for
//! nothing else, and the variables that say where it is.

use k8s_openapi::api::core::v1::{
    EnvVar, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use unbloat_api::squash_job::{AwsIdentity, AzureIdentity, CloudIdentity};

use super::pod::{mount, variable};

/// The volume's name; the admission policy lets no other volume of this kind pass.
const VOLUME: &str = "cloud-identity";
const FOLDER: &str = "/var/run/secrets/unbloat.dev/cloud-identity";
const FILE: &str = "token";
/// Kubelet puts a new one in its place when four fifths of this are over; the worker reads the file each
/// time.
const SECONDS: i64 = 3600;

/// Whom a cloud's tokens are for; `None` where the cloud needs none.
fn audience(identity: &CloudIdentity) -> Option<&'static str> {
    match identity {
        CloudIdentity { aws: Some(_), .. } => Some("sts.amazonaws.com"),
        CloudIdentity { azure: Some(_), .. } => Some("api://AzureADTokenExchange"),
        CloudIdentity { .. } => None,
    }
}

/// The volume with the token.
pub(super) fn volume(identity: &Option<CloudIdentity>) -> Option<(Volume, VolumeMount)> {
    let token = ServiceAccountTokenProjection {
        audience: Some(audience(identity.as_ref()?)?.to_owned()),
        expiration_seconds: Some(SECONDS),
        path: FILE.to_owned(),
        ..ServiceAccountTokenProjection::default()
    };
    let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    let volume = Volume {
        name: VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(vec![source]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    };
    Some((volume, mount(VOLUME, FOLDER, true)))
}

/// What the engine reads: which cloud was asked for, and what the cloud's own tools read too.
pub(super) fn environment(identity: &Option<CloudIdentity>) -> Vec<EnvVar> {
    let Some(CloudIdentity { aws, azure, gcp }) = identity else { return Vec::new() };
    let file = format!("{FOLDER}/{FILE}");
    let asked = |cloud: &str| variable("UNBLOAT_CLOUD_IDENTITY", cloud);
    match (aws, azure, gcp) {
        (Some(AwsIdentity { role_arn }), _, _) => vec![
            asked("aws"),
            variable("AWS_ROLE_ARN", role_arn),
            variable("AWS_WEB_IDENTITY_TOKEN_FILE", &file),
        ],
        (_, Some(AzureIdentity { client_id, tenant_id }), _) => vec![
            asked("azure"),
            variable("AZURE_CLIENT_ID", client_id),
            variable("AZURE_TENANT_ID", tenant_id),
            variable("AZURE_FEDERATED_TOKEN_FILE", &file),
        ],
        (_, _, Some(_)) => vec![asked("gcp")],
        (None, None, None) => Vec::new(),
    }
}
