//! What was done at admission, as it is told: warnings, and the annotation `capstan.dev/status`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inject::Desired;

/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 1024;
/// How long all messages of a pod are together, in bytes. All its annotations may be 256 KiB.
const LONGEST_MESSAGES: usize = 4096;
/// How many warnings a pod gets.
const MOST_WARNINGS: usize = 16;

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
    /// The app's group is not in the pod.
    UnknownAppGroup,
    /// The app runs as root, the sidecar does not.
    RootNotAllowed,
    /// Containers with different users share a volume.
    #[serde(rename = "UIDMismatch")]
    UidMismatch,
    /// One of the app's volumes is not mounted.
    MountNotCopied,
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

/// As many warnings as a pod can carry; the last says how many there are beside them.
pub fn bounded(mut warnings: Vec<Warning>) -> Vec<Warning> {
    for Warning { message, .. } in warnings.iter_mut().filter(|one| one.message.len() > LONGEST_MESSAGE) {
        let room = LONGEST_MESSAGE - '…'.len_utf8();
        message.truncate((0..=room).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default());
        message.push('…');
    }
    let ends = warnings.iter().scan(0, |end, warning| {
        *end += warning.message.len();
        Some(*end)
    });
    let fitting = ends.take_while(|end| *end <= LONGEST_MESSAGES).count().min(MOST_WARNINGS);
    if fitting < warnings.len() {
        let kept = fitting.min(MOST_WARNINGS - 1);
        let rest = warnings.split_off(kept);
        warnings
            .extend(rest.first().map(|next| Warning::new(next.reason, format!("and {} more", rest.len()))));
    }
    warnings
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

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(count: usize, length: usize) -> Vec<Warning> {
        vec![Warning::new(Reason::PathOnNoVolume, "ä".repeat(length / 2)); count]
    }

    #[test]
    fn a_few_warnings_stay_as_they_are() {
        assert_eq!(bounded(warnings(16, 200)), warnings(16, 200));
    }

    #[test]
    fn of_many_the_rest_is_counted() {
        let bounded = bounded(warnings(17, 200));
        assert_eq!((bounded.len(), bounded[15].message.as_str()), (16, "and 2 more"));
    }

    #[test]
    fn long_ones_are_cut_and_fill_what_there_is_sooner() {
        let bounded = bounded(warnings(9, 200_000));
        assert_eq!((bounded.len(), bounded[4].message.as_str()), (5, "and 5 more"));
        assert!(bounded[0].message.len() <= LONGEST_MESSAGE && bounded[0].message.ends_with("ä…"));
    }
}
