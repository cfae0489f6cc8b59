//! The last look at a result: what the API server or the node would refuse is not given to them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::inject::Desired;
use crate::inject::app::{init_containers, is_native_sidecar, spec};
use crate::inject::mounts::normal;
use crate::inject::skip::Skip;

/// Checks the pod with what it shall get.
pub fn result(bare: &Pod, desired: &Desired) -> Result<(), Skip> {
    volumes(bare, desired)
        .and_then(|()| container(desired))
        .and_then(|()| ports(bare, desired))
        .map_err(Skip::Conflict)
}

fn volumes(bare: &Pod, desired: &Desired) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let theirs = spec(bare).volumes.iter().flatten();
    for volume in theirs.chain(&desired.volumes) {
        if !names.insert(volume.name.as_str()) {
            return Err(format!(
                "the pod has a volume '{}' of its own, a name that the sidecar needs; give it another name",
                volume.name
            ));
        }
    }
    let mounts = desired.container.volume_mounts.iter().flatten();
    match mounts.into_iter().find(|mount| !names.contains(mount.name.as_str())) {
        Some(mount) => Err(format!("the pod mounts a volume '{}' that it does not have; add it", mount.name)),
        None => Ok(()),
    }
}

fn container(desired: &Desired) -> Result<(), String> {
    let mut paths = BTreeSet::new();
    for mount in desired.container.volume_mounts.iter().flatten() {
        if !paths.insert(normal(&mount.mount_path)) {
            return Err(format!(
                "two volumes would be mounted at {} in the sidecar; mount one elsewhere",
                mount.mount_path
            ));
        }
    }
    let mut names = BTreeSet::new();
    for variable in desired.container.env.iter().flatten() {
        if !names.insert(&variable.name) {
            return Err(format!("the sidecar would have the variable {} twice; rename it", variable.name));
        }
    }
    Ok(())
}

/// Containers of a pod share their ports. Init containers that end are no problem.
fn ports(bare: &Pod, desired: &Desired) -> Result<(), String> {
    let running = init_containers(bare).iter().filter(|container| is_native_sidecar(container));
    let theirs: Vec<&Container> = spec(bare).containers.iter().chain(running).collect();
    for port in desired.container.ports.iter().flatten() {
        for container in &theirs {
            let same = |other: &k8s_openapi::api::core::v1::ContainerPort| {
                other.container_port == port.container_port
                    && other.protocol.as_deref().unwrap_or("TCP") == "TCP"
            };
            if container.ports.iter().flatten().any(same) {
                return Err(format!(
                    "container '{}' uses port {}, which the sidecar needs; let it listen on another",
                    container.name, port.container_port
                ));
            }
        }
    }
    Ok(())
}
