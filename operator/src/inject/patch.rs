//! The JSON patch (RFC 6902) from the pod as it is to the pod as it shall be.
//!
//! What always holds: nothing but our own parts is changed, and each removal and change of one is guarded by a test
//! that it is still where it was seen; a pod that is as it shall be gives an empty patch.

use std::collections::BTreeSet;

use capstan_config::names as contract;
use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, MoveOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use k8s_openapi::api::core::v1::{Pod, Volume};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::inject::Desired;
use crate::inject::app::{init_containers, spec};
use crate::inject::merge::Earlier;
use crate::inject::status::Status;
use crate::names;

/// Fields of the sidecar that are ours even where we want them empty.
const NEVER: [&str; 4] = ["command", "startupProbe", "readinessProbe", "livenessProbe"];

/// For a pod that gets the sidecar.
pub fn injected(pod: &Pod, desired: &Desired, status: &Status) -> Patch {
    let mut patch = Vec::new();
    label(&mut patch, pod);
    annotation(&mut patch, pod, status);
    volumes(&mut patch, pod, desired);
    match &desired.earlier {
        None => insert(&mut patch, pod, desired),
        Some(earlier) => change(&mut patch, earlier, desired),
    }
    if desired.share_process_namespace && spec(pod).share_process_namespace != Some(true) {
        patch.push(add(["spec", "shareProcessNamespace"], true));
    }
    Patch(patch)
}

/// For a pod that gets none: the reason, nothing of an earlier call, and no label that says otherwise.
pub fn skipped(pod: &Pod, earlier: Option<&Earlier>, status: &Status) -> Patch {
    let mut patch = Vec::new();
    annotation(&mut patch, pod, status);
    if let Some(earlier) = earlier {
        take_out(&mut patch, pod, earlier);
    }
    let has_other = init_containers(pod).iter().any(|container| container.name == contract::CONTAINER);
    if (earlier.is_some() || !has_other)
        && pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::INJECTED))
    {
        patch.push(PatchOperation::Remove(RemoveOperation {
            path: path(["metadata", "labels", names::INJECTED]),
        }));
    }
    Patch(patch)
}

/// Removes the sidecar, and those of its volumes that nobody else mounts.
fn take_out(patch: &mut Vec<PatchOperation>, pod: &Pod, earlier: &Earlier) {
    let others = init_containers(pod).iter().enumerate().filter(|(index, _)| *index != earlier.index);
    let containers = spec(pod).containers.iter().chain(others.map(|(_, container)| container));
    let mounted: BTreeSet<&String> = containers
        .flat_map(|container| container.volume_mounts.iter().flatten())
        .map(|mount| &mount.name)
        .collect();
    // From the end, so that the places of those before stay what they are.
    for (index, volume) in spec(pod).volumes.as_deref().unwrap_or_default().iter().enumerate().rev() {
        if earlier.volumes.contains(&volume.name) && !mounted.contains(&volume.name) {
            remove_named(patch, "volumes", index, &volume.name);
        }
    }
    remove_named(patch, "initContainers", earlier.index, contract::CONTAINER);
}

fn remove_named(patch: &mut Vec<PatchOperation>, list: &str, index: usize, name: &str) {
    let index = index.to_string();
    patch.push(test(["spec", list, &index, "name"], name));
    patch.push(PatchOperation::Remove(RemoveOperation { path: path(["spec", list, &index]) }));
}

fn path<'a>(tokens: impl IntoIterator<Item = &'a str>) -> PointerBuf {
    PointerBuf::from_tokens(tokens)
}

fn value(value: impl Serialize) -> Value {
    // Types of the API serialise to plain JSON, so there is nothing that could fail.
    serde_json::to_value(value).unwrap_or_default()
}

fn add<'a>(tokens: impl IntoIterator<Item = &'a str>, of: impl Serialize) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: path(tokens), value: value(of) })
}

fn label(patch: &mut Vec<PatchOperation>, pod: &Pod) {
    match &pod.metadata.labels {
        None => patch.push(add(["metadata", "labels"], json!({ names::INJECTED: "true" }))),
        Some(labels) if labels.get(names::INJECTED).is_some_and(|value| value == "true") => {}
        Some(_) => patch.push(add(["metadata", "labels", names::INJECTED], "true")),
    }
}

fn annotation(patch: &mut Vec<PatchOperation>, pod: &Pod, status: &Status) {
    let text = value(status).to_string();
    match &pod.metadata.annotations {
        None => patch.push(add(["metadata", "annotations"], json!({ names::STATUS: text }))),
        Some(annotations) if annotations.get(names::STATUS) == Some(&text) => {}
        Some(_) => patch.push(add(["metadata", "annotations", names::STATUS], text)),
    }
}

/// Volumes that are as they shall be stay; others of ours go or change; new ones are added at the end.
fn volumes(patch: &mut Vec<PatchOperation>, pod: &Pod, desired: &Desired) {
    let present = spec(pod).volumes.as_deref();
    let ours: Vec<&str> =
        desired.earlier.iter().flat_map(|earlier| &earlier.volumes).map(String::as_str).collect();
    let wanted = |volume: &Volume| desired.volumes.iter().find(|wanted| wanted.name == volume.name);
    // From the end, so that the places of those before stay what they are.
    for (index, volume) in present.unwrap_or_default().iter().enumerate().rev() {
        let index = index.to_string();
        if !ours.contains(&volume.name.as_str()) || wanted(volume) == Some(volume) {
            continue;
        }
        patch.push(test(["spec", "volumes", &index, "name"], &volume.name));
        let path = path(["spec", "volumes", &index]);
        patch.push(match wanted(volume) {
            Some(wanted) => PatchOperation::Replace(ReplaceOperation { path, value: value(wanted) }),
            None => PatchOperation::Remove(RemoveOperation { path }),
        });
    }
    if present.is_none() {
        patch.push(add(["spec", "volumes"], json!([])));
    }
    let is_there = |name: &str| present.unwrap_or_default().iter().any(|volume| volume.name == name);
    let missing = desired.volumes.iter().filter(|volume| !is_there(&volume.name));
    patch.extend(missing.map(|volume| add(["spec", "volumes", "-"], volume)));
}

fn test<'a>(tokens: impl IntoIterator<Item = &'a str>, of: impl Serialize) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: path(tokens), value: value(of) })
}

fn insert(patch: &mut Vec<PatchOperation>, pod: &Pod, desired: &Desired) {
    if spec(pod).init_containers.is_none() {
        return patch.push(add(["spec", "initContainers"], [&desired.container]));
    }
    patch.push(add(["spec", "initContainers", &desired.position.to_string()], &desired.container));
}

fn change(patch: &mut Vec<PatchOperation>, earlier: &Earlier, desired: &Desired) {
    let wanted = fields(&desired.container);
    let present = fields(&earlier.container);
    let position = desired.position.to_string();
    let mut changes = Vec::new();
    for (field, wanted) in wanted.iter().filter(|(field, wanted)| present.get(*field) != Some(wanted)) {
        changes.push(add(["spec", "initContainers", &position, field], wanted));
    }
    for field in NEVER.iter().filter(|field| present.contains_key(**field)) {
        let path = path(["spec", "initContainers", &position, field]);
        changes.push(PatchOperation::Remove(RemoveOperation { path }));
    }
    if earlier.index != desired.position {
        let from = path(["spec", "initContainers", &earlier.index.to_string()]);
        patch.push(PatchOperation::Move(MoveOperation {
            from,
            path: path(["spec", "initContainers", &position]),
        }));
    }
    if !changes.is_empty() {
        patch.push(test(["spec", "initContainers", &position, "name"], contract::CONTAINER));
    }
    patch.append(&mut changes);
}

fn fields(container: &k8s_openapi::api::core::v1::Container) -> Map<String, Value> {
    match value(container) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
