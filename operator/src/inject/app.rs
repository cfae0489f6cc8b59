//! What a pod says about its app: which containers, whose workload, which quality of service.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};

use crate::inject::annotations::Asked;
use crate::inject::quantity::same_amount;
use crate::inject::skip::Skip;
use crate::inject::status::{Reason, Warning};
use crate::names;

/// The grace period of a pod that names none, in seconds.
const DEFAULT_GRACE: i64 = 30;

/// The pod's spec, which every pod that came this far has; an empty one otherwise.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The init containers.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// Whether this init container is a native sidecar, which runs along with the app.
pub fn is_native_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn is_mesh(container: &Container) -> bool {
    names::MESH_PROXIES.contains(&container.name.as_str())
}

/// Everything that runs along with the app, its containers first.
fn all_running(pod: &Pod) -> impl Iterator<Item = &Container> {
    let sidecars = init_containers(pod).iter().filter(|container| is_native_sidecar(container));
    spec(pod).containers.iter().chain(sidecars)
}

/// The same without proxies of meshes.
pub fn running(pod: &Pod) -> Vec<&Container> {
    all_running(pod).filter(|container| !is_mesh(container)).collect()
}

/// The app's containers, the one that decides first: those that are named, else the first. A proxy of a mesh is one only
/// if it is named: that of a gateway, which is the only container of its pod, for example.
pub fn select<'a>(pod: &'a Pod, named: &[String]) -> Result<Vec<&'a Container>, Skip> {
    if named.is_empty() {
        let first = running(pod).into_iter().next();
        return first
            .map(|first| vec![first])
            .ok_or_else(|| Skip::OnlyProxies { containers: all_names(pod) });
    }
    let find = |name: &String| {
        all_running(pod)
            .find(|container| container.name == *name)
            .ok_or_else(|| Skip::UnknownContainer { name: name.clone(), containers: all_names(pod) })
    };
    named.iter().map(find).collect()
}

fn all_names(pod: &Pod) -> String {
    all_running(pod).map(|container| container.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The names of all containers of the app, those that were selected first.
pub fn container_names(pod: &Pod, selected: &[&Container]) -> String {
    let mut found: Vec<&str> = selected.iter().map(|container| container.name.as_str()).collect();
    for container in spec(pod).containers.iter().filter(|container| !is_mesh(container)) {
        if !found.contains(&container.name.as_str()) {
            found.push(&container.name);
        }
    }
    found.join(",")
}

/// Where the sidecar goes among the init containers: before everybody, so that it sees the first line and stays for
/// the last, but after a mesh's proxy, without which it would have no network.
pub fn position(pod: &Pod) -> usize {
    let proxy = |container: &Container| is_mesh(container) && is_native_sidecar(container);
    init_containers(pod).iter().rposition(proxy).map_or(0, |index| index + 1)
}

/// Whether the pod is to share its processes, which only its own author may ask for.
pub fn shares_processes(pod: &Pod, asked: &Asked, warnings: &mut Vec<Warning>) -> bool {
    if asked.share_process_namespace && spec(pod).share_process_namespace == Some(false) {
        warnings.push(Warning::new(
            Reason::ProcessNamespaceConflict,
            format!(
                "the pod says shareProcessNamespace: false and annotation {} says true; remove one of them",
                names::SHARE_PROCESS_NAMESPACE
            ),
        ));
        return false;
    }
    asked.share_process_namespace
}

/// The name of what the pod belongs to, as far as it can be told from the pod: the Deployment rather than its
/// ReplicaSet, the owner rather than the pod.
pub fn workload(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        let prefix = metadata.generate_name.as_deref().map(|prefix| prefix.trim_end_matches('-'));
        return metadata.name.as_deref().or(prefix).unwrap_or_default().to_owned();
    };
    let hash = metadata.labels.as_ref().and_then(|labels| labels.get(names::POD_TEMPLATE_HASH));
    let deployment = hash.filter(|_| owner.kind == "ReplicaSet").and_then(|hash| {
        owner.name.strip_suffix(hash.as_str())?.strip_suffix('-').filter(|name| !name.is_empty())
    });
    deployment.unwrap_or(&owner.name).to_owned()
}

/// The time that the pod has to stop.
pub fn grace(pod: &Pod) -> String {
    format!("{}s", spec(pod).termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE))
}

/// What the pod says of its resources as a whole; an empty list says nothing.
pub fn of_whole_pod(pod: &Pod) -> Option<&ResourceRequirements> {
    spec(pod).resources.as_ref().filter(|resources| {
        [&resources.requests, &resources.limits].into_iter().flatten().any(|amounts| !amounts.is_empty())
    })
}

/// Whether Kubernetes gives the pod what it asks for and nothing else: requests equal limits everywhere. A sidecar
/// that is different would change the class of the whole pod.
pub fn is_guaranteed(pod: &Pod) -> bool {
    if let Some(resources) = of_whole_pod(pod) {
        return has_equal_resources(resources);
    }
    let spec = spec(pod);
    let all = spec.containers.iter().chain(init_containers(pod));
    all.fold(!spec.containers.is_empty(), |guaranteed, container| {
        guaranteed && container.resources.as_ref().is_some_and(has_equal_resources)
    })
}

fn has_equal_resources(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(*name));
        let request = resources.requests.as_ref().and_then(|requests| requests.get(*name));
        // The API server fills in a request that is not there from the limit, but `inject -f` sees it before.
        limit.is_some_and(|limit| request.is_none_or(|request| same_amount(request, limit)))
    })
}
