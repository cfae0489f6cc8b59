//! Which pods get no sidecar, and why.

use capstan_config::names as contract;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, Pod, PodSpec};

use crate::inject::Context;
use crate::inject::annotations::{self, Asked};
use crate::inject::status::Reason;
use crate::names;

/// The label of nodes that names their system.
const OS: &str = "kubernetes.io/os";

/// Why a pod that asks for a sidecar gets none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// The pod runs on Windows.
    #[error("the sidecar runs on Linux only; remove annotation capstan.dev/policy from this Windows pod")]
    Windows,
    /// The pod uses the node's network, where its port could be taken and a claim to it would keep pods off the node.
    #[error(
        "the sidecar's port would be one of the node's; remove hostNetwork, or annotation capstan.dev/policy"
    )]
    HostNetwork,
    /// The pod sees the processes of the whole node, which the sidecar must not signal.
    #[error(
        "the sidecar would see all processes of the node; replace hostPID by shareProcessNamespace, or remove annotation capstan.dev/policy"
    )]
    HostPid,
    /// No name in the annotation can be used.
    #[error(
        "annotation capstan.dev/policy names no policy; write the name of a LogRotationPolicy of this namespace"
    )]
    NoPolicy,
    /// A container is named that is not there.
    #[error(
        "annotation capstan.dev/container: the pod has no container '{name}'; write one of: {containers}"
    )]
    UnknownContainer {
        /// What was asked for.
        name: String,
        /// What there is.
        containers: String,
    },
    /// There is no container that is taken for an app unasked.
    #[error(
        "the pod's only containers are proxies of a service mesh; if one of them writes the logs, name it in annotation capstan.dev/container: {containers}"
    )]
    OnlyProxies {
        /// What there is.
        containers: String,
    },
    /// There is nothing to mount.
    #[error(
        "container '{container}' mounts no emptyDir, persistentVolumeClaim or ephemeral volume that the sidecar could see; mount one where the app writes its logs"
    )]
    NoSharedVolume {
        /// The app's container.
        container: String,
    },
    /// The sidecar's name is taken.
    #[error("the pod has a container '{}' of its own; give it another name", contract::CONTAINER)]
    NameTaken,
    /// The result would be refused.
    #[error("{0}")]
    Conflict(String),
}

impl Skip {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Skip::Windows => Reason::Windows,
            Skip::HostNetwork => Reason::HostNetwork,
            Skip::HostPid => Reason::HostPid,
            Skip::NoPolicy => Reason::NoPolicy,
            Skip::UnknownContainer { .. } | Skip::OnlyProxies { .. } => Reason::UnknownContainer,
            Skip::NoSharedVolume { .. } => Reason::NoSharedVolume,
            Skip::NameTaken => Reason::NameTaken,
            Skip::Conflict(_) => Reason::Conflict,
        }
    }
}

/// Pods that are not even given a status: they do not ask for anything, ask to be left alone, or are not ours to change.
pub fn untouchable(pod: &Pod, context: &Context<'_>) -> Option<Reason> {
    let own = [context.own_namespace, "kube-system"].contains(&context.namespace);
    match () {
        () if annotations::text(pod, names::POLICY).is_none() => Some(Reason::NoPolicy),
        () if annotations::text(pod, names::MIRROR_POD).is_some() => Some(Reason::MirrorPod),
        () if own => Some(Reason::SystemNamespace),
        () if annotations::refuses_injection(pod) => Some(Reason::InjectionDisabled),
        () => None,
    }
}

/// Pods whose kind does not go with a sidecar.
pub fn unsuitable(pod: &Pod, asked: &Asked) -> Result<(), Skip> {
    let Some(spec) = &pod.spec else {
        return Err(Skip::Conflict("the pod has no spec; write one".to_owned()));
    };
    match () {
        () if asked.policies.is_empty() => Err(Skip::NoPolicy),
        () if is_windows(spec) => Err(Skip::Windows),
        () if spec.host_network == Some(true) => Err(Skip::HostNetwork),
        () if spec.host_pid == Some(true) => Err(Skip::HostPid),
        () => Ok(()),
    }
}

/// What the pod says of its system counts first, then where it may run, then settings that only Windows has.
fn is_windows(spec: &PodSpec) -> bool {
    if let Some(os) = &spec.os {
        return os.name == "windows";
    }
    if let Some(os) = spec.node_selector.as_ref().and_then(|selector| selector.get(OS)) {
        return os == "windows";
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let nodes = affinity.and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = nodes.map(|nodes| nodes.node_selector_terms.as_slice()).unwrap_or_default();
    let has_options = spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some());
    let one_has_options = spec.containers.iter().any(|container| {
        container.security_context.as_ref().is_some_and(|context| context.windows_options.is_some())
    });
    (!terms.is_empty() && terms.iter().all(is_for_windows)) || has_options || one_has_options
}

fn is_for_windows(term: &NodeSelectorTerm) -> bool {
    term.match_expressions.iter().flatten().any(|expression| {
        let values = expression.values.as_deref().unwrap_or_default();
        expression.key == OS && expression.operator == "In" && values == ["windows"]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(spec: Value, windows: bool) {
        let mut spec = spec;
        spec["containers"] = spec.get("containers").cloned().unwrap_or_else(|| json!([]));
        assert_eq!(is_windows(&serde_json::from_value(spec.clone()).unwrap()), windows, "{spec}");
    }

    fn only_on(systems: &[&[&str]]) -> Value {
        let term = |values: &&[&str]| json!({ "matchExpressions": [{ "key": OS, "operator": "In", "values": values }] });
        let terms: Vec<Value> = systems.iter().map(term).collect();
        json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } })
    }

    #[test]
    fn a_windows_pod_is_known_by_where_it_may_run_and_by_what_only_windows_has() {
        let options = json!({ "windowsOptions": { "runAsUserName": "ContainerUser" } });
        check(json!({ "os": { "name": "windows" } }), true);
        check(json!({ "nodeSelector": { OS: "windows" } }), true);
        check(json!({ "affinity": only_on(&[&["windows"]]) }), true);
        check(json!({ "securityContext": options }), true);
        check(json!({ "containers": [{ "name": "app", "securityContext": options }] }), true);
    }

    #[test]
    fn a_pod_that_may_run_on_linux_is_none() {
        check(json!({}), false);
        check(json!({ "affinity": only_on(&[]) }), false);
        check(json!({ "affinity": only_on(&[&["windows", "linux"]]) }), false);
        check(json!({ "affinity": only_on(&[&["windows"], &["linux"]]) }), false);
        check(json!({ "os": { "name": "linux" }, "securityContext": { "windowsOptions": {} } }), false);
    }
}
