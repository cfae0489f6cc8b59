//! Replaces pods that have no sidecar, if the operator was told to: by eviction, so that budgets for disruption hold.
//!
//! What always holds: only pods that a controller will make again, and no Job's; one at a time of each owner; only after
//! the API server was asked, without making anything, whether a new pod would get the sidecar; never again for an owner
//! whose new pod came up without.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::sync::watch;

use super::missing::{Bare, NODE};
use crate::{names, probe_pod};

/// What was evicted, by the identity of its owner.
#[derive(Debug, Default)]
pub struct History {
    evicted: BTreeMap<String, Timestamp>,
    hopeless: BTreeSet<String>,
}

impl History {
    /// The pods to evict now.
    pub fn plan<'a>(&mut self, bare: &'a [Bare]) -> Vec<&'a Bare> {
        let mut owners: BTreeMap<&str, Vec<&Bare>> = BTreeMap::new();
        for pod in bare.iter().filter(|pod| pod.never_injected) {
            let owner = pod.owner.as_ref().filter(|owner| !["Job", NODE].contains(&owner.kind.as_str()));
            if let Some(owner) = owner {
                owners.entry(&owner.uid).or_default().push(pod);
            }
        }
        let hopeful = owners.into_iter().filter(|(owner, pods)| self.is_hopeful(owner, pods));
        hopeful.filter_map(|(_, pods)| pods.first().copied()).collect()
    }

    /// A pod that was made after the last eviction and has no sidecar either: it would only be evicted again.
    fn is_hopeful(&mut self, owner: &str, pods: &[&Bare]) -> bool {
        let Some(evicted) = self.evicted.get(owner) else { return true };
        let in_vain = pods.iter().any(|pod| pod.created.is_some_and(|created| created > *evicted));
        if in_vain && self.hopeless.insert(owner.to_owned()) {
            tracing::warn!(pod = %pods[0].key, "its replacement has no sidecar either; no more pods of its owner are evicted");
        }
        !self.hopeless.contains(owner)
    }

    /// A pod was evicted.
    pub fn evicted(&mut self, pod: &Bare, now: Timestamp) {
        if let Some(owner) = &pod.owner {
            self.evicted.insert(owner.uid.clone(), now);
        }
    }
}

/// Repairs what each sweep leaves in `found`, one pod after the other, while sweeps go on.
pub async fn run(mut found: watch::Receiver<Vec<Bare>>) {
    let mut history = History::default();
    while found.changed().await.is_ok() {
        let bare = found.borrow_and_update().clone();
        match impatient().await {
            Ok(client) => evict(&client, &mut history, &bare).await,
            Err(error) => tracing::warn!(%error, "no pod without a sidecar is evicted"),
        }
    }
    // What ends would end everything; who sends has ended, or we are dropped together.
    std::future::pending::<()>().await;
}

/// A client that takes a no for an answer. The one for everything else asks again 15 times in minutes, also where a
/// budget for disruption says no.
async fn impatient() -> Result<Client, Box<dyn Error + Send + Sync>> {
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Evicts what should be evicted.
async fn evict(client: &Client, history: &mut History, bare: &[Bare]) {
    let mut works = BTreeMap::new();
    for pod in history.plan(bare) {
        let namespace = pod.key.namespace.as_str();
        let works = match works.get(namespace) {
            Some(works) => *works,
            None => {
                let answer = injection_works(client, pod).await;
                works.insert(namespace, answer);
                answer
            }
        };
        if !works {
            continue;
        }
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let (name, params) = (&pod.key.name, PostParams::default());
        let answer: Result<serde_json::Value, _> =
            api.create_subresource("eviction", name, &params, &eviction(pod)).await;
        match answer {
            Ok(_) => {
                tracing::info!(pod = %pod.key, "evicted, since it has no sidecar");
                history.evicted(pod, Timestamp::now());
            }
            // A budget for disruption says no, or the pod is gone: the next sweep sees.
            Err(error) => tracing::info!(pod = %pod.key, %error, "not evicted"),
        }
    }
}

/// The request. It holds the pod's identity: one of the same name may have taken its place since the sweep. The client's
/// own way of evicting does not send that as the API server reads it.
fn eviction(pod: &Bare) -> Eviction {
    let preconditions = Preconditions { uid: Some(pod.uid.clone()), ..Preconditions::default() };
    Eviction {
        metadata: ObjectMeta {
            name: Some(pod.key.name.clone()),
            namespace: Some(pod.key.namespace.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(preconditions),
            ..DeleteOptions::default()
        }),
    }
}

/// Asks the API server for a pod without making it, and looks whether it has the sidecar.
async fn injection_works(client: &Client, like: &Bare) -> bool {
    let api: Api<Pod> = Api::namespaced(client.clone(), &like.key.namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let Ok(question) = serde_json::from_value(question(like)) else { return false };
    match api.create(&params, &question).await {
        Ok(pod) => probe_pod::sidecar(&pod).is_some(),
        Err(error) => {
            tracing::info!(namespace = %like.key.namespace, %error, "cannot tell whether injection works");
            false
        }
    }
}

/// A pod with the policies of the one that has no sidecar.
fn question(like: &Bare) -> serde_json::Value {
    let policies: Vec<&str> = like.policies.iter().map(String::as_str).collect();
    let metadata = json!({
        "generateName": "capstan-injection-",
        "annotations": { names::POLICY: policies.join(",") },
    });
    probe_pod::pod(&metadata, "capstan-injection")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Key;
    use crate::pods::missing::Owner;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn bare(name: &str, owner: Option<(&str, &str)>, created: i64) -> Bare {
        Bare {
            key: Key::new("shop", name),
            uid: name.to_owned(),
            policies: ["web".to_owned()].into(),
            owner: owner.map(|(kind, uid)| Owner { kind: kind.to_owned(), uid: uid.to_owned() }),
            created: Some(at(created)),
            never_injected: true,
            reason: String::new(),
            message: String::new(),
        }
    }

    fn names(history: &mut History, bare: &[Bare]) -> Vec<String> {
        history.plan(bare).into_iter().map(|pod| pod.key.name.clone()).collect()
    }

    #[test]
    fn one_pod_of_each_owner_that_makes_another() {
        let pods = [
            bare("alone", None, 0),
            bare("job", Some(("Job", "j")), 0),
            bare("web-1", Some(("ReplicaSet", "w")), 0),
            bare("web-2", Some(("ReplicaSet", "w")), 0),
            bare("static", Some(("Node", "n")), 0),
            bare("db-0", Some(("StatefulSet", "d")), 0),
            Bare { never_injected: false, ..bare("host", Some(("DaemonSet", "h")), 0) },
        ];
        assert_eq!(names(&mut History::default(), &pods), ["db-0", "web-1"]);
    }

    #[test]
    fn an_owner_whose_new_pod_has_no_sidecar_either_is_left_alone() {
        let mut history = History::default();
        let owner = Some(("ReplicaSet", "w"));
        let pods = [bare("web-1", owner, 0), bare("web-2", owner, 0)];
        history.evicted(&pods[0], at(100));
        assert_eq!(names(&mut history, &pods[1..]), ["web-2"], "the next one");
        let replaced = [bare("web-2", owner, 0), bare("web-3", owner, 101)];
        assert_eq!(names(&mut history, &replaced), [""; 0]);
        assert_eq!(names(&mut history, &pods[1..]), [""; 0], "never again");
    }

    #[test]
    fn only_the_pod_that_was_found_is_evicted_and_not_its_successor() {
        let request = serde_json::to_value(eviction(&bare("db-0", None, 0))).unwrap();
        let expected = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": "db-0", "namespace": "shop" },
            "deleteOptions": { "preconditions": { "uid": "db-0" } },
        });
        assert_eq!(request, expected);
    }

    #[test]
    fn the_question_is_a_pod_and_the_answer_is_read() {
        let pod: Pod = serde_json::from_value(question(&bare("web-1", None, 0))).unwrap();
        assert!(probe_pod::sidecar(&pod).is_none());
        let yaml = "spec: { containers: [], initContainers: [{ name: capstan }] }";
        assert!(probe_pod::sidecar(&serde_yaml_ng::from_str(yaml).unwrap()).is_some());
    }
}
