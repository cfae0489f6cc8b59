//! Finds pods that name a policy and have no sidecar: those that were made while the webhook could not be reached, and
//! those that could not be injected.
//!
//! What always holds: only metadata is read, in pages; a sweep that was broken off changes nothing; where nobody is to
//! get a sidecar, nobody misses one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PartialObjectMeta};

use super::Key;
use super::record::{policies, warnings};
use crate::inject::annotations;
use crate::names;

/// What owns the pods that kubelet makes from files.
pub const NODE: &str = "Node";

/// Pods in a page.
const PAGE: u32 = 500;

/// The pause after a sweep that broke off; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// A pod without a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// The pod.
    pub key: Key,
    /// Its identity.
    pub uid: String,
    /// The policies that it names.
    pub policies: BTreeSet<String>,
    /// Who makes it again, if it is gone.
    pub owner: Option<Owner>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether nobody has looked at it at admission, so that another one may get the sidecar.
    pub never_injected: bool,
    /// Why it has none.
    pub reason: String,
    /// The same as a sentence that says what to do.
    pub message: String,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Such as `ReplicaSet`.
    pub kind: String,
    /// Its identity.
    pub uid: String,
}

/// Looks through all pods.
///
/// # Errors
/// What the API server says.
pub async fn sweep(api: &Api<Pod>) -> Result<Vec<Bare>, kube::Error> {
    let mut page = ListParams::default()
        .labels(&format!("{}!=true", names::INJECTED))
        .fields("status.phase!=Succeeded,status.phase!=Failed")
        .limit(PAGE);
    let mut found = Vec::new();
    loop {
        let list = api.list_metadata(&page).await?;
        found.extend(list.items.iter().filter_map(bare));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// How long until the next sweep; `failures` is how many in a row broke off.
pub fn pause(failures: u32, interval: Duration) -> Duration {
    match failures.checked_sub(1) {
        None => interval,
        Some(more) => FIRST_PAUSE.saturating_mul(1 << more.min(16)).min(interval),
    }
}

/// Leaves out pods of namespaces that the webhook is not called for: those excluded, and those labelled so.
pub async fn of_served(client: &Client, bare: Vec<Bare>, excluded: &BTreeSet<String>) -> Vec<Bare> {
    let mut served: BTreeMap<String, bool> = BTreeMap::new();
    for pod in &bare {
        let namespace = &pod.key.namespace;
        if !served.contains_key(namespace) {
            let answer = !excluded.contains(namespace) && !is_disabled(client, namespace).await;
            served.insert(namespace.clone(), answer);
        }
    }
    bare.into_iter().filter(|pod| served.get(&pod.key.namespace) == Some(&true)).collect()
}

/// One that cannot be read is taken for served: rather told too much than kept quiet.
async fn is_disabled(client: &Client, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(client.clone());
    match api.get_metadata_opt(namespace).await {
        Ok(found) => found.is_some_and(|found| wants_none(&found.metadata)),
        Err(error) => {
            tracing::warn!(namespace, %error, "cannot read the labels of a namespace");
            false
        }
    }
}

fn wants_none(namespace: &ObjectMeta) -> bool {
    namespace
        .labels
        .as_ref()
        .and_then(|labels| labels.get(names::INJECTION))
        .is_some_and(|word| word == "disabled")
}

/// A pod that should have a sidecar.
fn bare(pod: &PartialObjectMeta<Pod>) -> Option<Bare> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let policies = policies(annotations);
    if policies.is_empty() || pod.metadata.deletion_timestamp.is_some() || wants_to_be_left_alone(pod) {
        return None;
    }
    let (reason, message) = why(annotations);
    let owner = controller(&pod.metadata);
    Some(Bare {
        key: Key::of(pod),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        policies,
        owner: owner.map(|owner| Owner { kind: owner.kind.clone(), uid: owner.uid.clone() }),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        never_injected: !annotations.contains_key(names::STATUS),
        reason,
        message,
    })
}

/// Whether the pod refuses the sidecar, or kubelet made it from a file, so that nothing in it can be changed.
fn wants_to_be_left_alone(pod: &PartialObjectMeta<Pod>) -> bool {
    let metadata = pod.metadata.clone();
    let is_mirror = metadata.annotations.iter().flatten().any(|(key, _)| key == names::MIRROR_POD)
        || controller(&metadata).is_some_and(|owner| owner.kind == NODE);
    is_mirror || annotations::refuses_injection(&Pod { metadata, ..Pod::default() })
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn why(annotations: &BTreeMap<String, String>) -> (String, String) {
    match warnings(annotations).into_iter().next() {
        Some(warning) => (warning.reason, warning.message),
        None => (
            "SidecarMissing".to_owned(),
            "the pod names a policy and has no sidecar, because Capstan was not reached when it was created; delete it, \
             and the new one gets it"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(metadata: &str) -> Option<Bare> {
        let yaml = format!("metadata: {{ namespace: shop, name: web-0, uid: u, {metadata} }}");
        bare(&serde_yaml_ng::from_str(&yaml).unwrap())
    }

    #[test]
    fn only_pods_that_ask_for_a_sidecar_miss_one() {
        assert_eq!(found(""), None);
        assert_eq!(found("annotations: { capstan.dev/policy: ' ' }"), None);
        assert_eq!(found("annotations: { capstan.dev/policy: web, capstan.dev/inject: 'false' }"), None);
        let ending = "annotations: { capstan.dev/policy: web }, deletionTimestamp: 2026-11-21T00:00:00Z";
        assert_eq!(found(ending), None);
        let missing = found("annotations: { capstan.dev/policy: web }").unwrap();
        assert_eq!(
            (missing.policies, missing.reason.as_str()),
            (["web".to_owned()].into(), "SidecarMissing")
        );
    }

    #[test]
    fn a_pod_that_was_left_alone_at_admission_misses_nothing() {
        let with =
            |more: &str| found(&format!("annotations: {{ capstan.dev/policy: web, {more} }}")).is_none();
        assert!(with("capstan.dev/inject: ' false '"), "read as at admission");
        assert!(!with("capstan.dev/inject: 'no'"));
        assert!(with("kubernetes.io/config.mirror: 0123"));
        let node = "annotations: { capstan.dev/policy: web }, ownerReferences: [{ apiVersion: v1, kind: Node, name: n, \
                    uid: n, controller: true }]";
        assert_eq!(found(node), None);
    }

    #[test]
    fn a_sweep_that_broke_off_is_begun_again_soon() {
        let pause = |failures| pause(failures, Duration::from_secs(60)).as_secs();
        assert_eq!([pause(0), pause(1), pause(2), pause(3), pause(4), pause(99)], [60, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_namespace_can_want_none() {
        let namespace = |yaml: &str| wants_none(&serde_yaml_ng::from_str(yaml).unwrap());
        assert!(namespace("labels: { capstan.dev/injection: disabled }"));
        assert!(!namespace("labels: { capstan.dev/injection: strict }"));
        assert!(!namespace("name: shop"));
    }

    #[test]
    fn a_pod_that_could_not_be_injected_says_why_itself() {
        let status =
            r#"{"injected":false,"warnings":[{"reason":"HostNetwork","message":"it uses the network"}]}"#;
        let missing =
            found(&format!("annotations: {{ capstan.dev/policy: web, capstan.dev/status: '{status}' }}"))
                .unwrap();
        assert_eq!(
            (missing.reason.as_str(), missing.message.as_str()),
            ("HostNetwork", "it uses the network")
        );
    }
}
