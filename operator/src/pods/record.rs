//! What the operator keeps of an injected pod: a small part, since there may be ten thousand.
//!
//! In: a pod as the API server has it. Out: a [`Pod`], and the annotation that it should have. What always holds: of a
//! pod's own text only names and Capstan's annotations are kept.

use std::collections::{BTreeMap, BTreeSet};

use capstan_config::{ConfigHash, ConfigHashes, PolicyName, TerminationMessage, names as contract};
use k8s_openapi::api::core::v1::Pod as FullPod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

use super::Key;
use crate::inject::annotations;
use crate::names;

/// The part of a pod that is read. It comes whole over the wire; the rest is dropped while it is decoded.
#[derive(Clone, Debug, Deserialize, kube::Resource)]
#[resource(inherit = "FullPod")]
pub struct PodPart {
    /// Names, labels and annotations.
    pub metadata: ObjectMeta,
    /// What was asked for.
    #[serde(default)]
    pub spec: SpecPart,
    /// What is so.
    #[serde(default)]
    pub status: StatusPart,
}

/// The part of a pod's spec that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpecPart {
    /// The sidecar is among them.
    pub init_containers: Vec<ContainerPart>,
}

/// The part of a container that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPart {
    /// Its name.
    pub name: String,
    /// What it mounts.
    pub volume_mounts: Vec<MountPart>,
}

/// The part of a mount that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MountPart {
    /// Where.
    pub mount_path: String,
}

/// The part of a pod's status that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusPart {
    /// Pending, Running, Succeeded, Failed.
    pub phase: Option<String>,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// The sidecar is among them.
    pub init_container_statuses: Vec<k8s_openapi::api::core::v1::ContainerStatus>,
}

/// How far a pod is in its life, as far as its sidecar is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The sidecar does not run yet, or not now.
    Waiting,
    /// The sidecar runs.
    Running,
    /// The pod is being deleted.
    Ending,
    /// The pod's containers have ended.
    Ended,
}

/// Whether a pod with the label of injected pods has the sidecar. A template may copy the label of a running pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sidecar {
    /// It has.
    Present,
    /// It should have.
    Missing,
    /// It has not, and wants none.
    Unwanted,
}

/// Something that was not done as asked at injection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Warning {
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// The part of the annotation `capstan.dev/status` that is read. A later version may say more.
#[derive(Clone, Debug, Default, Deserialize)]
struct InjectionStatus {
    #[serde(default)]
    warnings: Vec<Warning>,
}

/// What a sidecar left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftBehind {
    /// What it could not have confirmed.
    pub message: TerminationMessage,
    /// When it ended, which tells one end from the next.
    pub at: Option<Time>,
}

/// An injected pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its name.
    pub key: Key,
    /// Its identity: another pod may have the name later.
    pub uid: String,
    /// The policies that it names.
    pub policies: BTreeSet<String>,
    /// The annotation with the hashes that its sidecar should have.
    pub hashes: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// How far it is.
    pub stage: Stage,
    /// Whether it has what its label speaks of.
    pub sidecar: Sidecar,
    /// Capstan's directories that its sidecar mounts.
    pub mounts: BTreeSet<String>,
    /// What was not done as asked.
    pub warnings: Vec<Warning>,
    /// Why its sidecar does not run, as kubelet says.
    pub trouble: Option<String>,
    /// What its sidecar left behind.
    pub left_behind: Option<LeftBehind>,
}

/// The policies that an annotation names.
pub fn policies(annotations: &BTreeMap<String, String>) -> BTreeSet<String> {
    let text = annotations.get(names::POLICY).map(String::as_str).unwrap_or_default();
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What could not be done at injection.
pub fn warnings(annotations: &BTreeMap<String, String>) -> Vec<Warning> {
    let status = annotations.get(names::STATUS).and_then(|text| serde_json::from_str(text).ok());
    status.map(|InjectionStatus { warnings }| warnings).unwrap_or_default()
}

impl Pod {
    /// Keeps of a pod what is needed.
    pub fn read(pod: &PodPart) -> Self {
        let PodPart { metadata, spec, status } = pod;
        let none = BTreeMap::new();
        let annotations = metadata.annotations.as_ref().unwrap_or(&none);
        let sidecar = spec.init_containers.iter().find(|container| container.name == contract::CONTAINER);
        let present = match sidecar {
            Some(_) => Sidecar::Present,
            None if refuses(metadata) => Sidecar::Unwanted,
            None => Sidecar::Missing,
        };
        let mounts = sidecar.iter().flat_map(|sidecar| &sidecar.volume_mounts).map(|mount| &mount.mount_path);
        let state =
            status.init_container_statuses.iter().find(|container| container.name == contract::CONTAINER);
        let left_behind = state.and_then(left_behind);
        Self {
            key: Key::of(pod),
            uid: metadata.uid.clone().unwrap_or_default(),
            policies: policies(annotations),
            hashes: annotations.get(contract::CONFIG_HASH_ANNOTATION).cloned(),
            address: status.pod_ip.clone(),
            stage: stage(metadata, status, state),
            sidecar: present,
            mounts: mounts.filter(|path| path.starts_with("/etc/capstan/")).cloned().collect(),
            warnings: if present == Sidecar::Missing { vec![only_labelled()] } else { warnings(annotations) },
            trouble: state.and_then(trouble),
            left_behind,
        }
    }

    /// Whether it counts among the pods of its policies that have a sidecar.
    pub fn counts(&self) -> bool {
        self.sidecar == Sidecar::Present && self.lives()
    }

    /// Whether it counts among those that miss one, though its label says otherwise.
    pub fn is_bare(&self) -> bool {
        self.sidecar == Sidecar::Missing && self.lives()
    }

    fn lives(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Running)
    }

    /// Whether its sidecar mounts what a policy needs.
    pub fn mounts_all(&self, policy: &str, secrets: &BTreeSet<String>) -> bool {
        let needed = secrets.iter().map(|name| contract::secret_directory(name));
        needed.chain([contract::policy_directory(policy)]).all(|path| self.mounts.contains(&path))
    }

    /// The annotation that it should have, if that is another than it has. A policy whose configuration is not known
    /// keeps its entry: sidecars keep their last good one, too.
    pub fn new_hashes<'a>(&self, delivered: impl Fn(&str) -> Option<&'a ConfigHash>) -> Option<String> {
        let mut wanted: ConfigHashes =
            self.hashes.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default();
        wanted.0.retain(|policy, _| self.policies.contains(policy.as_str()));
        for policy in &self.policies {
            if let (Some(hash), Ok(name)) = (delivered(policy), policy.parse::<PolicyName>()) {
                wanted.0.insert(name, hash.clone());
            }
        }
        let text = wanted.to_string();
        (self.counts() && text != self.hashes.as_deref().unwrap_or_default()).then_some(text)
    }
}

fn refuses(metadata: &ObjectMeta) -> bool {
    annotations::refuses_injection(&FullPod { metadata: metadata.clone(), ..FullPod::default() })
}

/// A copy of an injected pod's labels: the sweep for pods without a sidecar passes over it.
fn only_labelled() -> Warning {
    Warning {
        reason: "SidecarMissing".to_owned(),
        message: format!(
            "the pod has label {} but no container {}; remove the label where the pod is made, and the new one gets it",
            names::INJECTED,
            contract::CONTAINER
        ),
    }
}

fn stage(
    metadata: &ObjectMeta,
    status: &StatusPart,
    sidecar: Option<&k8s_openapi::api::core::v1::ContainerStatus>,
) -> Stage {
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Stage::Ended;
    }
    if metadata.deletion_timestamp.is_some() {
        return Stage::Ending;
    }
    let running = sidecar.and_then(|sidecar| sidecar.state.as_ref()?.running.as_ref()).is_some();
    if running { Stage::Running } else { Stage::Waiting }
}

/// Reasons that kubelet gives while it goes about its business.
const NO_TROUBLE: [&str; 2] = ["PodInitializing", "ContainerCreating"];

fn trouble(sidecar: &k8s_openapi::api::core::v1::ContainerStatus) -> Option<String> {
    let waiting = sidecar.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !NO_TROUBLE.contains(reason))?;
    let message = waiting.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    Some(format!("{reason}{message}"))
}

fn left_behind(sidecar: &k8s_openapi::api::core::v1::ContainerStatus) -> Option<LeftBehind> {
    let states = [sidecar.state.as_ref(), sidecar.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    let end = ends.next()?;
    let message = TerminationMessage::parse(end.message.as_deref()?)?;
    (!message.unconfirmed.is_empty()).then(|| LeftBehind { message, at: end.finished_at.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod with the sidecar, whose sidecar is in this state.
    fn pod(annotations: &str, status: &str) -> Pod {
        let yaml = format!(
            "metadata: {{ namespace: shop, name: web-0, uid: u, annotations: {annotations} }}
spec:
  initContainers:
  - name: capstan
    volumeMounts:
    - {{ mountPath: /etc/capstan/policies/web }}
    - {{ mountPath: /etc/capstan/secrets/secret-loggly }}
    - {{ mountPath: /var/log/app }}
  - {{ name: other, volumeMounts: [{{ mountPath: /etc/capstan/policies/other }}] }}
  containers: [{{ name: app, image: app }}]
status: {status}"
        );
        Pod::read(&serde_yaml_ng::from_str(&yaml).unwrap())
    }

    fn sidecar(state: &str) -> String {
        format!(
            "{{ phase: Running, podIP: 10.0.0.1, initContainerStatuses: [{{ name: capstan, image: i, imageID: i, \
             ready: true, restartCount: 0, {state} }}] }}"
        )
    }

    #[test]
    fn of_a_pod_little_is_kept() {
        let found = pod(
            r#"{ capstan.dev/policy: "web, audit,", capstan.dev/config-hash: "web=0123456789abcdef",
                 capstan.dev/status: '{"injected":true,"warnings":[{"reason":"UnknownAppUser","message":"set it"}]}' }"#,
            &sidecar("state: { running: {} }"),
        );
        assert_eq!(found.policies, ["audit", "web"].map(str::to_owned).into());
        assert_eq!(found.stage, Stage::Running);
        assert_eq!(found.address.as_deref(), Some("10.0.0.1"));
        assert_eq!(found.warnings, [Warning { reason: "UnknownAppUser".into(), message: "set it".into() }]);
        assert!(found.mounts_all("web", &["loggly".to_owned()].into()));
        assert!(!found.mounts_all("web", &["other".to_owned()].into()));
        assert!(!found.mounts_all("other", &BTreeSet::new()));
        assert_eq!(found.mounts.len(), 2);
    }

    #[test]
    fn a_pod_is_as_far_as_its_sidecar() {
        let at = |status: &str| pod("{}", status).stage;
        assert_eq!(at("{}"), Stage::Waiting);
        assert_eq!(at(&sidecar("state: { waiting: { reason: PodInitializing } }")), Stage::Waiting);
        assert_eq!(at("{ phase: Succeeded }"), Stage::Ended);
        let trouble = |state: &str| pod("{}", &sidecar(state)).trouble;
        assert_eq!(trouble("state: { waiting: { reason: PodInitializing } }"), None);
        assert_eq!(
            trouble("state: { waiting: { reason: ImagePullBackOff, message: not found } }").as_deref(),
            Some("ImagePullBackOff: not found")
        );
    }

    #[test]
    fn the_annotation_follows_what_is_delivered() {
        let hash = |text: &str| text.parse::<ConfigHash>().unwrap();
        let (old, new) = (hash("0123456789abcdef"), hash("fedcba9876543210"));
        let found = pod(
            r#"{ capstan.dev/policy: "web,audit", capstan.dev/config-hash: "web=0123456789abcdef" }"#,
            &sidecar("state: { running: {} }"),
        );
        assert_eq!(found.new_hashes(|_| None), None, "what is not known stays");
        assert_eq!(found.new_hashes(|policy| (policy == "web").then_some(&old)), None);
        assert_eq!(
            found.new_hashes(|policy| (policy == "web").then_some(&new)).as_deref(),
            Some("web=fedcba9876543210")
        );
        assert_eq!(
            found.new_hashes(|_| Some(&new)).as_deref(),
            Some("audit=fedcba9876543210,web=fedcba9876543210")
        );
        let bare = Pod { sidecar: Sidecar::Missing, ..found };
        assert_eq!(bare.new_hashes(|_| Some(&new)), None, "there is no sidecar to read it");
        let ended = pod("{ capstan.dev/policy: web }", "{ phase: Failed }");
        assert_eq!(ended.new_hashes(|_| Some(&new)), None, "who reads it?");
    }

    #[test]
    fn a_label_alone_is_no_sidecar() {
        let labelled = |more: &str| {
            let yaml = format!(
                "metadata: {{ namespace: shop, name: a, uid: a, annotations: {{ capstan.dev/policy: web {more} }} }}"
            );
            Pod::read(&serde_yaml_ng::from_str(&yaml).unwrap())
        };
        let unwanted = labelled(", capstan.dev/inject: 'false'");
        assert!(!unwanted.counts() && !unwanted.is_bare() && unwanted.warnings.is_empty());
        let labelled = labelled("");
        assert!(!labelled.counts() && labelled.is_bare());
        assert_eq!(labelled.warnings[0].reason, "SidecarMissing");
        let ended = Pod { stage: Stage::Ended, ..labelled };
        assert!(!ended.counts() && !ended.is_bare());
        let whole = pod("{}", "{}");
        assert!(whole.counts() && !whole.is_bare());
    }

    #[test]
    fn what_was_left_behind_is_read_from_the_end() {
        let message = r#"{"capstan":1,"unconfirmed":[{"log":"web/access","destination":"central","bytes":9,"seconds":1.5}]}"#;
        let ended = format!(
            "state: {{ terminated: {{ exitCode: 0, finishedAt: 2026-11-21T00:00:00Z, message: '{message}' }} }}"
        );
        let found = pod("{}", &sidecar(&ended)).left_behind.unwrap();
        assert_eq!(found.message.unconfirmed[0].bytes, 9);
        let restarted = ended.replace("state:", "state: { running: {} }, lastState:");
        assert!(pod("{}", &sidecar(&restarted)).left_behind.is_some());
        assert_eq!(
            pod("{}", &sidecar("state: { terminated: { exitCode: 1, message: panicked } }")).left_behind,
            None
        );
    }
}
