//! Who holds images: lists that are read only when an original's time is over.
//!
//! The watches keep metadata alone of what owns pods, so that a large cluster costs little; what stands in
//! pod templates is read here, page by page, and only the images of the repositories that matter are kept.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use unbloat_api::ImageSquashJob;
use unbloat_oci::Reference;
use unbloat_policy::retention::{Holder, holder};

use crate::runtime::calls::{CallError, Calls};

/// Objects in a page.
const PAGE: u32 = 200;
/// The group of Sealos' devboxes, which may have an image and no pod.
const DEVBOXES: &str = "devbox.sealos.io";

/// Everybody who holds an image of these repositories, pods apart.
pub(super) async fn holders(
    calls: &Calls,
    repositories: &BTreeSet<String>,
) -> Result<Vec<Holder>, CallError> {
    let mut resources = vec![
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<DaemonSet>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
        ApiResource::erase::<Job>(&()),
        ApiResource::erase::<CronJob>(&()),
        ApiResource::erase::<ImageSquashJob>(&()),
    ];
    resources.extend(devboxes(calls).await?);
    let mut found = Vec::new();
    for resource in resources {
        let api: Api<DynamicObject> = Api::all_with(calls.client(), &resource);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = calls.read("list who holds images", api.list(&page)).await?;
            for object in list.items {
                let Ok(object) = serde_json::to_value(object) else { continue };
                let Some(mut holder) = holder(&resource.kind, &object) else { continue };
                holder.images.retain(|image| is_of(image, repositories));
                if !holder.images.is_empty() {
                    found.push(holder);
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => break,
            }
        }
    }
    Ok(found)
}

/// Whether an image, as somebody writes it, is of one of these repositories.
pub(super) fn is_of(image: &str, repositories: &BTreeSet<String>) -> bool {
    image.parse::<Reference>().is_ok_and(|reference| repositories.contains(&reference.name()))
}

/// Devboxes, where the cluster has them: in the version that it prefers.
async fn devboxes(calls: &Calls) -> Result<Option<ApiResource>, CallError> {
    let client = calls.client();
    let groups = calls.read("list API groups", client.list_api_groups()).await?;
    let version = groups
        .groups
        .into_iter()
        .find(|group| group.name == DEVBOXES)
        .and_then(|group| group.preferred_version.or_else(|| group.versions.into_iter().next()))
        .map(|version| version.version);
    Ok(version.map(|version| {
        let kind = GroupVersionKind::gvk(DEVBOXES, &version, "Devbox");
        ApiResource::from_gvk_with_plural(&kind, "devboxes")
    }))
}
