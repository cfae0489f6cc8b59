//! What was done at admission, as it is told: warnings, and the annotation `capstan.dev/status`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inject::Desired;

/// Why something was not done as asked, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The pod says `capstan.dev/inject: "false"`.
    InjectionDisabled,
    /// kubelet made the pod from a file.
    MirrorPod,
    /// The pod is in the operator's own or the system's namespace.
    SystemNamespace,
    /// The pod runs on Windows.
    Windows,
    /// The pod uses the node's network.
    HostNetwork,
    /// The pod sees the node's processes.
    HostPid,
    /// No policy is named.
    NoPolicy,
    /// The container that is named does not exist.
    UnknownContainer,
    /// The app's container mounts nothing that a sidecar could mount too.
    NoSharedVolume,
    /// Somebody else uses the sidecar's name.
    NameTaken,
    /// The API server would refuse the result.
    Conflict,
    /// An annotation cannot be read.
    InvalidAnnotation,
    /// The app's user is not in the pod.
    UnknownAppUser,
    /// The app runs as root, the sidecar does not.
    RootNotAllowed,
    /// Containers with different users share a volume.
    #[serde(rename = "UIDMismatch")]
    UidMismatch,
    /// One of the app's volumes is not mounted.
    MountNotCopied,
    /// The app's group is not in the pod.
    UnknownAppGroup,
    /// A volume that is named does not exist.
    UnknownVolume,
    /// The pod forbids what the annotation asks for.
    ProcessNamespaceConflict,
    /// A log is on no volume that the sidecar mounts.
    PathOnNoVolume,
    /// An app is to be signalled that the sidecar cannot see.
    ProcessNamespaceNotShared,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::UidMismatch => out.write_str("UIDMismatch"),
            other => fmt::Debug::fmt(other, out),
        }
    }
}

/// What the pod's author should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// One word.
    pub reason: Reason,
    /// A sentence that says how to mend it.
    pub message: String,
}

impl Warning {
    /// A warning.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "capstan: {}: {}", self.reason, self.message)
    }
}

/// The annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The operator's version.
    pub version: String,
    /// Whether the pod has the sidecar.
    pub injected: bool,
    /// The policies that the pod names.
    pub policies: Vec<String>,
    /// The image of the settings, by which one that somebody rewrote is told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The sidecar's `user:group`, or what of it is set.
    pub user: Option<String>,
    /// Where the user was found: container, pod, annotation, default or openshift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_from: Option<String>,
    /// What could not be done, and how to mend it.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

impl Status {
    /// Of a pod with the sidecar.
    pub fn injected(policies: &[String], desired: &Desired, warnings: &[Warning]) -> Self {
        Self {
            injected: true,
            image: Some(desired.image.clone()),
            user: desired.user.to_text(),
            user_from: Some(desired.user.from.as_str().to_owned()),
            ..Self::skipped(policies, warnings)
        }
    }

    /// Of a pod without.
    pub fn skipped(policies: &[String], warnings: &[Warning]) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            injected: false,
            policies: policies.to_vec(),
            image: None,
            user: None,
            user_from: None,
            warnings: warnings.to_vec(),
        }
    }
}
