//! A pod that was injected before: by the first of two calls of one admission, or because somebody copied a running
//! pod. Our parts are taken out and derived anew; what others have changed in the sidecar meanwhile stays.

use capstan_config::names as contract;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements, VolumeMount};
use serde::Deserialize;

use crate::inject::annotations;
use crate::inject::app::{init_containers, spec};
use crate::inject::mounts::{is_own, kind};
use crate::inject::quantity::billionths;
use crate::inject::skip::Skip;
use crate::names;

/// What has to be read of the status. Of the rest, another version of the operator may say what this one does not know.
#[derive(Deserialize)]
struct Seen {
    injected: bool,
    #[serde(default)]
    image: Option<String>,
}

/// What an earlier call put in.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Where the sidecar is among the init containers.
    pub index: usize,
    /// The sidecar as it is now.
    pub container: Container,
    /// The image that it was given.
    pub image: Option<String>,
    /// The names of its volumes.
    pub volumes: Vec<String>,
}

/// The pod without our parts, and our parts.
pub fn separate(pod: &Pod) -> Result<(Pod, Option<Earlier>), Skip> {
    let Some(earlier) = find(pod) else {
        let ephemeral = spec(pod).ephemeral_containers.iter().flatten().map(|container| &container.name);
        let others = spec(pod).containers.iter().chain(init_containers(pod)).map(|container| &container.name);
        let taken = others.chain(ephemeral).any(|name| name == contract::CONTAINER);
        return if taken { Err(Skip::NameTaken) } else { Ok((pod.clone(), None)) };
    };
    let mut bare = pod.clone();
    if let Some(spec) = &mut bare.spec {
        if let Some(containers) = &mut spec.init_containers {
            containers.remove(earlier.index);
        }
        if let Some(volumes) = &mut spec.volumes {
            volumes.retain(|volume| !earlier.volumes.contains(&volume.name));
        }
    }
    Ok((bare, Some(earlier)))
}

/// The sidecar is ours if the pod's status says that we put one in.
pub fn find(pod: &Pod) -> Option<Earlier> {
    let status: Seen = serde_json::from_str(annotations::text(pod, names::STATUS)?).ok()?;
    let containers = init_containers(pod);
    let index =
        containers.iter().position(|container| container.name == contract::CONTAINER && status.injected)?;
    let container = containers[index].clone();
    let own = container.volume_mounts.iter().flatten().filter(|mount| is_own(&mount.mount_path));
    let volumes = own.map(|mount| mount.name.clone()).filter(|name| name.starts_with("capstan-")).collect();
    Some(Earlier { index, container, image: status.image, volumes })
}

/// Puts back what others have changed in the sidecar: the image (registries are rewritten to mirrors), when it is
/// pulled, resources that we do not set, variables, and mounts of kinds that are never ours.
pub fn keep_foreign(mut derived: Container, earlier: Option<&Earlier>, bare: &Pod) -> Container {
    let Some(earlier) = earlier else { return derived };
    let now = &earlier.container;
    if now.image.is_some() && now.image != earlier.image {
        derived.image.clone_from(&now.image);
    }
    // An admission plugin that insists on `Always` looks once more at the end, and refuses the pod if it is undone.
    if now.image_pull_policy.is_some() {
        derived.image_pull_policy.clone_from(&now.image_pull_policy);
    }
    if let Some(now) = &now.resources {
        keep_resources(derived.resources.get_or_insert_default(), now);
    }
    let env = derived.env.get_or_insert_default();
    for variable in now.env.iter().flatten().filter(|variable| !variable.name.starts_with("CAPSTAN_")) {
        if !env.iter().any(|own| own.name == variable.name) {
            env.push(variable.clone());
        }
    }
    let mounts = derived.volume_mounts.get_or_insert_default();
    for mount in now.volume_mounts.iter().flatten().filter(|mount| is_foreign(mount, bare)) {
        if !mounts.iter().any(|own| own.mount_path == mount.mount_path) {
            mounts.push(mount.clone());
        }
    }
    derived
}

/// Defaults of the namespace, for names of which we say nothing; but none that contradicts what we say.
fn keep_resources(derived: &mut ResourceRequirements, now: &ResourceRequirements) {
    let requests = derived.requests.get_or_insert_default();
    let limits = derived.limits.get_or_insert_default();
    for (name, limit) in now.limits.iter().flatten() {
        let too_low = requests.get(name).is_some_and(|own| billionths(&own.0) > billionths(&limit.0));
        if !too_low {
            limits.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    for (name, request) in now.requests.iter().flatten() {
        let too_high = limits.get(name).is_some_and(|limit| billionths(&request.0) > billionths(&limit.0));
        if !too_high {
            requests.entry(name.clone()).or_insert_with(|| request.clone());
        }
    }
}

fn is_foreign(mount: &VolumeMount, bare: &Pod) -> bool {
    let volume = spec(bare).volumes.iter().flatten().find(|volume| volume.name == mount.name);
    !is_own(&mount.mount_path) && volume.is_some_and(|volume| kind(volume).is_none())
}
