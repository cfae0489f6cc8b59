//! Which pods get no sidecar, and why.

use capstan_config::names as contract;
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::inject::Context;
use crate::inject::annotations::{self, Asked};
use crate::inject::status::Reason;
use crate::names;

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
            Skip::UnknownContainer { .. } => Reason::UnknownContainer,
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

fn is_windows(spec: &PodSpec) -> bool {
    let selector = spec.node_selector.as_ref().and_then(|selector| selector.get("kubernetes.io/os"));
    spec.os.as_ref().is_some_and(|os| os.name == "windows") || selector.is_some_and(|os| os == "windows")
}
